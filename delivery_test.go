package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/post"
)

func TestDeliveryOnTheWire(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh, secret := w.hookSecret("crm.example.com", func(s *webhook.WebhookSpec) {
			s.Name = "C<R>M & \u2028"
			s.Headers = map[string]string{"x-tenant": "blue"}
		})
		at := time.Date(2024, 1, 15, 12, 45, 0, 999_999_999, time.FixedZone("CET", 3600))
		ctx := context.Background()
		for _, ev := range []webhook.Event{
			{ID: "e1", Data: webhook.AgentAction{Agent: webhook.Ref{"a", "Ada"}, Room: "h4sh", Action: "WARP_EXECUTE", Content: `{"x":1}`}},
			{ID: "e2", Data: webhook.AgentMessage{Agent: webhook.Ref{"a", "Ada"}, Room: "h4sh", Content: "<b>hi</b>"}},
			{ID: "e3", Data: webhook.UserMessage{Agent: webhook.Ref{"a", "Ada"}, User: webhook.Ref{"u", "Bob"}, Room: webhook.Ref{"r", "Lobby"}, Content: "yo\n"}},
		} {
			ev.Tenant, ev.Time = tenant, at
			if _, err := w.Publish(ctx, ev); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		w.pass(time.Second)

		head := func(typ string) string {
			return `{"event":"` + typ + `","webhook":{"id":"` + wh.ID + `","name":"C<R>M & ` + "\u2028" + `"},"timestamp":"2024-01-15T11:45:00.999999Z","data":`
		}
		want := map[string]string{
			"e1": head("agent.action") + `{"agent":{"id":"a","name":"Ada"},"room":"h4sh","action":"WARP_EXECUTE","content":"{\"x\":1}"}}`,
			"e2": head("agent.message") + `{"agent":{"id":"a","name":"Ada"},"room":"h4sh","content":"<b>hi</b>"}}`,
			"e3": head("user.message") + `{"agent":{"id":"a","name":"Ada"},"user":{"id":"u","name":"Bob"},"room":{"id":"r","name":"Lobby"},"content":"yo\n"}}`,
		}
		got := w.rx.at("crm.example.com")
		if len(got) != 3 {
			t.Fatalf("received %d requests, want 3", len(got))
		}
		for _, r := range got {
			id := r.header.Get("webhook-id")
			if diff := cmp.Diff(want[id], r.body); diff != "" {
				t.Errorf("body of %s (-want +got):\n%s", id, diff)
			}
			mac := hmac.New(sha256.New, []byte(secret.Reveal()))
			mac.Write([]byte(r.body))
			plain := hex.EncodeToString(mac.Sum(nil))
			key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
			if err != nil {
				t.Fatal(err)
			}
			ts := strconv.FormatInt(r.at.Unix(), 10)
			mac = hmac.New(sha256.New, key)
			mac.Write([]byte(id + "." + ts + "." + r.body))
			wantHeader := http.Header{
				"Content-Type":        {"application/json"},
				"User-Agent":          {"seed68722ecd-webhook/" + webhook.Version},
				"X-Webhook-Signature": {plain},
				"Webhook-Id":          {id},
				"Webhook-Timestamp":   {ts},
				"Webhook-Signature":   {"v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))},
				"X-Webhook-Event":     {r.body[10:strings.Index(r.body, `","webhook"`)]},
				"X-Webhook-Attempt":   {"1"},
				"X-Tenant":            {"blue"},
			}
			if diff := cmp.Diff(wantHeader, r.header); diff != "" {
				t.Errorf("header of %s (-want +got):\n%s", id, diff)
			}
		}
		wh, err := w.Webhook(ctx, tenant, wh.ID)
		if err != nil || wh.LastTriggeredAt.IsZero() || wh.LastSuccessAt.IsZero() || !wh.FailingSince.IsZero() {
			t.Errorf("health after success: %+v, %v", wh, err)
		}
	})
}

