package interop

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// generated is how many random payloads a test adds to the corpus.
func generated(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// The receiver that customers get runs as it stands in examples/, and takes
// every body.
func TestV3_ExampleReceiverAcceptsEveryBody(t *testing.T) {
	t.Parallel()
	const secret = "whsec_dGhlIHNlY3JldCBvZiB0aGUgZXhhbXBsZSBpbiBpbnRlcm9w"
	server := start(t, "../../examples/receiver-node", "server.mjs", "PORT=0", "WEBHOOK_SECRET="+secret)
	line, err := server.next()
	if err != nil {
		t.Fatal(err)
	}
	_, address, found := strings.Cut(line, "Listening on ")
	if !found {
		t.Fatalf("the example did not say where it listens, but %q", line)
	}
	url := strings.TrimSuffix(strings.Fields(address)[0], ".") + "/hook"

	s := newSender(t, nil, webhook.Config{})
	w, _ := s.hook(url, secret)
	n := s.publishAll(append(corpus(t), newGenerator(1).payloads(generated(100))...))
	if n < 500 {
		t.Fatalf("%d payloads, want at least 500", n)
	}
	s.deliver()
	s.wantAccepted("examples/receiver-node", w, n)

	sent := s.sentTo(url)
	if status, _ := again(t, nil, sent[0]); status != http.StatusOK {
		t.Fatalf("a request sent again was answered %d", status)
	}
	// Every bit flipped changes the event's time, which is a string of digits:
	// what is parsed is another value, and never another spelling of the same.
	for i, r := range sent[:min(len(sent), 20)] {
		at := bytes.Index(r.body, []byte(`"timestamp":"`)) + len(`"timestamp":"`)
		if status, _ := again(t, nil, r.flipped(at+i%4)); status != http.StatusUnauthorized {
			t.Errorf("with a flipped bit: %d, want 401", status)
		}
	}
}

// The receiver of the documentation with nothing added, which throws at a header
// of another length (V4), behind Express over HTTP and HTTPS and behind Fastify,
// whose parser refuses some keys.
func TestV3_DocumentedReceiverAcceptsEveryBody(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	s := newSender(t, p.roots, webhook.Config{})
	hooks := map[string]webhook.Webhook{}
	for _, protocol := range []string{"http", "https", "fastify"} {
		w, secret := s.hook(p.url(protocol, "plain", protocol), "")
		p.set(t, protocol, secret)
		hooks[protocol] = w
	}
	var payloads []any
	for i, data := range corpus(t) {
		if i%5 == 0 {
			payloads = append(payloads, data)
		}
	}
	n := s.publishAll(append(payloads, newGenerator(2).payloads(generated(100))...))
	s.deliver()
	for protocol, w := range hooks {
		s.wantAccepted(protocol, w, n)
		for _, r := range s.sentTo(w.URL)[:10] {
			at := bytes.Index(r.body, []byte(`"name":"`)) + len(`"name":"`)
			if status, _ := again(t, p.roots, r.flipped(at)); status != http.StatusUnauthorized {
				t.Errorf("%s, with a flipped bit: %d, want 401", protocol, status)
			}
		}
	}
}

// The plain signature is that of the new secret alone from the moment of a
// rotation, so this receiver changes over at once (V6).
func TestV6_PlainSignatureFollowsTheNewSecret(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	s := newSender(t, nil, webhook.Config{})
	w, old := s.hook(p.url("http", "plain", "old"), "")
	p.set(t, "old", old)
	_, secret, err := s.RotateSecret(t.Context(), tenant, w.ID, webhook.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(webhook.AgentMessage{Content: "before"})
	s.deliver()
	s.wantRefused("with the old secret", w, "Unauthorized")
	p.set(t, "old", secret.Reveal())
	if status, _ := again(t, nil, s.sentTo(w.URL)[0]); status != http.StatusOK {
		t.Errorf("with the new secret: %d", status)
	}
}
