package storetest

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

const saysPublish = "Publish stores every event with one pending delivery, due now, for each webhook of its tenant that is active and selects its type"

const saysTarget = "WebhookID restricts the event to this webhook, if it is active, whatever event types it selects."

var publishChecks = []check{
	{"StoresTheEvent", saysPublish, func(r *run) {
		req := r.request(t1, "e1", "a.b")
		r.publish(req)
		got, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("event", req.Event, got)
	}},
	{"DeliveryIsPendingAndDueNow", saysPublish, func(r *run) {
		w := r.create(t1, "wh_1", nil)
		r.pass(90 * time.Millisecond)
		if n := r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries; n != 1 {
			r.brokenf("PublishResult.Deliveries is %d, want 1", n)
		}
		ds := r.deliveries(webhook.DeliveryQuery{Tenant: t1})
		if len(ds) != 1 {
			r.fatalf("%d deliveries, want 1", len(ds))
		}
		r.same("delivery", webhook.Delivery{
			ID: ds[0].ID, Tenant: t1, EventID: "e1", EventType: "a.b", WebhookID: "wh_1", WebhookName: w.Name,
			State: webhook.StatePending, CreatedAt: r.now, NextAttemptAt: r.now,
		}, ds[0])
		r.same("GetDelivery", ds[0], r.delivery(ds[0].ID))
		if claimed, _ := r.claimOne(); claimed.ID != ds[0].ID {
			r.brokenf("claimed delivery %q, want %q", claimed.ID, ds[0].ID)
		}
	}},
	{"MatchesExactPrefixAndStar", "A webhook matches when one of its Events is among them.", func(r *run) {
		for id, events := range map[string][]string{
			"wh_exact":   {"agent.message.sent"},
			"wh_prefix":  {"agent.message.*"},
			"wh_prefix2": {"agent.*"},
			"wh_star":    {"*"},
			"wh_second":  {"other.type", "agent.message.sent"},
			"wh_all":     {"agent.*", "*", "agent.message.sent"},
			"wh_no1":     {"agent.message"},
			"wh_no2":     {"agent.message.sent.*"},
			"wh_no3":     {"agents.*"},
			"wh_no4":     {"Agent.message.sent"},
			"wh_no5":     {"agent_message.*"},
			"wh_no6":     {"message.sent"},
		} {
			r.create(t1, id, selecting(events...))
		}
		res := r.publish(r.request(t1, "e1", "agent.message.sent"))[0]
		var got []string
		for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: t1}) {
			got = append(got, d.WebhookID)
		}
		slices.Sort(got)
		want := []string{"wh_all", "wh_exact", "wh_prefix", "wh_prefix2", "wh_second", "wh_star"}
		r.same("webhooks that match agent.message.sent", want, got)
		if res.Deliveries != len(want) {
			r.brokenf("PublishResult.Deliveries is %d, want %d", res.Deliveries, len(want))
		}
	}},
	{"OneDeliveryPerWebhook", saysPublish, func(r *run) {
		r.create(t1, "wh_1", selecting("a.b", "a.*", "*"))
		if n := r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries; n != 1 {
			r.brokenf("a webhook with three patterns that match got %d deliveries, want 1", n)
		}
	}},
	{"InactiveWebhookGetsNothing", saysPublish, func(r *run) {
		r.create(t1, "wh_born", func(w *webhook.WebhookRecord) { w.Active = false })
		r.create(t1, "wh_made", nil)
		r.edit(t1, "wh_made", func(w *webhook.WebhookRecord) { w.Active, w.DisabledReason = false, "paused" })
		if n := r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries; n != 0 {
			r.brokenf("%d deliveries to inactive webhooks, want 0", n)
		}
	}},
	{"EditsCountAtOnce", "Events published after it has returned are matched by the new settings.", func(r *run) {
		r.create(t1, "wh_1", selecting("a.b"))
		count := func(id, eventType string, want int) {
			r.Helper()
			if n := r.publish(r.request(t1, id, eventType))[0].Deliveries; n != want {
				r.brokenf("event %s of type %s got %d deliveries, want %d", id, eventType, n, want)
			}
		}
		count("e1", "a.b", 1)
		r.edit(t1, "wh_1", selecting("c.*"))
		count("e2", "a.b", 0)
		count("e3", "c.d", 1)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		count("e4", "c.d", 0)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active, w.Name = true, "renamed" })
		count("e5", "c.d", 1)
		for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventID: "e5"}) {
			r.same("WebhookName of a delivery made after renaming", "renamed", d.WebhookName)
		}
	}},
	{"NameStaysAsPublished", "the webhook's name when the event was published; it is part of the body, which never changes", func(r *run) {
		w := r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Name = "renamed" })
		d, _ := r.claimOne()
		r.same("WebhookName of a claimed delivery", w.Name, d.WebhookName)
		r.same("WebhookName of a read delivery", w.Name, r.delivery(d.ID).WebhookName)
	}},
	{"DeletedWebhookGetsNothing", "DeleteWebhook removes the webhook and its secrets", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.remove(t1, "wh_1")
		if n := r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries; n != 0 {
			r.brokenf("%d deliveries to a deleted webhook, want 0", n)
		}
	}},
	{"TargetIsTheOnlyOne", saysTarget, func(r *run) {
		r.create(t1, "wh_1", selecting("other"))
		r.create(t1, "wh_2", nil)
		r.create(t1, "wh_off", func(w *webhook.WebhookRecord) { w.Active = false })
		r.create(t2, "wh_foreign", nil)
		for i, c := range []struct {
			id, target string
			want       int
		}{{"e1", "wh_1", 1}, {"e2", "wh_off", 0}, {"e3", "wh_missing", 0}, {"e4", "wh_foreign", 0}} {
			if n := r.publish(target(r.request(t1, c.id, "a.b"), c.target))[0].Deliveries; n != c.want {
				r.brokenf("row %d: event for %s got %d deliveries, want %d", i, c.target, n, c.want)
			}
			for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventID: c.id}) {
				r.same("webhook of the delivery", c.target, d.WebhookID)
			}
		}
	}},
	{"UnmatchedEventIsStored", "An event that matches no webhook is stored too: a replay can find it.", func(r *run) {
		if res := r.publish(r.request(t1, "e1", "a.b"))[0]; res != (webhook.PublishResult{}) {
			r.brokenf("result %+v, want the zero one", res)
		}
		_, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
	}},
	{"ResultsAreInOrder", "It returns one result per request, in order.", func(r *run) {
		r.create(t1, "wh_1", selecting("one"))
		r.create(t1, "wh_2", selecting("one"))
		r.create(t1, "wh_3", selecting("one", "three"))
		got := r.publish(r.request(t1, "e1", "three"), r.request(t1, "e2", "none"), r.request(t1, "e3", "one"),
			r.request(t2, "e4", "one"), r.request(t1, "e5", "one"))
		want := []webhook.PublishResult{{Deliveries: 1}, {}, {Deliveries: 3}, {}, {Deliveries: 3}}
		r.same("results", want, got)
	}},
	{"DeliveryIDsAreUnique", "assigned by the Store; unique across tenants; [A-Za-z0-9_-]{1,64}", func(r *run) {
		valid := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
		seen := map[string]bool{}
		for _, tenant := range []string{t1, t2} {
			r.create(tenant, "wh_a_"+tenant, nil)
			r.create(tenant, "wh_b_"+tenant, nil)
			r.publish(r.requests(tenant, "e", "a.b", 50)...)
			for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: tenant}) {
				if !valid.MatchString(d.ID) || seen[d.ID] {
					r.fatalf("delivery ID %q is used twice or not made of the letters allowed", d.ID)
				}
				seen[d.ID] = true
			}
		}
		if len(seen) != 200 {
			r.brokenf("%d deliveries, want 200", len(seen))
		}
	}},
	{"FanOutIsSeenWholeOrNotAtAll", "Every method is atomic: it takes effect as a whole or, when it returns an error, not at all.", fanOutIsWhole},
	{"LargeFanOut", saysPublish, largeFanOut},
}