// The schedule: 15 s, ×4, then failed; the same bytes and ID every time, a new
// signature time and attempt number.
func TestD10_RetriesExactly(t *testing.T) {
	for _, retries := range []int{0, 3, 10} {
		t.Run(strconv.Itoa(retries), func(t *testing.T) {
			inBubble(t, webhook.Config{Retry: noJitter, DisableAfter: -1}, func(w *world) {
				w.rx.status("down.example.com", 503)
				wh := w.hook("down.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(retries) })
				w.start()
				published := time.Now()
				w.publish()
				w.pass(72 * time.Hour)
				d := w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
				got := w.rx.at("down.example.com")
				if len(got) != retries+1 || d.Attempts != retries+1 || d.LastStatus != 503 || d.LastClass != webhook.ClassStatus {
					t.Fatalf("%d requests, delivery %+v; want %d attempts", len(got), d, retries+1)
				}
				due, gap := published, 15*time.Second
				for i, r := range got {
					if late := r.at.Sub(due); late < 0 || late > 10*time.Millisecond {
						t.Errorf("attempt %d came %v after it was due", i+1, late)
					}
					if r.body != got[0].body || r.header.Get("webhook-id") != got[0].header.Get("webhook-id") {
						t.Errorf("attempt %d differs in body or ID", i+1)
					}
					if n := r.header.Get("X-Webhook-Attempt"); n != strconv.Itoa(i+1) {
						t.Errorf("attempt %d says it is %s", i+1, n)
					}
					due = r.at.Add(gap)
					gap = min(4*gap, 6*time.Hour)
				}
				for i, a := range w.attemptsOf(d) {
					if a.Number != i+1 || a.Status != 503 || a.Succeeded() {
						t.Errorf("recorded attempt %d: %+v", i+1, a)
					}
				}
			})
		})
	}
}

func TestR10_RetryAfterWithinBounds(t *testing.T) {
	tests := []struct {
		status     int
		retryAfter string
		want       time.Duration
		asked      time.Duration // obeyed, and up to a fifth more
	}{
		{429, "120", 0, 2 * time.Minute},
		{503, "120", 0, 2 * time.Minute},
		{500, "120", 15 * time.Second, 0}, // only 429 and 503 may ask
		{429, "1", 15 * time.Second, 0},   // never sooner than the schedule
		{429, "99999999999", 0, 50 * time.Minute},
		{429, "9223372037", 0, 50 * time.Minute},
		{429, "-5", 15 * time.Second, 0},
		{429, "soon", 15 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(tt.status)+" "+tt.retryAfter, func(t *testing.T) {
			inBubble(t, webhook.Config{Retry: noJitter, MaxRetryAfter: time.Hour}, func(w *world) {
				w.rx.on("h.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
					if n == 1 {
						return tt.status, http.Header{"Retry-After": {tt.retryAfter}}, nil
					}
					return 204, nil, nil
				})
				w.hook("h.example.com")
				w.start()
				w.publish()
				w.pass(2 * time.Hour)
				got := w.rx.at("h.example.com")
				if len(got) != 2 {
					t.Fatalf("%d requests, want 2", len(got))
				}
				least, most := tt.want, tt.want
				if tt.asked > 0 {
					least, most = tt.asked, min(tt.asked*6/5, time.Hour)
				}
				if d := got[1].at.Sub(got[0].at).Round(time.Second); d < least || d > most {
					t.Errorf("retried after %v, want %v–%v", d, least, most)
				}
			})
		})
	}
}

func TestR11_GoneDisables(t *testing.T) {
	var disabled []webhook.Webhook
	inBubble(t, webhook.Config{Hooks: webhook.Hooks{Disabled: func(w webhook.Webhook) { disabled = append(disabled, w) }}}, func(w *world) {
		w.rx.status("gone.example.com", 410)
		wh := w.hook("gone.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonGone)
		wh, _ = w.Webhook(context.Background(), tenant, wh.ID)
		if wh.Active || !strings.Contains(wh.DisabledReason, "410") || wh.DisabledAt.IsZero() {
			t.Errorf("after 410: %+v", wh)
		}
		if len(disabled) != 1 || disabled[0].ID != wh.ID {
			t.Errorf("Disabled was called with %+v", disabled)
		}
		p, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}})
		if err != nil || p.Deliveries != 0 {
			t.Errorf("publish to a disabled webhook: %+v, %v", p, err)
		}
	})
}

