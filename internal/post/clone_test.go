package post

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// An h2Pool is HTTP/2 as golang.org/x/net/http2.ConfigureTransport sets it up
// on a transport: whatever connection the function in TLSNextProto is handed
// serves the requests to that host from then on.
type h2Pool struct {
	mu    sync.Mutex
	conns map[string]http.RoundTripper
}

func (p *h2Pool) configure(t *http.Transport) {
	t.TLSClientConfig = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{"h2": p.add}
	t.RegisterProtocol("https", p)
}

func (p *h2Pool) add(authority string, conn *tls.Conn) http.RoundTripper {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	over := overConn{&http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return conn, nil
	}}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[authority] = over
	return over
}

func (p *h2Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	over := p.conns[r.URL.Host]
	p.mu.Unlock()
	if over == nil {
		return nil, http.ErrSkipAltProtocol
	}
	return over.RoundTrip(r)
}

type overConn struct{ t *http.Transport }

func (o overConn) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http" // the connection is encrypted already
	return o.t.RoundTrip(r)
}

// strangerH2 is a receiver whose certificate nobody vouches for. It tells which
// version of HTTP requests came in.
func strangerH2(t *testing.T) (srv *httptest.Server, major chan int) {
	t.Helper()
	major = make(chan int, 100)
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		major <- r.ProtoMajor
		w.WriteHeader(http.StatusNoContent)
	}))
	srv.Config.ErrorLog = quiet
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, major
}

// However HTTP/2 got into a host's transport, what its clone connects to never
// ends up where the transport takes connections from.
func TestR14_ACloneSharesNoHTTP2PoolWithTheHostsTransport(t *testing.T) {
	t.Parallel()
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	type nextProto = map[string]func(string, *tls.Conn) http.RoundTripper
	for name, row := range map[string]struct {
		host  func() *http.Transport
		major int
	}{
		"as it comes": {func() *http.Transport { return &http.Transport{} }, 2},
		"forced": {func() *http.Transport {
			return &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{}}
		}, 2},
		"off by default":   {func() *http.Transport { return &http.Transport{TLSClientConfig: &tls.Config{}} }, 1},
		"off by empty map": {func() *http.Transport { return &http.Transport{TLSNextProto: nextProto{}} }, 1},
		"empty map, but protocols named": {func() *http.Transport {
			return &http.Transport{TLSNextProto: nextProto{}, Protocols: both}
		}, 2},
		"clone of another": {func() *http.Transport { return (&http.Transport{ForceAttemptHTTP2: true}).Clone() }, 2},
		"set up outside net/http": {func() *http.Transport {
			tr := new(http.Transport)
			(&h2Pool{conns: make(map[string]http.RoundTripper)}).configure(tr)
			return tr
		}, 2},
	} {
		for _, used := range []bool{false, true} {
			srv, major := strangerH2(t)
			host := row.host()
			if used {
				peer := newRecorder(t, func(http.ResponseWriter, *http.Request) {})
				resp, err := (&http.Client{Transport: host}).Get(peer.URL)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			s := hostSender(t, &http.Client{Transport: host})
			t.Cleanup(host.CloseIdleConnections)
			r := post(t, srv.URL)
			for range 3 {
				wantStatus(t, attempt(t, s, unverified(r)), 204)
				if got := <-major; got != row.major {
					t.Errorf("%s, used %v: HTTP/%d without verification, want HTTP/%d as with it", name, used, got, row.major)
				}
				wantClass(t, attempt(t, s, r), ClassTLS, "not signed by a known authority")
				if t.Failed() {
					t.Fatalf("%s, used %v", name, used)
				}
			}
		}
	}
}

// A protocol that net/http does not speak cannot be set up anew in a clone.
func TestR14_NoCloneOfATransportWithAProtocolOfItsOwn(t *testing.T) {
	t.Parallel()
	host := &http.Transport{TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{
		"own/1": func(string, *tls.Conn) http.RoundTripper { return nil },
	}}
	if s := hostSender(t, &http.Client{Transport: host}); s.CanSkipVerify() {
		t.Error("webhooks may turn verification off")
	}
}

func TestACloneKeepsNoIdleConnectionForEver(t *testing.T) {
	t.Parallel()
	for given, want := range map[time.Duration]time.Duration{0: idleConnTimeout, time.Minute: time.Minute} {
		c := newClients(transportConfig{}, &http.Client{Transport: &http.Transport{IdleConnTimeout: given}})
		if got := c.unverified.Transport.(*http.Transport).IdleConnTimeout; got != want {
			t.Errorf("IdleConnTimeout %v becomes %v, want %v", given, got, want)
		}
	}
}
