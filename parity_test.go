package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/nettest"
	"github.com/seed68722ecd/webhook/memstore"
)

// Whatever way an attempt comes about, it goes through the same guard: for each
// range of table S-A, a webhook that got into the store past the check at save.
func TestS21_TestResendAndReplayAreJudgedAsDelivery(t *testing.T) {
	mem := memstore.New(memstore.Config{})
	d, err := webhook.New(mem, webhook.Config{Retry: noRetryWait{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var ids []string
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, r := range nettest.BlockedRanges {
		addr := netip.MustParsePrefix(r.Prefix).Addr()
		rec := webhook.WebhookRecord{
			Webhook: webhook.Webhook{
				ID: fmt.Sprint("wh_", i), Tenant: tenant, Name: r.Prefix, URL: "https://" + netip.AddrPortFrom(addr, 443).String() + "/",
				Events: []string{"*"}, Active: true, VerifyTLS: true, Timeout: webhook.MinTimeout, CreatedAt: now, UpdatedAt: now, Version: 1,
			},
			Secrets: []webhook.SecretRecord{{Value: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", CreatedAt: now}},
		}
		if err := mem.CreateWebhook(ctx, rec, 0); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, rec.ID)
	}
	if _, err := d.Publish(ctx, webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}}); err != nil {
		t.Fatal(err)
	}
	deliver := func() {
		t.Helper()
		if _, err := d.DeliverDue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	for _, id := range ids {
		page, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, WebhookID: id})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("deliveries of %s: %+v, %v", id, page, err)
		}
		if _, err := d.Resend(ctx, tenant, page.Items[0].ID); err != nil {
			t.Fatal(err)
		}
		deliver()
		if res, err := d.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: id}); err != nil || res.Resent != 1 {
			t.Fatalf("replay: %+v, %v", res, err)
		}
		deliver()
		test, err := d.SendTest(ctx, tenant, id, webhook.TestEvent{})
		if err != nil {
			t.Fatal(err)
		}
		deliver()
		var all []webhook.Attempt
		for _, del := range []string{page.Items[0].ID, test.ID} {
			as, err := d.Attempts(ctx, tenant, del)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, as...)
		}
		w, _ := d.Webhook(ctx, tenant, id)
		if len(all) != 4 {
			t.Errorf("%s: %d attempts, want one each by delivery, resend, replay and test", w.Name, len(all))
		}
		for _, a := range all {
			if a.Class != webhook.ClassBlocked || a.Error != all[0].Error {
				t.Errorf("%s: attempt ended %s (%s), want blocked, every time in the same words", w.Name, a.Class, a.Error)
			}
		}
	}
}

type noRetryWait struct{}

func (noRetryWait) Delay(int) time.Duration { return time.Hour }

// The bytes that were stored are the bytes that are signed and sent, by every
// attempt, resend and replay, whatever was renamed in between.
func TestV1_SignedSentAndStoredBytesAreTheSame(t *testing.T) {
	inBubble(t, webhook.Config{Retry: noJitter}, func(w *world) {
		w.rx.on("h.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
			if n < 3 {
				return 500, nil, nil
			}
			return 200, nil, nil
		})
		wh, secret := w.hookSecret("h.example.com")
		ctx := context.Background()
		raw := `{"b" : 1.0, "a":"\u2028<\u00e9>", "1":1e2, "a":"\ud83d\ude00", "n":-0, "l":"\uD800"}`
		p, err := w.Publish(ctx, webhook.Event{Tenant: tenant, Type: "x.y", Data: json.RawMessage(raw)})
		if err != nil {
			t.Fatal(err)
		}
		w.start()
		w.pass(time.Hour)
		if _, err := w.UpdateWebhook(ctx, tenant, wh.ID, wh.Version, webhook.WebhookUpdate{Name: new("another name")}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Resend(ctx, tenant, w.only(wh.ID).ID); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		if _, err := w.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: wh.ID, States: []webhook.State{webhook.StateSucceeded}}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		ev, err := w.Event(ctx, tenant, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		stored := webhook.Body(ev, w.only(wh.ID))
		if want := `"data":{"1":100,"b":1,"a":"😀","n":0,"l":"\ud800"}}`; !bytes.HasSuffix(stored, []byte(want)) {
			t.Errorf("stored body %s, want it to end in %s", stored, want)
		}
		got := w.rx.at("h.example.com")
		if len(got) != 5 {
			t.Fatalf("%d requests, want 3 attempts, a resend and a replay", len(got))
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		mac.Write(stored)
		signature := hex.EncodeToString(mac.Sum(nil))
		for i, r := range got {
			if r.body != string(stored) || r.header.Get("X-Webhook-Signature") != signature {
				t.Errorf("request %d: body %s signed %s, want the stored bytes signed %s", i+1, r.body, r.header.Get("X-Webhook-Signature"), signature)
			}
		}
	})
}
