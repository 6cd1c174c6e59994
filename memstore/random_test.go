package memstore

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/seed68722ecd/webhook"
)

// random does the same random things to a Store and to the model.
type random struct {
	*testing.T
	rnd    *rand.Rand
	s      *Store
	m      *model
	now    time.Time
	token  int64
	events int
	leases []webhook.Lease // given out, newest last: most are over
}

// TestStoreIsTheModel holds Store to the plain reading of the
// contract, through thousands of random steps of every method.
func TestStoreIsTheModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			r := &random{
				T:   t,
				rnd: rand.New(rand.NewPCG(seed, 1)),
				s:   New(Config{MaxPending: 200, Retain: 1 << 20}),
				m:   &model{maxPending: 200, webhooks: map[string]*webhook.WebhookRecord{}, stats: map[modelHour]webhook.StatsBucket{}, rests: map[string]time.Time{}},
				now: epoch,
			}
			steps := []func(){
				r.editWebhook, r.editWebhook, r.publish, r.publish, r.publish, r.claim, r.claim, r.claim, r.complete, r.complete,
				r.complete, r.complete, r.extend, r.release, r.resend, r.replay, r.prune, r.read, r.read,
			}
			for i := range 2000 {
				switch r.rnd.IntN(10) {
				case 0:
					r.now = r.now.Add(time.Duration(r.rnd.IntN(40)) * time.Second)
				case 1:
					r.now = r.now.Add(-time.Duration(r.rnd.IntN(1000)) * time.Microsecond)
				default:
					r.now = r.now.Add(time.Duration(r.rnd.IntN(1000)) * time.Microsecond)
				}
				steps[r.rnd.IntN(len(steps))]()
				if i%50 == 0 {
					check(t, r.s)
				}
				if t.Failed() {
					t.Fatalf("at step %d", i)
				}
			}
			r.read()
		})
	}
}

func (r *random) id() (tenant, id string) {
	n := r.rnd.IntN(8)
	return fmt.Sprint("t", n%2), fmt.Sprint("w", n)
}

func pickOne[T any](rnd *rand.Rand, from ...T) T { return from[rnd.IntN(len(from))] }

func (r *random) same(what string, want, got any) {
	r.Helper()
	if reflect.DeepEqual(want, got) { // much the quicker, and nearly always
		return
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.Errorf("%s: model - store +\n%s", what, diff)
	}
}

func (r *random) sameErr(what string, want, got error) {
	r.Helper()
	if !sameError(want, got) {
		r.Errorf("%s: error %v, the model has %v", what, got, want)
	}
}

func (r *random) editWebhook() {
	tenant, id := r.id()
	if r.rnd.IntN(20) == 0 {
		tenant = "t9"
	}
	all := []string{"*", "a.*", "a.b", "a.b.c", "b", "a.b.*"}
	r.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	w := webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: id, Tenant: tenant, Name: fmt.Sprint("n", r.rnd.IntN(100)), URL: "https://x/" + id, Events: all[:1+r.rnd.IntN(3)],
			Active: r.rnd.IntN(4) > 0, CreatedAt: r.now, UpdatedAt: r.now, Version: 1,
		},
		Secrets: []webhook.SecretRecord{{Value: fmt.Sprint("s", r.rnd.IntN(9)), CreatedAt: r.now}},
	}
	switch r.rnd.IntN(5) {
	case 0:
		r.sameErr("DeleteWebhook", r.m.remove(tenant, id), r.s.DeleteWebhook(r.Context(), tenant, id))
	case 1, 2:
		limit := r.rnd.IntN(5)
		r.sameErr("CreateWebhook", r.m.create(w, limit), r.s.CreateWebhook(r.Context(), w, limit))
	default:
		if old := r.m.webhook(tenant, id); old != nil {
			w.Version = old.Version + int64(r.rnd.IntN(8)/7)
		}
		r.sameErr("UpdateWebhook", r.m.update(w), r.s.UpdateWebhook(r.Context(), w))
	}
}

