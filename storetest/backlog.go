package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysBacklog  = "Backlog counts the deliveries in the queue, over all tenants and all processes that share the Store."
	saysOneOf    = "Every pending delivery is in exactly one of the first four counts."
	saysOldest   = "OldestDue is how long the earliest of Due has been due, by the Store's clock; 0 when Due is 0."
	saysCounting = "a count that reaches it stops there, and Backlog.AtLeast is set"
)

// backlog returns the Store's backlog; ok is false if the Store cannot count
// it.
func (r *run) backlog(q webhook.BacklogQuery) (webhook.Backlog, bool) {
	r.Helper()
	s, ok := r.store.(webhook.BacklogStore)
	if !ok {
		return webhook.Backlog{}, false
	}
	q.Now = r.now
	if q.Limit == 0 {
		q.Limit = webhook.DefaultBacklogLimit
	}
	b, err := s.Backlog(r.Context(), q)
	r.must("Backlog", err)
	return b, true
}

// holds compares the backlog with want, if the Store can count it.
func (r *run) holds(what string, q webhook.BacklogQuery, want webhook.Backlog) {
	r.Helper()
	if b, ok := r.backlog(q); ok {
		r.same("backlog "+what, want, b)
	}
}

// backlogChecks are the sentences about an optional ability.
var backlogChecks = []check{
	{"Empty", saysBacklog, func(r *run) {
		r.holds("of an empty store", webhook.BacklogQuery{}, webhook.Backlog{})
	}},
	{"AllTenants", saysBacklog, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.create(t2, "wh_3", nil)
		r.emit(t1, "e1")
		r.emit(t2, "e1")
		r.holds("of two tenants", webhook.BacklogQuery{}, webhook.Backlog{Due: 3})
	}},
	{"EachInOneCount", saysOneOf, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 7)...)
		ds, tok := r.claimN(5)
		r.finish(r.success(ds[0].Delivery, tok))
		r.finish(r.retry(ds[1].Delivery, tok, time.Hour))
		r.must("Release", r.store.Release(r.Context(), r.now, []webhook.Lease{{DeliveryID: ds[2].Delivery.ID, Token: tok}}, time.Minute))
		r.holds("of each kind", webhook.BacklogQuery{}, webhook.Backlog{Due: 2, Waiting: 2, Leased: 2})
		r.pass(lease + time.Second)
		r.holds("after the leases", webhook.BacklogQuery{}, webhook.Backlog{Due: 2, Waiting: 2, Expired: 2, OldestDue: lease + time.Second})
		again, _ := r.claimN(4)
		r.same("claimed", 4, len(again))
		r.holds("claimed again", webhook.BacklogQuery{}, webhook.Backlog{Waiting: 2, Leased: 4})
		r.pass(time.Hour)
		r.holds("when all is due", webhook.BacklogQuery{}, webhook.Backlog{Due: 2, Expired: 4, OldestDue: time.Hour + lease + time.Second - time.Minute})
	}},
	{"OldestDue", saysOldest, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", selecting("other"))
		r.emit(t1, "e1")
		r.pass(time.Minute)
		r.publish(r.request(t1, "e2", "other"))
		r.pass(time.Second)
		r.holds("of two webhooks", webhook.BacklogQuery{}, webhook.Backlog{Due: 3, OldestDue: time.Minute + time.Second})
		for range 3 {
			ds, tok := r.claimN(1)
			r.finish(r.success(ds[0].Delivery, tok))
		}
		r.holds("when all is done", webhook.BacklogQuery{}, webhook.Backlog{})
	}},
	{"OfDeletedWebhooks", saysOneOf, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.remove(t1, "wh_1")
		r.holds("of a deleted webhook", webhook.BacklogQuery{}, webhook.Backlog{Due: 1})
	}},
	{"HowTheyEnded", "Quarantined and Exhausted to deliveries that ended then or later", func(r *run) {
		r.create(t1, "wh_1", nil)
		end := func(id string, state webhook.State, reason webhook.Reason) {
			r.emit(t1, id)
			d, l := r.claimOne()
			r.finish(webhook.Result{DeliveryID: d.ID, Token: l.Token, State: state, Reason: reason})
			r.pass(time.Minute)
		}
		end("q1", webhook.StateFailed, webhook.ReasonQuarantined)
		end("x1", webhook.StateFailed, webhook.ReasonRetriesExhausted)
		since := r.now
		end("q2", webhook.StateFailed, webhook.ReasonQuarantined)
		end("g1", webhook.StateFailed, webhook.ReasonGone)
		end("c1", webhook.StateCanceled, webhook.ReasonWebhookDisabled)
		end("q3", webhook.StateFailed, webhook.ReasonQuarantined)
		r.holds("of all times", webhook.BacklogQuery{}, webhook.Backlog{Quarantined: 3, Exhausted: 1})
		r.holds("since a time", webhook.BacklogQuery{Since: since}, webhook.Backlog{Quarantined: 2})
		r.holds("since now", webhook.BacklogQuery{Since: r.now}, webhook.Backlog{})
	}},
	{"Limit", saysCounting, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.publish(r.requests(t1, "e", "a.b", 6)...)
		ds, tok := r.claimN(5)
		for _, d := range ds[:4] {
			r.finish(r.failure(d.Delivery, tok))
		}
		r.holds("up to 9", webhook.BacklogQuery{Limit: 9}, webhook.Backlog{Due: 7, Leased: 1, Exhausted: 4})
		b, ok := r.backlog(webhook.BacklogQuery{Limit: 4})
		if ok && (b.Due != 4 || b.Leased > 1 || b.Exhausted != 4 || !b.AtLeast) {
			r.brokenf("backlog up to 4 is %+v", b)
		}
	}},
	{"ChangesNothing", "It does not change them", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.claimOne()
		r.pass(lease + time.Second)
		r.holds("of an expired lease", webhook.BacklogQuery{}, webhook.Backlog{Expired: 1})
		d, _ := r.claimOne()
		r.same("crashes", 1, d.Crashes)
	}},
}
