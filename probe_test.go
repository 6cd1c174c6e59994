package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// quickly answers after a millisecond.
func quickly(status func(n int) int) func(int, *http.Request) (int, http.Header, error) {
	return func(n int, _ *http.Request) (int, http.Header, error) {
		<-time.After(time.Millisecond)
		return status(n), nil, nil
	}
}

func always(code int) func(int) int { return func(int) int { return code } }

// A dead endpoint with a backlog is tried five hundred times a second, and claimed
// for in few claims; once it is well, it has all that is due within seconds.
func TestDeadEndpointIsProbed(t *testing.T) {
	var claims atomic.Int64
	cfg := webhook.Config{Retry: webhook.RetryDelays{time.Minute}, Observer: webhook.Observer{Claimed: func(int, time.Duration, error) { claims.Add(1) }}}
	inBubble(t, cfg, func(w *world) {
		const events = 9000
		w.rx.on("dead.example.com", quickly(always(500)))
		wh := w.hook("dead.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
		w.publishMany(events)
		w.start()
		w.pass(5 * time.Second) // more go by until it is known, and much is claimed
		before, claimsBefore := w.rx.received(), claims.Load()
		w.pass(5 * time.Second)
		if n := w.rx.received() - before; n < 2400 || n > 2501 {
			t.Errorf("%d attempts in 5 s, want 2500", n)
		}
		if n := claims.Load() - claimsBefore; n > 150 {
			t.Errorf("%d claims for 2500 attempts", n)
		}
		w.rx.on("dead.example.com", quickly(always(200)))
		due := events - w.rx.received()
		w.pass(2 * time.Second)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateSucceeded})); n < due {
			t.Errorf("%d have succeeded 2 s after it is well again, %d were due", n, due)
		}
	})
}

// Dead endpoints, however many and with a backlog each, do not slow a healthy
// endpoint down, and each is tried again and again.
func TestManyDeadEndpointsHoldUpNobody(t *testing.T) {
	slots := []int{16, 64}
	if small() {
		slots = slots[:1]
	}
	for _, most := range slots {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			inBubble(t, webhook.Config{MaxInFlight: most, Retry: webhook.RetryDelays{time.Second}}, func(w *world) {
				const dead = 60
				host := func(i int) string { return fmt.Sprintf("dead%d.example.com", i) }
				w.one("good", "good.example.com")
				for i := range dead {
					w.rx.on(host(i), quickly(always(503)))
					w.one(fmt.Sprint(i), host(i), func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
				}
				w.rx.on("good.example.com", quickly(always(200)))
				w.start()
				w.send("good", 50)
				w.pass(time.Second) // it is known to do well
				for i := range dead {
					w.send(fmt.Sprint(i), 200)
				}
				w.pass(time.Second)
				w.send("good", 200)
				w.pass(2 * time.Second)
				if n := len(w.rx.at("good.example.com")); n != 250 {
					t.Errorf("%d of 250 deliveries 2 s after they were published", n)
				}
				seen := make([]int, dead)
				for i := range seen {
					seen[i] = len(w.rx.at(host(i)))
				}
				w.pass(2 * time.Second)
				for i := range seen {
					if n := len(w.rx.at(host(i))) - seen[i]; n < 10 {
						t.Errorf("dead webhook %d had %d attempts in 2 s", i, n)
					}
				}
			})
		})
	}
}

// A receiver that refuses many deliveries, in order or at random, is not slowed
// down by much, and dead endpoints besides slow it down no further.
func TestPickyReceiverIsNotSlowedDown(t *testing.T) {
	for _, refused := range []float64{0.5, 0.9, 0.97} {
		t.Run(fmt.Sprint(refused), func(t *testing.T) {
			inBubble(t, webhook.Config{Retry: webhook.RetryDelays{time.Hour}}, func(w *world) {
				w.rx.on("dead.example.com", quickly(always(500)))
				for i := range 100 {
					w.one(fmt.Sprint(i), "dead.example.com")
				}
				r := rand.New(rand.NewPCG(1, 2))
				w.rx.on("picky.example.com", func(int, *http.Request) (int, http.Header, error) {
					<-time.After(time.Millisecond)
					w.rx.mu.Lock()
					defer w.rx.mu.Unlock()
					if r.Float64() < refused {
						return 404, nil, nil
					}
					return 200, nil, nil
				})
				w.one("picky", "picky.example.com")
				w.start()
				for i := range 100 {
					w.send(fmt.Sprint(i), 40)
				}
				w.pass(2 * time.Second)
				w.send("picky", 5000)
				w.pass(11 * time.Second)
				if n := len(w.rx.at("picky.example.com")); n != 5000 {
					t.Errorf("%d of 5000 attempts within 11 s", n)
				}
			})
		})
	}
}

// Deliveries to a dead webhook run out of retries as fast as they are published.
func TestDeadEndpointKeepsUpWithWhatIsPublished(t *testing.T) {
	inBubble(t, webhook.Config{Retry: webhook.RetryDelays{time.Second, 2 * time.Second, 4 * time.Second}}, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		wh := w.hook("dead.example.com")
		w.start()
		for range 30 {
			w.publishMany(100)
			w.pass(time.Second)
		}
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StatePending})); n > 1100 {
			t.Errorf("%d are pending at 100 a second and 7 s of retries", n)
		}
	})
}

// A change of a dead webhook ends its slow pace: deliveries to a mended webhook go
// out at once, and deliveries to cancel go as fast as the store allows.
func TestChangeOfADeadWebhookEndsItsPace(t *testing.T) {
	ctx := context.Background()
	inBubble(t, webhook.Config{Retry: webhook.RetryDelays{time.Hour}}, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		wh := w.hook("dead.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
		w.publishMany(9000)
		w.start()
		w.pass(2 * time.Second)
		if _, err := w.UpdateWebhook(ctx, tenant, wh.ID, wh.Version, webhook.WebhookUpdate{Description: new("mended")}); err != nil {
			t.Fatal(err)
		}
		before := w.rx.received()
		w.pass(10 * time.Millisecond)
		if n := w.rx.received() - before; n < 8 {
			t.Errorf("%d attempts in 10 ms after the webhook was changed, want one a millisecond", n)
		}
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, "given up"); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateCanceled})); n < 7000 {
			t.Errorf("%d deliveries are canceled 1 s after their webhook was disabled", n)
		}
	})
}

// DeliverDue has to end, and so does not wait for the pace of a dead webhook.
func TestDeliverDueDoesNotWaitForTheDead(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		w.hook("dead.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.publishMany(1000)
		began := time.Now()
		if _, err := w.DeliverDue(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n, took := w.rx.received(), time.Since(began); n != 1000 || took > 1200*time.Millisecond {
			t.Errorf("%d attempts in %v", n, took)
		}
	})
}
