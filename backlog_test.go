package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// An operator watches the backlog of a dispatcher at work and then gone.
func TestD32_Backlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New(memstore.Config{})
		d, err := webhook.New(store, webhook.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if _, _, err := d.CreateWebhook(ctx, "acme", webhook.WebhookSpec{Name: "n", URL: "https://a.example", Events: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := d.Publish(ctx, webhook.Event{Tenant: "acme", Type: "a.b", ID: fmt.Sprint("e", i), Data: map[string]int{"n": i}}); err != nil {
				t.Fatal(err)
			}
		}
		check := func(want webhook.Backlog) {
			t.Helper()
			b, err := d.Backlog(ctx, webhook.BacklogQuery{})
			if err != nil || b != want {
				t.Errorf("got %+v, %v\nwant %+v", b, err, want)
			}
		}
		time.Sleep(time.Minute)
		check(webhook.Backlog{Due: 3, OldestDue: time.Minute})
		res, err := store.Claim(ctx, webhook.ClaimRequest{Token: 1, Now: time.Now(), Lease: time.Minute, Limit: 2, PerWebhook: 2})
		if err != nil || len(res.Deliveries) != 2 {
			t.Fatal(res, err)
		}
		check(webhook.Backlog{Due: 1, Leased: 2, OldestDue: time.Minute})
		time.Sleep(time.Minute)
		check(webhook.Backlog{Due: 1, Expired: 2, OldestDue: 2 * time.Minute})
		if b, err := d.Backlog(ctx, webhook.BacklogQuery{}); err != nil || b.Pending() != 3 {
			t.Errorf("pending %d, %v, want 3", b.Pending(), err)
		}
		if b, err := d.Backlog(ctx, webhook.BacklogQuery{Limit: 1}); err != nil || b != (webhook.Backlog{Due: 1, Expired: 1, OldestDue: 2 * time.Minute, AtLeast: true}) {
			t.Errorf("counted to 1: %+v, %v", b, err)
		}
	})
}

func TestBacklogRefuses(t *testing.T) {
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Backlog(t.Context(), webhook.BacklogQuery{Limit: -1}); !errors.Is(err, webhook.ErrInvalid) || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a limit below 0: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Backlog(ctx, webhook.BacklogQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	plain, err := webhook.New(struct{ webhook.Store }{memstore.New(memstore.Config{})}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Backlog(t.Context(), webhook.BacklogQuery{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store that cannot count: %v", err)
	}
	broken, err := webhook.New(panickyBacklog{}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Backlog(t.Context(), webhook.BacklogQuery{}); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a store that panics: %v", err)
	}
}

type panickyBacklog struct{ panickyStore }

func (panickyBacklog) Backlog(context.Context, webhook.BacklogQuery) (webhook.Backlog, error) {
	panic("broken")
}
