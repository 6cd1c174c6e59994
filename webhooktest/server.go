package webhooktest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// Server is a Receiver that listens on a loopback port until the test ends.
type Server struct {
	// URL is http://127.0.0.1: or https://127.0.0.1: and the port.
	URL string
	// Client trusts the server's certificate: give it to Config.Client, or
	// create the webhook with VerifyTLS off. It may dial any address.
	Client *http.Client
}

// Serve listens on a loopback port and answers over HTTP/1.1 until the test
// ends; requests that still hang then are broken off. A Dispatcher needs
// [AllowLoopback] to send there.
func (rx *Receiver) Serve(tb testing.TB) *Server {
	tb.Helper()
	return rx.serve(tb, (*httptest.Server).Start)
}

// ServeTLS is Serve over HTTPS, with HTTP/2 for a client that speaks it and with
// a certificate that only the Client of the result trusts.
func (rx *Receiver) ServeTLS(tb testing.TB) *Server {
	tb.Helper()
	return rx.serve(tb, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

func (rx *Receiver) serve(tb testing.TB, start func(*httptest.Server)) *Server {
	tb.Helper()
	// Not the test's context: that ends before its clean-up, in which a
	// Dispatcher may still deliver.
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewUnstartedServer(rx)
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	start(s)
	tb.Cleanup(func() {
		cancel() // what hangs lets go
		s.CloseClientConnections()
		s.Close()
	})
	return &Server{URL: s.URL, Client: s.Client()}
}

// AllowLoopback returns cfg changed so that webhooks on this machine work: http
// URLs are allowed, and loopback addresses beside those that cfg.Guard allows.
// It is for tests; in production it opens every service on the machine to
// customers.
func AllowLoopback(cfg webhook.Config) webhook.Config {
	cfg.AllowHTTP = true
	cfg.Guard.AllowNetworks = append(slices.Clone(cfg.Guard.AllowNetworks),
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	return cfg
}
