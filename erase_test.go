package webhook_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func TestDeleteTenantBesideARunningDispatcher(t *testing.T) {
	inBubble(t, webhook.Config{MaxInFlight: 2}, func(w *world) {
		ctx := context.Background()
		w.rx.status("down.example.com", 500)
		wh := w.hook("down.example.com")
		w.start()
		for range 50 {
			w.publish()
		}
		w.pass(time.Second)
		before := len(w.rx.at("down.example.com"))
		if before == 0 {
			t.Fatal("nothing was sent before")
		}
		done, err := w.DeleteTenant(ctx, tenant)
		if err != nil || done != (webhook.Erased{Webhooks: 1, Events: 50, Deliveries: 50}) {
			t.Errorf("DeleteTenant = %+v, %v", done, err)
		}
		w.pass(72 * time.Hour)
		if after := len(w.rx.at("down.example.com")); after != before {
			t.Errorf("%d attempts began after the tenant was deleted", after-before)
		}
		if _, err := w.Webhook(ctx, tenant, wh.ID); !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("the webhook: %v, want ErrNotFound", err)
		}
		if s := w.Stats(); s.Claimed != 0 || s.InFlight != 0 {
			t.Errorf("the dispatcher still holds something: %+v", s)
		}
	})
}

func TestDeleteEventKeepsTheOthers(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		w.rx.status("down.example.com", 500)
		wh := w.hook("down.example.com")
		w.start()
		for _, id := range []string{"e1", "e2"} {
			if _, err := w.Publish(ctx, webhook.Event{Tenant: tenant, ID: id, Data: webhook.AgentMessage{Content: id}}); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Second)
		if done, err := w.DeleteEvent(ctx, tenant, "e1"); err != nil || done != (webhook.Erased{Events: 1, Deliveries: 1}) {
			t.Errorf("DeleteEvent = %+v, %v", done, err)
		}
		w.pass(72 * time.Hour)
		for _, r := range w.rx.at("down.example.com") {
			if r.header.Get("webhook-id") == "e1" && r.header.Get("X-Webhook-Attempt") != "1" {
				t.Error("a deleted event was sent again")
			}
		}
		if d := w.only(wh.ID); d.EventID != "e2" || d.Attempts != 4 {
			t.Errorf("what is left: %+v", d)
		}
		// The ID is free again.
		if res, err := w.Publish(ctx, webhook.Event{Tenant: tenant, ID: "e1", Data: webhook.AgentMessage{Content: "anew"}}); err != nil || res.Duplicate || res.Deliveries != 1 {
			t.Errorf("published anew: %+v, %v", res, err)
		}
		for _, id := range []string{"e3", "", "no\x00ID", strings.Repeat("e", 65)} {
			if _, err := w.DeleteEvent(ctx, tenant, id); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("DeleteEvent of %q = %v, want ErrNotFound", id, err)
			}
		}
		if _, err := w.DeleteEvent(ctx, "agent-2", "e2"); !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("DeleteEvent of another tenant's = %v, want ErrNotFound", err)
		}
	})
}

func TestDeleteTenantNeedsAStoreThatCan(t *testing.T) {
	d, err := webhook.New(plainStore{memstore.New(memstore.Config{})}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "a", URL: "https://example.com/", Events: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeleteTenant(ctx, tenant); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "plainStore") {
		t.Errorf("DeleteTenant = %v, want ErrUnsupported and the store's type", err)
	}
	if _, err := d.DeleteEvent(ctx, tenant, "e1"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("DeleteEvent = %v, want ErrUnsupported", err)
	}
	if p, err := d.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant}); err != nil || len(p.Items) != 1 {
		t.Errorf("webhooks afterwards: %+v, %v; nothing may be half done", p, err)
	}
	if _, err := d.DeleteTenant(ctx, ""); err == nil || !strings.Contains(err.Error(), "tenant") {
		t.Errorf("DeleteTenant of no tenant = %v", err)
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	d, err = webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := d.DeleteTenant(ended, tenant); !errors.Is(err, context.Canceled) {
		t.Errorf("DeleteTenant after the end of its context = %+v, %v", done, err)
	}
}

