package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// closing is a receiver that closes what was idle for so long, and that a request
// crosses when it comes any later: it is read, and never answered.
func closing(after time.Duration, answer string) *receiver {
	s := new(receiver)
	s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
		for since := time.Now().Add(time.Hour); s.next(r) && time.Since(since) < after; since = time.Now() {
			io.WriteString(conn, answer)
		}
	}
	return s
}

func TestIdle_NoLongerThanTheReceiverSays(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int{1, 2, 3, 5, 75} {
		synctest.Test(t, func(t *testing.T) {
			limit := time.Duration(seconds) * time.Second
			s := closing(limit, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout="+strconv.Itoa(seconds)+"\r\nContent-Length: 2\r\n\r\nok")
			c := client(s.dial)
			defer c.CloseIdle()
			for _, gap := range []time.Duration{0, limit / 4, limit - time.Millisecond, limit, limit + time.Millisecond, limit / 3, 2 * limit} {
				time.Sleep(gap)
				mustPost(t, c, request(t, "http://r.test/", []byte("{}")))
			}
			if n := s.conns.Load(); n > 5 {
				t.Errorf("%d connections for 7 requests to a receiver that keeps them for %v", n, limit)
			}
		})
	}
}

func TestIdle_AMinuteWhereNothingSaysLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := closing(time.Hour, okAnswer)
		c := client(s.dial)
		defer c.CloseIdle()
		for i, row := range []struct {
			gap   time.Duration
			conns int64
		}{{0, 1}, {59 * time.Second, 1}, {61 * time.Second, 2}, {time.Second, 2}} {
			time.Sleep(row.gap)
			mustPost(t, c, request(t, "http://r.test/", []byte("{}")))
			if n := s.conns.Load(); n != row.conns {
				t.Errorf("request %d, after %v: %d connections, want %d", i, row.gap, n, row.conns)
			}
		}
	})
}

// A receiver that says nothing and closes after 2 s is not trusted with 2 s again,
// for a while; then it is, and for longer each time that it does it again.
func TestIdle_AReceiverThatClosedIsTrustedWithLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := closing(2*time.Second, okAnswer)
		c := client(s.dial)
		defer c.CloseIdle()
		r := request(t, "http://r.test/", []byte("{}"))
		lost := 0
		for range 1000 {
			if status, _, _ := post(t, c, r); status != http.StatusOK {
				lost++
			}
			time.Sleep(2 * time.Second)
		}
		// 2,000 s: lessons of 1, 2, 4, 8, 16 and 32 minutes.
		if lost > 6 {
			t.Errorf("%d of 1,000 requests were lost", lost)
		}
		if lost == 0 {
			t.Error("no request was lost: the test's receiver does not do what it is for")
		}
		if n, posts := s.conns.Load(), s.posts.Load(); posts != 1000 {
			t.Errorf("%d requests arrived on %d connections", posts, n)
		}
	})
}

// A busy receiver that was restarted once is not punished with a connection for
// every request.
func TestIdle_ARestartIsForgiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var open []net.Conn
		s := new(receiver)
		s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			for s.next(r) {
				io.WriteString(conn, okAnswer)
			}
		}
		c := client(s.dial)
		defer c.CloseIdle()
		r := request(t, "http://r.test/", []byte("{}"))
		for i := range 1000 {
			mustPost(t, c, r)
			time.Sleep(20 * time.Millisecond)
			if i == 500 {
				mu.Lock()
				for _, conn := range open {
					conn.Close()
				}
				mu.Unlock()
			}
		}
		if n := s.conns.Load(); n != 2 {
			t.Errorf("%d connections for 1,000 requests and one restart", n)
		}
		time.Sleep(2 * firstLesson)
		before := s.conns.Load()
		for range 10 {
			mustPost(t, c, r)
			time.Sleep(5 * time.Second)
		}
		if n := s.conns.Load() - before; n > 1 {
			t.Errorf("%d connections for 10 requests, long after the restart", n)
		}
	})
}

// One that closes what was idle for less than the first lesson leaves is trusted with
// less and less, until no request meets the close.
func TestIdle_AHastyReceiverIsLearntStepByStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := closing(20*time.Millisecond, okAnswer)
		c := client(s.dial)
		defer c.CloseIdle()
		r := request(t, "http://r.test/", []byte("{}"))
		lost := 0
		for range 1000 {
			if status, _, _ := post(t, c, r); status != http.StatusOK {
				lost++
			}
			time.Sleep(30 * time.Millisecond)
		}
		if lost > 5 {
			t.Errorf("%d of 1,000 requests were lost in 30 s", lost)
		}
	})
}

