package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A receiver is what a test's client connects to, in memory. It serves every
// connection with serve, numbered from 1.
type receiver struct {
	serve func(n int64, conn net.Conn, r *bufio.Reader)
	conns atomic.Int64
	posts atomic.Int64
}

func (s *receiver) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	n := s.conns.Add(1)
	go func() {
		defer there.Close()
		s.serve(n, there, bufio.NewReader(there))
	}()
	return here, nil
}

// next reads a request, with its body.
func (s *receiver) next(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return false
	}
	s.posts.Add(1)
	return true
}

func client(dial func(context.Context, string, string) (net.Conn, error), more ...func(*Config)) *Client {
	cfg := Config{Dial: dial, MaxIdle: 100, MaxIdlePerHost: 10}
	for _, change := range more {
		change(&cfg)
	}
	return New(cfg)
}

// notes is a Watcher that remembers what it was told.
type notes struct {
	connecting, connected, reused atomic.Int64
	begun, written                atomic.Bool
}

func (w *notes) Connecting() { w.connecting.Add(1) }
func (w *notes) Connected(reused bool) {
	w.connected.Add(1)
	if reused {
		w.reused.Add(1)
	}
}
func (w *notes) Begun()   { w.begun.Store(true) }
func (w *notes) Written() { w.written.Store(true) }

func request(t testing.TB, rawURL string, body []byte) *Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return &Request{URL: u, Header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"test/1"}}, Body: body}
}

// post makes a request and reads its answer.
func post(t testing.TB, c *Client, r *Request) (status int, body string, err error) {
	t.Helper()
	resp, err := c.Do(t.Context(), r, new(notes))
	if err != nil {
		return 0, "", err
	}
	kept, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading the body: %v", err)
	}
	resp.Body.Close()
	return resp.StatusCode, string(kept), nil
}

// mustPost wants a 200.
func mustPost(t testing.TB, c *Client, r *Request) {
	t.Helper()
	if status, _, err := post(t, c, r); status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
}

// listen serves connections of real sockets until the test ends.
func listen(t testing.TB, serve func(conn *net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

func dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// trusting is a Secure that does not look at certificates.
func trusting(cfg *Config) {
	cfg.Secure = func(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error) {
		secure := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		err := secure.HandshakeContext(ctx)
		return secure, err
	}
}