func (r *random) publish() {
	reqs := make([]webhook.PublishRequest, 1+r.rnd.IntN(5))
	for i := range reqs {
		r.events++
		tenant, id := r.id()
		req := webhook.PublishRequest{
			Event: webhook.EventRecord{ID: fmt.Sprint("e", r.events-r.rnd.IntN(40)/39), Tenant: tenant, Type: pickOne(r.rnd, "a.b", "a.b.c", "b", "a"), Time: r.now, Data: []byte(`{}`)},
		}
		req.Patterns = map[string][]string{
			"a.b": {"a.b", "a.*", "*"}, "a.b.c": {"a.b.c", "a.b.*", "a.*", "*"}, "b": {"b", "*"}, "a": {"a", "*"},
		}[req.Event.Type]
		if r.rnd.IntN(6) == 0 {
			req.WebhookID = id
		}
		reqs[i] = req
	}
	want, wantErr := r.m.publish(r.now, reqs)
	got, err := r.s.Publish(r.Context(), r.now, reqs)
	r.sameErr("Publish", wantErr, err)
	r.same("Publish", want, got)
	r.learnIDs()
}

// learnIDs gives the model the IDs of deliveries that both just made.
func (r *random) learnIDs() {
	r.Helper()
	for _, d := range r.m.pick(func(d *modelDelivery) bool { return d.ID == "" }) {
		page, err := r.s.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: d.Tenant, EventID: d.EventID, WebhookID: d.WebhookID})
		if err != nil || len(page.Items) != 1 {
			r.Fatalf("%d deliveries of event %s to webhook %s, %v; want 1", len(page.Items), d.EventID, d.WebhookID, err)
		}
		d.ID = page.Items[0].ID
	}
}

// claim checks what a claim may choose, as the contract leaves it some choice.
func (r *random) claim() {
	r.token++
	req := webhook.ClaimRequest{Token: r.token, Now: r.now, Lease: time.Duration(1+r.rnd.IntN(30)) * time.Second, Limit: 1 + r.rnd.IntN(40), PerWebhook: 1 + r.rnd.IntN(10), Limits: map[string]int{}}
	for range r.rnd.IntN(3) {
		_, id := r.id()
		req.Limits[id] = r.rnd.IntN(4)
	}
	if r.rnd.IntN(4) == 0 {
		tenant, _ := r.id()
		req.PassTenants = []string{"nobody", tenant}
	}
	if r.rnd.IntN(4) == 0 {
		_, id := r.id()
		d := time.Duration(r.rnd.IntN(20)) * time.Second
		req.Rest = map[string]time.Duration{id: d, "missing": d}
		if w := r.m.webhooks[id]; w != nil {
			if delete(r.m.rests, w.Tenant+id); d > 0 {
				r.m.rests[w.Tenant+id] = r.now.Add(d)
			}
		}
	}
	limit := func(webhook string) int {
		if l, ok := req.Limits[webhook]; ok {
			return l
		}
		return req.PerWebhook
	}
	due := map[string]int{}
	for _, d := range r.m.pick(func(d *modelDelivery) bool { return d.claimable(r.now) }) {
		if !slices.Contains(req.PassTenants, d.Tenant) && !r.m.rests[d.Tenant+d.WebhookID].After(r.now) {
			due[d.WebhookID]++
		}
	}
	want := 0
	for id, n := range due {
		want += min(n, limit(id))
	}
	want = min(want, req.Limit)

	res, err := r.s.Claim(r.Context(), req)
	if err != nil || len(res.Deliveries) != want {
		r.Fatalf("claimed %d, %v; want %d", len(res.Deliveries), err, want)
	}
	taken, last := map[string]int{}, map[string]time.Time{}
	for _, c := range res.Deliveries {
		d := r.m.find("", c.Delivery.ID)
		if d == nil || !d.claimable(r.now) {
			r.Fatalf("claimed %+v, the model has %+v", c.Delivery, d)
		}
		id := d.WebhookID
		if taken[id]++; d.ready().Before(last[id]) {
			r.Errorf("webhook %s: a delivery ready at %v after one ready at %v", id, d.ready(), last[id])
		}
		last[id] = d.ready()
		d.lease(req.Token, r.now.Add(req.Lease))
		r.same("claimed delivery", d.Delivery, c.Delivery)
		r.same("its event", r.m.event(d.Tenant, d.EventID).EventRecord, *c.Event)
		r.same("its webhook", r.m.webhook(d.Tenant, id), c.Webhook)
		r.leases = append(r.leases, webhook.Lease{DeliveryID: d.ID, Token: req.Token})
	}
	left := map[string]bool{}
	for _, d := range r.m.pick(func(d *modelDelivery) bool { return d.claimable(r.now) }) {
		left[d.WebhookID] = true
		if d.ready().Before(last[d.WebhookID]) {
			r.Errorf("webhook %s: left a delivery ready at %v, took one ready at %v", d.WebhookID, d.ready(), last[d.WebhookID])
		}
	}
	for id, n := range taken {
		if n > limit(id) {
			r.Errorf("took %d of webhook %s, the limit is %d", n, id, limit(id))
		}
	}
	if want == req.Limit {
		return
	}
	var all, served time.Time // earliest later time of all webhooks, and of those with nothing due
	for _, d := range r.m.pick(func(d *modelDelivery) bool { return d.State == webhook.StatePending }) {
		at := d.ready()
		if rest := r.m.rests[d.Tenant+d.WebhookID]; rest.After(at) {
			at = rest
		}
		if !at.After(r.now) {
			continue
		}
		if all.IsZero() || at.Before(all) {
			all = at
		}
		if !left[d.WebhookID] && !slices.Contains(req.PassTenants, d.Tenant) && (served.IsZero() || at.Before(served)) {
			served = at
		}
	}
	switch next := res.NextDue; {
	case !next.IsZero() && next.Before(all), !served.IsZero() && (next.IsZero() || next.After(served)):
		r.Errorf("NextDue = %v, want %v or, of webhooks with nothing due, %v", next, all, served)
	}
}

