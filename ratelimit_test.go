package webhook_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// limited gives a new webhook a rate limit.
func limited(perSecond float64) func(*webhook.WebhookSpec) {
	return func(s *webhook.WebhookSpec) { s.RateLimit = perSecond }
}

// mostWithin returns the most requests within any stretch of time of length d.
func mostWithin(got []received, d time.Duration) int {
	most := 0
	for i, j := 0, 0; i < len(got); i++ {
		for got[i].at.Sub(got[j].at) >= d {
			j++
		}
		most = max(most, i-j+1)
	}
	return most
}

// However much waits, attempts come at the webhook's rate, evenly: never more,
// and not much less.
func TestRateLimitIsKeptAndReached(t *testing.T) {
	for _, c := range []struct {
		rate   float64
		events int
		answer time.Duration // of the receiver
	}{
		{0.1, 4, 0}, {1, 20, 0}, {1, 20, 20 * time.Second}, {3, 60, time.Millisecond}, {10, 150, 2 * time.Second},
		{100, 900, time.Millisecond}, {2000, 9000, time.Millisecond}, {10_000, 9000, time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v per second, answered after %v", c.rate, c.answer), func(t *testing.T) {
			inBubble(t, webhook.Config{PollInterval: 200 * time.Millisecond}, func(w *world) {
				w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
					<-time.After(c.answer)
					return 200, nil, nil
				})
				w.hook("h.example.com", limited(c.rate))
				w.publishMany(c.events)
				begun := time.Now()
				w.start()
				least := time.Duration(float64(c.events-1) / c.rate * float64(time.Second))
				w.pass(least + least/20 + time.Second + c.answer)
				got := w.rx.at("h.example.com")
				if len(got) != c.events {
					t.Errorf("%d of %d were sent after %v", len(got), c.events, time.Since(begun))
				}
				slack := max(c.rate/100, 1)
				for _, d := range []time.Duration{time.Second, 10 * time.Second, 5 * time.Millisecond} {
					if n, most := mostWithin(got, d), int(math.Ceil(c.rate*d.Seconds()+slack)); n > most {
						t.Errorf("%d attempts within %v, want at most %d", n, d, most)
					}
				}
			})
		})
	}
}

// publishMany publishes n events.
func (w *world) publishMany(n int) {
	w.t.Helper()
	events := make([]webhook.Event, n)
	for i := range events {
		events[i] = webhook.Event{Tenant: tenant, Type: "a", Data: map[string]int{}}
	}
	for chunk := range slices.Chunk(events, 500) {
		if _, err := w.PublishAll(context.Background(), chunk); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Retries and resends count like first attempts.
func TestRateLimitCountsRetriesAndResends(t *testing.T) {
	inBubble(t, webhook.Config{Retry: webhook.RetryDelays{0}}, func(w *world) {
		w.rx.status("h.example.com", 500)
		wh := w.hook("h.example.com", limited(2), func(s *webhook.WebhookSpec) { s.MaxRetries = new(2) })
		w.publishMany(5)
		w.start()
		w.pass(8 * time.Second)
		if n := len(w.rx.at("h.example.com")); n != 15 {
			t.Errorf("%d attempts of 5 deliveries with 2 retries each", n)
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			if _, err := w.Resend(context.Background(), tenant, d.ID); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(8 * time.Second)
		got := w.rx.at("h.example.com")
		if len(got) != 30 {
			t.Errorf("%d attempts with those resent", len(got))
		}
		if n := mostWithin(got, 500*time.Millisecond); n != 1 {
			t.Errorf("%d attempts within half a second, the limit is 2 per second", n)
		}
	})
}

// Deliveries over a limit wait in the store: they are not held, do not hold up
// others, and are not claimed again and again.
func TestRateLimitedWaitInTheStore(t *testing.T) {
	var claims atomic.Int64
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store {
		return &faultyStore{Store: m, fault: func(op string) error {
			if op == "Claim" {
				claims.Add(1)
			}
			return nil
		}}
	}, func(w *world) {
		for i := range 50 {
			w.hook(fmt.Sprintf("slow%d.example.com", i), limited(0.05))
			w.hook(fmt.Sprintf("second%d.example.com", i), limited(1))
		}
		w.publishMany(200)
		w.start()
		w.pass(time.Second)
		for range 60 {
			w.pass(time.Second)
			if s := w.Stats(); s.Claimed > 150 {
				t.Errorf("%d deliveries are held for webhooks that may get 52 within the second", s.Claimed)
			}
		}
		if n := len(w.rx.at("slow0.example.com")); n != 4 {
			t.Errorf("%d attempts in 61 s at one in 20 s", n)
		}
		if n := len(w.rx.at("second49.example.com")); n < 60 || n > 63 {
			t.Errorf("%d attempts in 61 s at one a second", n)
		}
		w.hook("healthy.example.com", func(s *webhook.WebhookSpec) { s.Events = []string{"b"} })
		if _, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Type: "b", Data: map[string]int{}}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Millisecond)
		if n := len(w.rx.at("healthy.example.com")); n != 1 {
			t.Error("a webhook without a limit had to wait for those with one")
		}
	})
	// The limits let 52 or 53 attempts begin each second, each may end a wait.
	if n := claims.Load(); n > 61*150 {
		t.Errorf("%d claims in 61 s", n)
	}
}

