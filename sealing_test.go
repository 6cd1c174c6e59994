package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// stored returns the store's record of a webhook, and its text with all fields.
func (w *world) stored(id string) (webhook.WebhookRecord, string) {
	w.t.Helper()
	rec, err := w.mem.GetWebhook(context.Background(), tenant, id)
	if err != nil {
		w.t.Fatal(err)
	}
	text := fmt.Sprintf("%+v", rec.Webhook)
	for _, s := range rec.Secrets {
		text += " " + s.Value
	}
	return rec, text
}

// restart puts another dispatcher over the same store in w's place.
func (w *world) restart(cfg webhook.Config) {
	w.t.Helper()
	w.end()
	cfg.Client, cfg.PollInterval = webhook.ConfigOf(w.Dispatcher).Client, webhook.ConfigOf(w.Dispatcher).PollInterval
	d, err := webhook.New(w.mem, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Dispatcher = d
}

func signedBy(r received, secret string) bool {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(r.body))
	return hex.EncodeToString(m.Sum(nil)) == r.header.Get("X-Webhook-Signature")
}

const (
	markerSecret = "markersecret-0123456789-0123456789"
	markerHeader = "Bearer markertoken"
)

// sealedHook creates a webhook with the marker secret and the marker header.
func (w *world) sealedHook(host string) webhook.Webhook {
	w.t.Helper()
	return w.hook(host, func(s *webhook.WebhookSpec) {
		s.Secret, s.Headers = markerSecret, map[string]string{"authorization": markerHeader, "X-Empty": ""}
	})
}

func TestP5_StoreNeverSeesSecretsOrHeaderValues(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))}, func(w *world) {
		ctx := context.Background()
		wh := w.sealedHook("h.example.com")
		if wh.Headers["Authorization"] != markerHeader || wh.Unreadable != "" {
			t.Errorf("created %+v", wh)
		}
		check := func(after string) {
			t.Helper()
			rec, text := w.stored(wh.ID)
			if strings.Contains(text, "marker") || !webhook.Sealed(rec.Secrets[0].Value) || !webhook.Sealed(rec.Headers["Authorization"]) || !webhook.Sealed(rec.Headers["X-Empty"]) {
				t.Errorf("after %s the store has %s", after, text)
			}
			got, err := w.Webhook(ctx, tenant, wh.ID)
			page, err2 := w.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant})
			if err != nil || err2 != nil || got.Headers["Authorization"] != markerHeader || page.Items[0].Headers["Authorization"] != markerHeader {
				t.Errorf("after %s: %+v, %v; %+v, %v", after, got, err, page, err2)
			}
		}
		check("creation")
		w.start()
		w.publish()
		w.pass(time.Second)
		got := w.rx.at("h.example.com")
		if len(got) != 1 || got[0].header.Get("Authorization") != markerHeader || !signedBy(got[0], markerSecret) {
			t.Fatalf("sent %+v", got)
		}
		if v := got[0].header["X-Empty"]; len(v) != 1 || v[0] != "" {
			t.Errorf("an empty header is sent as %q", v)
		}
		upd, err := w.UpdateWebhook(ctx, tenant, wh.ID, 1, webhook.WebhookUpdate{Name: new("new name")})
		if err != nil || upd.Headers["Authorization"] != markerHeader {
			t.Fatalf("%+v, %v", upd, err)
		}
		check("a change of the name")
		if _, err = w.UpdateWebhook(ctx, tenant, wh.ID, 2, webhook.WebhookUpdate{Headers: map[string]string{"Authorization": markerHeader, "X-Empty": "marker"}}); err != nil {
			t.Fatal(err)
		}
		check("a change of headers")
		if _, secret, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Secret: "markersecret-the-second-one"}); err != nil || secret.Reveal() != "markersecret-the-second-one" {
			t.Fatal(err)
		}
		check("a rotation")
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, ""); err != nil {
			t.Fatal(err)
		}
		if again, err := w.EnableWebhook(ctx, tenant, wh.ID); err != nil || again.Headers["X-Empty"] != "marker" {
			t.Fatal(again, err)
		}
		check("disabling and enabling")
		w.publish()
		w.pass(time.Second)
		got = w.rx.at("h.example.com")
		if len(got) != 2 || !signedBy(got[1], "markersecret-the-second-one") || got[1].header.Get("X-Empty") != "marker" || strings.Count(got[1].header.Get("Webhook-Signature"), "v1,") != 2 {
			t.Fatalf("sent %+v", got[len(got)-1])
		}
		// Importing the current secret again does not make it sign twice.
		if _, _, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Secret: "markersecret-the-second-one"}); err != nil {
			t.Fatal(err)
		}
		if rec, _ := w.stored(wh.ID); len(rec.Secrets) != 2 {
			t.Errorf("%d secrets, want 2", len(rec.Secrets))
		}
	})
}

