package storetest

import (
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

const saysTenant = "a request for another tenant's webhook, event or delivery is answered exactly like a request for an unknown ID, with an error that wraps [ErrNotFound]"

var tenantChecks = []check{
	{"ForeignIsLikeMissing", saysTenant, foreignIsLikeMissing},
	{"PublishStaysWithin", "Tenants are isolated", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t2, "wh_2", nil)
		r.same("results", []webhook.PublishResult{{Deliveries: 1}, {Deliveries: 1}, {}},
			r.publish(r.request(t1, "e1", "a.b"), r.request(t2, "e2", "a.b"), r.request("tenant-3", "e3", "a.b")))
		for tenant, want := range map[string]string{t1: "wh_1", t2: "wh_2"} {
			ds := r.deliveries(webhook.DeliveryQuery{Tenant: tenant})
			if len(ds) != 1 || ds[0].WebhookID != want || ds[0].Tenant != tenant {
				r.brokenf("deliveries of %s are %+v, want one to %s", tenant, ds, want)
			}
		}
	}},
	{"ClaimServesAll", saysClaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t2, "wh_2", nil)
		r.publish(r.request(t1, "e", "a.b"), withData(r.request(t2, "e", "a.b"), `{"of":"t2"}`))
		ds, _ := r.claimN(2)
		for _, d := range ds {
			if d.Event.Tenant != d.Delivery.Tenant || d.Webhook.Tenant != d.Delivery.Tenant {
				r.brokenf("a delivery of %s has an event of %s and a webhook of %s", d.Delivery.Tenant, d.Event.Tenant, d.Webhook.Tenant)
			}
			if (d.Delivery.Tenant == t2) != strings.Contains(string(d.Event.Data), "t2") {
				r.brokenf("a delivery of %s has the data %s", d.Delivery.Tenant, d.Event.Data)
			}
		}
	}},
	{"ListsAndStatistics", "Tenants are isolated", func(r *run) {
		for _, tenant := range []string{t1, t2} {
			for _, id := range []string{"a_", "b_", "c_"} {
				r.create(tenant, "wh_"+id+tenant, nil)
			}
			r.publish(r.request(tenant, "e1", "a.b"))
			ds, tok := r.claimN(3)
			for _, d := range ds {
				r.finish(r.success(d.Delivery, tok))
			}
		}
		for _, own := range []string{t1, t2} {
			other := t1 + t2
			other = strings.Replace(other, own, "", 1)
			ids := r.walkWebhooks(webhook.WebhookQuery{Tenant: own, Limit: 2}, nil)
			if len(ids) != 3 || strings.Contains(strings.Join(ids, " "), other) {
				r.brokenf("webhooks of %s are %v", own, ids)
			}
			for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: own}) {
				r.same("tenant of a delivery", own, d.Tenant)
			}
			r.same("foreign webhook's deliveries", 0, len(r.deliveries(webhook.DeliveryQuery{Tenant: own, WebhookID: "wh_a_" + other})))
			if st := r.stats(webhook.StatsQuery{Tenant: own}); len(st) != 3 {
				r.brokenf("statistics of %s are %+v, want three", own, st)
			}
			foreign := r.stats(webhook.StatsQuery{Tenant: own, WebhookIDs: []string{"wh_a_" + other}})
			r.same("foreign webhook's statistics", 0, len(foreign))
			// A cursor of another tenant gives no access.
			p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: other, Limit: 1})
			r.must("ListWebhooks", err)
			p, err = r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: own, Cursor: p.Next})
			if err != nil {
				r.wantErr("a cursor of another tenant", err, webhook.ErrCursor)
			}
			for _, w := range p.Items {
				r.same("tenant of a webhook", own, w.Tenant)
			}
		}
	}},
	{"UnknownTenantIsEmpty", saysTenant, func(r *run) {
		r.log()
		if st := r.stats(webhook.StatsQuery{Tenant: t2}); len(st) != 0 {
			r.brokenf("statistics of an unknown tenant are %+v", st)
		}
		r.same("deliveries of an unknown tenant", 0, len(r.deliveries(webhook.DeliveryQuery{Tenant: t2})))
		r.same("webhooks of an unknown tenant", 0, len(r.walkWebhooks(webhook.WebhookQuery{Tenant: t2}, nil)))
	}},
}

// foreignIsLikeMissing asks, as another tenant, for every record of tenant t1,
// and compares each answer with the answer for an unknown ID.
func foreignIsLikeMissing(r *run) {
	d, l := r.claimed()
	r.finish(r.failure(d, l.Token))
	r.pass(time.Second)
	hook, stored := r.get(t1, "wh_1"), r.delivery(d.ID)
	s, ctx := r.store, r.Context()
	for _, c := range []struct {
		method, id string
		ask        func(id string) error
	}{
		{"GetWebhook", "wh_1", func(id string) error { _, err := s.GetWebhook(ctx, t2, id); return err }},
		{"UpdateWebhook", "wh_1", func(id string) error {
			w := hook
			w.ID, w.Tenant, w.Name = id, t2, "stolen"
			return s.UpdateWebhook(ctx, w)
		}},
		{"UpdateWebhook of another version", "wh_1", func(id string) error {
			w := hook
			w.ID, w.Tenant, w.Version = id, t2, 7
			return s.UpdateWebhook(ctx, w)
		}},
		{"DeleteWebhook", "wh_1", func(id string) error { return s.DeleteWebhook(ctx, t2, id) }},
		{"GetEvent", "e1", func(id string) error { _, err := s.GetEvent(ctx, t2, id); return err }},
		{"GetDelivery", d.ID, func(id string) error { _, err := s.GetDelivery(ctx, t2, id); return err }},
		{"ListAttempts", d.ID, func(id string) error { _, err := s.ListAttempts(ctx, t2, id); return err }},
		{"Resend", d.ID, func(id string) error { _, err := s.Resend(ctx, r.now, t2, id); return err }},
		{"Replay", "wh_1", func(id string) error {
			_, err := s.Replay(ctx, webhook.ReplayRequest{
				Tenant: t2, WebhookID: id, Now: r.now, States: final, Missing: true, Limit: 10})
			return err
		}},
	} {
		const missing = "NoSuchThing"
		foreign, none := c.ask(c.id), c.ask(missing)
		r.wantErr(c.method+" of another tenant's", foreign, webhook.ErrNotFound)
		r.wantErr(c.method+" of a missing one", none, webhook.ErrNotFound)
		if foreign == nil || none == nil {
			continue
		}
		r.same(c.method+": the error's text, IDs replaced",
			strings.ReplaceAll(none.Error(), missing, "ID"), strings.ReplaceAll(foreign.Error(), c.id, "ID"))
	}
	r.same("webhook", hook, r.get(t1, "wh_1"))
	r.same("delivery", stored, r.delivery(d.ID))
}
