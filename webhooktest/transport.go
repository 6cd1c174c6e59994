package webhooktest

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Transport is an http.RoundTripper that replaces the network: it routes
// requests to receivers in this process by the host of their URL. For an
// unknown host the attempt fails with webhook.ClassDNS.
//
// It opens no connection and starts no goroutine, so that it works in a
// testing/synctest bubble. https URLs work too, without TLS. The zero Transport
// is ready to use; all methods are safe for concurrent use.
type Transport struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

// Receiver returns the Receiver at a host such as "crm.example.com", or with a
// port, "crm.example.com:8443", if URLs have one. It creates the Receiver at
// the first call, and replaces any other handler at that host.
func (t *Transport) Receiver(host string) *Receiver {
	t.mu.Lock()
	defer t.mu.Unlock()
	rx, ok := t.hosts[canonical(host)].(*Receiver)
	if !ok {
		rx = new(Receiver)
		t.handle(host, rx)
	}
	return rx
}

// Handle lets h answer the requests to a host, such as example receiver code
// for customers. The handler runs on the goroutine of the attempt and must
// return when the context of its request ends. A nil h removes the host.
func (t *Transport) Handle(host string, h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handle(host, h)
}

func (t *Transport) handle(host string, h http.Handler) {
	if t.hosts == nil {
		t.hosts = make(map[string]http.Handler)
	}
	if h == nil {
		delete(t.hosts, canonical(host))
		return
	}
	t.hosts[canonical(host)] = h
}

// Client returns an http.Client that uses t, for webhook.Config.Client.
func (t *Transport) Client() *http.Client { return &http.Client{Transport: t} }

// RoundTrip implements http.RoundTripper. It blocks until the receiver has
// answered or the context of the request ends.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	h := t.hosts[canonical(r.URL.Host)]
	t.mu.Unlock()
	if rx, ok := h.(*Receiver); ok {
		return rx.RoundTrip(r)
	}
	if r.Body != nil {
		defer r.Body.Close()
	}
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{
			Err: "no such host in this webhooktest.Transport", Name: r.URL.Hostname(), IsNotFound: true,
		}}
	}
	return handlerResponse(h, r)
}

// Hosts returns the known hosts, sorted.
func (t *Transport) Hosts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.hosts))
}

// canonical returns a host as it is written in the URLs of webhooks.
func canonical(host string) string { return strings.ToLower(host) }
