package storetest

import (
	"context"
	"time"

	"github.com/seed68722ecd/webhook"
)

const saysContext = "when it is done before the work has begun, they return an error that wraps ctx.Err() without having written anything"

var contextChecks = []check{
	{"CanceledBefore", saysContext, func(r *run) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		everyMethod(ctx, r, context.Canceled)
	}},
	{"DeadlinePassedBefore", saysContext, func(r *run) {
		ctx, cancel := context.WithDeadline(r.Context(), time.Unix(1, 0))
		defer cancel()
		everyMethod(ctx, r, context.DeadlineExceeded)
	}},
}

// everyMethod calls every method with a context that is done and arguments that
// would otherwise succeed, and checks that the Store is unchanged.
func everyMethod(ctx context.Context, r *run, want error) {
	s := r.store
	r.create(t1, "wh_1", nil)
	r.publish(r.requests(t1, "done", "a.b", 1)...)
	old, l := r.claimOne()
	r.finish(r.failure(old, l.Token))
	r.emit(t1, "held")
	held, hl := r.claimOne()
	r.emit(t1, "waits")

	type contents struct {
		Hook       webhook.WebhookRecord
		Hooks      []string
		Deliveries []webhook.Delivery
		Attempts   [2][]webhook.Attempt
		Stats      []webhook.StatsBucket
	}
	look := func() contents {
		return contents{
			r.get(t1, "wh_1"), r.walkWebhooks(webhook.WebhookQuery{Tenant: t1}, nil), r.deliveries(webhook.DeliveryQuery{Tenant: t1}),
			[2][]webhook.Attempt{r.attempts(old.ID), r.attempts(held.ID)}, r.stats(webhook.StatsQuery{Tenant: t1}),
		}
	}
	before := look()
	later := r.now.Add(time.Hour)
	for _, c := range []struct {
		method string
		call   func() error
	}{
		{"CreateWebhook", func() error { return s.CreateWebhook(ctx, r.hook(t1, "wh_2"), 0) }},
		{"GetWebhook", func() error { _, err := s.GetWebhook(ctx, t1, "wh_1"); return err }},
		{"ListWebhooks", func() error { _, err := s.ListWebhooks(ctx, webhook.WebhookQuery{Tenant: t1}); return err }},
		{"UpdateWebhook", func() error { w := before.Hook; w.Name = "no"; return s.UpdateWebhook(ctx, w) }},
		{"DeleteWebhook", func() error { return s.DeleteWebhook(ctx, t1, "wh_1") }},
		{"Publish", func() error { _, err := s.Publish(ctx, r.now, r.requests(t1, "no", "a.b", 2)); return err }},
		{"Claim", func() error {
			_, err := s.Claim(ctx, webhook.ClaimRequest{Token: token(), Now: r.now, Lease: lease, Limit: 10, PerWebhook: 10})
			return err
		}},
		{"Extend", func() error { _, err := s.Extend(ctx, r.now, []webhook.Lease{hl}, time.Hour); return err }},
		{"Complete", func() error {
			_, err := s.Complete(ctx, r.now, []webhook.Result{r.success(held, hl.Token)})
			return err
		}},
		{"Release", func() error { return s.Release(ctx, r.now, []webhook.Lease{hl}, 0) }},
		{"Resend", func() error { _, err := s.Resend(ctx, r.now, t1, old.ID); return err }},
		{"Replay", func() error {
			_, err := s.Replay(ctx, webhook.ReplayRequest{Tenant: t1, WebhookID: "wh_1", Now: r.now, States: final, Limit: 10})
			return err
		}},
		{"GetEvent", func() error { _, err := s.GetEvent(ctx, t1, "done0"); return err }},
		{"GetDelivery", func() error { _, err := s.GetDelivery(ctx, t1, old.ID); return err }},
		{"ListDeliveries", func() error { _, err := s.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: t1}); return err }},
		{"ListAttempts", func() error { _, err := s.ListAttempts(ctx, t1, old.ID); return err }},
		{"Stats", func() error { _, err := s.Stats(ctx, webhook.StatsQuery{Tenant: t1}); return err }},
		{"Prune", func() error { _, err := s.Prune(ctx, later, 10); return err }},
	} {
		r.wantErr(c.method+" with a context that is done", c.call(), want)
		r.same("contents after "+c.method, before, look())
	}
	_, err := s.GetEvent(r.Context(), t1, "no0")
	r.wantErr("GetEvent of what was not published", err, webhook.ErrNotFound)
	// Claim took no lease, Extend moved no lease and Release gave no lease
	// back.
	if d, _ := r.claimOne(); d.EventID != "waits" {
		r.brokenf("claimed the delivery of %s, want that of waits", d.EventID)
	}
	r.pass(lease + time.Second)
	r.claimN(2)
}
