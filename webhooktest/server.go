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
	// URL is http://127.0.0.1:PORT or https://127.0.0.1:PORT.
	URL string
	// Client trusts the server's certificate and may dial any address. Set it
	// as Config.Client, or create the webhook with VerifyTLS off.
	Client *http.Client
}

// Serve listens on a loopback port and answers over HTTP/1.1 until the test
// ends; requests that still hang are then aborted. A Dispatcher needs
// [AllowLoopback] to send there.
func (rx *Receiver) Serve(tb testing.TB) *Server {
	tb.Helper()
	return rx.serve(tb, (*httptest.Server).Start)
}

// ServeTLS is Serve over HTTPS, with HTTP/2 for clients that support it. Only
// the Client of the result trusts its certificate.
func (rx *Receiver) ServeTLS(tb testing.TB) *Server {
	tb.Helper()
	return rx.serve(tb, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

func (rx *Receiver) serve(tb testing.TB, start func(*httptest.Server)) *Server {
	tb.Helper()
	// The test's context would end before the test's cleanup, during which a
	// Dispatcher may still deliver.
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewUnstartedServer(rx)
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	start(s)
	tb.Cleanup(func() {
		cancel() // ends requests that hang
		s.CloseClientConnections()
		s.Close()
	})
	return &Server{URL: s.URL, Client: s.Client()}
}

// AllowLoopback returns cfg with http URLs and loopback addresses allowed, so
// that webhooks on this machine work. Other addresses stay as cfg.Guard allows
// them. It is for tests only: in production it would open every service on the
// machine to customers.
func AllowLoopback(cfg webhook.Config) webhook.Config {
	cfg.AllowHTTP = true
	cfg.Guard.AllowNetworks = append(slices.Clone(cfg.Guard.AllowNetworks),
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	return cfg
}
