package storetest

import (
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysClaim   = "Claim leases pending deliveries that are due and not leased, or whose lease has expired, to the caller for req.Lease and returns them."
	saysTwice   = "Two calls never return the same delivery while its lease holds."
	saysInOrder = "takes at most as many deliveries as the request allows, in the order in which they became due"
	saysLimits  = "Limits replaces PerWebhook for the webhooks named; 0 skips the webhook."
	saysPass    = "PassTenants are skipped with all their webhooks."
	saysRest    = "Rest names webhooks that this claim and later claims skip, for the given time from Now; 0 ends that, and so does a change of the webhook."
	saysNextDue = "NextDue is when the earliest delivery that was not due at this claim becomes due, or its lease expires; zero when no delivery waits, or when the Store cannot tell cheaply."
)

var claimChecks = []check{
	{"ReturnsWhatAnAttemptNeeds", "ClaimedDelivery is a leased delivery with the event and the webhook that an attempt needs.", func(r *run) {
		w := r.create(t1, "wh_1", nil)
		req := r.request(t1, "e1", "a.b")
		r.publish(req)
		ds, _ := r.claim(10)
		if len(ds) != 1 || ds[0].Event == nil || ds[0].Webhook == nil {
			r.fatalf("Claim returned %+v, want one delivery with its event and webhook", ds)
		}
		r.same("event", req.Event, *ds[0].Event)
		r.same("webhook", w, *ds[0].Webhook)
		want := r.delivery(ds[0].Delivery.ID)
		want.NextAttemptAt, ds[0].Delivery.NextAttemptAt = time.Time{}, time.Time{} // undefined while leased
		r.same("delivery", want, ds[0].Delivery)
	}},
	{"WebhookIsAsItIsNow", "UpdateWebhook replaces settings and secrets", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.URL = "https://example.com/new"
			w.Secrets = []webhook.SecretRecord{{Value: "new secret", CreatedAt: r.now}}
		})
		ds, _ := r.claimN(1)
		r.same("webhook of the delivery", r.get(t1, "wh_1"), *ds[0].Webhook)
		r.same("its URL", "https://example.com/new", ds[0].Webhook.URL)
	}},
	{"DeletedWebhookIsNil", "pending deliveries are still claimed when due, with a nil Webhook, so that the Dispatcher cancels them", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.remove(t1, "wh_1")
		ds, _ := r.claimN(1)
		if ds[0].Webhook != nil {
			r.brokenf("Webhook of a deleted webhook's delivery is %+v, want nil", ds[0].Webhook)
		}
	}},
	{"InactiveWebhookIsClaimed", saysClaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		ds, _ := r.claimN(1)
		if ds[0].Webhook == nil || ds[0].Webhook.Active {
			r.brokenf("Webhook is %+v, want the inactive one", ds[0].Webhook)
		}
	}},
	{"EmptyStore", saysClaim, func(r *run) {
		res := r.claimReq(webhook.ClaimRequest{Limit: 10, PerWebhook: 10})
		if len(res.Deliveries) != 0 || !res.NextDue.IsZero() {
			r.brokenf("an empty Store returned %+v", res)
		}
	}},
	{"LeaseKeepsOthersAway", saysTwice, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.claimOne()
		r.claimNone("just claimed")
		r.pass(lease - time.Second)
		r.claimNone("a second before the lease ends")
	}},
	{"NoDoubleClaimAmongRacers", saysTwice, noDoubleClaim},
	{"NotBeforeDue", saysClaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, time.Minute))
		r.claimNone("a minute before it is due")
		r.pass(time.Minute - time.Second)
		r.claimNone("a second before it is due")
		r.pass(2 * time.Second)
		r.claimOne()
	}},
	{"OnlyPending", saysClaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		for _, state := range []webhook.State{webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled} {
			r.emit(t1, "e-"+string(state))
			d, l := r.claimOne()
			res := r.success(d, l.Token)
			if res.State = state; state != webhook.StateSucceeded {
				res = cancel(d.ID, l.Token)
				res.State = state
			}
			r.finish(res)
			r.pass(24 * time.Hour)
			r.claimNone(string(state))
		}
	}},
	{"Limit", "deliveries in total, at least 1", func(r *run) {
		for i := range 5 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 5)...)
		left := 25
		for _, limit := range []int{1, 3, 10, 100} {
			ds := r.claimReq(webhook.ClaimRequest{Limit: limit, PerWebhook: 100}).Deliveries
			if len(ds) > limit || len(ds) == 0 {
				r.brokenf("Limit %d with %d due: got %d deliveries", limit, left, len(ds))
			}
			left -= len(ds)
		}
	}},
	{"PerWebhook", "PerWebhook bounds the deliveries of one webhook; at least 1.", func(r *run) {
		for i := range 3 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 6)...)
		for _, n := range []int{1, 2} {
			for id, got := range perWebhook(r.claimReq(webhook.ClaimRequest{Limit: 100, PerWebhook: n})) {
				if got > n {
					r.brokenf("PerWebhook %d: got %d of %s", n, got, id)
				}
			}
		}
	}},
	{"LimitsOfOneWebhook", saysLimits, func(r *run) {
		for _, id := range []string{"wh_more", "wh_less", "wh_none", "wh_rest"} {
			r.create(t1, id, nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 9)...)
		limits := map[string]int{"wh_more": 5, "wh_less": 1, "wh_none": 0, "wh_unknown": 3}
		got := map[string]int{}
		for range 4 { // enough for a full round, even if the Store takes few webhooks at a time
			for id, n := range perWebhook(r.claimReq(webhook.ClaimRequest{Limit: 100, PerWebhook: 2, Limits: limits})) {
				if most, named := limits[id]; n > most && named || n > 2 && !named {
					r.brokenf("got %d deliveries of %s in one call with PerWebhook 2 and Limits %v", n, id, limits)
				}
				got[id] += n
			}
		}
		if got["wh_none"] != 0 || got["wh_more"] < 5 || got["wh_less"] == 0 || got["wh_rest"] == 0 {
			r.brokenf("one round gave %v with PerWebhook 2 and Limits %v", got, limits)
		}
	}},
	{"PassTenants", saysPass, func(r *run) {
		for _, id := range []string{"wh_a", "wh_c", "wh_e"} {
			r.create(t1, id, nil)
		}
		for _, id := range []string{"wh_b", "wh_d"} {
			r.create(t2, id, nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 6)...)
		r.publish(r.requests(t2, "f", "a.b", 6)...)
		got := map[string]int{}
		claim := func(calls int, pass ...string) {
			for i := range calls {
				if i == 1 { // deliveries that are added to a skipped tenant are skipped too
					r.emit(t1, "late-"+itoa(len(pass))+pass[0])
				}
				for _, d := range r.claimReq(webhook.ClaimRequest{Limit: 5, PerWebhook: 2, PassTenants: pass}).Deliveries {
					got[d.Delivery.Tenant]++
				}
			}
		}
		claim(6, t1, "nobody")
		if got[t1] != 0 || got[t2] != 12 {
			r.brokenf("6 calls that pass tenant %s over returned %d of its deliveries and %d of 12 of another", t1, got[t1], got[t2])
		}
		claim(8, t2)
		if got[t1] != 24 {
			r.brokenf("8 calls that pass it over no more returned %d of 24 deliveries of tenant %s", got[t1], t1)
		}
	}},
	{"RestIsOver", saysRest, func(r *run) {
		for _, id := range []string{"wh_a", "wh_b", "wh_c", "wh_d"} {
			r.create(t1, id, selecting(id))
		}
		served := map[string]bool{}
		claim := func(rest map[string]time.Duration) {
			for range 3 {
				for id := range perWebhook(r.claimReq(webhook.ClaimRequest{Limit: 10, PerWebhook: 10, Rest: rest})) {
					served[id] = true
				}
				rest = nil
			}
		}
		emit := func(ids ...string) {
			for _, id := range ids {
				r.publish(r.request(t1, "e"+itoa(len(served))+id+r.now.Format("150405"), id))
			}
		}
		emit("wh_a", "wh_b", "wh_c", "wh_d")
		claim(map[string]time.Duration{"wh_a": time.Minute, "wh_b": time.Hour, "wh_c": time.Hour, "missing": time.Hour})
		if !served["wh_d"] {
			r.brokenf("a webhook was not served while others rest")
		}
		emit("wh_a", "wh_b", "wh_c")
		clear(served)
		r.pass(time.Minute + time.Second)
		r.edit(t1, "wh_c", func(w *webhook.WebhookRecord) { w.Description = "changed" })
		claim(map[string]time.Duration{"wh_b": 0})
		for id, why := range map[string]string{"wh_a": "whose rest is over", "wh_b": "whose rest was ended", "wh_c": "that was changed"} {
			if !served[id] {
				r.brokenf("a webhook %s was not served", why)
			}
		}
	}},
	{"InOrderOfDueTime", saysInOrder, func(r *run) {
		r.create(t1, "wh_1", nil)
		for _, id := range []string{"e9", "e3", "e7", "e1"} {
			r.emit(t1, id)
			r.pass(time.Second)
		}
		ds, _ := r.claimN(2)
		r.same("events first claimed", "e9 e3", eventIDs(ds))
		ds, _ = r.claimN(2)
		r.same("events claimed next", "e7 e1", eventIDs(ds))
	}},
	{"RetriesInOrderOfDueTime", saysInOrder, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "old")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, 10*time.Minute))
		r.pass(5 * time.Minute)
		r.emit(t1, "new")
		r.pass(6 * time.Minute)
		r.emit(t1, "newest")
		ds, _ := r.claimN(3)
		r.same("events by due time", "new old newest", eventIDs(ds))
	}},
	{"NextDueIsNotLate", saysNextDue, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, 10*time.Minute))
		hint := func(why string, truth time.Time) {
			r.Helper()
			res := r.claimReq(webhook.ClaimRequest{Limit: 10, PerWebhook: 10})
			if len(res.Deliveries) != 0 {
				r.fatalf("%s: Claim returned %d deliveries, want none", why, len(res.Deliveries))
			}
			if res.NextDue.IsZero() {
				return
			}
			if res.NextDue.After(truth) || !res.NextDue.After(r.now) {
				r.brokenf("%s: NextDue is %v, want one after %v and no later than %v", why, res.NextDue, r.now, truth)
			}
		}
		due := r.now.Add(10 * time.Minute)
		hint("a retry waits", due)
		r.pass(10*time.Minute + time.Second)
		r.claimOne()
		hint("a lease holds", r.now.Add(lease))
	}},
}