func TestDisableAfterFailureWindow(t *testing.T) {
	var warned []time.Duration
	var disabledAt time.Time
	var start time.Time
	cfg := webhook.Config{Retry: noJitter, Hooks: webhook.Hooks{
		Failing: func(_ webhook.Webhook, since, _ time.Time) {
			warned = append(warned, time.Since(since).Round(time.Hour))
		},
		Disabled: func(webhook.Webhook) { disabledAt = time.Now() },
	}}
	inBubble(t, cfg, func(w *world) {
		w.rx.status("bad.example.com", 500)
		w.rx.on("flaky.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
			if n%20 == 0 {
				return 200, nil, nil
			}
			return 500, nil, nil
		})
		bad := w.hook("bad.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		flaky := w.hook("flaky.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		w.start()
		start = time.Now()
		for range 7 * 24 {
			w.publish()
			w.pass(time.Hour)
		}
		if diff := cmp.Diff([]time.Duration{30 * time.Hour, 60 * time.Hour, 90 * time.Hour, 108 * time.Hour}, warned); diff != "" {
			t.Errorf("warned at (-want +got):\n%s", diff)
		}
		if got := disabledAt.Sub(start).Round(time.Hour); got != 5*24*time.Hour {
			t.Errorf("disabled after %v, want 5 days", got)
		}
		ctx := context.Background()
		b, _ := w.Webhook(ctx, tenant, bad.ID)
		f, _ := w.Webhook(ctx, tenant, flaky.ID)
		if b.Active || !strings.Contains(b.DisabledReason, "failed for 120h") {
			t.Errorf("bad webhook: %+v", b)
		}
		if !f.Active {
			t.Errorf("a webhook that succeeded every 20 hours was disabled: %+v", f)
		}
		// Enabled again, it is not disabled by its past.
		if _, err := w.EnableWebhook(ctx, tenant, bad.ID); err != nil {
			t.Fatal(err)
		}
		w.publish()
		w.pass(time.Hour)
		if b, _ = w.Webhook(ctx, tenant, bad.ID); !b.Active {
			t.Error("disabled again by one failure after it was enabled")
		}
	})
}

// A webhook that gets few events is not disabled for a time without attempts: a
// silence counts for a quarter of the window at most, and a warning precedes.
func TestDisablingTakesFailuresSpreadOverTheWindow(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name     string
		every    time.Duration
		warned   []time.Duration // after the first failure; failures come once in every
		disabled time.Duration
	}{
		{"twice a day", 12 * time.Hour, []time.Duration{36 * time.Hour, 60 * time.Hour, 96 * time.Hour, 108 * time.Hour}, 5 * day},
		{"every six days", 6 * day, []time.Duration{6 * day, 12 * day, 18 * day}, 24 * day},
		{"every 40 hours", 40 * time.Hour, []time.Duration{40 * time.Hour, 80 * time.Hour, 120 * time.Hour}, 160 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var warned []time.Duration
			var disabled time.Duration
			var start, announced time.Time
			inBubble(t, webhook.Config{Hooks: webhook.Hooks{
				Failing: func(_ webhook.Webhook, _, at time.Time) {
					warned, announced = append(warned, time.Since(start).Round(time.Hour)), at
				},
				Disabled: func(webhook.Webhook) { disabled = time.Since(start).Round(time.Hour) },
			}}, func(w *world) {
				w.rx.status("bad.example.com", 500)
				w.hook("bad.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(2) })
				w.start()
				for start = time.Now(); disabled == 0 && time.Since(start) < 60*day; w.pass(tt.every) {
					w.publish()
					w.pass(2 * time.Minute)
				}
				if diff := cmp.Diff(tt.warned, warned); diff != "" {
					t.Errorf("warned at (-want +got):\n%s", diff)
				}
				if disabled != tt.disabled {
					t.Errorf("disabled after %v, want %v", disabled, tt.disabled)
				}
				if announced.After(start.Add(disabled + time.Hour)) {
					t.Errorf("disabled after %v, and %v was announced", disabled, announced.Sub(start))
				}
			})
		})
	}
}

