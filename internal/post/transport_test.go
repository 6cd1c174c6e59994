package post

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/nettest"
)

// A recorder is an HTTP receiver that remembers what it got.
type recorder struct {
	*httptest.Server
	requests atomic.Int64
	headers  chan http.Header
}

func newRecorder(t *testing.T, handle http.HandlerFunc) *recorder {
	r := &recorder{headers: make(chan http.Header, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		r.requests.Add(1)
		r.headers <- req.Header.Clone()
		handle(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func TestS10_RedirectNeverFollowed(t *testing.T) {
	t.Parallel()
	target := newRecorder(t, func(http.ResponseWriter, *http.Request) {})
	senders := map[string]*Client{
		"own client":    newTestSender(t, transportConfig{}),
		"host's client": hostSender(t, &http.Client{Transport: newTransport(transportConfig{guard: loopback()})}),
		"host's client that would follow": hostSender(t, &http.Client{
			Transport:     newTransport(transportConfig{guard: loopback()}),
			CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
		}),
	}
	for name, s := range senders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
				for _, location := range []string{"", target.URL, target.URL + "/other", "/same-host", "https://10.0.0.1/", "http://169.254.169.254/", "//", ":", "%zz", strings.Repeat("a", 30_000)} {
					var seen atomic.Int64
					p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
						p.readRequest(bufio.NewReader(conn))
						seen.Add(1)
						field := ""
						if location != "" {
							field = "Location: " + location + "\r\n"
						}
						fmt.Fprintf(conn, "HTTP/1.1 %d Elsewhere\r\n%sContent-Length: 0\r\n\r\n", status, field)
					})
					a := attempt(t, s, post(t, p.url))
					wantStatus(t, a, status)
					wantClass(t, a, ClassStatus, "redirects are not followed")
					if seen.Load() != 1 {
						t.Errorf("%d to %.40q: %d requests", status, location, seen.Load())
					}
				}
			}
			if n := target.requests.Load(); n != 0 {
				t.Errorf("the target of the redirects was asked %d times", n)
			}
		})
	}
}

// Not parallel: it sets the environment.
func TestS11_ProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://"+canary.Addr().String())
	}
	for _, no := range []string{"", "receiver.test"} {
		t.Setenv("NO_PROXY", no)
		t.Setenv("no_proxy", no)
		p := newPeer(t, answer("HTTP/1.1 204 No Content\r\n\r\n"))
		judge := loopback()
		// Go would not use a proxy for a target that is called 127.0.0.1.
		judge.Resolver = (&nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).Resolver()
		s := newTestSender(t, transportConfig{guard: judge})
		_, port, _ := net.SplitHostPort(p.Addr().String())
		wantStatus(t, attempt(t, s, post(t, "http://receiver.test:"+port+"/")), 204)
		// A target that would not need the proxy is guarded all the same.
		s = newTestSender(t, transportConfig{guard: &guard.Guard{Resolver: judge.Resolver}})
		wantClass(t, attempt(t, s, post(t, "http://receiver.test:"+port+"/")), ClassBlocked, "")
	}
	canary.Silent(t)
}

func TestS11_WithAProxyOnlyTheProxyIsDialed(t *testing.T) {
	t.Parallel()
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) }))
	t.Cleanup(target.Close)
	var asked, connects atomic.Int64
	proxy := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		r := bufio.NewReader(conn)
		request := string(p.readRequest(r))
		asked.Add(1)
		switch {
		case strings.HasPrefix(request, "CONNECT 169.254.169.254:80 HTTP/1.1\r\n"):
			io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		case strings.HasPrefix(request, "CONNECT example.com:443 HTTP/1.1\r\n"):
			connects.Add(1)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			out, err := net.Dial("tcp", target.Listener.Addr().String())
			if err != nil {
				return
			}
			defer out.Close()
			go func() { io.Copy(out, r); out.Close() }()
			io.Copy(conn, out)
		default:
			io.WriteString(conn, "HTTP/1.1 502 evil 10.0.0.1 \x1b[31m\r\nContent-Length: 0\r\n\r\n")
		}
	})
	u, err := url.Parse("http://" + proxy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	judge := loopback()
	dns := &nettest.NameServer{}
	judge.Resolver = dns.Resolver()
	roots := target.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	s := newTestSender(t, transportConfig{guard: judge, proxy: u, rootCAs: roots})

	wantClass(t, attempt(t, s, post(t, "http://169.254.169.254/latest")), ClassUnsent, "") // the proxy's to refuse
	wantStatus(t, attempt(t, s, post(t, "https://example.com/")), 202)
	a := attempt(t, s, post(t, "https://elsewhere.test/"))
	wantClass(t, a, ClassUnsent, "")
	if strings.Contains(a.Error, "\x1b") || strings.Contains(a.Error, "elsewhere.test") {
		t.Errorf("error %q", a.Error)
	}
	if asked.Load() != 3 || connects.Load() != 1 {
		t.Errorf("the proxy was asked %d times, %d of them to connect", asked.Load(), connects.Load())
	}
	if n := dns.Queries(nettest.TypeA) + dns.Queries(nettest.TypeAAAA); n != 0 {
		t.Errorf("%d names were looked up; that is the proxy's to do", n)
	}

	// Ports that targets may have say nothing about the proxy's, and hold behind it too.
	ports := *judge
	ports.AllowPorts = []int{443, 80}
	s = newTestSender(t, transportConfig{guard: &ports, proxy: u, rootCAs: roots})
	wantStatus(t, attempt(t, s, post(t, "https://example.com/")), 202)
	wantClass(t, attempt(t, s, post(t, "http://169.254.169.254/latest")), ClassUnsent, "")
	for _, elsewhere := range []string{"https://example.com:8443/", "http://example.com:443000/", "http://example.com:8080/", "https://example.com:22/"} {
		wantClass(t, attempt(t, s, post(t, elsewhere)), ClassBlocked, "")
	}
	if asked.Load() != 5 {
		t.Errorf("the proxy was asked %d times, want 5", asked.Load())
	}

	// The proxy itself has to be permitted.
	blockedProxy := newTestSender(t, transportConfig{guard: &guard.Guard{}, proxy: u})
	wantClass(t, attempt(t, blockedProxy, post(t, "http://example.com/")), ClassUnsent, "")
}

