package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysErases = "EraseTenant deletes all data of one tenant: its webhooks first, with their secrets, so that no further event is delivered; " +
		"then deliveries in every state with their attempts, and events; then statistics and the remains of deleted webhooks."
	saysErasesEvent = "EraseEvent deletes one event with its deliveries in every state and their attempts, or returns ErrNotFound. Statistics, which only count, stay."
	saysSteps       = "a step deletes at most limit rows of each kind in one short atomic write, beside all other calls, and says in More whether another step has to follow."
	saysErasesOld   = "EraseOld deletes, of all tenants, the events that req selects by their type and that were published before req.Before, " +
		"with their deliveries and attempts, if every delivery was finished before req.Before: never an event with a pending delivery. " +
		"It goes through events in the order of their publication from req.After on, and looks at a bounded number of them in a step."
	saysPassesOver = "An event that it skips, because a delivery is not finished yet, is found again only by a walk from the start."
	saysGoneLater  = "A later claim, result or extension finds the delivery gone, as after pruning."
)

// eraser returns the Store as an EraseStore; ok is false if it does not
// implement that.
func (r *run) eraser() (s webhook.EraseStore, ok bool) {
	s, ok = r.store.(webhook.EraseStore)
	return s, ok
}

// steps repeats a step until it reports that it is done, and checks that no
// step deletes more than limit records of a kind.
func (r *run) steps(limit int, step func() (webhook.Erased, error)) (total webhook.Erased) {
	r.Helper()
	for range 10_000 {
		done, err := step()
		r.must("a step", err)
		if max(done.Webhooks, done.Events) > limit || done.Deliveries > 2*limit {
			r.fatalf("a step of limit %d deleted %+v", limit, done)
		}
		total.Webhooks += done.Webhooks
		total.Events += done.Events
		total.Deliveries += done.Deliveries
		if !done.More {
			return total
		}
	}
	r.fatalf("the steps do not end: %+v so far", total)
	return total
}

func (r *run) eraseTenant(s webhook.EraseStore, tenant string, limit int) webhook.Erased {
	r.Helper()
	return r.steps(limit, func() (webhook.Erased, error) { return s.EraseTenant(r.Context(), tenant, limit) })
}

func (r *run) eraseEvent(s webhook.EraseStore, tenant, id string, limit int) webhook.Erased {
	r.Helper()
	return r.steps(limit, func() (webhook.Erased, error) { return s.EraseEvent(r.Context(), tenant, id, limit) })
}

// nothingOf checks that no method finds any record of a tenant.
func (r *run) nothingOf(tenant string, events []string, deliveries []webhook.Delivery, hooks ...string) {
	r.Helper()
	for _, id := range hooks {
		_, err := r.store.GetWebhook(r.Context(), tenant, id)
		r.wantErr("GetWebhook of "+id, err, webhook.ErrNotFound)
	}
	for _, id := range events {
		_, err := r.store.GetEvent(r.Context(), tenant, id)
		r.wantErr("GetEvent of "+id, err, webhook.ErrNotFound)
	}
	for _, d := range deliveries {
		_, err := r.store.GetDelivery(r.Context(), tenant, d.ID)
		r.wantErr("GetDelivery of a delivery of "+d.EventID, err, webhook.ErrNotFound)
		_, err = r.store.ListAttempts(r.Context(), tenant, d.ID)
		r.wantErr("ListAttempts of a delivery of "+d.EventID, err, webhook.ErrNotFound)
	}
	r.same("deliveries listed", 0, len(r.deliveries(webhook.DeliveryQuery{Tenant: tenant})))
	r.same("hours of statistics", 0, len(r.stats(webhook.StatsQuery{Tenant: tenant})))
}

// full is the history of tenant t1, with a leased delivery, a deleted webhook,
// and an event that no webhook selects.
func (r *run) full() (events []string, deliveries []webhook.Delivery, leased []webhook.ClaimedDelivery, tok int64) {
	r.Helper()
	r.history()
	r.publish(r.request(t1, "leased", "a.b"))
	leased, tok = r.claimN(2)
	r.remove(t1, "wh_2")
	r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
	r.publish(r.request(t1, "nobody", "a.b"))
	return []string{"s1", "f1", "c1", "s2", "p1", "leased", "nobody"}, r.deliveries(webhook.DeliveryQuery{Tenant: t1}), leased, tok
}