// lease returns a lease that was given out, seldom one that never was.
func (r *random) lease() webhook.Lease {
	if len(r.leases) == 0 || r.rnd.IntN(30) == 0 {
		return webhook.Lease{DeliveryID: pickOne(r.rnd, "", "dl_x", "dl_"+strings.Repeat("0", 26)), Token: 1 << 40}
	}
	return r.leases[max(0, len(r.leases)-1-r.rnd.IntN(60))]
}

func (r *random) complete() {
	results := make([]webhook.Result, r.rnd.IntN(12))
	for i := range results {
		l := r.lease()
		for l.DeliveryID == "" {
			l = r.lease()
		}
		res := webhook.Result{DeliveryID: l.DeliveryID, Token: l.Token, State: pickOne(r.rnd, webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled, webhook.StatePending, webhook.StatePending)}
		switch res.State {
		case webhook.StatePending:
			res.Delay = time.Duration(r.rnd.IntN(60)) * time.Second
		case webhook.StateFailed, webhook.StateCanceled:
			res.Reason = pickOne(r.rnd, webhook.ReasonGone, webhook.ReasonRetriesExhausted)
		}
		if d := r.m.find("", l.DeliveryID); res.State == webhook.StatePending || res.State == webhook.StateSucceeded || r.rnd.IntN(2) == 0 {
			res.Attempt = &webhook.Attempt{
				Number: 1, StartedAt: r.now.Add(-time.Duration(r.rnd.IntN(5)) * time.Second), Duration: time.Duration(r.rnd.IntN(1e9)),
				Status: pickOne(r.rnd, 200, 500), ResponseBody: []byte{0, 255}, ResponseHeaders: map[string]string{"A": "b", "C": ""},
			}
			if res.Attempt.Status == 500 {
				res.Attempt.Class, res.Attempt.Error = webhook.ClassStatus, "answered 500"
			}
			if d != nil {
				res.Attempt.Number = d.Attempts + 1
			}
		}
		results[i] = res
	}
	got, err := r.s.Complete(r.Context(), r.now, results)
	r.sameErr("Complete", nil, err)
	r.same("Complete", r.m.complete(r.now, results), got)
}

func (r *random) extend() {
	leases := []webhook.Lease{r.lease(), r.lease(), r.lease()}
	by := time.Duration(r.rnd.IntN(60)) * time.Second
	lost, err := r.s.Extend(r.Context(), r.now, leases, by)
	r.sameErr("Extend", nil, err)
	r.same("Extend", r.m.extend(r.now, leases, by), lost)
}

func (r *random) release() {
	leases := []webhook.Lease{r.lease(), r.lease()}
	if r.rnd.IntN(3) == 0 {
		leases[0].DeliveryID = ""
	}
	delay := time.Duration(r.rnd.IntN(3)) * time.Second
	r.m.release(r.now, leases, delay)
	r.sameErr("Release", nil, r.s.Release(r.Context(), r.now, leases, delay))
}

func (r *random) resend() {
	l := r.lease()
	tenant := pickOne(r.rnd, "t0", "t1")
	got, err := r.s.Resend(r.Context(), r.now, tenant, l.DeliveryID)
	d := r.m.find(tenant, l.DeliveryID)
	if d == nil {
		r.sameErr("Resend", webhook.ErrNotFound, err)
		return
	}
	d.resend(r.now)
	r.same("Resend", d.Delivery, got)
}

