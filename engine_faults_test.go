package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/memstore"
)

// twistedStore changes the results of claims, as rows damaged behind the
// library's back would.
type twistedStore struct {
	webhook.Store
	twist func(*webhook.ClaimedDelivery)
}

func (s *twistedStore) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	res, err := s.Store.Claim(ctx, r)
	for i := range res.Deliveries {
		s.twist(&res.Deliveries[i])
	}
	return res, err
}

func TestD6_UnreadableDeliveryIsSetAside(t *testing.T) {
	var bad string
	twist := func(c *webhook.ClaimedDelivery) {
		if c.Delivery.ID == bad {
			c.Event, c.Err = nil, errors.New("row is damaged")
		}
	}
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store { return &twistedStore{m, twist} }, func(w *world) {
		wh := w.hook("h.example.com")
		for range 3 {
			w.publish()
		}
		ds := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID})
		bad = ds[1].ID
		w.start()
		w.pass(time.Second)
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			want, reason := webhook.StateSucceeded, webhook.Reason("")
			if d.ID == bad {
				want, reason = webhook.StateFailed, webhook.ReasonQuarantined
			}
			if d.State != want || d.Reason != reason {
				t.Errorf("delivery %s is %s (%s), want %s (%s)", d.ID, d.State, d.Reason, want, reason)
			}
		}
	})
}

// A URL that no request can be made of, and a header that would pass for one
// of the library's own: whatever got into the store past the check at save.
func TestH1_DamagedSettingsNeverReachTheWire(t *testing.T) {
	twist := func(c *webhook.ClaimedDelivery) {
		rec := *c.Webhook
		if rec.Name == "nourl.example.com" {
			rec.URL = "https://user:hunter2@[::1/x"
		}
		rec.Headers = map[string]string{
			"x-webhook-signature": "evil", "HOST": "evil", "webhook-ID": "evil", "transfer-encoding": "chunked", "X-Fine": "yes",
			"Idempotency-Key": "evil", "content-length": "7",
		}
		c.Webhook = &rec
	}
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store { return &twistedStore{m, twist} }, func(w *world) {
		bad := w.hook("nourl.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.hook("h.example.com")
		id := w.publish()
		w.start()
		w.pass(time.Second)
		d := w.wantState(bad.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
		if as := w.attemptsOf(d); len(as) != 1 || as[0].Class != webhook.ClassInternal || strings.Contains(as[0].Error, "hunter2") {
			t.Errorf("attempts at an impossible URL: %+v", as)
		}
		got := w.rx.at("h.example.com")
		if len(got) != 1 {
			t.Fatalf("%d requests", len(got))
		}
		h := got[0].header
		if h.Get("X-Fine") != "yes" || h.Get("webhook-id") != id {
			t.Errorf("header %v", h)
		}
		for name, values := range h {
			if name != http.CanonicalHeaderKey(name) || len(values) != 1 || values[0] == "evil" {
				t.Errorf("%s: %q reached the wire", name, values)
			}
		}
		if h.Get("Idempotency-Key") != "" || h.Get("Transfer-Encoding") != "" || h.Get("Content-Length") != "" {
			t.Errorf("framing or retry headers reached the request: %v", h)
		}
	})
}

// When the store stays away, Run ends all the same and says so. Deliveries with
// an unrecorded result are attempted again.
func TestD13_StopWithAStoreThatStaysAway(t *testing.T) {
	var faults *faultyStore
	inBubbleOver(t, webhook.Config{Lease: 30 * time.Second}, func(m *memstore.Store) webhook.Store { faults = &faultyStore{Store: m}; return faults }, func(w *world) {
		wh := w.hook("h.example.com")
		w.start()
		faults.set(func(op string) error {
			if op == "Claim" || op == "Publish" {
				return nil
			}
			return errors.New("down")
		})
		w.publish()
		w.pass(time.Second)
		w.stop()
		began := time.Now()
		err := <-w.ended
		w.stop = nil
		if err == nil || !strings.Contains(err.Error(), "could not be recorded") {
			t.Errorf("Run = %v, want that results could not be recorded", err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		faults.set(nil)
		w.start()
		w.pass(time.Minute)
		d := w.wantState(wh.ID, webhook.StateSucceeded, "")
		if d.Crashes != 0 || len(w.rx.at("h.example.com")) != 2 {
			t.Errorf("%d requests, delivery %+v; want one more attempt", len(w.rx.at("h.example.com")), d)
		}
	})
}

// A webhook that cannot be disabled at once is disabled by a later failure.
func TestDisablingIsTriedAgain(t *testing.T) {
	var s *noUpdates
	inBubbleOver(t, webhook.Config{Retry: noJitter, DisableAfter: time.Hour}, func(m *memstore.Store) webhook.Store { s = &noUpdates{Store: m, broken: true}; return s }, func(w *world) {
		w.rx.status("h.example.com", 500)
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.start()
		for range 8 {
			w.publish()
			w.pass(10 * time.Minute)
		}
		if now, _ := w.Webhook(t.Context(), tenant, wh.ID); !now.Active {
			t.Fatal("it was disabled through a store that refuses updates")
		}
		s.broken = false
		w.publish()
		w.pass(time.Minute)
		if now, _ := w.Webhook(t.Context(), tenant, wh.ID); now.Active {
			t.Error("it was not disabled by a later failure")
		}
	})
}

type noUpdates struct {
	webhook.Store
	broken bool
}

func (s *noUpdates) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	if s.broken {
		return errors.New("read-only")
	}
	return s.Store.UpdateWebhook(ctx, w)
}

// A store that panics in a method of management does not take the caller along.
func TestStorePanicsAreContainedEverywhere(t *testing.T) {
	d, err := webhook.New(panickyStore{}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	calls := map[string]func() error{
		"Webhook":       func() error { _, err := d.Webhook(ctx, tenant, "wh_1"); return err },
		"Webhooks":      func() error { _, err := d.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant}); return err },
		"DeleteWebhook": func() error { return d.DeleteWebhook(ctx, tenant, "wh_1") },
		"Deliveries":    func() error { _, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant}); return err },
		"Attempts":      func() error { _, err := d.Attempts(ctx, tenant, "d1"); return err },
		"Event":         func() error { _, err := d.Event(ctx, tenant, "e1"); return err },
		"HourlyStats":   func() error { _, err := d.HourlyStats(ctx, webhook.StatsQuery{Tenant: tenant}); return err },
		"Prune":         func() error { _, err := d.Prune(ctx); return err },
		"Publish": func() error {
			_, err := d.Publish(ctx, webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}})
			return err
		},
		"CreateWebhook": func() error {
			_, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "n", URL: "https://h.example.com/", Events: []string{"*"}})
			return err
		},
	}
	for name, f := range calls {
		if err := f(); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("%s = %v, want an error that says the store panicked", name, err)
		}
	}
}