// perWebhook counts the deliveries of a claim.
func perWebhook(res webhook.ClaimResult) map[string]int {
	n := map[string]int{}
	for _, d := range res.Deliveries {
		n[d.Delivery.WebhookID]++
	}
	return n
}

// noDoubleClaim claims from several goroutines until every delivery is claimed.
func noDoubleClaim(r *run) {
	const hooks, events, claimers = 5, 80, 8
	for i := range hooks {
		r.create(t1, "wh_"+itoa(i), nil)
	}
	r.publish(r.requests(t1, "e", "a.b", events)...)
	var mu sync.Mutex
	holders := map[string][]int64{}
	var racers sync.WaitGroup
	gate := make(chan struct{})
	for range claimers {
		racers.Go(func() {
			<-gate
			for calls, empty := 0, 0; empty < 3; calls++ {
				if calls > 2*hooks*events {
					r.brokenf("Claim goes on returning deliveries that were claimed")
					return
				}
				req := webhook.ClaimRequest{Token: token(), Now: r.now, Lease: lease, Limit: 7, PerWebhook: 3}
				res, err := r.store.Claim(r.Context(), req)
				if err != nil {
					r.brokenf("Claim: unexpected error: %v", err)
					return
				}
				if len(res.Deliveries) == 0 {
					empty++
				}
				mu.Lock()
				for _, d := range res.Deliveries {
					holders[d.Delivery.ID] = append(holders[d.Delivery.ID], req.Token)
				}
				mu.Unlock()
			}
		})
	}
	close(gate)
	racers.Wait()
	for id, tokens := range holders {
		if len(tokens) != 1 {
			r.brokenf("delivery %s was claimed %d times while its lease held", id, len(tokens))
		}
	}
	// A delivery that one goroutine skipped while another had it locked is
	// still due.
	rest, _ := r.claim(hooks * events)
	for _, d := range rest {
		if holders[d.Delivery.ID] != nil {
			r.brokenf("delivery %s was claimed again while its lease held", d.Delivery.ID)
		}
	}
	if n := len(holders) + len(rest); n != hooks*events {
		r.brokenf("%d of %d deliveries were claimed", n, hooks*events)
	}
}

