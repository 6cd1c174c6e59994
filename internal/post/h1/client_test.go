package h1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// breaking is a connection whose next write fails after so many bytes.
type breaking struct {
	net.Conn
	left  int // negative: it does not fail
	wrote *atomic.Int64
}

func (c *breaking) Write(p []byte) (int, error) {
	if c.left < 0 {
		c.wrote.Add(1)
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:min(c.left, len(p))])
	return n, syscall.EPIPE
}

// A request of which nothing was written goes to another connection, once. One of
// which a byte was written does not.
func TestRequest_IsSentAgainOnlyIfNothingWasWritten(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		body   int
		broken []int // how many bytes the second request's connections take before they break; -1: they do not
		posts  int64
		ok     bool
	}{
		{"nothing written", 2, []int{0, -1}, 2, true},
		{"nothing written, twice", 2, []int{0, 0}, 1, false},
		{"a byte written", 2, []int{1}, 1, false},
		{"large, nothing written", 1 << 20, []int{0, -1}, 2, true},
		{"large, the head written", 1 << 20, []int{200}, 1, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := new(receiver)
			s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
				for s.next(r) {
					io.WriteString(conn, okAnswer)
				}
			}
			var conns []*breaking
			var writes atomic.Int64
			c := client(func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := s.dial(ctx, network, address)
				b := &breaking{conn, -1, &writes}
				if len(conns) > 0 {
					if len(conns) >= len(row.broken) {
						return nil, errors.New("one connection too many")
					}
					b.left = row.broken[len(conns)]
				}
				conns = append(conns, b)
				return b, err
			})
			defer c.CloseIdle()
			mustPost(t, c, request(t, "http://r.test/", []byte("{}")))
			if writes.Load() != 1 {
				t.Errorf("%d writes for a small request", writes.Load())
			}
			conns[0].left = row.broken[0]
			w := new(notes)
			resp, err := c.Do(t.Context(), request(t, "http://r.test/", make([]byte, row.body)), w)
			if (err == nil) != row.ok {
				t.Fatalf("%v", err)
			}
			if err == nil {
				resp.Body.Close()
			} else if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
				t.Errorf("%v", err)
			}
			if n := s.posts.Load(); n != row.posts {
				t.Errorf("%d requests arrived, want %d", n, row.posts)
			}
			if len(conns) != len(row.broken) {
				t.Errorf("%d connections, want %d", len(conns), len(row.broken))
			}
			if w.reused.Load() != 1 || w.connected.Load() != int64(len(row.broken)) || w.begun.Load() != (row.ok || row.broken[0] > 0) {
				t.Errorf("told of %d connections, %d of them used before, begun %v", w.connected.Load(), w.reused.Load(), w.begun.Load())
			}
		})
	}
}

// An answer that comes before the body was read is an answer, whatever becomes of
// the rest of the body.
func TestEarlyAnswer_IsNeverLost(t *testing.T) {
	t.Parallel()
	const deny = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow"
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	secure := httptest.NewUnstartedServer(nil)
	secure.StartTLS()
	certs := secure.TLS.Certificates
	secure.Close()
	for name, then := range map[string]func(net.Conn, *net.TCPConn){
		"closes":               func(net.Conn, *net.TCPConn) {},
		"resets":               func(_ net.Conn, raw *net.TCPConn) { raw.SetLinger(0) },
		"ends its side":        func(_ net.Conn, raw *net.TCPConn) { raw.CloseWrite(); io.Copy(io.Discard, raw) },
		"reads the rest":       func(c net.Conn, _ *net.TCPConn) { io.Copy(io.Discard, c) },
		"stays, reads no more": func(net.Conn, *net.TCPConn) { <-end },
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				address := listen(t, func(raw *net.TCPConn) {
					conn := net.Conn(raw)
					if scheme == "https" {
						conn = tls.Server(raw, &tls.Config{Certificates: certs})
					}
					conn.Read(make([]byte, 1000)) // the head, and some of the body
					io.WriteString(conn, deny)
					then(conn, raw)
				})
				c := client(dialTCP, trusting)
				defer c.CloseIdle()
				for _, size := range []int{100, oneWrite, 100 << 10, 1 << 20, 8 << 20} {
					for range 20 {
						w := new(notes)
						resp, err := c.Do(t.Context(), request(t, scheme+"://"+address+"/", make([]byte, size)), w)
						if err != nil {
							t.Fatalf("%d bytes: %v", size, err)
						}
						body, _ := io.ReadAll(resp.Body)
						if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" || string(body) != "slow" {
							t.Fatalf("%d bytes: %+v, %q", size, resp, body)
						}
						resp.Body.Close()
						if w.reused.Load() > 0 {
							t.Fatalf("%d bytes: the connection of an early answer was used again", size)
						}
					}
				}
			})
		}
	}
}

