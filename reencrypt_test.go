package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// reencrypt runs a whole re-encryption in small steps.
func (w *world) reencrypt(req webhook.ReencryptRequest) (total webhook.ReencryptResult) {
	w.t.Helper()
	for {
		res, err := w.ReencryptSecrets(context.Background(), req)
		if err != nil {
			w.t.Fatal(err)
		}
		total.Webhooks += res.Webhooks
		total.Changed += res.Changed
		total.Unreadable = append(total.Unreadable, res.Unreadable...)
		if res.Next == "" {
			return total
		}
		req.Cursor = res.Next
	}
}

// everyTenant returns the tenants that reencryption tests put webhooks in.
func everyTenant(n int) string { return fmt.Sprintf("tenant-%d", n%3) }

func TestP5_ReencryptFromPlainAndFromAnOldKey(t *testing.T) {
	for name, old := range map[string]*webhook.Keyring{"plain": nil, "old key": webhook.MustKeyring(t, webhook.NewTestKey("old", 1))} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, webhook.Config{Keys: old}, func(w *world) {
				ctx := context.Background()
				var all []webhook.Webhook
				for i := range 25 {
					wh, _, err := w.CreateWebhook(ctx, everyTenant(i), webhook.WebhookSpec{
						Name: "n", URL: fmt.Sprintf("https://h%d.example.com/", i), Events: []string{"*"}, Secret: markerSecret,
						Headers: map[string]string{"X-Token": markerHeader},
					})
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, wh)
				}
				w.pass(time.Hour)
				w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("new", 2), webhook.NewTestKey("old", 1))})
				// Old values can be read before they are re-encrypted.
				if got, err := w.Webhook(ctx, all[0].Tenant, all[0].ID); err != nil || got.Headers["X-Token"] != markerHeader || got.Unreadable != "" {
					t.Fatalf("%+v, %v", got, err)
				}
				if res := w.reencrypt(webhook.ReencryptRequest{Tenant: everyTenant(1), Limit: 3}); res.Webhooks != 8 || res.Changed != 8 {
					t.Errorf("one tenant: %+v", res)
				}
				if res := w.reencrypt(webhook.ReencryptRequest{Limit: 7}); res.Webhooks != 25 || res.Changed != 17 || res.Unreadable != nil {
					t.Errorf("all: %+v", res)
				}
				if res := w.reencrypt(webhook.ReencryptRequest{}); res.Webhooks != 25 || res.Changed != 0 {
					t.Errorf("again: %+v", res)
				}
				w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("new", 2))}) // the old key is gone
				w.start()
				for i, wh := range all {
					rec, err := w.mem.GetWebhook(ctx, wh.Tenant, wh.ID)
					if err != nil || rec.Version != 2 || !rec.UpdatedAt.Equal(wh.UpdatedAt) || webhook.SealedBy(rec.Secrets[0].Value) != "new" || webhook.SealedBy(rec.Headers["X-Token"]) != "new" {
						t.Fatalf("stored %+v, %v", rec, err)
					}
					if i < 3 {
						if _, err := w.Publish(ctx, webhook.Event{Tenant: wh.Tenant, Type: "a.b", Data: map[string]int{}}); err != nil {
							t.Fatal(err)
						}
					}
				}
				w.pass(time.Second)
				for i := range all {
					r := w.rx.at(fmt.Sprintf("h%d.example.com", i))
					if len(r) != 1 || !signedBy(r[0], markerSecret) || r[0].header.Get("X-Token") != markerHeader {
						t.Fatalf("webhook %d was sent %+v", i, r)
					}
				}
			})
		})
	}
}

