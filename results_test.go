package webhook_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// asciiStore refuses texts that it has not got the characters for, and results
// of deliveries that are poison.
type asciiStore struct {
	webhook.Store
	mu     sync.Mutex
	poison map[string]bool
}

func (s *asciiStore) Complete(ctx context.Context, now time.Time, rs []webhook.Result) ([]webhook.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		if s.poison[r.DeliveryID] {
			return nil, errors.New("check violated")
		}
		if a := r.Attempt; a != nil {
			for _, b := range append([]byte(a.Error), a.ResponseBody...) {
				if b >= 0x80 {
					return nil, errors.New("character has no equivalent in this encoding")
				}
			}
		}
	}
	return s.Store.Complete(ctx, now, rs)
}

// A receiver's text makes no result unrecordable, alone or among others:
// the attempt counts, and the delivery is not sent more often than it may be.
func TestD6_ResultIsRecordedWithoutTheReceiversText(t *testing.T) {
	for name, events := range map[string]int{"alone": 1, "among others": 40} {
		t.Run(name, func(t *testing.T) {
			cfg := webhook.Config{Retry: webhook.ExponentialRetry{Initial: time.Second, Max: time.Second}}
			inBubbleOver(t, cfg, func(m *memstore.Store) webhook.Store { return &asciiStore{Store: m} }, func(w *world) {
				wh := w.hook("h.example.com")
				w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) { return 0, nil, errors.New("ungültig") })
				w.start()
				for range events {
					w.publish()
				}
				w.pass(20 * time.Minute)
				ds := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateFailed})
				if len(ds) != events {
					t.Fatalf("%d of %d deliveries have failed for good", len(ds), events)
				}
				for _, d := range ds {
					if d.Reason != webhook.ReasonRetriesExhausted || d.Tries != 4 {
						t.Errorf("%s after %d tries, want 4 and no more", d.Reason, d.Tries)
					}
					for _, a := range w.attemptsOf(d) {
						if a.Error != webhook.BareText || a.Class == "" {
							t.Errorf("an attempt is kept as %s, %q", a.Class, a.Error)
						}
					}
				}
			})
		})
	}
}

// Results that the store refuses whatever they say hold up no other, however
// many they are.
func TestD6_RefusedResultsHoldUpNoOther(t *testing.T) {
	var store *asciiStore
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store {
		store = &asciiStore{Store: m, poison: map[string]bool{}}
		return store
	}, func(w *world) {
		wh := w.hook("h.example.com")
		for range 40 {
			w.publish()
		}
		for i, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			if i >= 25 { // those are sent first
				store.poison[d.ID] = true
			}
		}
		poison := len(store.poison)
		w.start()
		w.pass(5 * time.Minute)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateSucceeded})); n != 40-poison {
			t.Errorf("%d of %d are recorded, beside %d that cannot be", n, 40-poison, poison)
		}
		store.mu.Lock()
		clear(store.poison)
		store.mu.Unlock()
		w.pass(5 * time.Minute)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateSucceeded})); n != 40 {
			t.Errorf("%d of 40 are recorded in the end", n)
		}
	})
}