// What comes behind an answer is nobody's, also where only TLS has seen it yet.
func TestTLS_WhatIsLeftOverIsFound(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	certs := srv.TLS.Certificates
	srv.Close()
	for name, more := range map[string]func(*tls.Conn){
		"a second answer": func(c *tls.Conn) { io.WriteString(c, "HTTP/1.1 500 Poison\r\nContent-Length: 0\r\n\r\n") },
		"a goodbye":       func(c *tls.Conn) { c.CloseWrite() },
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s %#x", name, version), func(t *testing.T) {
				t.Parallel()
				var s receiver
				var conns atomic.Int64
				address := listen(t, func(raw *net.TCPConn) {
					conns.Add(1)
					together := &gathering{Conn: raw}
					conn := tls.Server(together, &tls.Config{Certificates: certs, MaxVersion: version})
					for r := bufio.NewReader(conn); s.next(r); {
						together.hold()
						io.WriteString(conn, okAnswer)
						more(conn)
						together.flush()
					}
				})
				c := client(dialTCP, trusting)
				defer c.CloseIdle()
				for n := int64(1); n <= 5; n++ {
					mustPost(t, c, request(t, "https://"+address+"/", []byte("{}")))
					if conns.Load() != n {
						t.Errorf("%d connections after %d requests", conns.Load(), n)
					}
				}
			})
		}
	}
}

// gathering sends what is written to it in one packet.
type gathering struct {
	net.Conn
	mu   sync.Mutex
	held *bytes.Buffer
}

func (g *gathering) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = new(bytes.Buffer)
}

func (g *gathering) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		return g.held.Write(p)
	}
	return g.Conn.Write(p)
}

// SetWriteDeadline does nothing: after its goodbye crypto/tls forbids writing.
func (g *gathering) SetWriteDeadline(time.Time) error { return nil }

func (g *gathering) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Conn.Write(g.held.Bytes())
	g.held = nil
}

func TestTLS_ConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var conns atomic.Int64
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
		srv.TLS = &tls.Config{MaxVersion: version}
		srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		c := client(dialTCP, trusting)
		t.Cleanup(c.CloseIdle)
		for _, size := range []int{2, oneWrite, oneWrite + 1, 1 << 20, 2} {
			mustPost(t, c, request(t, srv.URL, make([]byte, size)))
		}
		if conns.Load() != 1 {
			t.Errorf("TLS %#x: %d connections for five requests", version, conns.Load())
		}
	}
}