// eraseOld walks from after to the end. It returns the number of deleted
// records and the place where the walk ended.
func (r *run) eraseOld(s webhook.EraseStore, req webhook.EraseOldRequest) (total webhook.Erased, next string) {
	r.Helper()
	total = r.steps(req.Limit, func() (webhook.Erased, error) {
		res, err := s.EraseOld(r.Context(), req)
		req.After = res.Next
		return res.Erased, err
	})
	return total, req.After
}

var eraseChecks = []check{
	{"OldByType", saysErasesOld, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.create(t2, "wh_9", nil)
		r.create("tenant-3", "wh_none", func(w *webhook.WebhookRecord) { w.Active = false })
		types := []string{"a.b", "a.c", "a.c.d", "ab", "b"}
		publish := func(prefix string) {
			for i, typ := range types {
				for tenant, of := range map[string]string{t1: "1", t2: "2", "tenant-3": "3"} {
					r.publish(r.request(tenant, fmt.Sprint(prefix, of, i), typ))
				}
			}
			ds, tok := r.claimN(3 * len(types))
			for _, d := range ds {
				r.finish(r.success(d.Delivery, tok))
			}
		}
		publish("old")
		r.pass(time.Hour)
		cut := r.now
		r.pass(time.Hour)
		publish("new")
		left := func() (events []string) {
			for _, prefix := range []string{"old", "new"} {
				for i := range types {
					for tenant, of := range map[string]string{t1: "1", t2: "2", "tenant-3": "3"} {
						if _, err := r.store.GetEvent(r.Context(), tenant, fmt.Sprint(prefix, of, i)); err == nil {
							events = append(events, fmt.Sprint(prefix, of, i))
						}
					}
				}
			}
			slices.Sort(events)
			return events
		}
		for _, c := range []struct {
			types, except []string
			gone          int // events of each tenant
			left          string
		}{
			{[]string{"c", "a.d", "a.b.*", "b.*", "A.b"}, nil, 0, "0 1 2 3 4"},
			{[]string{"a.*"}, []string{"a.c.*", "a.b"}, 1, "0 2 3 4"},
			{[]string{"a.*", "b"}, []string{"a.c.*"}, 2, "2 3"},
			{[]string{"a.c.d", "x"}, nil, 1, "3"},
		} {
			got, _ := r.eraseOld(s, webhook.EraseOldRequest{Types: c.types, Except: c.except, Before: cut, Limit: 2})
			r.same(fmt.Sprintf("what was deleted of %q except %q", c.types, c.except), webhook.Erased{Events: 3 * c.gone, Deliveries: 3 * c.gone}, got)
			var want []string
			for _, of := range []string{"1", "2", "3"} {
				for i := range types {
					want = append(want, fmt.Sprint("new", of, i))
				}
				for _, i := range strings.Fields(c.left) {
					want = append(want, "old"+of+i)
				}
			}
			slices.Sort(want)
			r.same(fmt.Sprintf("events left after %q except %q", c.types, c.except), want, left())
		}
		r.same("deliveries left", 2*(1+len(types)), len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
	}},
	{"OldButNotFinished", saysErasesOld, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		r.history() // p1 has deliveries that wait for a day
		r.publish(r.request(t1, "leased", "a.b"))
		r.claimN(2)
		r.pass(time.Hour)
		got, _ := r.eraseOld(s, webhook.EraseOldRequest{Types: []string{"a.*"}, Before: r.now, Limit: 3})
		r.same("what was deleted", webhook.Erased{Events: 4, Deliveries: 8}, got)
		for _, id := range []string{"p1", "leased"} {
			if r.gone(id) {
				r.brokenf("%s is gone, and had pending deliveries", id)
			}
		}
		r.same("deliveries left", 4, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
	}},
	{"OldFinishedLate", saysPassesOver, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		d, l := r.claimed()
		r.pass(time.Hour)
		cut := r.now
		r.extend(l)
		r.finish(r.success(d, l.Token))
		req := webhook.EraseOldRequest{Types: []string{"a.b"}, Before: cut, Limit: 10}
		got, next := r.eraseOld(s, req)
		r.same("deleted while a delivery is too young", webhook.Erased{}, got)
		r.pass(time.Hour)
		req.Before, req.After = r.now, ""
		got, _ = r.eraseOld(s, req)
		r.same("deleted by a walk from the start", webhook.Erased{Events: 1, Deliveries: 1}, got)
		r.emit(t1, "e2")
		d, l = r.claimOne()
		r.finish(r.success(d, l.Token))
		r.pass(time.Hour)
		req.Before, req.After = r.now, next
		got, _ = r.eraseOld(s, req)
		r.same("deleted by a walk that goes on", webhook.Erased{Events: 1, Deliveries: 1}, got)
	}},
	{"Tenant", saysErases, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		events, deliveries, _, _ := r.full()
		r.same("what was deleted", webhook.Erased{Webhooks: 1, Events: 7, Deliveries: 12}, r.eraseTenant(s, t1, 100))
		r.nothingOf(t1, events, deliveries, "wh_1", "wh_2")
		r.pass(48 * time.Hour)
		if ds, _ := r.claim(100); len(ds) != 0 {
			r.brokenf("%d deliveries were claimed of a tenant that was erased", len(ds))
		}
		r.same("what was deleted afterwards", webhook.Erased{}, r.eraseTenant(s, t1, 100))
		r.same("what was deleted of nobody", webhook.Erased{}, r.eraseTenant(s, "nobody-knows", 100))
	}},
	{"TenantCanBeginAnew", saysErases, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		r.full()
		r.eraseTenant(s, t1, 100)
		r.create(t1, "wh_1", nil)
		r.same("result", []webhook.PublishResult{{Deliveries: 1}}, r.publish(withData(r.request(t1, "s1", "a.b"), `{"other":1}`)))
		d, l := r.claimOne()
		r.finish(r.success(d, l.Token))
		if w := r.get(t1, "wh_1"); !w.FailingSince.IsZero() || !w.LastSuccessAt.Equal(r.now.Truncate(time.Microsecond)) {
			r.brokenf("the new webhook has the health of the old one: %+v", w.Webhook)
		}
		r.same("attempts", 1, len(r.attempts(d.ID)))
	}},
	{"OthersStay", "Tenants are isolated", func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		r.create(t2, "wh_9", nil)
		r.publish(r.request(t2, "s1", "a.b"))
		ds, tok := r.claimN(1)
		r.finish(r.success(ds[0].Delivery, tok))
		r.full()
		r.publish(r.request(t2, "p9", "a.b"))
		held, heldBy := r.claimN(1)
		want := r.deliveries(webhook.DeliveryQuery{Tenant: t2})
		r.eraseTenant(s, t1, 3)
		r.same("deliveries of another tenant", want, r.deliveries(webhook.DeliveryQuery{Tenant: t2}))
		_, err := s.EraseEvent(r.Context(), t1, "p9", 100)
		r.wantErr("EraseEvent of another tenant's event", err, webhook.ErrNotFound)
		r.finish(r.success(held[0].Delivery, heldBy))
		if _, err := r.store.GetEvent(r.Context(), t2, "s1"); err != nil {
			r.brokenf("another tenant's event of the same ID: %v", err)
		}
		r.get(t2, "wh_9")
	}},
	{"Steps", saysSteps, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		for _, id := range []string{"wh_1", "wh_2", "wh_3", "wh_4", "wh_5"} {
			r.create(t1, id, nil)
		}
		r.publish(r.requests(t1, "e", "a.b", 7)...)
		deliveries := r.deliveries(webhook.DeliveryQuery{Tenant: t1})
		done, err := s.EraseTenant(r.Context(), t1, 2)
		r.must("EraseTenant", err)
		r.same("the first step", webhook.Erased{Webhooks: 2, More: true}, done)
		total := done
		for total.Webhooks < 5 {
			done, err = s.EraseTenant(r.Context(), t1, 2)
			r.must("EraseTenant", err)
			if !done.More {
				r.fatalf("done after %+v and %+v", total, done)
			}
			total.Webhooks, total.Deliveries, total.Events = total.Webhooks+done.Webhooks, total.Deliveries+done.Deliveries, total.Events+done.Events
		}
		for _, d := range r.publish(r.request(t1, "late", "a.b")) {
			r.same("deliveries made after the webhooks were gone", 0, d.Deliveries)
		}
		rest := r.eraseTenant(s, t1, 2)
		r.same("deliveries and events", [2]int{35, 8}, [2]int{rest.Deliveries + total.Deliveries, rest.Events + total.Events})
		r.nothingOf(t1, []string{"e0", "e6", "late"}, deliveries, "wh_1", "wh_5")
	}},
	{"ResultsFindNothing", saysGoneLater, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		_, _, leased, tok := r.full()
		r.create(t2, "wh_9", nil)
		r.emit(t2, "e9")
		other, l := r.claimOne()
		r.eraseTenant(s, t1, 100)
		r.same("outcomes", []webhook.Outcome{webhook.OutcomeGone, webhook.OutcomeApplied, webhook.OutcomeGone},
			r.complete(r.success(leased[0].Delivery, tok), r.success(other, l.Token), r.retry(leased[1].Delivery, tok, time.Second)))
		lost, err := r.store.Extend(r.Context(), r.now, []webhook.Lease{{DeliveryID: leased[0].Delivery.ID, Token: tok}}, lease)
		r.must("Extend", err)
		r.same("leases lost", []string{leased[0].Delivery.ID}, lost)
		r.must("Release", r.store.Release(r.Context(), r.now, []webhook.Lease{{Token: tok}}, 0))
		r.pass(time.Hour)
		if ds, _ := r.claim(100); len(ds) != 0 {
			r.brokenf("%d deliveries were claimed afterwards", len(ds))
		}
		r.nothingOf(t1, nil, []webhook.Delivery{leased[0].Delivery, leased[1].Delivery})
	}},
	{"Event", saysErasesEvent, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		events, deliveries, leased, tok := r.full()
		stats := r.stats(webhook.StatsQuery{Tenant: t1})
		for i, id := range events {
			made := 2
			if id == "nobody" {
				made = 0
			}
			r.same("what was deleted with "+id, webhook.Erased{Events: 1, Deliveries: made}, r.eraseEvent(s, t1, id, 1+i%3))
			if !r.gone(id) {
				r.brokenf("event %s is still there", id)
			}
			for _, d := range deliveries {
				if d.EventID != id {
					continue
				}
				_, err := r.store.GetDelivery(r.Context(), t1, d.ID)
				r.wantErr("GetDelivery of a delivery of "+id, err, webhook.ErrNotFound)
				_, err = r.store.ListAttempts(r.Context(), t1, d.ID)
				r.wantErr("ListAttempts of a delivery of "+id, err, webhook.ErrNotFound)
			}
			left := 0
			for _, other := range events[i+1:] {
				if other != "nobody" {
					left += 2
				}
			}
			r.same("deliveries left after "+id, left, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
		}
		_, err := s.EraseEvent(r.Context(), t1, "s1", 10)
		r.wantErr("EraseEvent of what is gone", err, webhook.ErrNotFound)
		r.same("statistics", stats, r.stats(webhook.StatsQuery{Tenant: t1}))
		r.same("outcome", webhook.OutcomeGone, r.complete(r.success(leased[0].Delivery, tok))[0])
	}},
	{"EventOfAReplay", saysErasesEvent, func(r *run) {
		s, ok := r.eraser()
		if !ok {
			return
		}
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.emit(t1, "e2")
		r.create(t1, "wh_2", nil)
		if _, err := r.store.Replay(r.Context(), webhook.ReplayRequest{
			Tenant: t1, WebhookID: "wh_2", Now: r.now, Missing: true, Limit: 10,
		}); err != nil {
			r.fatalf("Replay: %v", err)
		}
		made := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventID: "e1"}))
		r.same("what was deleted", webhook.Erased{Events: 1, Deliveries: made}, r.eraseEvent(s, t1, "e1", 1))
		r.same("deliveries of the other event", made, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
		ds, _ := r.claimN(made)
		for _, d := range ds {
			r.same("event", "e2", d.Event.ID)
		}
	}},
}