func TestP5_RowSwapIsRefused(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))}, func(w *world) {
		mine, theirs := w.sealedHook("mine.example.com"), w.sealedHook("theirs.example.com")
		from, _ := w.stored(theirs.ID)
		to, _ := w.stored(mine.ID)
		to.Secrets = from.Secrets
		if err := w.mem.UpdateWebhook(context.Background(), to); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.publish()
		w.pass(time.Minute)
		if n := len(w.rx.at("mine.example.com")); n != 0 {
			t.Errorf("%d requests signed with another webhook's secret", n)
		}
		if n := len(w.rx.at("theirs.example.com")); n != 1 {
			t.Errorf("%d requests to the webhook beside it, want 1", n)
		}
		got, err := w.Webhook(context.Background(), tenant, mine.ID)
		if err != nil || !strings.Contains(got.Unreadable, "belongs to another webhook") {
			t.Errorf("unreadable: %q, %v", got.Unreadable, err)
		}
	})
}

// With a wrong key, no key, or a damaged value, deliveries wait: they are not sent
// unsigned, use up no attempt and do not end. Once readable they are delivered.
func TestP5_UnreadableDeliveriesWait(t *testing.T) {
	key := webhook.NewTestKey("k1", 1)
	for name, keys := range map[string]*webhook.Keyring{
		"wrong key":   webhook.MustKeyring(t, webhook.NewTestKey("k1", 2)),
		"key removed": webhook.MustKeyring(t, webhook.NewTestKey("k2", 1)),
		"no keyring":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, key)}, func(w *world) {
				wh := w.hook("sealed.example.com", func(s *webhook.WebhookSpec) { s.Secret, s.MaxRetries = markerSecret, new(0) })
				w.restart(webhook.Config{Keys: keys, QuarantineAfter: 1, DisableAfter: time.Hour, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
				w.hook("well.example.com")
				w.start()
				for range 100 {
					w.publish()
				}
				w.pass(50 * time.Second)
				if s := w.Stats(); s.Unreadable != 1 || s.InFlight != 0 {
					t.Errorf("stats %+v", s)
				}
				w.pass(8 * time.Hour)
				if n := len(w.rx.at("well.example.com")); n != 100 {
					t.Errorf("%d requests to a webhook that can be read, want 100", n)
				}
				if n := len(w.rx.at("sealed.example.com")); n != 0 {
					t.Fatalf("%d requests were sent", n)
				}
				for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
					if d.State != webhook.StatePending || d.Attempts+d.Tries+d.Crashes != 0 {
						t.Fatalf("a delivery that waits: %+v", d)
					}
				}
				got, err := w.Webhook(context.Background(), tenant, wh.ID)
				if err != nil || !got.Active || !got.FailingSince.IsZero() || !strings.Contains(got.Unreadable, `key "k1"`) {
					t.Errorf("webhook %+v, %v", got, err)
				}
				// About one look in half a minute, however much waits.
				if lines := strings.Count(logged.String(), "level=ERROR"); lines < 900 || lines > 1000 || !strings.Contains(logged.String(), `key \\\"k1\\\"`) && !strings.Contains(logged.String(), `key \"k1\"`) {
					t.Errorf("%d errors logged: %.300s", lines, logged.String())
				}
				w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k2", 9), key)})
				w.start()
				w.pass(time.Minute)
				for _, r := range w.rx.at("sealed.example.com") {
					if !signedBy(r, markerSecret) {
						t.Fatal("signed with something else")
					}
				}
				if n := len(w.rx.at("sealed.example.com")); n != 100 {
					t.Errorf("%d requests once the key was back, want 100", n)
				}
			})
		})
	}
}

// A header that cannot be read holds a webhook back as a secret does.
func TestP5_UnreadableHeaderCanBeReplaced(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))}, func(w *world) {
		ctx := context.Background()
		wh := w.sealedHook("h.example.com")
		rec, _ := w.stored(wh.ID)
		rec.Headers["Authorization"] += "x"
		if err := w.mem.UpdateWebhook(ctx, rec); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.publish()
		w.pass(time.Second)
		got, err := w.Webhook(ctx, tenant, wh.ID)
		page, err2 := w.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant})
		if err != nil || err2 != nil || got.Headers != nil || !strings.Contains(got.Unreadable, `header "Authorization"`) || page.Items[0].Unreadable != got.Unreadable {
			t.Fatalf("%+v, %v; %+v, %v", got, err, page, err2)
		}
		// Changing something else leaves them as they are.
		if got, err = w.UpdateWebhook(ctx, tenant, wh.ID, 2, webhook.WebhookUpdate{Name: new("n2")}); err != nil || got.Unreadable == "" {
			t.Fatalf("%+v, %v", got, err)
		}
		if now, _ := w.stored(wh.ID); now.Headers["Authorization"] != rec.Headers["Authorization"] || !webhook.Sealed(now.Headers["X-Empty"]) {
			t.Errorf("stored headers became %v", now.Headers)
		}
		if len(w.rx.at("h.example.com")) != 0 {
			t.Fatal("something was sent")
		}
		if got, err = w.UpdateWebhook(ctx, tenant, wh.ID, 3, webhook.WebhookUpdate{Headers: map[string]string{"Authorization": "again"}}); err != nil || got.Unreadable != "" {
			t.Fatalf("%+v, %v", got, err)
		}
		w.pass(webhook.UnreadableWait)
		if r := w.rx.at("h.example.com"); len(r) != 1 || r[0].header.Get("Authorization") != "again" {
			t.Errorf("sent %+v", r)
		}
	})
}

