package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

const tenant = "agent-1"

// sender is a Dispatcher that sends to this machine, and notes what it sent and
// what was answered.
type sender struct {
	*webhook.Dispatcher
	t *testing.T

	mu       sync.Mutex
	sent     []request
	attempts map[string][]webhook.Attempt // by webhook ID
}

// request is one that was sent, as it was sent.
type request struct {
	url    string
	header http.Header
	body   []byte
}

// newSender returns a sender over sockets that trusts roots, if not nil, for
// HTTPS.
func newSender(t *testing.T, roots *x509.CertPool, cfg webhook.Config) *sender {
	t.Helper()
	s := &sender{t: t, attempts: make(map[string][]webhook.Attempt)}
	cfg = webhooktest.AllowLoopback(cfg)
	cfg.Retry = webhook.ExponentialRetry{Initial: 50 * time.Millisecond}
	guard := cfg.Guard
	transport := &http.Transport{
		DialContext:       guard.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		// Node closes a connection that was idle for 5 s, at times in the moment
		// in which the next request is sent on it.
		IdleConnTimeout: 4 * time.Second,
	}
	t.Cleanup(transport.CloseIdleConnections)
	cfg.Client = &http.Client{Transport: recorder{s, transport}}
	cfg.Hooks.Attempt = func(d webhook.Delivery, a webhook.Attempt) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attempts[d.WebhookID] = append(s.attempts[d.WebhookID], a)
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Dispatcher = d
	return s
}

// recorder notes requests on their way to a real transport.
type recorder struct {
	s    *sender
	next http.RoundTripper
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	r.s.mu.Lock()
	r.s.sent = append(r.s.sent, request{req.URL.String(), req.Header.Clone(), body})
	r.s.mu.Unlock()
	out := req.Clone(req.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	return r.next.RoundTrip(out)
}

// hook registers a webhook for all events. An empty secret has one generated. It
// returns the webhook's secret.
func (s *sender) hook(url, secret string) (webhook.Webhook, string) {
	s.t.Helper()
	w, sec, err := s.CreateWebhook(s.t.Context(), tenant, webhook.WebhookSpec{
		Name: "interop \u2028 <&> 😀", URL: url, Events: []string{"*"}, Secret: secret, MaxRetries: new(2),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return w, sec.Reveal()
}

// publish publishes an event that has to be accepted.
func (s *sender) publish(data any) string {
	s.t.Helper()
	p, err := s.Publish(s.t.Context(), event(data))
	if err != nil {
		s.t.Fatal(err)
	}
	return p.ID
}

// event is one with a type for data that has none.
func event(data any) webhook.Event {
	ev := webhook.Event{Tenant: tenant, Data: data}
	if _, ok := data.(webhook.Typed); !ok {
		ev.Type = "interop.test"
	}
	return ev
}

// deliver makes all deliveries that wait.
func (s *sender) deliver() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := webhooktest.UntilIdle(ctx, s.Dispatcher, tenant); err != nil {
		s.t.Fatal(err)
	}
}

// wantAccepted checks that n deliveries to a webhook were made and accepted. A
// connection that broke before there was an answer says nothing about who is at
// the other end; the retry of it does.
func (s *sender) wantAccepted(who string, w webhook.Webhook, n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, refused := 0, 0
	for _, a := range s.attempts[w.ID] {
		switch {
		case a.Succeeded():
			accepted++
		case a.Status == 0:
			s.t.Logf("%s: %s", who, a.Error)
		default:
			if refused++; refused <= 5 {
				s.t.Errorf("%s answered a delivery with %d: %s", who, a.Status, a.ResponseBody)
			}
		}
	}
	if accepted != n || refused > 0 {
		s.t.Errorf("%s accepted %d deliveries and refused %d; want %d and none", who, accepted, refused, n)
	}
}

// wantRefused checks that the one delivery to a webhook was answered 401 for a
// reason, each time.
func (s *sender) wantRefused(who string, w webhook.Webhook, reason string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := 0
	for _, a := range s.attempts[w.ID] {
		switch {
		case a.Status == 0:
			s.t.Logf("%s: %s", who, a.Error)
		case a.Status != http.StatusUnauthorized || !bytes.Contains(a.ResponseBody, []byte(reason)):
			s.t.Errorf("%s answered %d %s: %s; want 401 and %q", who, a.Status, a.Error, a.ResponseBody, reason)
		default:
			refused++
		}
	}
	if refused == 0 {
		s.t.Errorf("%s has refused nothing", who)
	}
}

// sentTo returns the requests that were sent to an URL.
func (s *sender) sentTo(url string) []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []request
	for _, r := range s.sent {
		if r.url == url {
			out = append(out, r)
		}
	}
	return out
}

// again sends a request once more, outside of any Dispatcher, and returns the
// answer.
func again(t *testing.T, roots *x509.CertPool, r request) (status int, answer string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = r.header
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// flipped is the request with one bit of its body changed.
func (r request) flipped(at int) request {
	r.body = bytes.Clone(r.body)
	r.body[at] ^= 1
	return r
}
