package webhook_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/verify"
)

// The published vectors of Standard Webhooks. The second is published without
// the prefix that says that a secret is base64.
func TestStandardSignerVectors(t *testing.T) {
	tests := []struct {
		secret, id, body, want string
		unix                   int64
	}{
		{"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", `{"email":"test@example.com","username":"test_user"}`,
			"v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", 1649367553},
		{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", `{"test": 2432232314}`,
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", 1614265330},
	}
	for _, tt := range tests {
		h := http.Header{}
		m := webhook.Message{ID: tt.id, Time: time.Unix(tt.unix, 999), Body: []byte(tt.body)}
		if err := (webhook.StandardSigner{}).Sign(h, m, []webhook.Secret{webhook.NewSecret(tt.secret)}); err != nil {
			t.Fatal(err)
		}
		if got := h.Values("webhook-signature"); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s is signed %q, want %q", tt.id, got, tt.want)
		}
	}
}

func TestV4_PlainSignerHeader(t *testing.T) {
	secret, body := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", []byte(`{"a":1}`)
	h := http.Header{"X-Webhook-Signature": {"forged", "twice"}}
	secrets := []webhook.Secret{webhook.NewSecret(secret), webhook.NewSecret("the-secret-before-this-one")}
	if err := (webhook.PlainSigner{}).Sign(h, webhook.Message{ID: "x", Time: time.Now(), Body: body}, secrets); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	want := hex.EncodeToString(mac.Sum(nil))
	if got := h["X-Webhook-Signature"]; len(h) != 1 || len(got) != 1 || got[0] != want {
		t.Errorf("headers are %v, want %s alone", h, want)
	}
}

func TestSignersKeepTheirOrder(t *testing.T) {
	entry := func(s string) webhook.Signer {
		return sign(func(h http.Header) error { webhook.AppendSignature(h, s); return nil })
	}
	broken := sign(func(http.Header) error { return errors.New("broken") })
	h := http.Header{}
	if err := webhook.Signers(entry("v1,a"), webhook.Signers(entry("v9,b"), webhook.Signers()), entry("v2,c")).Sign(h, webhook.Message{}, nil); err != nil {
		t.Fatal(err)
	}
	if got := h.Values("Webhook-Signature"); len(got) != 1 || got[0] != "v1,a v9,b v2,c" {
		t.Errorf("webhook-signature is %q", got)
	}
	h = http.Header{}
	if err := webhook.Signers(entry("v1,a"), broken, entry("v1,b")).Sign(h, webhook.Message{}, nil); err == nil || h.Get("Webhook-Signature") != "v1,a" {
		t.Errorf("after a broken signer: %v, %v", h, err)
	}
}

type sign func(http.Header) error

func (f sign) Sign(h http.Header, _ webhook.Message, _ []webhook.Secret) error { return f(h) }

func TestSignersRefuseToSignWithNothing(t *testing.T) {
	m := webhook.Message{ID: "x", Time: time.Now(), Body: []byte("{}")}
	good := webhook.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	for _, s := range []webhook.Signer{webhook.PlainSigner{}, webhook.StandardSigner{}, webhook.DefaultSigner()} {
		for _, secrets := range [][]webhook.Secret{nil, {}, {{}}, {webhook.NewSecret("")}, {good, {}}} {
			h := http.Header{}
			if err := s.Sign(h, m, secrets); err == nil || len(h) != 0 {
				t.Errorf("%T with secrets %v: headers %v, error %v", s, secrets, h, err)
			}
		}
	}
	if err := (&webhook.Ed25519Signer{}).Sign(http.Header{}, m, nil); err == nil {
		t.Error("an Ed25519Signer without a key signs")
	}
	if key := (&webhook.Ed25519Signer{}).PublicKey(); key != "" {
		t.Errorf("an Ed25519Signer without a key has the public key %q", key)
	}
}