// However busy it is, a connection ends after five minutes at most, and so a change
// of the receiver's address is followed.
func TestAge_ABusyReceiverIsFoundAtItsNewAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before, after := closing(time.Hour, okAnswer), closing(time.Hour, okAnswer)
		at := before
		c := client(func(ctx context.Context, network, address string) (net.Conn, error) {
			return at.dial(ctx, network, address)
		})
		defer c.CloseIdle()
		r := request(t, "http://r.test/", []byte("{}"))
		for start := time.Now(); time.Since(start) < 20*time.Minute; time.Sleep(100 * time.Millisecond) {
			mustPost(t, c, r)
		}
		if n := before.conns.Load(); n < 4 || n > 6 {
			t.Errorf("%d connections in 20 minutes, want one every four to five", n)
		}
		at = after
		moved := time.Now()
		for time.Since(moved) < maxAge {
			mustPost(t, c, r)
			time.Sleep(100 * time.Millisecond)
		}
		seen := before.posts.Load()
		for range 200 {
			mustPost(t, c, r)
			time.Sleep(100 * time.Millisecond)
		}
		if n := before.posts.Load() - seen; n != 0 {
			t.Errorf("%d of 200 requests went to the address of five minutes ago", n)
		}
	})
}

func TestAge_DiffersFromConnectionToConnection(t *testing.T) {
	t.Parallel()
	ends := make(map[time.Duration]bool)
	for range 20 {
		here, there := net.Pipe()
		there.Close()
		age := time.Until(newConn(here, "").ends)
		if age > maxAge || age < maxAge*4/5-time.Minute {
			t.Errorf("a connection lives for %v", age)
		}
		ends[age.Round(100*time.Millisecond)] = true
	}
	if len(ends) < 5 {
		t.Errorf("twenty connections end at %d times", len(ends))
	}
}

func TestIdle_TheOldestIsClosedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := closing(time.Hour, okAnswer)
		c := client(s.dial, func(cfg *Config) { cfg.MaxIdle, cfg.MaxIdlePerHost = 3, 2 })
		defer c.CloseIdle()
		ask := func(host string) { mustPost(t, c, request(t, "http://"+host+".test/", []byte("{}"))) }
		for _, host := range []string{"a", "b", "c", "d", "a"} { // a was closed for d
			ask(host)
			time.Sleep(time.Second)
		}
		if n := s.conns.Load(); n != 5 {
			t.Fatalf("%d connections, want 5", n)
		}
		for _, host := range []string{"c", "d", "a"} {
			ask(host)
		}
		if n := s.conns.Load(); n != 5 {
			t.Errorf("%d connections, want 5: those used last are kept", n)
		}
	})
	synctest.Test(t, func(t *testing.T) { // and to one host no more than its part
		release := make(chan struct{})
		s := new(receiver)
		s.serve = func(_ int64, conn net.Conn, r *bufio.Reader) {
			for s.next(r) {
				<-release
				io.WriteString(conn, okAnswer)
			}
		}
		c := client(s.dial, func(cfg *Config) { cfg.MaxIdlePerHost = 2 })
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { mustPost(t, c, request(t, "http://r.test/", []byte("{}"))) })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		c.pool.mu.Lock()
		idle := c.pool.idle
		c.pool.mu.Unlock()
		if idle != 2 || s.conns.Load() != 5 {
			t.Errorf("%d of %d connections are idle, want 2 of 5", idle, s.conns.Load())
		}
		c.CloseIdle()
	})
}

// On real sockets: what the receiver closes, or sends unasked, is seen before the
// connection is used, and without any request too.
func TestIdle_WhatTheReceiverDidMeanwhileIsSeen(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(*net.TCPConn){
		"closes":              func(c *net.TCPConn) { c.Close() },
		"ends its side":       func(c *net.TCPConn) { c.CloseWrite() },
		"resets":              func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"sends a second one":  func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 500 Poison\r\nContent-Length: 0\r\n\r\n") },
		"sends a byte":        func(c *net.TCPConn) { io.WriteString(c, "\n") },
		"says that it closes": func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n"); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s receiver
			done := make(chan struct{}, 10)
			var conns atomic.Int64
			address := listen(t, func(conn *net.TCPConn) {
				conns.Add(1)
				for r := bufio.NewReader(conn); s.next(r); {
					io.WriteString(conn, okAnswer)
					go func() {
						<-done
						then(conn)
						done <- struct{}{}
					}()
				}
			})
			c := client(dialTCP)
			defer c.CloseIdle()
			r := request(t, "http://"+address+"/", []byte("{}"))
			mustPost(t, c, r)
			done <- struct{}{}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for learned := false; !learned; <-tick.C { // until the kernel has it
				c.pool.sweepHost("http " + address)
				c.pool.mu.Lock()
				learned = c.pool.hosts["http "+address].lessons == 1
				c.pool.mu.Unlock()
			}
			mustPost(t, c, r)
			if n := conns.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// An idle connection costs no goroutine and no buffer.
func TestIdle_CostsNoGoroutine(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	c := client(dialTCP, func(cfg *Config) { cfg.MaxIdlePerHost = 100 })
	defer c.CloseIdle()
	var bodies []io.Closer
	for range 50 {
		resp, err := c.Do(t.Context(), request(t, srv.URL, []byte("{}")), new(notes))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
	}
	for _, body := range bodies {
		body.Close()
	}
	if c.pool.idle != 50 {
		t.Fatalf("%d idle connections", c.pool.idle)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if n := bytes.Count(stacks, []byte("h1.(*")); n > 0 {
		t.Errorf("%d goroutines stand in the client:\n%s", n, stacks)
	}
}
