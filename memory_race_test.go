package webhook

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMemoryConcurrently has publishers, dispatchers and readers at one store,
// for the race detector, and counts that every delivery succeeds exactly once.
func TestMemoryConcurrently(t *testing.T) {
	s := NewMemoryStore(MemoryConfig{Retain: 1 << 20})
	const publishers, batches, batch, hooks = 4, 20, 10, 5
	for i := range hooks {
		memAddWebhook(t, s, "t", fmt.Sprint("w", i), "*")
	}
	var token, applied, tick atomic.Int64
	now := func() time.Time { return memEpoch.Add(time.Duration(tick.Add(1)) * time.Microsecond) }
	var wg, reading sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range batches {
				memPublish(t, s, "t", fmt.Sprint(p, "-", i, "-"), batch, now())
			}
		})
	}
	const want = publishers * batches * batch * hooks
	for range 4 {
		wg.Go(func() {
			for applied.Load() < want {
				tok := token.Add(1)
				res, err := s.Claim(t.Context(), ClaimRequest{Token: tok, Now: now(), Lease: time.Minute, Limit: 50, PerWebhook: 20})
				if err != nil {
					t.Error(err)
					return
				}
				var results []Result
				var leases []Lease
				for i, c := range res.Deliveries {
					if len(c.Webhook.Headers) > 0 || c.Webhook.LastTriggeredAt.After(now()) || len(c.Event.Data) == 0 {
						t.Error("unexpected contents")
					}
					if i%10 == 9 {
						leases = append(leases, Lease{c.Delivery.ID, tok})
						continue
					}
					results = append(results, Result{DeliveryID: c.Delivery.ID, Token: tok, State: StateSucceeded, Attempt: &Attempt{Status: 200, StartedAt: now()}})
				}
				if lost, err := s.Extend(t.Context(), now(), leases, time.Minute); err != nil || len(lost) > 0 {
					t.Error(lost, err)
				}
				if err := s.Release(t.Context(), now(), leases, 0); err != nil {
					t.Error(err)
				}
				outcomes, err := s.Complete(t.Context(), now(), results)
				for _, o := range outcomes {
					if o == OutcomeApplied {
						applied.Add(1)
					}
				}
				if err != nil || slices.Contains(outcomes, OutcomeLate) {
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
			if _, err := s.ListDeliveries(t.Context(), DeliveryQuery{Tenant: "t", State: StateSucceeded}); err != nil {
				t.Error(err)
			}
			if _, err := s.Stats(t.Context(), StatsQuery{Tenant: "t"}); err != nil {
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
	checkMemory(t, s)
	if s.pending != 0 || applied.Load() != want {
		t.Errorf("%d applied, %d pending; want %d and 0", applied.Load(), s.pending, want)
	}
}
