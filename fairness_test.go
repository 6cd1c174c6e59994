package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// A tenant with any number of webhooks that hang holds up no other tenant:
// a webhook known to do well is served, and a new webhook too.
func TestD9_TenantOfTarpitsHoldsUpNobodyElse(t *testing.T) {
	for _, n := range []int{100, 600, 2000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inBubble(t, webhook.Config{DrainTimeout: -1, PollInterval: 200 * time.Millisecond}, func(w *world) {
				ctx := context.Background()
				create := func(tenant, url string) {
					t.Helper()
					if _, _, err := w.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "x", URL: url, Events: []string{"*"}, Timeout: new(webhook.MaxTimeout)}); err != nil {
						t.Fatal(err)
					}
				}
				publish := func(tenant string) {
					t.Helper()
					if _, err := w.Publish(ctx, webhook.Event{Tenant: tenant, Type: "a", Data: map[string]int{}}); err != nil {
						t.Fatal(err)
					}
				}
				w.rx.hang("tarpit.example.com")
				create("known", "https://known.example.com/")
				for i := range n {
					create("evil", fmt.Sprintf("https://tarpit.example.com/%d", i))
				}
				w.start()
				publish("known")
				w.pass(time.Second)
				publish("evil")
				w.pass(10 * time.Second)
				create("new", "https://new.example.com/")
				publish("known")
				publish("new")
				w.pass(2 * time.Second)
				if known, fresh := len(w.rx.at("known.example.com")), len(w.rx.at("new.example.com")); known != 2 || fresh != 1 {
					t.Errorf("after 2 s the known webhook had %d of 2, the new one %d of 1", known, fresh)
				}
				if s := w.Stats(); s.InFlight > 512 {
					t.Errorf("%d attempts in flight", s.InFlight)
				}
			})
		})
	}
}

// A delivery that merely was in flight when its process died is not held up for
// long as a suspect, even behind receivers that hang.
func TestD5_SuspectsAreTriedSoon(t *testing.T) {
	inBubble(t, webhook.Config{Lease: time.Second, DrainTimeout: -1}, func(w *world) {
		w.rx.hang("hang.example.com")
		for range 20 {
			w.hook("hang.example.com", func(s *webhook.WebhookSpec) { s.Timeout = new(webhook.MaxTimeout) })
		}
		for i := range 100 {
			w.hook(fmt.Sprintf("h%d.example.com", i))
		}
		w.publish()
		for i := range 3 { // three processes claim everything and die
			res, err := w.mem.Claim(t.Context(), webhook.ClaimRequest{Token: int64(i + 1), Now: time.Now().UTC(), Lease: time.Second, Limit: 500, PerWebhook: 10})
			if err != nil || len(res.Deliveries) != 120 {
				t.Fatalf("%d deliveries, %v", len(res.Deliveries), err)
			}
			w.pass(2 * time.Second)
		}
		w.start()
		w.pass(20 * time.Second)
		missing := 0
		for i := range 100 {
			if len(w.rx.at(fmt.Sprintf("h%d.example.com", i))) != 1 {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of 100 were not delivered within 20 s", missing)
		}
	})
}

// The lanes of webhooks without work are forgotten, also while there is always a
// little work.
func TestLanesAreForgotten(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		for i := range 600 {
			w.hook(fmt.Sprintf("h%d.example.com", i), func(s *webhook.WebhookSpec) { s.Events = []string{fmt.Sprintf("t%d", i)} })
		}
		w.start()
		for i := range 600 {
			if _, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Type: fmt.Sprintf("t%d", i), Data: map[string]int{}}); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
		}
		lanes, active := webhook.LanesOf(w.Dispatcher)
		if lanes > 120 || active > 5 {
			t.Errorf("%d lanes are remembered, %d looked at by every claim", lanes, active)
		}
	})
}

// Settings that the host no longer allows end the attempts of stored webhooks too.
func TestS22_TightenedRulesHoldForStoredWebhooks(t *testing.T) {
	inBubble(t, webhook.Config{AllowHTTP: true}, func(w *world) {
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.URL = "http://h.example.com/"; s.MaxRetries = new(0) })
		id := w.publish()
		strict, err := webhook.New(w.mem, webhook.Config{Client: &http.Client{Transport: w.rx}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := strict.DeliverDue(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.rx.at("h.example.com")); n != 0 {
			t.Errorf("%d requests over plain http, of event %s", n, id)
		}
		as := w.attemptsOf(w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted))
		if len(as) != 1 || as[0].Class != webhook.ClassInternal || !strings.Contains(as[0].Error, "https") {
			t.Errorf("attempts %+v", as)
		}
	})
}

// A 410 of an old URL, changed during the attempt, does not disable the new URL.
func TestR11_GoneOfAnOldURLDisablesNothing(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		w.rx.on("old.example.com", func(int, *http.Request) (int, http.Header, error) {
			<-time.After(10 * time.Second)
			return 410, nil, nil
		})
		wh := w.hook("old.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		if _, err := w.UpdateWebhook(context.Background(), tenant, wh.ID, wh.Version, webhook.WebhookUpdate{URL: new("https://new.example.com/")}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if now, err := w.Webhook(context.Background(), tenant, wh.ID); err != nil || !now.Active {
			t.Errorf("the webhook at its new URL: %+v, %v", now, err)
		}
	})
}

func TestNothingIsSentUnsigned(t *testing.T) {
	inBubble(t, webhook.Config{Signer: webhook.Signers()}, func(w *world) {
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.start()
		w.publish()
		w.pass(time.Second)
		w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
		if n := len(w.rx.at("h.example.com")); n != 0 {
			t.Errorf("%d requests were sent without a signature", n)
		}
	})
}

// Jitter does not pile delays up at the maximum.
func TestD10_JitterAtTheMaximum(t *testing.T) {
	counts := map[time.Duration]int{}
	for range 10_000 {
		d := webhook.ExponentialRetry{}.Delay(9)
		if d > webhook.DefaultRetryMax || d < time.Duration(0.6*float64(webhook.DefaultRetryMax))-time.Second {
			t.Fatalf("delay %v", d)
		}
		counts[d.Truncate(time.Second)]++
	}
	for d, n := range counts {
		if n > 100 {
			t.Errorf("%d of 10000 delays are %v", n, d)
		}
	}
}

func TestDeliverDueEndsWithAStoreThatFails(t *testing.T) {
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store {
		return &faultyStore{Store: m, fault: func(op string) error {
			if op == "Claim" {
				return context.DeadlineExceeded
			}
			return nil
		}}
	}, func(w *world) {
		_, err := w.DeliverDue(context.Background())
		wantErr(t, err, context.DeadlineExceeded)
	})
}
