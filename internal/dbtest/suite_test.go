package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/storetest"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// durable is a durable Store, with publishing in transactions.
type durable interface {
	webhook.Store
	webhook.BacklogStore
}

// suite has a host's use of a Store, from end to end, while two dispatchers run
// that share only its tables.
type suite struct {
	t    *testing.T
	s    durable
	d    *webhook.Dispatcher // one of the two dispatchers
	net  *webhooktest.Transport
	inTx func(commit bool, req webhook.PublishRequest)
}

// suiteOf runs the suite on two Stores of the same tables. publish stores an event
// in a transaction of db.
func suiteOf[S durable](t *testing.T, db *sql.DB, stores [2]S, publish func(S, *sql.Tx, webhook.PublishRequest) error) {
	s := &suite{t: t, s: stores[0], net: new(webhooktest.Transport)}
	s.inTx = func(commit bool, req webhook.PublishRequest) {
		t.Helper()
		inTx(t, db, commit, func(tx *sql.Tx) error { return publish(stores[0], tx, req) })
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range stores {
		d, err := webhook.New(stores[i], webhook.Config{
			Client: &http.Client{Transport: s.net}, PollInterval: 20 * time.Millisecond, Lease: 2 * time.Second,
			Retry: webhook.ExponentialRetry{Initial: 10 * time.Millisecond, Max: 50 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.d = d
		running.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	cases := []func(*suite) string{
		(*suite).arrivesOnce, (*suite).retried, (*suite).givenUpAndResent, (*suite).goneAndReplayed,
		(*suite).canceled, (*suite).rotated, (*suite).takenOver,
	}
	var tenants []string
	for _, c := range cases {
		tenants = append(tenants, c(s))
	}
	eventually(t, "nothing pending", func() bool {
		b, err := s.d.Backlog(t.Context(), webhook.BacklogQuery{})
		return err == nil && b.Pending() == 0
	})
	stop()
	running.Wait()
	storetest.CheckInvariants(t, s.s, tenants...)
	// After pruning, no rows are left.
	for n := 1; n > 0; {
		var err error
		if n, err = s.s.Prune(t.Context(), time.Now().Add(time.Hour), 1000); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range tenants {
		if p, err := s.d.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant}); err != nil || len(p.Items) > 0 {
			t.Errorf("%d deliveries of %s are left, %v", len(p.Items), tenant, err)
		}
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t, time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// hook registers a webhook and its receiver.
func (s *suite) hook(tenant, host string, spec webhook.WebhookSpec) (webhook.Webhook, *webhooktest.Receiver) {
	s.t.Helper()
	spec.Name, spec.URL = host, "https://"+host+".example/hook"
	if spec.Events == nil {
		spec.Events = []string{"*"}
	}
	w, secret, err := s.d.CreateWebhook(s.t.Context(), tenant, spec)
	if err != nil {
		s.t.Fatal(err)
	}
	rx := webhooktest.NewReceiver(secret)
	s.net.Handle(host+".example", rx)
	return w, rx
}

func (s *suite) event(tenant, id string) webhook.Event {
	return webhook.Event{ID: id, Tenant: tenant, Type: "order.paid", Data: map[string]string{"id": id}}
}

func (s *suite) publish(tenant, id string, deliveries int) {
	s.t.Helper()
	if p, err := s.d.Publish(s.t.Context(), s.event(tenant, id)); err != nil || p.Deliveries != deliveries {
		s.t.Fatalf("publishing %s: %+v, %v, want %d deliveries", id, p, err, deliveries)
	}
}

// ends waits until the one delivery of an event has reached a state.
func (s *suite) ends(tenant, id string, state webhook.State, reason webhook.Reason, tries int) webhook.Delivery {
	s.t.Helper()
	var last webhook.Delivery
	eventually(s.t, fmt.Sprintf("%s of %s is %s", id, tenant, state), func() bool {
		p, err := s.d.Deliveries(s.t.Context(), webhook.DeliveryQuery{Tenant: tenant, EventID: id})
		if err != nil || len(p.Items) != 1 {
			s.t.Fatalf("deliveries of %s: %+v, %v", id, p.Items, err)
		}
		last = p.Items[0]
		return last.State == state
	})
	if last.Reason != reason || last.Tries != tries {
		s.t.Errorf("%s of %s ended as %s %s after %d tries, want %s after %d", id, tenant, last.State, last.Reason, last.Tries, reason, tries)
	}
	return last
}

// Events published alone, concurrently, in batches and in transactions arrive once
// each; events of a rolled back transaction do not; pages and statistics agree.
func (s *suite) arrivesOnce() string {
	const tenant, singles, batch, txs = "once", 24, 100, 6
	ctx := s.t.Context()
	w, rx := s.hook(tenant, "once", webhook.WebhookSpec{})
	_, other := s.hook(tenant, "once-other", webhook.WebhookSpec{Events: []string{"order.lost"}})
	want := map[string]int{}
	var callers sync.WaitGroup
	for i := range singles {
		want[fmt.Sprint("single-", i)] = 1
		callers.Go(func() {
			if _, err := s.d.Publish(ctx, s.event(tenant, fmt.Sprint("single-", i))); err != nil {
				s.t.Errorf("Publish: %v", err)
			}
		})
	}
	callers.Wait()
	var evs []webhook.Event
	for i := range batch {
		want[fmt.Sprint("batch-", i)] = 1
		evs = append(evs, s.event(tenant, fmt.Sprint("batch-", i)))
	}
	if _, err := s.d.PublishAll(ctx, evs); err != nil {
		s.t.Fatal(err)
	}
	for i := range txs {
		req, err := s.d.Prepare(s.event(tenant, fmt.Sprint("tx-", i)))
		if err != nil {
			s.t.Fatal(err)
		}
		if s.inTx(i%2 == 0, req); i%2 == 0 {
			want[fmt.Sprint("tx-", i)] = 1
		}
	}
	if p, err := s.d.Publish(ctx, s.event(tenant, "single-0")); err != nil || !p.Duplicate {
		s.t.Errorf("published again: %+v, %v", p, err)
	}
	eventually(s.t, "every event arrives", func() bool { return len(rx.Deliveries()) >= len(want) })
	s.quiet(tenant)
	got := map[string]int{}
	for _, r := range rx.Requests() {
		got[r.Header.Get("webhook-id")]++
	}
	for id, n := range got {
		if n != want[id] {
			s.t.Errorf("%s arrived %d times, want %d", id, n, want[id])
		}
	}
	if len(got) != len(want) || len(other.Requests()) != 0 {
		s.t.Errorf("%d events arrived, want %d; %d at a webhook that selects others", len(got), len(want), len(other.Requests()))
	}
	listed := map[string]bool{}
	q := webhook.DeliveryQuery{Tenant: tenant, WebhookID: w.ID, State: webhook.StateSucceeded, EventType: "order.paid", Limit: 50}
	for more := true; more; more = q.Cursor != "" {
		page, err := s.d.Deliveries(ctx, q)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range page.Items {
			listed[d.EventID] = true
		}
		q.Cursor = page.Next
	}
	hours, err := s.d.HourlyStats(ctx, webhook.StatsQuery{Tenant: tenant})
	succeeded := 0
	for _, h := range hours {
		succeeded += int(h.Succeeded)
	}
	if err != nil || len(listed) != len(want) || succeeded != len(want) {
		s.t.Errorf("%d deliveries are listed and %d counted, want %d, %v", len(listed), succeeded, len(want), err)
	}
	return tenant
}

// quiet waits until a tenant has no pending delivery.
func (s *suite) quiet(tenant string) {
	s.t.Helper()
	eventually(s.t, "nothing of "+tenant+" is pending", func() bool {
		p, err := s.d.Deliveries(s.t.Context(), webhook.DeliveryQuery{Tenant: tenant, State: webhook.StatePending})
		return err == nil && len(p.Items) == 0 && p.Next == ""
	})
}

// A receiver that fails gets the same bytes again until it works.
func (s *suite) retried() string {
	const tenant = "retried"
	_, rx := s.hook(tenant, "retried", webhook.WebhookSpec{})
	rx.Answer(webhooktest.Status(500), webhooktest.Reset(), webhooktest.Status(503))
	s.publish(tenant, "e1", 1)
	d := s.ends(tenant, "e1", webhook.StateSucceeded, "", 4)
	as, err := s.d.Attempts(s.t.Context(), tenant, d.ID)
	var statuses []int
	for _, a := range as {
		statuses = append(statuses, a.Status)
	}
	if err != nil || !slices.Equal(statuses, []int{500, 0, 503, 200}) {
		s.t.Errorf("attempts ended with %v, %v", statuses, err)
	}
	reqs := rx.Requests()
	for i, r := range reqs {
		if !bytes.Equal(r.Body, reqs[0].Body) || r.Header.Get("X-Webhook-Attempt") != fmt.Sprint(i+1) {
			s.t.Errorf("request %d: attempt %s, %s", i+1, r.Header.Get("X-Webhook-Attempt"), r.Body)
		}
	}
	return tenant
}

// A delivery that has used up its retries is kept, and arrives when it is resent.
func (s *suite) givenUpAndResent() string {
	const tenant = "resent"
	_, rx := s.hook(tenant, "resent", webhook.WebhookSpec{MaxRetries: new(1)})
	rx.Answer(webhooktest.Times(2, webhooktest.Status(500))...)
	s.publish(tenant, "e1", 1)
	d := s.ends(tenant, "e1", webhook.StateFailed, webhook.ReasonRetriesExhausted, 2)
	if _, err := s.d.Resend(s.t.Context(), tenant, d.ID); err != nil {
		s.t.Fatal(err)
	}
	s.ends(tenant, "e1", webhook.StateSucceeded, "", 1)
	return tenant
}

// A receiver that answers 410 is disabled; the events it missed are replayed once
// it is enabled.
func (s *suite) goneAndReplayed() string {
	const tenant = "gone"
	ctx := s.t.Context()
	w, rx := s.hook(tenant, "gone", webhook.WebhookSpec{})
	rx.Answer(webhooktest.Status(http.StatusGone))
	s.publish(tenant, "e1", 1)
	s.ends(tenant, "e1", webhook.StateFailed, webhook.ReasonGone, 1)
	eventually(s.t, "the webhook is disabled", func() bool {
		w, err := s.d.Webhook(ctx, tenant, w.ID)
		return err == nil && !w.Active
	})
	s.publish(tenant, "e2", 0)
	if _, err := s.d.EnableWebhook(ctx, tenant, w.ID); err != nil {
		s.t.Fatal(err)
	}
	res, err := s.d.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: w.ID})
	if err != nil || res.Resent != 1 || res.Created != 1 {
		s.t.Errorf("replay: %+v, %v", res, err)
	}
	s.ends(tenant, "e1", webhook.StateSucceeded, "", 1)
	s.ends(tenant, "e2", webhook.StateSucceeded, "", 1)
	return tenant
}

// Pending deliveries of a disabled or deleted webhook are not sent.
func (s *suite) canceled() string {
	const tenant = "canceled"
	ctx := s.t.Context()
	off, rx1 := s.hook(tenant, "off", webhook.WebhookSpec{Events: []string{"off.*"}})
	deleted, rx2 := s.hook(tenant, "deleted", webhook.WebhookSpec{Events: []string{"deleted.*"}})
	for i, w := range []webhook.Webhook{off, deleted} {
		rx := []*webhooktest.Receiver{rx1, rx2}[i]
		rx.AnswerAlways(webhooktest.RetryAfter(503, time.Second))
		ev := s.event(tenant, w.Name)
		ev.Type = w.Name + ".x"
		if _, err := s.d.Publish(ctx, ev); err != nil {
			s.t.Fatal(err)
		}
		eventually(s.t, "the first attempt", func() bool { return len(rx.Requests()) > 0 })
	}
	if _, err := s.d.DisableWebhook(ctx, tenant, off.ID, "by test"); err != nil {
		s.t.Fatal(err)
	}
	if err := s.d.DeleteWebhook(ctx, tenant, deleted.ID); err != nil {
		s.t.Fatal(err)
	}
	s.ends(tenant, off.Name, webhook.StateCanceled, webhook.ReasonWebhookDisabled, 1)
	s.ends(tenant, deleted.Name, webhook.StateCanceled, webhook.ReasonWebhookDeleted, 1)
	if n := len(rx1.Requests()) + len(rx2.Requests()); n != 2 {
		s.t.Errorf("%d requests, want the two before", n)
	}
	if _, err := s.d.Webhook(ctx, tenant, deleted.ID); !errors.Is(err, webhook.ErrNotFound) {
		s.t.Errorf("the deleted webhook: %v", err)
	}
	return tenant
}

// A new secret signs at once, besides the old one.
func (s *suite) rotated() string {
	const tenant = "rotated"
	w, old := s.hook(tenant, "rotated", webhook.WebhookSpec{})
	_, secret, err := s.d.RotateSecret(s.t.Context(), tenant, w.ID, webhook.Rotation{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(tenant, "old", 1)
	s.ends(tenant, "old", webhook.StateSucceeded, "", 1)
	rx := webhooktest.NewReceiver(secret)
	s.net.Handle("rotated.example", rx)
	s.publish(tenant, "new", 1)
	s.ends(tenant, "new", webhook.StateSucceeded, "", 1)
	if len(old.Deliveries()) != 1 || len(rx.Deliveries()) != 1 {
		s.t.Errorf("verified with the old secret: %d, with the new one: %d, want one each", len(old.Deliveries()), len(rx.Deliveries()))
	}
	return tenant
}

// Deliveries claimed by a process that is gone are delivered when its lease ends.
// The number of the attempt that may have been lost is not used again.
func (s *suite) takenOver() string {
	const tenant = "taken"
	ctx := s.t.Context()
	_, rx := s.hook(tenant, "taken", webhook.WebhookSpec{})
	for i := 0; ; i++ { // the dispatchers claim too
		ev := s.event(tenant, fmt.Sprint("e", i))
		req, err := s.d.Prepare(ev)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.s.Publish(ctx, time.Now(), []webhook.PublishRequest{req}); err != nil {
			s.t.Fatal(err)
		}
		begun := time.Now()
		res, err := s.s.Claim(ctx, webhook.ClaimRequest{Token: begun.UnixNano(), Now: begun, Lease: 300 * time.Millisecond, Limit: 10, PerWebhook: 10})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(res.Deliveries) == 0 {
			s.ends(tenant, ev.ID, webhook.StateSucceeded, "", 1)
			continue
		}
		d := s.ends(tenant, ev.ID, webhook.StateSucceeded, "", 1)
		if took := time.Since(begun); took < 300*time.Millisecond || d.Attempts != 2 {
			s.t.Errorf("taken over after %v, as attempt %d, want attempt 2 after the lease", took, d.Attempts)
		}
		if last, _ := rx.Last(); last.Header.Get("X-Webhook-Attempt") != "2" {
			s.t.Errorf("it was sent as attempt %s", last.Header.Get("X-Webhook-Attempt"))
		}
		return tenant
	}
}
