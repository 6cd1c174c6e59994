package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// widest counts the webhooks that the claims of a dispatcher name.
type widest struct {
	webhook.Store
	named, claims atomic.Int64 // most webhooks named in one claim, claims
}

func (s *widest) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	s.claims.Add(1)
	for n := int64(len(req.Limits)); ; {
		most := s.named.Load()
		if n <= most || s.named.CompareAndSwap(most, n) {
			break
		}
	}
	return s.Store.Claim(ctx, req)
}

// One event to very many webhooks of one tenant, or a backlog at each of them,
// delays another tenant's single events by no more than the attempts in hand,
// whatever the webhooks answer, and no claim names more webhooks than the
// dispatcher holds deliveries of.
func TestD9_OneEventToManyWebhooksOfOneTenant(t *testing.T) {
	t.Parallel()
	many := 20_000
	if small() {
		many = 5_000
	}
	for _, c := range []struct {
		what   string
		events int
		answer func(n int, r *http.Request) (int, http.Header, error)
		change func(*webhook.WebhookSpec)
	}{
		{what: "quick", events: 1, answer: quickly(always(200))},
		{what: "quick with a backlog", events: 5, answer: quickly(always(200))},
		{what: "taking 200 ms", events: 2, answer: slowly(200 * time.Millisecond)},
		{what: "failing", events: 3, answer: quickly(always(500))},
		{what: "hanging", events: 2, answer: slowly(time.Hour)},
		{what: "with a rate limit", events: 3, answer: quickly(always(200)), change: func(s *webhook.WebhookSpec) { s.RateLimit = 0.2 }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var claims *widest
			inBubbleOver(t, webhook.Config{DrainTimeout: -1}, func(m *memstore.Store) webhook.Store { claims = &widest{Store: m}; return claims }, func(w *world) {
				w.rx.on("wide.example.com", c.answer)
				for range many {
					w.one("wide", "wide.example.com", func(s *webhook.WebhookSpec) {
						s.Timeout = new(10 * time.Second)
						if c.change != nil {
							c.change(s)
						}
					})
				}
				w.one("quiet", "quiet.example.com")
				w.start()
				w.send("wide", c.events)
				const singles = 60
				begun, before := make([]time.Time, singles), make([]int, singles)
				for i := range begun {
					begun[i], before[i] = time.Now(), w.rx.received()
					w.send("quiet", 1)
					w.pass(17 * time.Millisecond)
				}
				w.pass(time.Second)
				w.rx.mu.Lock()
				defer w.rx.mu.Unlock()
				var late []time.Duration
				passed := 0 // attempts at the others' webhooks between publishing and receiving one
				for i, r := range w.rx.got {
					if r.host != "quiet.example.com" || len(late) == singles {
						continue
					}
					n := len(late)
					passed = max(passed, i-before[n])
					late = append(late, r.at.Sub(begun[n]))
				}
				if len(late) != singles {
					t.Errorf("%d of %d arrived", len(late), singles)
					return
				}
				slices.Sort(late)
				t.Logf("behind %d attempts of the other tenant at most; median %v, most %v; %d claims named %d webhooks at most",
					passed, late[len(late)/2], late[len(late)-1], claims.claims.Load(), claims.named.Load())
				if passed > 2*webhook.ConfigOf(w.Dispatcher).MaxInFlight {
					t.Errorf("an event waited for %d attempts of another tenant, more than twice what may be in flight", passed)
				}
				if most := late[len(late)-1]; most > 50*time.Millisecond {
					t.Errorf("an event of the other tenant waited for %v", most)
				}
				if n := claims.named.Load(); n > int64(webhook.ConfigOf(w.Dispatcher).MaxClaimed) {
					t.Errorf("a claim named %d webhooks", n)
				}
				if w.rx.total == 0 && c.what == "quick" {
					return
				}
			})
		})
	}
}

// slowly answers 200 after a while.
func slowly(d time.Duration) func(int, *http.Request) (int, http.Header, error) {
	return func(_ int, r *http.Request) (int, http.Header, error) {
		select {
		case <-time.After(d):
			return 200, nil, nil
		case <-r.Context().Done():
			return 0, nil, context.Cause(r.Context())
		}
	}
}

// Tenants that wait for slots take turns, however many webhooks each has.
func TestTenantsTakeTurnsForSlots(t *testing.T) {
	inBubble(t, webhook.Config{MaxInFlight: 8, DrainTimeout: -1}, func(w *world) {
		w.rx.on("wide.example.com", slowly(100*time.Millisecond))
		for range 30 {
			w.one("wide", "wide.example.com")
		}
		for i := range 3 {
			host := fmt.Sprintf("small%d.example.com", i)
			w.rx.on(host, slowly(100*time.Millisecond))
			w.one(fmt.Sprint("small", i), host)
		}
		w.start()
		w.send("wide", 20)
		w.pass(time.Second)
		for i := range 3 {
			w.send(fmt.Sprint("small", i), 10)
		}
		before := len(w.rx.at("wide.example.com"))
		w.pass(2 * time.Second)
		wide := len(w.rx.at("wide.example.com")) - before
		for i := range 3 {
			if n := len(w.rx.at(fmt.Sprintf("small%d.example.com", i))); n != 10 {
				t.Errorf("tenant %d had %d of 10 attempts while the one with 30 webhooks had %d", i, n, wide)
			}
		}
	})
}