// One slow limit alone costs next to no claims while much waits for it.
func TestRateLimitIsNoBusyLoop(t *testing.T) {
	var claims atomic.Int64
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store {
		return &faultyStore{Store: m, fault: func(op string) error {
			if op == "Claim" {
				claims.Add(1)
			}
			return nil
		}}
	}, func(w *world) {
		w.hook("h.example.com", limited(webhook.MinRateLimit))
		w.publishMany(1000)
		w.start()
		w.pass(1001 * time.Second)
		if n := len(w.rx.at("h.example.com")); n != 11 {
			t.Errorf("%d attempts in 1001 s at one in 100 s", n)
		}
	})
	if n := claims.Load(); n > 80 {
		t.Errorf("%d claims for 11 attempts", n)
	}
}

// A change is in force at once: a limit set, raised, lowered or lifted. Deliveries
// to cancel wait for no limit.
func TestRateLimitChanges(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("h.example.com", limited(webhook.MinRateLimit))
		w.publishMany(300)
		w.start()
		update := func(perSecond float64) {
			t.Helper()
			var err error
			if wh, err = w.UpdateWebhook(ctx, tenant, wh.ID, wh.Version, webhook.WebhookUpdate{RateLimit: &perSecond}); err != nil || wh.RateLimit != perSecond {
				t.Fatalf("RateLimit %v, %v", wh.RateLimit, err)
			}
		}
		want := func(n int, when string) {
			t.Helper()
			if got := len(w.rx.at("h.example.com")); got != n {
				t.Errorf("%s: %d attempts, want %d", when, got, n)
			}
		}
		w.pass(10 * time.Second)
		want(1, "at one in 100 s")
		update(10)
		w.pass(time.Second + time.Millisecond)
		want(11, "at 10 per second") // the first after a tenth
		update(1)
		w.pass(10 * time.Second)
		want(21, "at 1 per second")
		update(0)
		w.pass(time.Millisecond)
		want(300, "without a limit")

		update(webhook.MinRateLimit)
		w.publishMany(50)
		w.pass(time.Second)
		want(301, "at one in 100 s again")
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, ""); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateCanceled})); n != 49 {
			t.Errorf("%d of 49 canceled a second after the webhook was disabled", n)
		}
		want(301, "disabled")
	})
}

// A new run does not begin with a new allowance, and DeliverDue leaves deliveries
// that would have to wait for long to the next call.
func TestRateLimitOutlivesARun(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		w.hook("h.example.com", limited(0.1))
		w.hook("other.example.com")
		w.publishMany(20)
		for i := range 4 {
			n, err := w.DeliverDue(context.Background())
			if want := []int{21, 0, 1, 0}[i]; err != nil || n != want {
				t.Errorf("call %d: %d attempts, %v; want %d", i+1, n, err, want)
			}
			w.pass([]time.Duration{time.Second, 9 * time.Second, time.Second, 0}[i])
		}
		if n := mostWithin(w.rx.at("h.example.com"), 10*time.Second); n != 1 {
			t.Errorf("%d attempts within 10 s", n)
		}
	})
}