func TestEd25519Signer(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	pub, _ := key.Public().(ed25519.PublicKey)
	given := bytes.Clone(key)
	fromKey, err := webhook.NewEd25519Signer(given)
	if err != nil {
		t.Fatal(err)
	}
	clear(given)
	signers := map[string]*webhook.Ed25519Signer{"key": fromKey}
	for name, text := range map[string]string{
		"seed": "whsk_" + base64.StdEncoding.EncodeToString(seed), "both halves": "whsk_" + base64.StdEncoding.EncodeToString(key),
		"no prefix": base64.StdEncoding.EncodeToString(seed),
	} {
		if signers[name], err = webhook.ParseEd25519Signer(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	body := []byte(`{"event":"x","webhook":{"id":"w","name":"n"},"timestamp":"2026-01-02T03:04:05.000000Z","data":{}}`)
	m := webhook.Message{ID: "evt_1", Time: time.Now(), Body: body}
	for name, s := range signers {
		if want := "whpk_" + base64.StdEncoding.EncodeToString(pub); s.PublicKey() != want {
			t.Errorf("%s: public key %s, want %s", name, s.PublicKey(), want)
		}
		secret := webhook.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		h := http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {m.ID}, "Webhook-Timestamp": {fmt.Sprint(m.Time.Unix())}}
		if err := webhook.Signers(webhook.StandardSigner{}, s).Sign(h, m, []webhook.Secret{secret}); err != nil {
			t.Fatal(err)
		}
		_, encoded, ok := strings.Cut(h.Get("Webhook-Signature"), " v1a,")
		sig, err := base64.StdEncoding.DecodeString(encoded)
		content := fmt.Sprintf("evt_1.%d.%s", m.Time.Unix(), body)
		if !ok || err != nil || !ed25519.Verify(pub, []byte(content), sig) || string(m.SignedContent(nil)) != content {
			t.Errorf("%s: the signature %q does not verify", name, h.Get("Webhook-Signature"))
		}
		byKey, err := verify.New(verify.Config{PublicKeys: []string{s.PublicKey()}})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := byKey.Verify(body, h); err != nil || d.ID != "evt_1" {
			t.Errorf("%s: a receiver with the public key: %+v, %v", name, d, err)
		}
		if _, err := verify.Verify(body, h, secret.Reveal()); err != nil {
			t.Errorf("%s: a receiver with the secret: %v", name, err)
		}
		if _, err := byKey.Verify(append(body, ' '), h); err == nil {
			t.Errorf("%s: another body verifies", name)
		}
	}
}

func TestEd25519SignerRefusesBadKeys(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	mixed := append(bytes.Clone(key[:32]), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))[32:]...)
	for name, k := range map[string]ed25519.PrivateKey{"none": nil, "short": key[:63], "mixed": mixed} {
		if s, err := webhook.NewEd25519Signer(k); err == nil || s != nil {
			t.Errorf("%s key: %v, %v", name, s, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "prefix only": "whsk_", "not base64": "whsk_marker!", "31 bytes": "whsk_" + base64.StdEncoding.EncodeToString(key[:31]),
		"mixed": "whsk_" + base64.StdEncoding.EncodeToString(mixed), "public": "whpk_" + base64.StdEncoding.EncodeToString(key[32:]),
	} {
		if s, err := webhook.ParseEd25519Signer(text); err == nil || s != nil || strings.Contains(err.Error(), "marker") {
			t.Errorf("%s text: %v, %v", name, s, err)
		}
	}
}

// Whatever is delivered verifies with the receiver's package, during a rotation
// with either secret, and a signer that fails prevents the request.
func TestDeliveriesVerify(t *testing.T) {
	var got []http.Header
	var bodies [][]byte
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if _, err := b.ReadFrom(r.Body); err != nil {
			t.Error(err)
		}
		got, bodies = append(got, r.Header.Clone()), append(bodies, b.Bytes())
	}))
	defer receiver.Close()
	fail := false
	cfg := webhook.Config{
		AllowHTTP: true, Client: receiver.Client(),
		Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Signer: webhook.Signers(webhook.DefaultSigner(), sign(func(http.Header) error {
			if fail {
				return errors.New("the signing service is down")
			}
			return nil
		})),
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	w, first, err := d.CreateWebhook(ctx, "t", webhook.WebhookSpec{
		Name: "n", URL: receiver.URL, Events: []string{"*"}, MaxRetries: new(0), Secret: "an-imported-secret-of-another-sender",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := d.RotateSecret(ctx, "t", w.ID, webhook.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	publishAndDeliver(t, d, 1)
	for _, s := range []webhook.Secret{first, second} {
		del, err := verify.Verify(bodies[0], got[0], s.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		ev, err := del.Event()
		if msg, ok := ev.(verify.AgentMessage); err != nil || !ok || msg.Content != "hello" {
			t.Errorf("the verified event is %#v, %v", ev, err)
		}
	}
	plain, err := verify.New(verify.Config{AllowPlain: true}, second.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Verify(bodies[0], http.Header{"X-Webhook-Signature": got[0]["X-Webhook-Signature"]}); err != nil {
		t.Errorf("the plain signature: %v", err)
	}
	if _, err := verify.Verify(bodies[0], got[0], "some-other-secret-of-enough-bytes"); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("another secret: %v", err)
	}

	fail = true
	publishAndDeliver(t, d, 1)
	p, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "t", State: webhook.StateFailed})
	if err != nil || len(p.Items) != 1 || p.Items[0].LastClass != webhook.ClassInternal || len(got) != 1 {
		t.Errorf("after a signer that failed: %d requests, failed deliveries %+v, %v", len(got), p.Items, err)
	}
}

func publishAndDeliver(t *testing.T, d *webhook.Dispatcher, want int) {
	t.Helper()
	if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", Data: webhook.AgentMessage{Content: "hello"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n, err := d.DeliverDue(ctx); n != want || err != nil {
		t.Fatalf("DeliverDue = %d, %v; want %d", n, err, want)
	}
}