const saysTenants = "However many webhooks of other tenants have due deliveries, every tenant is served within as many calls as it takes to serve one webhook of each tenant, and one call more."

const saysWalk = "However many deliveries wait for one webhook, every webhook with due deliveries is served within as many calls as it takes to serve all of them once."

var fairnessChecks = []check{
	{"BacklogDoesNotDelayOthers", saysWalk, func(r *run) {
		const others, backlog = 20, 5_000
		r.create(t1, "wh_big", selecting("big"))
		for n := 0; n < backlog; n += 1_000 {
			r.publish(r.requests(t1, "b"+itoa(n)+"-", "big", 1_000)...)
		}
		r.pass(time.Minute)
		for i := range others {
			tenant := []string{t1, t2}[i%2] // a tenant's backlog must not delay other tenants either
			r.create(tenant, "wh_"+itoa(i), selecting("small"))
			r.publish(target(r.request(tenant, "s"+itoa(i), "small"), "wh_"+itoa(i)))
		}
		served := map[string]bool{}
		// A call of 10 with 5 each serves at least two webhooks. Allow one call
		// more, since the walk may start anywhere.
		calls := (others+1)/2 + 2
		for range calls {
			for id := range perWebhook(r.claimReq(webhook.ClaimRequest{Limit: 10, PerWebhook: 5})) {
				served[id] = true
			}
		}
		if len(served) != others+1 {
			r.brokenf("%d calls served %d of %d webhooks, one of which has a backlog", calls, len(served), others+1)
		}
	}},
	{"TenantsTakeTurns", saysTenants, func(r *run) {
		const wide, small, per = 120, 3, 2
		for i := range wide {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		r.publish(r.requests(t1, "w", "a.b", 4*per)...)
		for i := range small {
			r.create("small "+itoa(i), "wh_small_"+itoa(i), nil)
		}
		limit := per * (small + 1)
		claim := func() []webhook.ClaimedDelivery {
			return r.claimReq(webhook.ClaimRequest{Limit: limit, PerWebhook: per}).Deliveries
		}
		for range 3 { // moves the walk to a place among the many
			claim()
		}
		for round := range 3 {
			for i := range small {
				r.emit("small "+itoa(i), "s"+itoa(round))
			}
			served := map[string]bool{}
			of := 0
			for range 2 {
				for _, d := range claim() {
					served[d.Delivery.Tenant] = true
					if d.Delivery.Tenant == t1 {
						of++
					}
				}
			}
			if delete(served, t1); len(served) != small {
				r.brokenf("2 calls for %d deliveries, %d per webhook, served %d of %d tenants with a webhook each, and %d deliveries of one with %d webhooks",
					limit, per, len(served), small, of, wide)
			}
			if of == 0 {
				r.brokenf("2 calls served nothing of the tenant with %d webhooks", wide)
			}
		}
	}},
	{"CallsGoOnInTurn", "Each call goes on where the previous call ended.", func(r *run) {
		const hooks = 8
		for i := range hooks {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 12)...)
		for _, per := range []int{1, 4} {
			served := map[string]int{}
			for range hooks {
				for id := range perWebhook(r.claimReq(webhook.ClaimRequest{Limit: per, PerWebhook: per})) {
					served[id]++
				}
			}
			if len(served) != hooks {
				r.brokenf("%d calls for %d deliveries each served %d of %d webhooks: %v", hooks, per, len(served), hooks, served)
			}
		}
	}},
	{"PassedOverWebhookBlocksNoOne", saysLimits, func(r *run) {
		r.create(t1, "wh_a", selecting("busy"))
		r.create(t1, "wh_m", selecting("idle"))
		r.create(t1, "wh_z", selecting("busy"))
		r.publish(r.requests(t1, "busy", "busy", 500)...)
		r.publish(r.request(t1, "e1", "idle"))
		limits := map[string]int{"wh_a": 0, "wh_z": 0}
		var got []webhook.ClaimedDelivery
		for range 3 {
			got = append(got, r.claimReq(webhook.ClaimRequest{Limit: 5, PerWebhook: 5, Limits: limits}).Deliveries...)
		}
		r.same("events claimed with two webhooks passed over", "e1", eventIDs(got))
	}},
	{"LatecomerIsServed", saysWalk, func(r *run) {
		// Webhooks that become due during the walk, before and after its place,
		// are not forgotten.
		for _, id := range []string{"wh_m1", "wh_m2", "wh_m3"} {
			r.create(t1, id, selecting("first"))
		}
		r.publish(r.requests(t1, "e", "first", 200)...)
		r.claimReq(webhook.ClaimRequest{Limit: 2, PerWebhook: 1})
		for _, id := range []string{"wh_a", "wh_m2a", "wh_z"} {
			r.create(t1, id, selecting("late"))
		}
		r.publish(r.request(t1, "late", "late"))
		var late []string
		for range 7 {
			for _, d := range r.claimReq(webhook.ClaimRequest{Limit: 1, PerWebhook: 1}).Deliveries {
				if d.Delivery.EventID == "late" {
					late = append(late, d.Delivery.WebhookID)
				}
			}
		}
		if len(late) != 3 {
			r.brokenf("7 calls for 6 webhooks served %d of the 3 that came late: %s", len(late), strings.Join(late, " "))
		}
	}},
}
