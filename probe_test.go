package webhook

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// quickly is what a receiver does that takes a millisecond for it.
func quickly(status func(n int) int) func(int, *http.Request) (int, http.Header, error) {
	return func(n int, _ *http.Request) (int, http.Header, error) {
		<-time.After(time.Millisecond)
		return status(n), nil, nil
	}
}

func always(code int) func(int) int { return func(int) int { return code } }

// A dead endpoint with a backlog is tried at most a hundred times a second, and
// hardly ever claimed for; once it is well, it has all of it within seconds.
func TestDeadEndpointIsProbed(t *testing.T) {
	var claims atomic.Int64
	cfg := Config{Retry: RetryDelays{time.Minute}, Observer: Observer{Claimed: func(int, time.Duration, error) { claims.Add(1) }}}
	inBubble(t, cfg, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		wh := w.hook("dead.example.com", func(s *WebhookSpec) { s.MaxRetries = new(10) })
		w.publishMany(5000)
		w.start()
		w.pass(time.Second) // some go by until it is known
		before, claimsBefore := len(w.rx.at("dead.example.com")), claims.Load()
		w.pass(20 * time.Second)
		if n := len(w.rx.at("dead.example.com")) - before; n < 1900 || n > 2001 {
			t.Errorf("%d attempts in 20 s, want 2000", n)
		}
		if n := claims.Load() - claimsBefore; n > 120 {
			t.Errorf("%d claims in 20 s for 2000 attempts", n)
		}
		w.rx.on("dead.example.com", quickly(always(200)))
		due := 5000 - len(w.rx.at("dead.example.com"))
		w.pass(2 * time.Second)
		if n := len(w.deliveries(DeliveryQuery{WebhookID: wh.ID, State: StateSucceeded})); n < due {
			t.Errorf("%d have succeeded 2 s after it is well again, %d were due", n, due)
		}
	})
}

// What all dead endpoints cost together does not grow with their number, none is
// left out, and whoever is well again is seen within a second.
func TestDeadEndpointsShareTheirProbes(t *testing.T) {
	inBubble(t, Config{}, func(w *world) {
		const webhooks = 300
		host := func(i int) string { return fmt.Sprintf("dead%d.example.com", i) }
		for i := range webhooks {
			w.rx.on(host(i), quickly(always(503)))
			w.hook(host(i), func(s *WebhookSpec) { s.MaxRetries = new(10) })
		}
		w.publishMany(60)
		w.start()
		w.pass(10 * time.Second)
		before := w.rx.received()
		seen := make([]int, webhooks)
		for i := range seen {
			seen[i] = len(w.rx.at(host(i)))
		}
		w.pass(10 * time.Second)
		if n := w.rx.received() - before; n < 2000 || n > 4300 {
			t.Errorf("%d attempts in 10 s, want not much less than 4000", n)
		}
		for i := range seen {
			if n := len(w.rx.at(host(i))) - seen[i]; n < 5 {
				t.Errorf("webhook %d had %d attempts in 10 s, want about 13", i, n)
			}
		}
		w.rx.on(host(7), quickly(always(200)))
		before = len(w.rx.at(host(7)))
		w.pass(1500 * time.Millisecond)
		if n := len(w.rx.at(host(7))) - before; n < 30 {
			t.Errorf("%d deliveries 1.5 s after it is well again, want all that are due", n)
		}
	})
}

// A receiver that refuses much of what it gets is not taken for a dead one.
func TestPickyReceiverIsNotSlowedDown(t *testing.T) {
	for _, refused := range []int{1, 5, 9} { // of ten
		t.Run(fmt.Sprint(refused), func(t *testing.T) {
			inBubble(t, Config{}, func(w *world) {
				w.rx.on("picky.example.com", quickly(func(n int) int {
					if n%10 < refused {
						return 404
					}
					return 200
				}))
				w.hook("picky.example.com", func(s *WebhookSpec) { s.MaxRetries = new(0) })
				w.publishMany(5000)
				w.start()
				w.pass(6 * time.Second)
				if n := len(w.rx.at("picky.example.com")); n != 5000 {
					t.Errorf("%d of 5000 attempts within 6 s", n)
				}
			})
		})
	}
}

// Whoever mends a dead webhook, or gives it up, does not wait for its pace: its
// next attempt begins at once, and what is to be canceled is canceled as fast as
// the store allows.
func TestChangeOfADeadWebhookEndsItsPace(t *testing.T) {
	ctx := context.Background()
	inBubble(t, Config{}, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		var hooks []Webhook
		for range 200 { // so that the pace is slow
			hooks = append(hooks, w.hook("dead.example.com", func(s *WebhookSpec) { s.MaxRetries = new(10) }))
		}
		w.publishMany(400)
		w.start()
		w.pass(20 * time.Second)

		began := len(w.rx.at("well.example.com"))
		if _, err := w.UpdateWebhook(ctx, tenant, hooks[0].ID, hooks[0].Version, WebhookUpdate{URL: new("https://well.example.com/")}); err != nil {
			t.Fatal(err)
		}
		w.pass(50 * time.Millisecond)
		if n := len(w.rx.at("well.example.com")) - began; n < 10 {
			t.Errorf("%d deliveries 50 ms after the webhook was mended", n)
		}
		if _, err := w.DisableWebhook(ctx, tenant, hooks[1].ID, "given up"); err != nil {
			t.Fatal(err)
		}
		w.pass(20 * time.Second)
		if n := len(w.deliveries(DeliveryQuery{WebhookID: hooks[1].ID, State: StatePending})); n > 120 {
			t.Errorf("%d deliveries wait 20 s after their webhook was disabled", n)
		}
	})
}

// DeliverDue has to end, and so waits for nobody's pace.
func TestDeliverDueDoesNotWaitForTheDead(t *testing.T) {
	inBubble(t, Config{}, func(w *world) {
		w.rx.on("dead.example.com", quickly(always(500)))
		w.hook("dead.example.com", func(s *WebhookSpec) { s.MaxRetries = new(0) })
		w.publishMany(1000)
		began := time.Now()
		if _, err := w.DeliverDue(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n, took := len(w.rx.at("dead.example.com")), time.Since(began); n != 1000 || took > 2*time.Second {
			t.Errorf("%d attempts in %v", n, took)
		}
	})
}