func TestD11_NoAttemptBeginsAfterDisableOrDelete(t *testing.T) {
	ctx := context.Background()
	actions := map[string]struct {
		do     func(w *world, id string) error
		reason webhook.Reason
	}{
		"disable": {func(w *world, id string) error { _, err := w.DisableWebhook(ctx, tenant, id, "closed"); return err }, webhook.ReasonWebhookDisabled},
		"delete":  {func(w *world, id string) error { return w.DeleteWebhook(ctx, tenant, id) }, webhook.ReasonWebhookDeleted},
	}
	for name, act := range actions {
		t.Run(name, func(t *testing.T) {
			inBubble(t, webhook.Config{MaxInFlight: 4, MaxInFlightPerWebhook: 2}, func(w *world) {
				w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
					<-time.After(time.Second)
					return 200, nil, nil
				})
				wh := w.hook("h.example.com")
				for range 50 {
					w.publish()
				}
				w.start()
				w.pass(1500 * time.Millisecond)
				before := len(w.rx.at("h.example.com"))
				if err := act.do(w, wh.ID); err != nil {
					t.Fatal(err)
				}
				w.pass(time.Hour)
				if after := len(w.rx.at("h.example.com")); after != before {
					t.Errorf("%d attempts began after it returned", after-before)
				}
				states := map[webhook.State]int{}
				for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
					states[d.State]++
					if d.State == webhook.StateCanceled && d.Reason != act.reason {
						t.Errorf("canceled for %s, want %s", d.Reason, act.reason)
					}
				}
				if states[webhook.StateSucceeded] != before || states[webhook.StateCanceled] != 50-before {
					t.Errorf("states %v, want %d succeeded and the rest canceled", states, before)
				}
			})
		})
	}
}

func TestD12_EditBetweenAttempts(t *testing.T) {
	inBubble(t, webhook.Config{Retry: noJitter}, func(w *world) {
		w.rx.status("old.example.com", 500)
		wh := w.hook("old.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		up := webhook.WebhookUpdate{Name: new("renamed"), URL: new("https://new.example.com/x"), Headers: map[string]string{"X-Key": "k2"}}
		if _, err := w.UpdateWebhook(context.Background(), tenant, wh.ID, wh.Version, up); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		before, after := w.rx.at("old.example.com"), w.rx.at("new.example.com")
		if len(before) != 1 || len(after) != 1 {
			t.Fatalf("%d requests to the old URL, %d to the new; want 1 and 1", len(before), len(after))
		}
		if after[0].body != before[0].body {
			t.Errorf("body changed from %s to %s", before[0].body, after[0].body)
		}
		if after[0].header.Get("X-Key") != "k2" {
			t.Error("the new header was not sent")
		}
		w.wantState(wh.ID, webhook.StateSucceeded, "")
	})
}

func TestV6_RotationSignsWithBothForItsOverlap(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh, first := w.hookSecret("h.example.com")
		w.start()
		ctx := context.Background()
		_, second, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{})
		if err != nil {
			t.Fatal(err)
		}
		w.publish()
		w.pass(25 * time.Hour)
		w.publish()
		w.pass(time.Second)
		_, third, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Overlap: new(time.Duration(0))})
		if err != nil {
			t.Fatal(err)
		}
		w.publish()
		w.pass(time.Second)
		want := [][]webhook.Secret{{second, first}, {second}, {third}}
		for i, r := range w.rx.at("h.example.com") {
			m := webhook.Message{ID: r.header.Get("webhook-id"), Time: r.at, Body: []byte(r.body)}
			h := http.Header{}
			if err := webhook.DefaultSigner().Sign(h, m, want[i]); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"X-Webhook-Signature", "Webhook-Signature"} {
				if got := r.header.Values(name); len(got) != 1 || got[0] != h.Get(name) {
					t.Errorf("request %d: %s is %q, want %q", i, name, got, h.Get(name))
				}
			}
		}
	})
}

// The classes of attempts exist twice: internal/post knows no words of this package.
func TestClassesAreThoseOfAttempts(t *testing.T) {
	for class, of := range map[webhook.ErrorClass]post.Class{
		webhook.ClassDNS: post.ClassDNS, webhook.ClassConnect: post.ClassConnect, webhook.ClassTLS: post.ClassTLS, webhook.ClassTimeout: post.ClassTimeout, webhook.ClassBlocked: post.ClassBlocked,
		webhook.ClassStatus: post.ClassStatus, webhook.ClassProtocol: post.ClassProtocol, webhook.ClassInternal: post.ClassInternal, webhook.ClassUnsent: post.ClassUnsent,
	} {
		if string(class) != string(of) {
			t.Errorf("%q is %q in internal/post", class, of)
		}
	}
}