// Edits, attempts and the re-encryption itself all succeed side by side.
func TestP5_ReencryptBesideEditorsAndDeliveries(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		var all []webhook.Webhook
		for range 20 {
			all = append(all, w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.Headers = map[string]string{"X-Token": markerHeader} }))
		}
		w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("new", 2))})
		w.start()
		var editors sync.WaitGroup
		secrets := make([]string, len(all))
		for i, wh := range all {
			editors.Go(func() {
				for n := range 5 {
					_, s, err := w.RotateSecret(ctx, tenant, wh.ID, webhook.Rotation{Overlap: new(time.Duration(0))})
					if err != nil {
						t.Error(err)
					}
					secrets[i] = s.Reveal()
					for {
						now, err := w.Webhook(ctx, tenant, wh.ID)
						if err == nil {
							_, err = w.UpdateWebhook(ctx, tenant, wh.ID, now.Version, webhook.WebhookUpdate{Headers: map[string]string{"X-Token": fmt.Sprint(n)}})
						}
						if err == nil {
							break
						}
						if !errors.Is(err, webhook.ErrConflict) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		for range 10 {
			w.reencrypt(webhook.ReencryptRequest{Limit: 4})
		}
		editors.Wait()
		w.reencrypt(webhook.ReencryptRequest{})
		w.publish()
		w.pass(time.Second)
		for i, wh := range all {
			rec, text := w.stored(wh.ID)
			if strings.Contains(text, "whsec_") || !webhook.Sealed(rec.Headers["X-Token"]) {
				t.Errorf("stored %s", text)
			}
			if s, err := webhook.ConfigOf(w.Dispatcher).Keys.OpenSecret(&rec.Webhook, &rec.Secrets[0]); s != secrets[i] || err != nil {
				t.Errorf("a rotation was lost: %v", err)
			}
		}
		for _, r := range w.rx.at("h.example.com") {
			if r.header.Get("X-Token") != "4" {
				t.Errorf("an edit was lost: %q", r.header.Get("X-Token"))
			}
		}
		if n := len(w.rx.at("h.example.com")); n != len(all) {
			t.Errorf("%d requests", n)
		}
	})
}

func TestP5_ReencryptNamesWhatItCannotRead(t *testing.T) {
	inBubble(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("lost", 1))}, func(w *world) {
		lost := w.sealedHook("a.example.com")
		w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("old", 2))})
		fine := w.sealedHook("b.example.com")
		half, _ := w.stored(lost.ID)
		half.Headers["X-New"] = "plain"
		if err := w.mem.UpdateWebhook(context.Background(), half); err != nil {
			t.Fatal(err)
		}
		w.restart(webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("new", 3), webhook.NewTestKey("old", 2))})
		res := w.reencrypt(webhook.ReencryptRequest{Limit: 1})
		if res.Webhooks != 2 || res.Changed != 2 || len(res.Unreadable) != 1 || res.Unreadable[0].ID != lost.ID || res.Unreadable[0].Tenant != tenant ||
			!errors.Is(res.Unreadable[0].Err, webhook.ErrUnreadable) {
			t.Errorf("%+v", res)
		}
		rec, _ := w.stored(fine.ID)
		now, _ := w.stored(lost.ID)
		if webhook.SealedBy(rec.Secrets[0].Value) != "new" || now.Secrets[0] != half.Secrets[0] || webhook.SealedBy(now.Headers["X-New"]) != "new" {
			t.Errorf("stored %+v and %+v", rec, now)
		}
		if res := w.reencrypt(webhook.ReencryptRequest{}); res.Changed != 0 || len(res.Unreadable) != 1 {
			t.Errorf("again: %+v", res)
		}
	})
}

// plainStore has the abilities of Store and no others.
type plainStore struct{ webhook.Store }

func TestReencryptRefusals(t *testing.T) {
	ctx := t.Context()
	d, _ := newIdle(t, webhook.Config{})
	if _, err := d.ReencryptSecrets(ctx, webhook.ReencryptRequest{}); err == nil || !strings.Contains(err.Error(), "set Config.Keys") {
		t.Errorf("without a key: %v", err)
	}
	d, err := webhook.New(plainStore{memstore.New(memstore.Config{})}, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k", 1))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.ReencryptSecrets(ctx, webhook.ReencryptRequest{})
	wantErr(t, err, errors.ErrUnsupported, "plainStore")
	if _, err := d.ReencryptSecrets(ctx, webhook.ReencryptRequest{Tenant: tenant}); err != nil {
		t.Errorf("one tenant of any store: %v", err)
	}
	d, _ = newIdle(t, webhook.Config{Keys: webhook.MustKeyring(t, webhook.NewTestKey("k", 1))})
	_, err = d.ReencryptSecrets(ctx, webhook.ReencryptRequest{Cursor: "a b"})
	wantErr(t, err, webhook.ErrCursor)
	_, err = d.ReencryptSecrets(ctx, webhook.ReencryptRequest{Tenant: "\x00", Limit: -1})
	if got := refusals(t, err); len(got) != 2 {
		t.Errorf("refused %v", got)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = d.ReencryptSecrets(over, webhook.ReencryptRequest{})
	wantErr(t, err, context.Canceled)
}
