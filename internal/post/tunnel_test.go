package post

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// proxyAt returns a proxy's URL at the address of a peer.
func proxyAt(t testing.TB, scheme string, ln net.Listener) *url.URL {
	t.Helper()
	return &url.URL{Scheme: scheme, Host: ln.Addr().String()}
}

// nobodyAt returns an address at which nobody listens, nor will: other tests have
// theirs at 127.0.0.1.
func nobodyAt(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return ln
}

// connectProxy is a proxy that connects everything to one target, once permit
// has let a CONNECT through.
func connectProxy(t testing.TB, target string, permit func(request string) (refusal string)) *peer {
	t.Helper()
	return newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		r := bufio.NewReader(conn)
		request := string(p.readRequest(r))
		if refusal := permit(request); refusal != "" {
			io.WriteString(conn, refusal)
			return
		}
		out, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer out.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(out, r); out.Close() }()
		io.Copy(conn, out)
	})
}

// notTLS answers a handshake in plain text.
func notTLS(_ *peer, _ int64, conn net.Conn) {
	io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	bufio.NewReader(conn).ReadString(0)
}

// Whatever a proxy does before it has opened a tunnel is no fault of the
// receiver's: customers read that the sender could not send and not a word more,
// and the host reads which proxy it was and what it answered.
func TestProxyThatRefusesIsTheHostsFault(t *testing.T) {
	t.Parallel()
	refuse := func(answer string) func(*peer, int64, net.Conn) {
		return func(p *peer, _ int64, conn net.Conn) {
			p.readRequest(bufio.NewReader(conn))
			io.WriteString(conn, answer)
		}
	}
	closed := nobodyAt(t)
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler()) // its certificate is nobody's
	stranger.Config.ErrorLog = quiet
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	judge := loopback()
	judge.Resolver = (&nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
		if q.Name == "inside.test." {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		}
		return nil
	}}).Resolver()
	for _, row := range []struct {
		name  string
		proxy *url.URL
		said  string // in the host's log, beside the proxy's name
	}{
		{"407", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))), "407 Proxy Authentication Required"},
		{"403", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!"))), "403 Forbidden"},
		{"502", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 502 secret-upstream-10.1.2.3\r\n\r\n"))), "502 Bad Gateway"},
		{"410", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 410 Gone\r\n\r\n"))), "410 Gone"},
		{"302", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n"))), "302 Found"},
		{"999", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 999 Odd\r\n\r\n"))), "999"},
		{"says why", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 502 x\r\nProxy-Status: p; error=proxy_internal_error\r\n\r\n"))), "(proxy_internal_error)"},
		{"1xx and then 503", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 503 x\r\n\r\n"))), "503"},
		{"not HTTP", proxyAt(t, "http", newPeer(t, refuse("SSH-2.0-OpenSSH_9.2\r\n\r\n"))), "no valid answer"},
		{"head without end", proxyAt(t, "http", newPeer(t, refuse("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100)))), "no end"},
		{"closes", proxyAt(t, "http", newPeer(t, refuse(""))), "closed the connection"},
		{"resets", proxyAt(t, "http", newPeer(t, func(p *peer, _ int64, c net.Conn) { p.readRequest(bufio.NewReader(c)); c.(*net.TCPConn).SetLinger(0) })), "no valid answer"},
		{"silent", proxyAt(t, "http", newPeer(t, hold)), "did not answer CONNECT in time"},
		{"down", proxyAt(t, "http", closed), "cannot be reached: connect: connection refused"},
		{"no such name", &url.URL{Scheme: "http", Host: "nowhere.test:3128"}, "cannot be reached: lookup nowhere.test"},
		{"name of an address that is not admitted", &url.URL{Scheme: "http", Host: "inside.test:3128"}, "AllowNetworks"},
		{"not TLS", proxyAt(t, "https", newPeer(t, notTLS)), "does not look like a TLS handshake"},
		{"unknown certificate", proxyAt(t, "https", stranger.Listener), "certificate signed by unknown authority"},
		{"silent in the handshake", proxyAt(t, "https", newPeer(t, hold)), "TLS handshake"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.proxy.User = url.UserPassword("user", "pw-of-proxy")
			s := newTestSender(t, transportConfig{guard: judge, proxy: row.proxy})
			for _, target := range []string{"http://receiver.test/path", "https://receiver.test/path"} {
				r := post(t, target)
				if strings.HasPrefix(row.name, "silent") {
					r = r.within(slack)
				}
				a := s.Do(t.Context(), r)
				wantClass(t, a, ClassUnsent, "the sender could not send")
				wantNothingPrivate(t, a)
				if strings.Contains(a.Error, row.proxy.Hostname()) || a.Status != 0 {
					t.Errorf("the tenant is told of the proxy: %d %q", a.Status, a.Error)
				}
				if a.Fault == nil {
					t.Fatal("the host is told nothing")
				}
				said := a.Fault.Error()
				if a.Fault.Kind != "proxy" || !strings.Contains(said, row.proxy.Host) || !strings.Contains(said, row.said) {
					t.Errorf("the host is told %q (%s); want the proxy's name and %q", said, a.Fault.Kind, row.said)
				}
				if strings.Contains(said, "pw-of") || strings.Contains(said, "secret-upstream") {
					t.Errorf("the host is told %q", said)
				}
			}
		})
	}
}

// What a proxy says of a receiver, in the header that is there for it, is the
// receiver's.
func TestProxyThatCannotReachTheReceiver(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]Class{
		"Proxy-Status: squid; error=dns_error; rcode=NXDOMAIN":         ClassDNS,
		`Proxy-Status: "a"; next-hop="x", b; error=connection_refused`: ClassConnect,
		"Proxy-Status: b;error=connection_timeout, c":                  ClassTimeout,
		"Proxy-Status: b; error=destination_ip_prohibited":             ClassBlocked,
		"Proxy-Status: b; error=destination_unavailable":               ClassConnect,
		"X-Squid-Error: ERR_CONNECT_FAIL 111":                          ClassConnect,
		"X-Squid-Error: ERR_DNS_FAIL 0":                                ClassDNS,
		"X-Squid-Error: ERR_ACCESS_DENIED 0":                           ClassUnsent,
		"Proxy-Status: b; error=http_request_denied":                   ClassUnsent,
		"Proxy-Status: b; details=\"error=dns_error\"":                 ClassUnsent,
		"Via: 1.1 dns_error":                                           ClassUnsent,
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
				p.readRequest(bufio.NewReader(conn))
				io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\n"+header+"\r\nContent-Length: 0\r\n\r\n")
			})
			a := attempt(t, newTestSender(t, transportConfig{proxy: proxyAt(t, "http", p)}), post(t, "https://receiver.test/"))
			wantClass(t, a, want, "")
			wantNothingPrivate(t, a)
		})
	}
}

// A proxy that opens tunnels to others while one is waited for is well: it waits
// for the receiver.
func TestProxyThatWaitsForOneReceiverOnly(t *testing.T) {
	t.Parallel()
	well := newPeer(t, answer("HTTP/1.1 204 No Content\r\n\r\n"))
	asked := make(chan struct{})
	var once sync.Once
	proxy := connectProxy(t, well.Addr().String(), func(request string) string {
		if strings.HasPrefix(request, "CONNECT hangs.test:80 ") {
			once.Do(func() { close(asked) })
			<-t.Context().Done()
			return "HTTP/1.1 504 x\r\n\r\n"
		}
		return ""
	})
	s := newTestSender(t, transportConfig{proxy: proxyAt(t, "http", proxy)})
	slow := make(chan Answer)
	go func() {
		a := s.Do(context.Background(), post(t, "http://hangs.test/").within(2*slack))
		slow <- a
	}()
	<-asked
	wantStatus(t, attempt(t, s, post(t, "http://well.test/")), 204)
	wantClass(t, <-slow, ClassTimeout, "while connecting")
}

// Inside the tunnel everything is the receiver's: its status, its certificate,
// HTTP/2, and what it says first. The user name and password go to the proxy alone.
func TestProxyTunnelsAreTransparent(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var got http.Header
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		w.Header().Set("Server", r.Proto)
		w.WriteHeader(http.StatusGone)
	}))
	receiver.EnableHTTP2, receiver.Config.ErrorLog = true, quiet
	receiver.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "receiver.test", nil)}}
	receiver.StartTLS()
	t.Cleanup(receiver.Close)
	var mu sync.Mutex
	var requests []string
	proxy := connectProxy(t, receiver.Listener.Addr().String(), func(request string) string {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, request)
		return ""
	})
	u := proxyAt(t, "http", proxy)
	u.User = url.UserPassword("user", "pw")
	s := newTestSender(t, transportConfig{proxy: u, rootCAs: ca.pool})
	for range 2 { // the second on the same connection
		a := attempt(t, s, post(t, "https://receiver.test/"))
		wantClass(t, a, ClassStatus, "410 Gone")
		if a.ResponseHeaders["Server"] != "HTTP/2.0" {
			t.Errorf("headers %v", a.ResponseHeaders)
		}
	}
	wantClass(t, attempt(t, s, post(t, "https://other.test/")), ClassTLS, "not valid for the webhook's host")
	if len(requests) != 2 || !strings.HasPrefix(requests[0], "CONNECT receiver.test:443 HTTP/1.1\r\nHost: receiver.test:443\r\n") ||
		!strings.Contains(requests[0], "Proxy-Authorization: Basic dXNlcjpwdw==\r\n") {
		t.Errorf("the proxy was asked %q", requests)
	}
	if got.Get("Proxy-Authorization") != "" {
		t.Error("the receiver was sent the proxy's password")
	}

	// What comes with the proxy's answer is the receiver's.
	early := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		r := bufio.NewReader(conn)
		p.readRequest(r)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.2\r\n")
		r.ReadString(0)
	})
	wantClass(t, attempt(t, newTestSender(t, transportConfig{proxy: proxyAt(t, "http", early)}), post(t, "https://receiver.test/")), ClassTLS, "does not speak TLS")
}

