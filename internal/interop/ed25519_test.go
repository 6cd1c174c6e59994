package interop

import (
	"crypto/ed25519"
	"net/http"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/verify"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// ownClient returns a Dispatcher with the client that the library makes, and a
// function that returns the last attempt.
func ownClient(t *testing.T) (d *webhook.Dispatcher, last func() webhook.Attempt) {
	t.Helper()
	var attempts []webhook.Attempt
	d, err := webhook.New(memstore.New(memstore.Config{}), webhooktest.AllowLoopback(webhook.Config{
		Hooks: webhook.Hooks{Attempt: func(_ webhook.Delivery, a webhook.Attempt) { attempts = append(attempts, a) }},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return d, func() webhook.Attempt {
		if len(attempts) == 0 {
			t.Fatal("no attempt was made")
		}
		return attempts[len(attempts)-1]
	}
}

// What Ed25519Signer has signed, Node's crypto verifies, which shares no code
// with it, and so does verify with nothing but the public key. The other
// signatures are there as well.
func TestEd25519IsVerifiedByNodeAndByVerify(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := webhook.NewEd25519Signer(private)
	if err != nil {
		t.Fatal(err)
	}
	p := startPeers(t)
	s := newSender(t, p.roots, webhook.Config{Signer: webhook.Signers(webhook.DefaultSigner(), signer)})
	byNode, secret := s.hook(p.url("https", "v1a", "key"), "")
	p.set(t, "key", signer.PublicKey())
	byLibrary, _ := s.hook(p.url("http2", "standardwebhooks", "secret"), secret)
	byPlain, _ := s.hook(p.url("http", "plain", "secret"), secret)
	p.set(t, "secret", secret)
	rx := &webhooktest.Receiver{Verify: verify.Config{PublicKeys: []string{signer.PublicKey()}}}
	byVerify, _ := s.hook(rx.Serve(t).URL, "")

	n := s.publishAll(newGenerator(4).payloads(generated(100)))
	s.deliver()
	s.wantAccepted("node:crypto", byNode, n)
	s.wantAccepted("standardwebhooks beside v1a", byLibrary, n)
	s.wantAccepted("the plain receiver beside v1a", byPlain, n)
	s.wantAccepted("verify", byVerify, n)
	for _, r := range rx.Deliveries() {
		if r.Delivery.Scheme != verify.SchemeV1a {
			t.Fatalf("verified by %s, want v1a: the receiver has no secret", r.Delivery.Scheme)
		}
	}

	for k, r := range s.sentTo(byNode.URL)[:5] {
		if status, answer := again(t, p.roots, r.flipped((k*7919)%len(r.body))); status != http.StatusUnauthorized || !strings.Contains(answer, "none of 1 v1a") {
			t.Errorf("node:crypto, with a flipped bit: %d %q", status, answer)
		}
	}
	for k, r := range s.sentTo(byVerify.URL)[:5] {
		if status, _ := again(t, nil, r.flipped((k*7919)%len(r.body))); status != http.StatusUnauthorized {
			t.Errorf("verify, with a flipped bit: %d", status)
		}
	}
}
