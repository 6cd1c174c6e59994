package post

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
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
		judge := loopback()
		judge.Resolver = (&nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).Resolver()
		s := newTestSender(t, transportConfig{guard: judge, rootCAs: ca.pool})
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
	var open atomic.Int64
	var seen [3]atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen[r.ProtoMajor].Add(1)
	}))
	srv.Config.ErrorLog = quiet
	srv.EnableHTTP2 = true
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
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
		eventually(t, "no connection is open between releases", func() bool {
			s.CloseIdle()
			return open.Load() == 0
		})
	}
	if one, two := seen[1].Load(), seen[2].Load(); one != 3*21 || two != 3*21 {
		t.Errorf("%d requests over HTTP/1.1 and %d over HTTP/2, want %d each", one, two, 3*21)
	}
}

// A connection of HTTP/2 is given up when it is too old, and with it the address
// that the receiver had then. No attempt is lost by that.
func TestHTTP2ConnectionsHaveAGreatestAge(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	srv.Config.ErrorLog = quiet
	srv.EnableHTTP2 = true
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} })}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s := newTestSender(t, transportConfig{rootCAs: ca.pool})
	var last *frameConn
	send := func() {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			last = info.Conn.(*frameConn)
		}})
		a := s.Do(ctx, post(t, srv.URL))
		wantStatus(t, a, 200)
	}
	send()
	first := last
	if life := time.Until(time.Unix(0, first.ends.Load())); life < 3*time.Minute || life > 5*time.Minute {
		t.Errorf("a connection is to live for %v", life)
	}
	for range 5 {
		send()
	}
	if conns.Load() != 1 || last != first {
		t.Fatalf("%d connections before the first is old", conns.Load())
	}
	first.ends.Store(time.Now().UnixNano())
	for range 5 { // the first of them may still be on it: it is what is heard on it that ends it
		send()
	}
	if conns.Load() != 2 || last == first {
		t.Errorf("%d connections after the first was old", conns.Load())
	}
}