func TestS11_TheProxysOwnCertificateIsAlwaysVerified(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewUnstartedServer(http.NotFoundHandler())
	proxy.Config.ErrorLog = quiet
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newTestSender(t, transportConfig{proxy: u})
	r := post(t, "http://example.com/")
	r.VerifyTLS = false // says nothing about the proxy
	wantClass(t, attempt(t, s, r), ClassUnsent, "")
}

func TestS11_ProxyAddress(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://proxy.test":       "proxy.test:80",
		"https://proxy.test":      "proxy.test:443",
		"http://proxy.test:3128/": "proxy.test:3128",
		"http://[2001:db8::1]":    "[2001:db8::1]:80",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxyAddress(u); got != want {
			t.Errorf("proxyAddress(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestS19_AHostsClientWithoutATransportIsGuarded(t *testing.T) {
	t.Parallel()
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	s := newClient(newClients(transportConfig{}, &http.Client{}))
	for _, verify := range []bool{true, false} {
		r := post(t, "http://"+canary.Addr().String())
		r.VerifyTLS = verify
		wantClass(t, attempt(t, s, r), ClassBlocked, "the address is not one that may be dialed")
	}
	if !s.CanSkipVerify() {
		t.Error("verification cannot be turned off in a client of our own making")
	}
	canary.Silent(t)
}

func TestS1_OwnTransportsAreGuarded(t *testing.T) {
	t.Parallel()
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	s := New(Config{MaxFlying: 1})
	for _, verify := range []bool{true, false} {
		for _, scheme := range []string{"http", "https"} {
			for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "１２７.0.0.1", "localhost"} {
				r := post(t, "http://x/")
				r.URL = &url.URL{Scheme: scheme, Host: host + ":" + canary.Port(), Path: "/"}
				r.VerifyTLS = verify
				wantClass(t, attempt(t, s, r), ClassBlocked, "")
			}
		}
	}
	canary.Silent(t)
}

func TestS22_NoRequestOnAConnectionForTheOldTarget(t *testing.T) {
	t.Parallel()
	old := newPeer(t, answer("HTTP/1.1 204 No Content\r\n\r\n"))
	s := newTestSender(t, transportConfig{})
	wantStatus(t, attempt(t, s, post(t, old.url)), 204)

	t.Run("edited URL", func(t *testing.T) {
		fresh := newPeer(t, answer("HTTP/1.1 204 No Content\r\n\r\n"))
		wantStatus(t, attempt(t, s, post(t, fresh.url)), 204)
	})
	t.Run("another name for the same port", func(t *testing.T) {
		// The pool is keyed by the name: what the new name resolves to is
		// judged, even if a connection to the right address is idle.
		r := post(t, "http://[::1]:1/")
		r.URL.Host = "localhost.invalid:" + strings.TrimPrefix(old.Addr().String(), "127.0.0.1:")
		if a := attempt(t, s, r); a.Status != 0 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("tightened guard", func(t *testing.T) {
		tight := newTestSender(t, transportConfig{guard: &guard.Guard{}})
		wantClass(t, attempt(t, tight, post(t, old.url)), ClassBlocked, "")
	})
	t.Run("plain and TLS", func(t *testing.T) {
		a := attempt(t, s, post(t, "https://"+old.Addr().String()).within(stallTimeout))
		wantClass(t, a, ClassTimeout, "while connecting") // it waits for a line to end
	})
	if n := old.requests.Load(); n != 1 {
		t.Errorf("the old target got %d requests, want the first one only", n)
	}
	t.Run("closed while idle", func(t *testing.T) {
		s.CloseIdle()
		wantStatus(t, attempt(t, s, post(t, old.url)), 204)
		if n := old.conns.Load(); n != 3 { // the TLS one included
			t.Errorf("%d connections, want 3", n)
		}
	})
}

func TestS25_HeadersOfAnAnswerChangeNothingLater(t *testing.T) {
	t.Parallel()
	other := nettest.NewCanary(t, "127.0.0.1:0")
	rec := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Alt-Svc", `h3="`+other.Addr().String()+`"; ma=86400, h2="`+other.Addr().String()+`"`)
		w.Header().Set("Refresh", "0; url=http://"+other.Addr().String())
		w.Header().Set("Link", "<http://"+other.Addr().String()+">; rel=preconnect")
		w.Header().Set("Set-Cookie", "session=stolen; Path=/")
		w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		w.Header().Set("Clear-Site-Data", "*")
		w.Header().Set("Accept-CH", "Sec-CH-UA")
	})
	s := newTestSender(t, transportConfig{})
	r := post(t, rec.URL)
	for range 3 {
		a := attempt(t, s, r)
		wantStatus(t, a, 200)
		for name := range a.ResponseHeaders {
			if name == "Set-Cookie" || name == "Alt-Svc" {
				t.Errorf("stored %s", name)
			}
		}
	}
	first := <-rec.headers
	for range 2 {
		if next := <-rec.headers; fmt.Sprint(next) != fmt.Sprint(first) {
			t.Errorf("later request:\n%v\nfirst one:\n%v", next, first)
		}
	}
	other.Silent(t)
}

func TestR12_NoCookieIsEverSentBack(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "one", Path: "/"})
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Client{
		"own client":               newTestSender(t, transportConfig{}),
		"host's client with a jar": hostSender(t, &http.Client{Jar: jar, Transport: newTransport(transportConfig{guard: loopback()})}),
	} {
		for range 2 {
			wantStatus(t, attempt(t, s, post(t, rec.URL)), 200)
			if h := <-rec.headers; len(h["Cookie"]) != 0 {
				t.Errorf("%s: Cookie: %q", name, h["Cookie"])
			}
		}
	}
	if u, _ := url.Parse(rec.URL); len(jar.Cookies(u)) != 0 {
		t.Error("the host's jar was filled")
	}
}

