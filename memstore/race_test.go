package memstore

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// TestConcurrently has publishers, dispatchers and readers at one store,
// for the race detector, and counts that every delivery succeeds exactly once.
func TestConcurrently(t *testing.T) {
	s := New(Config{Retain: 1 << 20})
	const publishers, batches, batch, hooks = 4, 20, 10, 5
	for i := range hooks {
		addWebhook(t, s, "t", fmt.Sprint("w", i), "*")
	}
	var token, applied, tick atomic.Int64
	now := func() time.Time { return epoch.Add(time.Duration(tick.Add(1)) * time.Microsecond) }
	var wg, reading sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range batches {
				publish(t, s, "t", fmt.Sprint(p, "-", i, "-"), batch, now())
			}
		})
	}
	const want = publishers * batches * batch * hooks
	for range 4 {
		wg.Go(func() {
			for applied.Load() < want {
				tok := token.Add(1)
				res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: tok, Now: now(), Lease: time.Minute, Limit: 50, PerWebhook: 20})
				if err != nil {
					t.Error(err)
					return
				}
				var results []webhook.Result
				var leases []webhook.Lease
				for i, c := range res.Deliveries {
					if len(c.Webhook.Headers) > 0 || c.Webhook.LastTriggeredAt.After(now()) || len(c.Event.Data) == 0 {
						t.Error("unexpected contents")
					}
					if i%10 == 9 {
						leases = append(leases, webhook.Lease{DeliveryID: c.Delivery.ID, Token: tok})
						continue
					}
					results = append(results, webhook.Result{DeliveryID: c.Delivery.ID, Token: tok, State: webhook.StateSucceeded, Attempt: &webhook.Attempt{Status: 200, StartedAt: now()}})
				}
				if lost, err := s.Extend(t.Context(), now(), leases, time.Minute); err != nil || len(lost) > 0 {
					t.Error(lost, err)
				}
				if err := s.Release(t.Context(), now(), leases, 0); err != nil {
					t.Error(err)
				}
				outcomes, err := s.Complete(t.Context(), now(), results)
				for _, o := range outcomes {
					if o == webhook.OutcomeApplied {
						applied.Add(1)
					}
				}
				if err != nil || slices.Contains(outcomes, webhook.OutcomeLate) {
					t.Error("a lease was lost", err)
				}
			}
		})
	}
	stop := make(chan struct{})
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: "t", State: webhook.StateSucceeded}); err != nil {
				t.Error(err)
			}
			if _, err := s.Stats(t.Context(), webhook.StatsQuery{Tenant: "t"}); err != nil {
				t.Error(err)
			}
			w, err := s.GetWebhook(t.Context(), "t", "w0")
			if err != nil {
				t.Error(err)
			}
			if err := s.UpdateWebhook(t.Context(), w); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	close(stop)
	reading.Wait()
	check(t, s)
	if s.pending != 0 || applied.Load() != want {
		t.Errorf("%d applied, %d pending; want %d and 0", applied.Load(), s.pending, want)
	}
}