// fanOutIsWhole lists deliveries while events are being published: a reader
// must not see a part of a fan-out or of a batch.
func fanOutIsWhole(r *run) {
	const hooks, rounds = 40, 15
	for i := range hooks {
		r.create(t1, "wh_"+strings.Repeat("x", i+1), nil)
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for ended := false; !ended; {
				ended = ctx.Err() != nil // read at least once after the last Publish
				p, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1, EventID: "last", Limit: 500})
				if err != nil {
					r.brokenf("ListDeliveries: unexpected error: %v", err)
					return
				}
				if n := len(p.Items); n != 0 && n != hooks {
					r.brokenf("a reader saw %d of the %d deliveries of one event", n, hooks)
					return
				}
				if len(p.Items) == 0 {
					continue
				}
				if _, err := r.store.GetEvent(r.Context(), t1, "first"); err != nil {
					r.brokenf("a reader saw the last event of a batch, but not the first: %v", err)
				}
				return
			}
		})
	}
	for i := range rounds {
		reqs := r.requests(t1, "e"+strings.Repeat("x", i)+"-", "a.b", 3)
		if i == rounds/2 {
			reqs[0].Event.ID, reqs[2].Event.ID = "first", "last"
		}
		r.publish(reqs...)
	}
	stop()
	readers.Wait()
}

// largeFanOut publishes one event to thousands of webhooks.
func largeFanOut(r *run) {
	hooks := 2_500 // many pages
	if r.short {
		hooks = 1_000
	}
	var creators sync.WaitGroup
	const workers = 4
	for i := range workers {
		creators.Go(func() {
			for n := i; n < hooks; n += workers {
				w := r.hook(t1, "wh_"+itoa(n))
				if err := r.store.CreateWebhook(r.Context(), w, 0); err != nil {
					r.brokenf("CreateWebhook: unexpected error: %v", err)
					return
				}
			}
		})
	}
	creators.Wait()
	if n := r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries; n != hooks {
		r.brokenf("%d deliveries for %d webhooks", n, hooks)
	}
	seen := map[string]bool{}
	for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventID: "e1", Limit: 500}) {
		seen[d.WebhookID] = true
	}
	if len(seen) != hooks {
		r.brokenf("%d webhooks have a delivery, want %d", len(seen), hooks)
	}
	if ds, _ := r.claimN(100); len(ds) != 100 {
		r.brokenf("claimed %d deliveries, want 100", len(ds))
	}
}
