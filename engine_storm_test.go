package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// The whole engine in a storm: receivers that hang, fail, are slow, flap and
// recover, webhooks that are disabled, limited and deleted, a pool that is too
// small. There is no polling. When all are well again, every delivery has been decided,
// the bounds have held all the time, and no delivery was sent more often than allowed.
func TestEngineInAStorm(t *testing.T) {
	t.Parallel()
	seeds := 12
	if testing.Short() {
		seeds = 4
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 2))) })
	}
}

func storm(t *testing.T, r *rand.Rand) {
	ctx := context.Background()
	most := 4 + r.IntN(40)
	cfg := webhook.Config{
		MaxInFlight: most, MaxInFlightPerWebhook: 1 + r.IntN(most), MaxClaimed: most * (1 + r.IntN(4)),
		DisableAfter: -1, Retry: webhook.RetryDelays{time.Second, 5 * time.Second},
	}
	inBubble(t, cfg, func(w *world) {
		var mu sync.Mutex
		moods := map[string]int{}
		mood := func(host string) int {
			mu.Lock()
			defer mu.Unlock()
			return moods[host]
		}
		hosts := make([]string, 5+r.IntN(40))
		hooks := make([]webhook.Webhook, len(hosts))
		for i := range hosts {
			host := fmt.Sprintf("h%d.example.com", i)
			hosts[i] = host
			w.rx.on(host, func(n int, req *http.Request) (int, http.Header, error) {
				wait, status := time.Millisecond, 200
				switch m := mood(host); {
				case m == 1:
					<-req.Context().Done()
					return 0, nil, context.Cause(req.Context())
				case m == 2:
					status = 500
				case m == 3:
					wait = 4 * time.Second
				case m == 4 && n%2 == 0:
					status = 503
				}
				select {
				case <-req.Context().Done():
					return 0, nil, context.Cause(req.Context())
				case <-time.After(wait):
				}
				return status, nil, nil
			})
			hooks[i] = w.hook(host, func(s *webhook.WebhookSpec) {
				s.Timeout, s.MaxRetries = new(10*time.Second), new(1)
				if r.IntN(4) == 0 {
					s.RateLimit = []float64{2, 20, 1000}[r.IntN(3)]
				}
			})
		}
		w.start()
		for range 60 {
			mu.Lock()
			moods[hosts[r.IntN(len(hosts))]] = r.IntN(5)
			mu.Unlock()
			for range r.IntN(4) {
				w.publish()
			}
			if i := r.IntN(len(hooks) * 4); i < len(hooks) {
				var err error
				if now, e := w.Webhook(ctx, tenant, hooks[i].ID); e == nil && now.Active {
					_, err = w.DisableWebhook(ctx, tenant, hooks[i].ID, "")
				} else {
					_, err = w.EnableWebhook(ctx, tenant, hooks[i].ID)
				}
				if err != nil {
					t.Error(err)
				}
			}
			w.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
			if err := webhook.CheckScheduler(w.Dispatcher); err != nil {
				t.Error(err)
			}
			if s := w.Stats(); s.InFlight > cfg.MaxInFlight || s.Claimed > cfg.MaxClaimed {
				t.Errorf("%+v, of at most %d and %d", s, cfg.MaxInFlight, cfg.MaxClaimed)
			}
		}
		mu.Lock()
		clear(moods)
		mu.Unlock()
		w.pass(2 * time.Minute)
		if left := w.deliveries(webhook.DeliveryQuery{State: webhook.StatePending}); len(left) > 0 {
			t.Errorf("%d deliveries are pending after 2 minutes in which all was well, such as %+v", len(left), left[0])
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{}) {
			if d.Attempts > 2 || d.Crashes > 0 {
				t.Errorf("%d attempts, %d crashes: %+v", d.Attempts, d.Crashes, d)
			}
		}
		if err := webhook.CheckScheduler(w.Dispatcher); err != nil {
			t.Error(err)
		}
		w.rx.mu.Lock()
		defer w.rx.mu.Unlock()
		for host, n := range w.rx.peak {
			if n > cfg.MaxInFlightPerWebhook {
				t.Errorf("%s had %d attempts in flight, at most %d are allowed", host, n, cfg.MaxInFlightPerWebhook)
			}
		}
	})
}
