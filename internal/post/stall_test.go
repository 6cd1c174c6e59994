package post

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

const stallTimeout = 300 * time.Millisecond

func wantStall(t *testing.T, a Answer, text string) {
	t.Helper()
	wantClass(t, a, ClassTimeout, text)
	if a.Duration < stallTimeout || a.Duration > stallTimeout+slack {
		t.Errorf("a timeout of %v ended the attempt after %v", stallTimeout, a.Duration)
	}
}

func TestH8_StallAtEveryStage(t *testing.T) {
	t.Parallel()
	t.Run("look-up", func(t *testing.T) {
		t.Parallel()
		judge := loopback()
		judge.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		s := newTestSender(t, transportConfig{guard: judge})
		a := attempt(t, s, post(t, "https://receiver.test/").within(stallTimeout))
		wantClass(t, a, ClassDNS, "the look-up of the host name timed out after 300ms")
		if a.Duration < stallTimeout || a.Duration > stallTimeout+slack {
			t.Errorf("a timeout of %v ended the attempt after %v", stallTimeout, a.Duration)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, hold)
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, "https://"+p.Addr().String()).within(stallTimeout))
		wantStall(t, a, "while connecting")
	})
	t.Run("TLS, dripping", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, func(p *peer, _ int64, conn net.Conn) { drip(p, conn, "\x16\x03\x03\x40\x00\x02", 0x00) })
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, "https://"+p.Addr().String()).within(stallTimeout))
		wantStall(t, a, "while connecting")
	})
	t.Run("sending", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, hold)
		r := post(t, p.url).within(stallTimeout)
		r.Body = make([]byte, 32<<20)
		wantStall(t, attempt(t, newTestSender(t, transportConfig{}), r), "while sending the request")
	})
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, func(p *peer, n int64, conn net.Conn) {
			p.readRequest(bufio.NewReader(conn))
			hold(p, n, conn)
		})
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url).within(stallTimeout))
		wantStall(t, a, "while waiting for the answer")
		if n := p.requests.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("headers, dripping", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
			p.readRequest(bufio.NewReader(conn))
			drip(p, conn, "HTTP/1.1 200 OK\r\nX: ", 'x')
		})
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url).within(stallTimeout))
		wantStall(t, a, "while waiting for the answer")
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
			p.readRequest(bufio.NewReader(conn))
			drip(p, conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 'x')
		})
		s := newTestSender(t, transportConfig{})
		a := attempt(t, s, post(t, p.url).within(stallTimeout))
		if !a.Succeeded() || !a.ResponseTruncated || a.Duration < stallTimeout || a.Duration > stallTimeout+slack {
			t.Errorf("the status line came in time: %+v", a)
		}
		if a := attempt(t, s, post(t, p.url).within(stallTimeout)); !a.Succeeded() || p.conns.Load() != 2 {
			t.Errorf("a connection with half an answer on it was used again: %+v", a)
		}
	})
}

// drip writes the start and then one more byte every few milliseconds.
func drip(p *peer, conn net.Conn, start string, more byte) {
	io.WriteString(conn, start)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := conn.Write([]byte{more}); err != nil {
				return
			}
		case <-p.done:
			return
		}
	}
}

func TestH10_ReceiverThatReadsAByteAtATime(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		conn.(*net.TCPConn).SetReadBuffer(1)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for one := make([]byte, 1); ; {
			select {
			case <-tick.C:
				if _, err := conn.Read(one); err != nil {
					return
				}
			case <-p.done:
				return
			}
		}
	})
	r := post(t, p.url).within(stallTimeout)
	r.Body = bytes.Repeat([]byte("x"), 16<<20) // more than both kernels' buffers hold
	wantStall(t, attempt(t, newTestSender(t, transportConfig{}), r), "while sending the request")
	small := post(t, p.url).within(stallTimeout)
	small.Body = bytes.Repeat([]byte("x"), 256<<10)
	wantStall(t, attempt(t, newTestSender(t, transportConfig{}), small), "timed out")
}

// The timeout ends the attempt; this is about what it leaves behind.
func TestH9_NothingIsLeftOfHandshakesThatNeverEnd(t *testing.T) {
	settled := watchGoroutines(t)
	func() {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // the kernel accepts up to its backlog; nobody ever reads
		s := newClient(newClients(transportConfig{guard: loopback()}, nil))
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				wantStall(t, attempt(t, s, post(t, "https://"+ln.Addr().String()+"/").within(stallTimeout)), "while connecting")
			})
		}
		all.Wait()
	}()
	settled()
}

func TestH9_NothingIsLeftAfterAnAbort(t *testing.T) {
	settled := watchGoroutines(t)
	func() {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s := newClient(newClients(transportConfig{guard: loopback()}, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for _, scheme := range []string{"http", "https"} {
			for range 20 {
				all.Go(func() {
					if a := s.Do(ctx, post(t, scheme+"://"+ln.Addr().String()+"/").within(time.Minute)); !a.Aborted {
						t.Errorf("%+v", a)
					}
				})
			}
		}
		all.Wait()
	}()
	settled()
}

func TestH12_IdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const hosts, total = 40, 8
	s := newTestSender(t, transportConfig{maxIdle: total})
	var mu sync.Mutex
	open := 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		open += n
	}
	for range hosts {
		p := newPeer(t, func(p *peer, n int64, conn net.Conn) {
			count(1)
			defer count(-1)
			answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(p, n, conn)
		})
		wantStatus(t, attempt(t, s, post(t, p.url)), 200)
	}
	eventually(t, "no more connections open than may be idle", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return open <= total
	})
}

func TestH12_ConnectionsToOneHostAreBounded(t *testing.T) {
	t.Parallel()
	p := newPeer(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	s := newTestSender(t, transportConfig{maxConnsPerHost: 3})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { wantStatus(t, attempt(t, s, post(t, p.url)), 200) })
	}
	all.Wait()
	if n := p.conns.Load(); n > 3 {
		t.Errorf("%d connections, 3 are allowed", n)
	}
}

func TestH12_BoundsOfTheTransports(t *testing.T) {
	t.Parallel()
	s := New(Config{MaxFlying: 7})
	for _, via := range []route{s.verified, s.unverified} {
		tr := via.transport.(*http.Transport)
		if tr.MaxIdleConns != 14 || tr.MaxIdleConnsPerHost != 7 || tr.IdleConnTimeout <= 0 || tr.IdleConnTimeout >= time.Minute ||
			tr.TLSHandshakeTimeout <= 0 || tr.MaxResponseHeaderBytes != 64<<10 || tr.ExpectContinueTimeout != 0 || tr.Proxy != nil {
			t.Errorf("%+v", tr)
		}
		if def := newTransport(transportConfig{}); def.MaxIdleConns <= 0 || def.MaxIdleConnsPerHost <= 0 {
			t.Errorf("no bound by default: %+v", def)
		}
	}
}