// The clients are also good for requests that are not attempts.
func TestS10_TheClientsThemselvesFollowNothing(t *testing.T) {
	t.Parallel()
	target := newRecorder(t, func(http.ResponseWriter, *http.Request) {})
	rec := newRecorder(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) })
	c := newClients(transportConfig{guard: loopback()}, &http.Client{})
	t.Cleanup(c.closeIdle)
	for _, client := range []*http.Client{c.verified, c.unverified} {
		resp, err := client.Get(rec.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound || target.requests.Load() != 0 {
			t.Errorf("status %d, %d requests at the target", resp.StatusCode, target.requests.Load())
		}
	}
}

func TestDialsOfOneAttemptAreBounded(t *testing.T) {
	t.Parallel()
	p := newPeer(t, hold)
	f := newFlight(t.Context(), post(t, p.url), time.Now(), 0)
	defer f.end()
	d := newTransport(transportConfig{guard: loopback()})
	for n := range 2 * maxDials {
		dial := d.DialContext
		if n >= maxDials && n%2 == 0 {
			dial = d.DialTLSContext
		}
		conn, err := dial(f, "tcp", p.Addr().String())
		if err == nil {
			conn.Close()
		}
		if (n >= maxDials) != errors.Is(err, errTooManyDials) || n < maxDials && err != nil {
			t.Errorf("connection %d: %v", n+1, err)
		}
	}
}

// Headers and body leave in one packet where they fit: half the system calls,
// and no wait for the second half on a slow network.
func TestRequestIsOneWrite(t *testing.T) {
	t.Parallel()
	var writes atomic.Int64
	p := newPeer(t, answer("HTTP/1.1 204 No Content\r\n\r\n"))
	s := hostSender(t, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := loopback().DialContext(ctx, network, address)
			return &counting{Conn: conn, writes: &writes}, err
		},
	}})
	wantStatus(t, attempt(t, s, post(t, p.url)), 204)
	if n := writes.Load(); n != 1 {
		t.Errorf("%d writes for one small request", n)
	}
}

type counting struct {
	net.Conn
	writes *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}