// Types that are kept for a shorter time go earlier, the most specific key counts, and
// pending deliveries stay.
func TestRetentionByType(t *testing.T) {
	cfg := webhook.Config{
		Retention: 30 * 24 * time.Hour, DisableAfter: -1, Retry: webhook.RetryDelays{time.Minute, 20 * 24 * time.Hour},
		RetentionByType: map[string]time.Duration{"agent.*": 10 * 24 * time.Hour, "agent.message": 2 * 24 * time.Hour, "a.b.*": time.Hour},
	}
	inBubble(t, cfg, func(w *world) {
		ctx := context.Background()
		w.hook("up.example.com")
		w.rx.status("down.example.com", 500)
		w.hook("down.example.com", func(s *webhook.WebhookSpec) { s.Events, s.MaxRetries = []string{"agent.message"}, new(2) })
		w.start()
		for id, typ := range map[string]string{"b": "a.b", "bc": "a.b.c", "action": "agent.action", "other": "user.message"} {
			if _, err := w.Publish(ctx, webhook.Event{Tenant: tenant, ID: id, Type: typ, Data: map[string]int{"n": 1}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Publish(ctx, webhook.Event{Tenant: tenant, ID: "message", Type: "agent.message", Data: map[string]int{"n": 1}}); err != nil {
			t.Fatal(err)
		}
		left := func() (ids string) {
			for _, id := range []string{"b", "bc", "action", "message", "other"} {
				if _, err := w.Event(ctx, tenant, id); err == nil {
					ids += id + " "
				}
			}
			return ids
		}
		for _, step := range []struct {
			after time.Duration
			left  string
		}{
			{time.Minute, "b bc action message other "},
			{3 * time.Hour, "b action message other "},
			{9 * 24 * time.Hour, "b action message other "}, // the retry of agent.message is pending
			{2 * 24 * time.Hour, "b message other "},        // 11 days: agent.action is gone
			{10 * 24 * time.Hour, "b message other "},       // 21 days: the last retry has failed a day ago
			{4 * 24 * time.Hour, "b other "},                // 25 days: found by a walk from the start
			{6*24*time.Hour + time.Hour, ""},                // 31 days
		} {
			w.pass(step.after)
			if got := left(); got != step.left {
				t.Errorf("after %v more: %q are left, want %q", step.after, got, step.left)
			}
		}
	})
}

func TestRetentionByTypeIsRefused(t *testing.T) {
	store := memstore.New(memstore.Config{})
	for name, c := range map[string]struct {
		cfg  webhook.Config
		want string
	}{
		"all types":       {webhook.Config{RetentionByType: map[string]time.Duration{"*": time.Hour}}, `"*"`},
		"no type":         {webhook.Config{RetentionByType: map[string]time.Duration{"a b": time.Hour}}, `"a b"`},
		"zero":            {webhook.Config{RetentionByType: map[string]time.Duration{"a.b": 0}}, "above 0"},
		"longer than all": {webhook.Config{RetentionByType: map[string]time.Duration{"a.b": 31 * 24 * time.Hour}}, "720h"},
	} {
		if _, err := webhook.New(store, c.cfg); err == nil || !strings.Contains(err.Error(), "RetentionByType") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error that names the field and %s", name, err, c.want)
		}
	}
	cfg := webhook.Config{Retention: -1, RetentionByType: map[string]time.Duration{"a.b": 1000 * 24 * time.Hour}}
	if _, err := webhook.New(store, cfg); err != nil {
		t.Errorf("any time is shorter than for ever: %v", err)
	}
	if _, err := webhook.New(plainStore{store}, cfg); err == nil || !strings.Contains(err.Error(), "plainStore") {
		t.Errorf("a store without the ability: %v", err)
	}
}
