package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysPrune = "Prune deletes deliveries that were finished before the given time, with their attempts, events older than that time that have no delivery left, and statistics older than that time."
	saysDone  = "fewer than limit means that it is done"
	saysNever = "Prune never deletes a pending delivery or an event with a pending delivery."
)

// prune calls Prune until it is done and returns how many events it deleted.
func (r *run) prune(before time.Time, limit int) int {
	r.Helper()
	total := 0
	for range 1000 {
		n, err := r.store.Prune(r.Context(), before, limit)
		r.must("Prune", err)
		if n < 0 || n > 2*limit {
			r.fatalf("Prune with limit %d says that it deleted %d", limit, n)
		}
		total += n
		if n < limit {
			return total
		}
	}
	r.fatalf("Prune is never done")
	return 0
}

// gone reports whether an event of tenant t1 does not exist.
func (r *run) gone(eventID string) bool {
	r.Helper()
	_, err := r.store.GetEvent(r.Context(), t1, eventID)
	if err != nil {
		r.wantErr("GetEvent", err, webhook.ErrNotFound)
	}
	return err != nil
}

var pruneChecks = []check{
	{"DeliveryAttemptsAndEvent", saysPrune, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		r.pass(time.Hour)
		r.same("number deleted", 2, r.prune(r.now, 100))
		_, err := r.store.GetDelivery(r.Context(), t1, d.ID)
		r.wantErr("GetDelivery", err, webhook.ErrNotFound)
		_, err = r.store.ListAttempts(r.Context(), t1, d.ID)
		r.wantErr("ListAttempts", err, webhook.ErrNotFound)
		r.same("event is gone", true, r.gone("e1"))
		r.same("deliveries listed", 0, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
		r.get(t1, "wh_1")
	}},
	{"EveryFinalState", saysPrune, func(r *run) {
		r.history()
		r.pass(time.Hour)
		r.prune(r.now, 100)
		for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: t1}) {
			r.same("state of a delivery that is left", webhook.StatePending, d.State)
		}
		for id, want := range map[string]bool{"s1": true, "f1": true, "c1": true, "s2": true, "p1": false} {
			r.same(id+" is gone", want, r.gone(id))
		}
	}},
	{"NotWhatIsYounger", saysPrune, func(r *run) {
		d, l := r.claimed()
		published := r.now
		r.pass(time.Hour)
		r.extend(l)
		r.finish(r.success(d, l.Token))
		want := r.delivery(d.ID)
		r.pass(time.Hour)
		for _, before := range []time.Time{published, published.Add(time.Minute), want.FinishedAt} {
			r.same("number deleted", 0, r.prune(before, 100))
		}
		r.same("delivery", want, r.delivery(d.ID))
		r.same("attempts", 1, len(r.attempts(d.ID)))
		r.same("event is gone", false, r.gone("e1"))
		r.same("number deleted just after it was finished", 2, r.prune(want.FinishedAt.Add(time.Microsecond), 100))
	}},
	{"PendingStays", saysNever, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.emit(t1, "e1")
		ds, tok := r.claimN(2)
		r.finish(r.success(ds[0].Delivery, tok))
		r.pass(1000 * time.Hour)
		r.same("number deleted", 1, r.prune(r.now, 100))
		r.same("event is gone", false, r.gone("e1"))
		r.same("state of the other delivery", webhook.StatePending, r.delivery(ds[1].Delivery.ID).State)
		got, _ := r.claimN(1)
		if got[0].Event == nil {
			r.brokenf("the pending delivery lost its event")
		}
	}},
	{"ResentStays", saysNever, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		r.pass(time.Hour)
		r.resend(d.ID)
		r.pass(time.Hour)
		r.same("number deleted", 0, r.prune(r.now, 100))
		r.claimOne()
	}},
	{"UnmatchedEvents", saysPrune, func(r *run) {
		r.emit(t1, "old")
		r.pass(time.Hour)
		between := r.now.Add(-time.Minute)
		r.emit(t1, "new")
		r.same("number deleted", 1, r.prune(between, 100))
		r.same("old is gone", true, r.gone("old"))
		r.same("new is gone", false, r.gone("new"))
	}},
	{"AgeIsThatOfThePublish", "An event's age counts from the Publish that stored it.", func(r *run) {
		req := r.request(t1, "e1", "a.b")
		req.Event.Time = r.now.Add(-8760 * time.Hour)
		r.publish(req)
		r.same("number deleted", 0, r.prune(r.now, 100))
		r.same("e1 is gone", false, r.gone("e1"))
		r.pass(time.Hour)
		r.same("number deleted an hour later", 1, r.prune(r.now, 100))
	}},
	{"InSteps", "at most limit deliveries and limit events in one call", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 10)...)
		ds, tok := r.claimN(10)
		for _, d := range ds {
			r.finish(r.success(d.Delivery, tok))
		}
		r.pass(time.Hour)
		n, err := r.store.Prune(r.Context(), r.now, 3)
		r.must("Prune", err)
		left := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1}))
		events := 0
		for i := range 10 {
			if !r.gone("e" + itoa(i)) {
				events++
			}
		}
		if left < 7 || events < 7 || n != 20-left-events {
			r.brokenf("Prune with limit 3 says %d, and left %d of 10 deliveries and %d of 10 events", n, left, events)
		}
	}},
	{"FewerMeansDone", saysDone, func(r *run) {
		r.create(t1, "wh_1", selecting("a.b"))
		r.create(t1, "wh_2", selecting("a.b"))
		r.publish(r.requests(t1, "e", "a.b", 6)...)
		r.publish(r.requests(t1, "unmatched", "other", 5)...)
		ds, tok := r.claimN(12)
		for _, d := range ds {
			r.finish(r.success(d.Delivery, tok))
		}
		r.pass(time.Hour)
		r.same("number deleted in all", 12+11, r.prune(r.now, 4))
		r.same("deliveries left", 0, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
		for i := range 6 {
			r.same("e"+itoa(i)+" is gone", true, r.gone("e"+itoa(i)))
		}
		r.same("number deleted after it was done", 0, r.prune(r.now, 4))
	}},
	{"Statistics", saysPrune, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		r.pass(48 * time.Hour)
		between := r.now.Add(-24 * time.Hour)
		r.emit(t1, "e2")
		d, l = r.claimOne()
		r.finish(r.success(d, l.Token))
		r.prune(between, 100)
		st := r.stats(webhook.StatsQuery{Tenant: t1})
		if len(st) != 1 || !st[0].Hour.After(between) {
			r.brokenf("statistics are %+v, want only the hour after %v", st, between)
		}
	}},
	{"EveryTenant", saysPrune, func(r *run) {
		for _, tenant := range []string{t1, t2} {
			r.create(tenant, "wh_"+tenant, nil)
			r.emit(tenant, "e1")
			d, l := r.claimOne()
			r.finish(r.success(d, l.Token))
		}
		r.pass(time.Hour)
		r.same("number deleted", 4, r.prune(r.now, 100))
	}},
}
