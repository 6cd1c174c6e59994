package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// A platform with many receivers shakes hands in full with each of them once.
func TestTLSSessionsOfManyHostsAreKept(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var full, resumed atomic.Int64
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS.DidResume {
				resumed.Add(1)
			} else {
				full.Add(1)
			}
			w.Header().Set("Connection", "close")
		}))
		srv.Config.ErrorLog = quiet
		wildcard := ca.issue(t, "*.receiver.test", nil)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{wildcard}, MaxVersion: version}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		guard := loopback()
		guard.Resolver = (&fakeDNS{answer: func(question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).resolver()
		s := newTestSender(t, transportConfig{guard: guard, rootCAs: ca.pool})
		const hosts, rounds = 150, 3
		for range rounds {
			for i := range hosts {
				wantStatus(t, attempt(t, s, post(t, fmt.Sprintf("https://h%d.receiver.test:%s/", i, port))), 200)
			}
		}
		if full.Load() != hosts || resumed.Load() != hosts*(rounds-1) {
			t.Errorf("TLS %#x: %d full handshakes with %d hosts, %d resumed", version, full.Load(), hosts, resumed.Load())
		}
	}
}

// A receiver may speak HTTP/2 today and HTTP/1.1 after its next release, and the
// other way about. No attempt is lost by that.
func TestAReceiverMayChangeItsProtocol(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var http2 atomic.Bool
	var seen [3]atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen[r.ProtoMajor].Add(1)
	}))
	srv.Config.ErrorLog = quiet
	srv.EnableHTTP2 = true
	cert := ca.issue(t, "127.0.0.1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} })
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
		if http2.Load() {
			cfg.NextProtos = []string{"h2", "http/1.1"}
		}
		return cfg, nil
	}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s := newTestSender(t, transportConfig{rootCAs: ca.pool})
	for round := range 6 {
		http2.Store(round%2 == 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { wantStatus(t, attempt(t, s, post(t, srv.URL)), 200) })
		}
		all.Wait()
		wantStatus(t, attempt(t, s, post(t, srv.URL)), 200)
		s.closeIdle() // a release ends connections
		srv.CloseClientConnections()
	}
	if one, two := seen[1].Load(), seen[2].Load(); one != 3*21 || two != 3*21 {
		t.Errorf("%d requests over HTTP/1.1 and %d over HTTP/2, want %d each", one, two, 3*21)
	}
}