func TestAbort_EndsWhateverIsGoingOn(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(s *receiver, conn net.Conn, r *bufio.Reader){
		"sending":              func(_ *receiver, _ net.Conn, r *bufio.Reader) { r.Peek(10) },
		"waiting for the head": func(s *receiver, _ net.Conn, r *bufio.Reader) { s.next(r) },
		"in the head":          func(s *receiver, conn net.Conn, r *bufio.Reader) { s.next(r); io.WriteString(conn, "HTTP/1.1 200") },
	} {
		for _, size := range []int{oneWrite, 1 << 20} {
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					end := make(chan struct{})
					s := new(receiver)
					s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
						serve(s, conn, r)
						<-end
					}
					c := client(s.dial)
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					defer cancel()
					start := time.Now()
					_, err := c.Do(ctx, request(t, "http://r.test/", make([]byte, size)), new(notes))
					if err == nil || !isTimeout(err) || time.Since(start) != 3*time.Second {
						t.Errorf("after %v: %v", time.Since(start), err)
					}
					if c.pool.idle != 0 {
						t.Error("an aborted connection is kept")
					}
					close(end)
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // in the body
		end := make(chan struct{})
		s := new(receiver)
		s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
			s.next(r)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			<-end
		}
		c := client(s.dial)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := c.Do(ctx, request(t, "http://r.test/", []byte("{}")), new(notes))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if string(body) != "half" || !isTimeout(err) {
			t.Errorf("%q, %v", body, err)
		}
		resp.Body.Close()
		resp.Body.Close() // a second time does nothing
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes of a closed body, %v", n, err)
		}
		close(end)
	})
}

func TestMaxPerHost_IsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(receiver)
		s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
			for s.next(r) {
				time.Sleep(time.Second)
				io.WriteString(conn, okAnswer)
			}
		}
		c := client(s.dial, func(cfg *Config) { cfg.MaxPerHost = 2 })
		start := time.Now()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { mustPost(t, c, request(t, "http://r.test/", []byte("{}"))) })
		}
		all.Wait()
		if took := time.Since(start); s.conns.Load() != 2 || took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("%d connections, %v", s.conns.Load(), took)
		}
		c.CloseIdle()
	})
}

func TestRequest_ThatWouldNotArriveAsItIsIsRefused(t *testing.T) {
	t.Parallel()
	c := client(func(context.Context, string, string) (net.Conn, error) {
		t.Error("a connection was opened")
		return nil, io.EOF
	})
	for name, spoil := range map[string]func(*Request){
		"line feed in a value":   func(r *Request) { r.Header.Set("X-A", "b\r\nX-C: d") },
		"NUL in a value":         func(r *Request) { r.Header.Set("X-A", "\x00") },
		"space in a name":        func(r *Request) { r.Header["X A"] = []string{"b"} },
		"colon in a name":        func(r *Request) { r.Header["X:A"] = []string{"b"} },
		"empty name":             func(r *Request) { r.Header[""] = []string{"b"} },
		"line feed in the query": func(r *Request) { r.URL.RawQuery = "a\r\nX: b" },
		"line feed in the host":  func(r *Request) { r.URL.Host = "a\nb" },
		"no host":                func(r *Request) { r.URL.Host = "" },
		"other scheme":           func(r *Request) { r.URL.Scheme = "gopher" },
	} {
		r := request(t, "http://r.test/", []byte("{}"))
		spoil(r)
		if _, err := c.Do(t.Context(), r, new(notes)); err == nil || strings.Contains(err.Error(), "X-C") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRequest_OnTheWire(t *testing.T) {
	t.Parallel()
	for rawURL, want := range map[string]string{
		"http://r.test":                  "POST / HTTP/1.1\r\nHost: r.test\r\n",
		"http://r.test:80/a%2Fb?q=1 2#f": "POST /a%2Fb?q=1%202 HTTP/1.1\r\nHost: r.test:80\r\n",
		"http://[2001:db8::1]:8080//x":   "POST //x HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n",
		"http://[fe80::1%25en0]/":        "POST / HTTP/1.1\r\nHost: [fe80::1]\r\n",
		"http://user:pw@R.test/é?":       "POST /%C3%A9? HTTP/1.1\r\nHost: R.test\r\n",
	} {
		r := request(t, rawURL, []byte("{}"))
		r.Header["Transfer-Encoding"] = []string{"chunked"}
		r.Header["X-Two"] = []string{" a ", "b"}
		want += "User-Agent: test/1\r\nContent-Length: 2\r\nContent-Type: application/json\r\nX-Two: a\r\nX-Two: b\r\n\r\n"
		if got := string(appendHead(nil, r)); got != want {
			t.Errorf("%s:\n%q\nwant\n%q", rawURL, got, want)
		}
	}
}
