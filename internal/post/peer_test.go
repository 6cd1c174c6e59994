package post

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"
)

// slack is what a timeout may be late by on a machine with other things to do.
const slack = 3 * time.Second

// loopback lets tests reach their own receivers, and nothing else.
func loopback() *guard.Guard {
	return &guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// newTestSender returns a sender with the library's own transports.
func newTestSender(t testing.TB, cfg transportConfig) *Client {
	t.Helper()
	if cfg.guard == nil {
		cfg.guard = loopback()
	}
	s := newClient(newClients(cfg, nil))
	t.Cleanup(s.CloseIdle)
	return s
}

// hostSender returns a sender with a client of the host's.
func hostSender(t testing.TB, c *http.Client) *Client {
	t.Helper()
	s := newClient(newClients(transportConfig{guard: loopback()}, c))
	t.Cleanup(s.CloseIdle)
	return s
}

const testBody = `{"event":"agent.message","data":{}}`

// post is the request of an attempt to rawURL, with what every one carries.
func post(t testing.TB, rawURL string) *Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return &Request{
		URL: u,
		Header: http.Header{
			"Content-Type":        {"application/json"},
			"User-Agent":          {"test/1"},
			"X-Webhook-Signature": {strings.Repeat("5ec2e7", 10) + "beef"},
			"Webhook-Signature":   {"v1,c2lnbmF0dXJlLW9uZQ== v1,c2lnbmF0dXJlLXR3bw=="},
			"Webhook-Id":          {"evt_1"},
			"Webhook-Timestamp":   {"1705319100"},
			"X-Api-Key":           {"custom-header-value"},
		},
		Body:      []byte(testBody),
		Timeout:   10 * time.Second,
		VerifyTLS: true,
	}
}

// within returns a copy of the request with another timeout.
func (r Request) within(timeout time.Duration) *Request {
	r.Timeout = timeout
	return &r
}

// attempt makes an attempt that has to end with an outcome.
func attempt(t testing.TB, s *Client, r *Request) Answer {
	t.Helper()
	a := s.Do(t.Context(), r)
	if a.Aborted {
		t.Fatal("the attempt was aborted")
	}
	if (a.Class == "") != a.Succeeded() || a.Succeeded() != (a.Error == "") {
		t.Errorf("status, class and error do not agree: %+v", a)
	}
	return a
}

func wantClass(t testing.TB, a Answer, class Class, text string) {
	t.Helper()
	if a.Class != class || !strings.Contains(a.Error, text) {
		t.Errorf("class %q, error %q; want class %q and %q in the error", a.Class, a.Error, class, text)
	}
}

func wantStatus(t testing.TB, a Answer, status int) {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d (class %q, error %q); want %d", a.Status, a.Class, a.Error, status)
	}
}

// A peer is a receiver below HTTP: it does with each connection as it likes.
type peer struct {
	net.Listener
	url      string
	conns    atomic.Int64
	requests atomic.Int64 // complete ones, as counted by readRequest
	done     chan struct{}
}

// newPeer serves each connection with handle, which need not close it. The
// connections are numbered from 1.
func newPeer(t testing.TB, handle func(p *peer, n int64, conn net.Conn)) *peer {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return servePeer(t, ln, "http://"+ln.Addr().String()+"/hook", handle)
}

func servePeer(t testing.TB, ln net.Listener, url string, handle func(p *peer, n int64, conn net.Conn)) *peer {
	p := &peer{Listener: ln, url: url, done: make(chan struct{})}
	var handlers sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	handlers.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			n := p.conns.Add(1)
			handlers.Go(func() {
				defer conn.Close()
				handle(p, n, conn)
			})
		}
	})
	t.Cleanup(func() {
		close(p.done)
		ln.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		handlers.Wait()
	})
	return p
}

// readRequest reads one request with its body, counts it and returns its
// bytes, or nil at the end of the connection.
func (p *peer) readRequest(r *bufio.Reader) []byte {
	var raw bytes.Buffer
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil
		}
		raw.WriteString(line)
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "content-length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if line == "\r\n" {
			break
		}
	}
	if _, err := io.CopyN(&raw, r, int64(length)); err != nil {
		return nil
	}
	p.requests.Add(1)
	return raw.Bytes()
}

// answer is the handler of a peer that answers every request with the same
// bytes and keeps the connection.
func answer(raw string) func(*peer, int64, net.Conn) {
	return func(p *peer, _ int64, conn net.Conn) {
		for r := bufio.NewReader(conn); p.readRequest(r) != nil; {
			if _, err := io.WriteString(conn, raw); err != nil {
				return
			}
		}
	}
}

// answerOnce is answer for a peer that closes the connection after it.
func answerOnce(raw string) func(*peer, int64, net.Conn) {
	return func(p *peer, _ int64, conn net.Conn) {
		if p.readRequest(bufio.NewReader(conn)) != nil {
			io.WriteString(conn, raw)
		}
	}
}

// hold keeps the connection open, reading nothing, until the test ends.
func hold(p *peer, _ int64, _ net.Conn) { <-p.done }

// watchGoroutines fails the test when, at its end, goroutines are left that
// were not there at its start. It waits for them a while; the test must not be
// a parallel one.
func watchGoroutines(t *testing.T) (settled func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	settled = func() {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		deadline := time.After(slack)
		for runtime.NumGoroutine() > before {
			select {
			case <-tick.C:
			case <-deadline:
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d goroutines, %d at the start:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			}
		}
	}
	return settled
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), slack)
	defer cancel()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}

// newTransport returns the transport of a pair that verifies certificates.
func newTransport(cfg transportConfig) *http.Transport {
	t, _ := newPair(cfg, true)
	return t
}