// A proxy in the host's own client: net/http says less of it.
func TestProxyOfTheHostsClientIsTheHostsFault(t *testing.T) {
	t.Parallel()
	closed := nobodyAt(t)
	refusing := func(answer string) *url.URL {
		return proxyAt(t, "http", newPeer(t, func(p *peer, _ int64, conn net.Conn) {
			p.readRequest(bufio.NewReader(conn))
			io.WriteString(conn, answer)
		}))
	}
	for name, row := range map[string]struct {
		proxy *url.URL
		said  string
	}{
		"down":     {proxyAt(t, "http", closed), "connection refused"},
		"407":      {refusing("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "Proxy Authentication Required"},
		"502":      {refusing("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "Bad Gateway"},
		"closes":   {refusing(""), "EOF"},
		"not HTTP": {refusing("SSH-2.0\r\n\r\n"), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := hostSender(t, &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(row.proxy)}})
			for _, r := range []*Request{post(t, "https://receiver.test/"), unverified(post(t, "https://receiver.test/"))} {
				a := s.Do(t.Context(), r)
				wantClass(t, a, ClassUnsent, "the sender could not send")
				wantNothingPrivate(t, a)
				if a.Fault == nil || !strings.Contains(a.Fault.Error(), row.said) {
					t.Errorf("the host is told %v, want %q", a.Fault, row.said)
				}
			}
		})
	}
	// The receiver's own faults inside its tunnel are not the proxy's.
	plain := newPeer(t, notTLS)
	proxy := connectProxy(t, plain.Addr().String(), func(string) string { return "" })
	s := hostSender(t, &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxyAt(t, "http", proxy))}})
	if a := attempt(t, s, post(t, "https://receiver.test/")); a.Class != ClassTLS && a.Class != ClassConnect {
		t.Errorf("class %q, error %q", a.Class, a.Error)
	}
}