func (r *random) replay() {
	tenant, id := r.id()
	req := webhook.ReplayRequest{Tenant: tenant, WebhookID: id, Now: r.now, DryRun: r.rnd.IntN(2) == 0, EventType: pickOne(r.rnd, "", "", "a.b"), Limit: 1 + r.rnd.IntN(20)}
	for _, st := range []webhook.State{webhook.StatePending, webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled} {
		if r.rnd.IntN(3) == 0 {
			req.States = append(req.States, st)
		}
	}
	if r.rnd.IntN(2) == 0 {
		req.Since = r.now.Add(-time.Duration(r.rnd.IntN(1000)) * time.Second)
	}
	if r.rnd.IntN(2) == 0 {
		req.Until = r.now.Add(-time.Duration(r.rnd.IntN(500)) * time.Second)
	}
	req.Missing = r.rnd.IntN(2) == 0 && r.m.pending()+len(r.m.events) < r.m.maxPending
	resent, created, wantErr := r.m.replay(req)
	for {
		res, err := r.s.Replay(r.Context(), req)
		r.sameErr("Replay", wantErr, err)
		resent, created = resent-res.Resent, created-res.Created
		if res.Resent+res.Created > req.Limit {
			r.Errorf("one step did %d, the limit is %d", res.Resent+res.Created, req.Limit)
		}
		if req.Cursor = res.Next; req.Cursor == "" {
			break
		}
	}
	if resent != 0 || created != 0 {
		r.Fatalf("Replay %+v: %d too few resent, %d too few created", req, resent, created)
	}
	r.learnIDs()
}

func (r *random) prune() {
	before := r.now.Add(-time.Duration(r.rnd.IntN(600)) * time.Second)
	want, limit := r.m.prune(before), 1+r.rnd.IntN(30)
	for {
		n, err := r.s.Prune(r.Context(), before, limit)
		r.sameErr("Prune", nil, err)
		if want -= n; n < limit {
			break
		}
	}
	r.same("not pruned", 0, want)
}

// read compares all that can be read.
func (r *random) read() {
	for _, tenant := range []string{"t0", "t1", "t9"} {
		q := webhook.DeliveryQuery{Tenant: tenant}
		switch _, id := r.id(); r.rnd.IntN(6) {
		case 0:
			q.WebhookID = id
		case 1:
			q.EventID = fmt.Sprint("e", r.rnd.IntN(r.events+1))
		case 2:
			q.State, q.EventType = webhook.StatePending, "a.b"
		case 3:
			q.Since, q.Until = r.now.Add(-300*time.Second), r.now.Add(-10*time.Second)
		}
		want := r.m.list(q)
		q.Limit = 1 + r.rnd.IntN(50)
		var got []webhook.Delivery
		for {
			page, err := r.s.ListDeliveries(r.Context(), q)
			r.sameErr("ListDeliveries", nil, err)
			got = append(got, page.Items...)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		r.same("ListDeliveries", want, got)

		var buckets []webhook.StatsBucket
		for k, b := range r.m.stats {
			if k.tenant == tenant {
				buckets = append(buckets, b)
			}
		}
		slices.SortFunc(buckets, func(a, b webhook.StatsBucket) int {
			return 2*strings.Compare(a.WebhookID, b.WebhookID) + a.Hour.Compare(b.Hour)
		})
		stats, err := r.s.Stats(r.Context(), webhook.StatsQuery{Tenant: tenant})
		r.sameErr("Stats", nil, err)
		r.same("Stats", buckets, stats)
	}
	for i := range 8 {
		tenant, id := fmt.Sprint("t", i%2), fmt.Sprint("w", i)
		got, err := r.s.GetWebhook(r.Context(), tenant, id)
		if want := r.m.webhook(tenant, id); want != nil {
			r.same("GetWebhook", *want, got)
		} else {
			r.sameErr("GetWebhook", webhook.ErrNotFound, err)
		}
	}
	for _, d := range r.m.pick(func(d *modelDelivery) bool { return r.rnd.IntN(4) == 0 }) {
		got, err := r.s.ListAttempts(r.Context(), d.Tenant, d.ID)
		r.sameErr("ListAttempts", nil, err)
		r.same("ListAttempts", d.attempts, got)
	}
	for _, e := range r.m.events {
		got, err := r.s.GetEvent(r.Context(), e.Tenant, e.ID)
		r.sameErr("GetEvent", nil, err)
		r.same("GetEvent", e.EventRecord, got)
	}
	r.same("events kept", len(r.m.events), len(r.s.tenant("t0").events)+len(r.s.tenant("t1").events))
}