func TestP5_UnreadableSecretCanBeReplaced(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.Secret = markerSecret })
		w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k2", 2))})
		w.start()
		w.publish()
		w.pass(time.Second)
		_, _, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{})
		wantErr(t, err, webhook.ErrUnreadable, "Overlap of 0")
		got, secret, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Overlap: new(time.Duration(0))})
		if err != nil || got.Unreadable != "" {
			t.Fatalf("%+v, %v", got, err)
		}
		w.pass(webhook.UnreadableWait)
		if r := w.rx.at("h.example.com"); len(r) != 1 || !signedBy(r[0], secret.Reveal()) {
			t.Errorf("sent %+v", r)
		}
	})
}

// An old secret that cannot be read holds a webhook back for as long as it
// signs: receivers that have not changed over would refuse its deliveries.
func TestP5_UnreadableOldSecret(t *testing.T) {
	both := webhook.MustKeyring(t, webhook.NewTestKey("k2", 2), webhook.NewTestKey("k1", 1))
	inBubble(t, webhook.Config{Keys: both}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.Secret = markerSecret })
		_, secret, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Overlap: new(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		rec, _ := w.stored(wh.ID)
		rec.Secrets[1].Value = webhook.MustKeyring(t, webhook.NewTestKey("k1", 1)).SealSecret(&rec.Webhook, markerSecret)
		if err := w.mem.UpdateWebhook(ctx, rec); err != nil {
			t.Fatal(err)
		}
		w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k2", 2))})
		w.start()
		w.publish()
		w.pass(59 * time.Minute)
		if n := len(w.rx.at("h.example.com")); n != 0 {
			t.Fatalf("%d requests without the old secret's signature", n)
		}
		w.pass(2 * time.Minute)
		if r := w.rx.at("h.example.com"); len(r) != 1 || !signedBy(r[0], secret.Reveal()) {
			t.Errorf("sent %d requests once it had expired", len(r))
		}
	})
}

// DeliverDue ends although something waits that cannot be read.
func TestP5_DeliverDueEnds(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))}, func(w *world) {
		wh := w.sealedHook("h.example.com")
		w.restart(webhook.Config{})
		w.hook("well.example.com")
		for range 200 {
			w.publish()
		}
		began := time.Now()
		if n, err := w.DeliverDue(context.Background()); n != 200 || err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("%d attempts in %v, %v", n, time.Since(began), err)
		}
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StatePending})); n != 200 {
			t.Errorf("%d wait, want 200", n)
		}
	})
}

func TestP5_GoneDisablesWhatCannotBeReadInPart(t *testing.T) {
	var told []webhook.Webhook
	key := webhook.MustKeyring(t, webhook.NewTestKey("k1", 1))
	inBubble(t, webhook.Config{Keys: key, Hooks: webhook.Hooks{Disabled: func(w webhook.Webhook) { told = append(told, w) }}}, func(w *world) {
		wh := w.sealedHook("h.example.com")
		w.rx.status("h.example.com", 410)
		w.start()
		w.publish()
		w.pass(time.Second)
		if len(told) != 1 || told[0].Headers["Authorization"] != markerHeader {
			t.Errorf("the hook was told %+v", told)
		}
		if rec, text := w.stored(wh.ID); rec.Active || strings.Contains(text, "marker") {
			t.Errorf("stored %s", text)
		}
	})
}

// No value that may be stored plain looks like an encrypted one.
func TestP5_PlainIsNeverTakenForEncrypted(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	spec := goodSpec()
	spec.Secret = webhook.SealedMark + "k:" + strings.Repeat("A", 40)
	_, _, err := d.CreateWebhook(t.Context(), tenant, spec)
	if got := refusals(t, err); len(got) != 1 || got["secret"] == "" {
		t.Errorf("a secret like an encrypted one: %v", err)
	}
	spec = goodSpec()
	spec.Headers = map[string]string{"X-A": webhook.SealedMark + "k:AAAA"}
	_, _, err = d.CreateWebhook(t.Context(), tenant, spec)
	if got := refusals(t, err); len(got) != 1 || got["headers"] == "" {
		t.Errorf("a header like an encrypted one: %v", err)
	}
}
