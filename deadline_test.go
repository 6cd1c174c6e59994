package webhook_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// silentStore does not answer the chosen calls until their context ends.
type silentStore struct {
	webhook.Store
	mu     sync.Mutex
	silent map[string]bool
}

func (s *silentStore) set(call string, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent[call] = silent
}

func (s *silentStore) before(ctx context.Context, call string) error {
	s.mu.Lock()
	silent := s.silent[call]
	s.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *silentStore) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	if err := s.before(ctx, "Claim"); err != nil {
		return webhook.ClaimResult{}, err
	}
	return s.Store.Claim(ctx, r)
}

func (s *silentStore) Extend(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) ([]string, error) {
	if err := s.before(ctx, "Extend"); err != nil {
		return nil, err
	}
	return s.Store.Extend(ctx, now, l, d)
}

func (s *silentStore) Complete(ctx context.Context, now time.Time, r []webhook.Result) ([]webhook.Outcome, error) {
	if err := s.before(ctx, "Complete"); err != nil {
		return nil, err
	}
	return s.Store.Complete(ctx, now, r)
}

func (s *silentStore) Release(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) error {
	if err := s.before(ctx, "Release"); err != nil {
		return err
	}
	return s.Store.Release(ctx, now, l, d)
}

func (s *silentStore) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	if err := s.before(ctx, "GetWebhook"); err != nil {
		return webhook.WebhookRecord{}, err
	}
	return s.Store.GetWebhook(ctx, tenant, id)
}

func (s *silentStore) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	if err := s.before(ctx, "UpdateWebhook"); err != nil {
		return err
	}
	return s.Store.UpdateWebhook(ctx, w)
}

func (s *silentStore) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	if err := s.before(ctx, "Stats"); err != nil {
		return nil, err
	}
	return s.Store.Stats(ctx, q)
}

func (s *silentStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := s.before(ctx, "Prune"); err != nil {
		return 0, err
	}
	return s.Store.Prune(ctx, before, limit)
}

// Whatever call of the store goes silent, the dispatcher gives it up, says so, and
// delivers when the store answers again.
func TestEveryStoreCallIsGivenUpInTime(t *testing.T) {
	for _, call := range []string{"Claim", "Complete", "Extend", "Release", "GetWebhook", "UpdateWebhook", "Stats", "Prune"} {
		t.Run(call, func(t *testing.T) {
			var mu sync.Mutex
			given := map[string]int{}
			logged := &countingHandler{}
			var store *silentStore
			inBubbleOver(t, webhook.Config{
				StoreTimeout: 20 * time.Second, Lease: 15 * time.Second, PollInterval: time.Second, DisableAfter: 8 * time.Second,
				DrainTimeout: -1, Retry: webhook.RetryDelays{time.Second}, Logger: slog.New(logged),
				Observer: webhook.Observer{StoreTimeout: func(call string, took time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					given[call]++
					if took <= 0 || took > 10*20*time.Second {
						t.Errorf("%s was given up after %v", call, took)
					}
				}},
			}, func(m *memstore.Store) webhook.Store {
				store = &silentStore{Store: m, silent: map[string]bool{}}
				return store
			}, func(w *world) {
				count := func() int {
					mu.Lock()
					defer mu.Unlock()
					return given[call]
				}
				good := w.hook("good.example.com")
				w.rx.on("slow.example.com", func(int, *http.Request) (int, http.Header, error) {
					<-time.After(30 * time.Second)
					return http.StatusOK, nil, nil
				})
				w.hook("slow.example.com")
				w.rx.status("bad.example.com", 500)
				w.hook("bad.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
				w.rx.status("gone.example.com", http.StatusGone)
				w.hook("gone.example.com")
				store.set(call, true)
				w.start()
				w.publish()
				w.pass(30 * time.Second)
				w.publish()
				w.pass(4 * time.Minute)
				switch call {
				case "Release": // deliveries are given back only at the end
					w.stop()
					if err := <-w.ended; err != nil {
						t.Logf("Run: %v", err)
					}
					w.stop = nil
				default:
					if count() == 0 {
						t.Errorf("%s was never given up; given up were %v", call, given)
					}
					logged.mu.Lock()
					if logged.n == 0 {
						t.Error("the log says nothing")
					}
					logged.mu.Unlock()
				}
				store.set(call, false)
				if w.stop == nil {
					w.start()
				}
				w.publish()
				w.pass(5 * time.Minute)
				ds := w.deliveries(webhook.DeliveryQuery{WebhookID: good.ID})
				for _, d := range ds {
					if d.State != webhook.StateSucceeded {
						t.Errorf("delivery %s is %s", d.ID, d.State)
					}
				}
				if len(ds) != 3 {
					t.Errorf("%d deliveries, want 3", len(ds))
				}
			})
		})
	}
}

// A run that ends while a call is under way does not blame the store: the end of
// the run has ended the call.
func TestDeadlineOfTheCallerIsNoTimeoutOfTheStore(t *testing.T) {
	var store *silentStore
	inBubbleOver(t, webhook.Config{StoreTimeout: time.Hour, Observer: webhook.Observer{StoreTimeout: func(call string, _ time.Duration) {
		t.Errorf("%s is said to have been given up", call)
	}}}, func(m *memstore.Store) webhook.Store {
		store = &silentStore{Store: m, silent: map[string]bool{"Claim": true}}
		return store
	}, func(w *world) {
		w.start()
		w.pass(time.Minute)
		w.stop() // while the claim hangs
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
		w.stop = nil
		synctest.Wait()
	})
}