// panickyStore panics in every method: its embedded interface is nil.
type panickyStore struct{ webhook.Store }

// DeliverDue ends when no delivery is due, not when there was no room to claim.
func TestDeliverDueLeavesNothing(t *testing.T) {
	for range 20 {
		d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Client: &http.Client{Transport: instant{}}, MaxInFlight: 8, MaxInFlightPerWebhook: 8})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		for range 2 {
			if _, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "n", URL: "https://h.example.com/", Events: []string{"*"}}); err != nil {
				t.Fatal(err)
			}
		}
		evs := make([]webhook.Event, 500)
		for i := range evs {
			evs[i] = webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{"i": i}}
		}
		if _, err := d.PublishAll(ctx, evs); err != nil {
			t.Fatal(err)
		}
		if n, err := d.DeliverDue(ctx); n != 1000 || err != nil {
			t.Fatalf("DeliverDue = %d, %v; want all 1000", n, err)
		}
	}
}

// A store that does not answer is one thing to report, not one for each attempt
// that had to do without it.
func TestAStoreThatStaysAwayFillsNoLog(t *testing.T) {
	var log bytes.Buffer
	var faults *faultyStore
	cfg := webhook.Config{MaxInFlightPerWebhook: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	inBubbleOver(t, cfg, func(m *memstore.Store) webhook.Store { faults = &faultyStore{Store: m}; return faults }, func(w *world) {
		const hosts, events = 50, 4
		for i := range hosts {
			host := fmt.Sprintf("h%d.example.com", i)
			w.hook(host)
			w.rx.on(host, func(int, *http.Request) (int, http.Header, error) {
				<-time.After(5 * time.Second) // longer than settings stay fresh
				return http.StatusOK, nil, nil
			})
		}
		for range events {
			w.publish()
		}
		faults.set(func(op string) error {
			if op == "GetWebhook" {
				return errors.New("away")
			}
			return nil
		})
		w.start()
		w.pass(time.Minute)
		for i := range hosts {
			if got := len(w.rx.at(fmt.Sprintf("h%d.example.com", i))); got != events {
				t.Errorf("webhook %d: %d of %d deliveries made with the settings at hand", i, got, events)
			}
		}
		lines := strings.Count(log.String(), "settings could not be read again")
		if lines < 1 || lines > 2 {
			t.Errorf("%d warnings of the same thing within %v, want one, and one more after %v", lines, events*5*time.Second, contain.MuteInterval)
		}
	})
}
