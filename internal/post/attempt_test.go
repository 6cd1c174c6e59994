package post

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestH11_GoldenWireBytes(t *testing.T) {
	t.Parallel()
	var got []byte
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		got = p.readRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	r := post(t, p.url+"/a%2Fb?q=1")
	wantStatus(t, attempt(t, newTestSender(t, transportConfig{}), r), 204)
	want := strings.ReplaceAll(`POST /hook/a%2Fb?q=1 HTTP/1.1
Host: `+p.Addr().String()+`
User-Agent: test/1
Content-Length: 35
Content-Type: application/json
Webhook-Id: evt_1
Webhook-Signature: v1,c2lnbmF0dXJlLW9uZQ== v1,c2lnbmF0dXJlLXR3bw==
Webhook-Timestamp: 1705319100
X-Api-Key: custom-header-value
X-Webhook-Signature: `+r.Header.Get("X-Webhook-Signature")+`

`, "\n", "\r\n") + testBody
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("on the wire (-want +got):\n%s", diff)
	}
}

func TestH6_PeerThatReadsTheSecondPostAndClosesGetsOneCopy(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		r := bufio.NewReader(conn)
		p.readRequest(r)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		p.readRequest(r)
	})
	s := newTestSender(t, transportConfig{})
	wantStatus(t, attempt(t, s, post(t, p.url)), 200)
	a := attempt(t, s, post(t, p.url))
	wantClass(t, a, ClassConnect, "closed before there was an answer")
	if n := p.requests.Load(); n != 2 {
		t.Errorf("%d requests arrived in two attempts", n)
	}
	if n := p.conns.Load(); n != 1 {
		t.Errorf("%d connections; the second attempt was to use the first one again", n)
	}
}

// closing tells when a connection was closed on our side.
type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// An idle connection ends in the very moment in which it is taken out of the
// pool: net/http has seen it, but too late to take another.
func TestH7_IdleConnectionThatHasEndedIsReplacedOnce(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for _, row := range []struct {
		name    string
		dead    int // connections that end when they are taken
		status  int
		arrived int64
	}{
		{"one dead connection", 1, 200, 3},
		{"two dead connections", 2, 0, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var together sync.WaitGroup // so that there are two connections in the pool
			together.Add(2)
			p := newPeer(t, func(p *peer, n int64, conn net.Conn) {
				for r := bufio.NewReader(conn); p.readRequest(r) != nil; {
					if p.requests.Load() <= 2 {
						together.Done()
						together.Wait()
					}
					io.WriteString(conn, ok)
				}
			})
			s := hostSender(t, &http.Client{Transport: &http.Transport{
				MaxIdleConnsPerHost: 2,
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := loopback().DialContext(ctx, network, address)
					if err != nil {
						return nil, err
					}
					return &closing{Conn: conn, closed: make(chan struct{})}, nil
				},
			}})
			var first sync.WaitGroup
			for range 2 {
				first.Go(func() { attempt(t, s, post(t, p.url)) })
			}
			first.Wait()
			taken := 0
			a := s.Do(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if taken++; taken <= row.dead {
					c := info.Conn.(*closing)
					c.Conn.(*net.TCPConn).CloseRead() // what we read is the end
					<-c.closed                        // and net/http has read it
				}
			}}), post(t, p.url))
			wantStatus(t, a, row.status)
			if row.status == 0 {
				wantClass(t, a, ClassConnect, "the connection was closed before there was an answer")
			}
			if taken != 2 {
				t.Errorf("%d connections were taken, want 2", taken)
			}
			if n := p.requests.Load(); n != row.arrived {
				t.Errorf("%d complete requests arrived, want %d", n, row.arrived)
			}
		})
	}
}

func TestH7_OnlyAnUntouchedRequestOnAUsedConnectionIsSentAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		reused, begun bool
		sends         int
	}{
		{"used connection, nothing sent", true, false, 2},
		{"used connection, body begun", true, true, 1},
		{"new connection, nothing sent", false, false, 1},
		{"new connection, body begun", false, true, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			sends := 0
			s := hostSender(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sends++
				httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{Reused: row.reused})
				if row.begun {
					httptrace.ContextClientTrace(r.Context()).WroteHeaders()
				}
				r.Body.Close()
				return nil, errors.New("http: server closed idle connection")
			})})
			a := attempt(t, s, post(t, "https://receiver.test/"))
			wantClass(t, a, ClassConnect, "closed")
			if sends != row.sends {
				t.Errorf("sent %d times, want %d", sends, row.sends)
			}
		})
	}
	t.Run("no connection at all", func(t *testing.T) {
		t.Parallel()
		sends := 0
		s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			sends++
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		})})
		wantClass(t, attempt(t, s, post(t, "https://receiver.test/")), ClassConnect, "refused")
		if sends != 1 {
			t.Errorf("sent %d times, want 1", sends)
		}
	})
}

func TestH5_NothingMakesNetHTTPSendTwice(t *testing.T) {
	t.Parallel()
	s := hostSender(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.GetBody != nil {
			t.Error("the request has GetBody")
		}
		if r.ContentLength != int64(len(testBody)) || r.Method != "POST" || len(r.TransferEncoding) != 0 {
			t.Errorf("%s with length %d, transfer encoding %q", r.Method, r.ContentLength, r.TransferEncoding)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != testBody {
			t.Errorf("body %q, %v", got, err)
		}
		return &http.Response{StatusCode: 200}, nil
	})})
	if a := attempt(t, s, post(t, "https://receiver.test/")); !a.Succeeded() || a.ResponseBody != nil {
		t.Errorf("%+v", a)
	}
}

// What the host's Client brings is used as it is, but for the three things
// that newClients names.
func TestHostClient_WhatIsUsedOfIt(t *testing.T) {
	t.Parallel()
	t.Run("its timeout is a bound of its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := hostSender(t, &http.Client{Timeout: 2 * time.Second, Transport: silent})
			a := attempt(t, s, post(t, "https://receiver.test/"))
			wantClass(t, a, ClassTimeout, "timed out after 2s")
			if a.Duration != 2*time.Second {
				t.Errorf("took %v", a.Duration)
			}
		})
	})
	t.Run("verification cannot be turned off in just any transport", func(t *testing.T) {
		s := hostSender(t, &http.Client{Transport: silent})
		if s.CanSkipVerify() {
			t.Error("canSkipVerify of an unknown transport")
		}
		r := post(t, "https://receiver.test/")
		r.VerifyTLS = false
		wantClass(t, attempt(t, s, r), ClassInternal, "cannot be turned off")
		own := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }}
		if hostSender(t, &http.Client{Transport: own}).CanSkipVerify() {
			t.Error("canSkipVerify of a transport that does its own handshakes")
		}
		if !hostSender(t, &http.Client{Transport: &http.Transport{}}).CanSkipVerify() {
			t.Error("cannot skip verification in a plain *http.Transport")
		}
	})
	t.Run("its transport may break its contract", func(t *testing.T) {
		s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, nil })})
		wantClass(t, attempt(t, s, post(t, "https://receiver.test/")), ClassInternal, "neither an answer nor an error")
	})
	t.Run("a body of its transport that returns nothing for ever", func(t *testing.T) {
		s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(nothing{})}, nil
		})})
		if a := attempt(t, s, post(t, "https://receiver.test/")); !a.Succeeded() || !a.ResponseTruncated {
			t.Errorf("%+v", a)
		}
	})
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// silent never answers. It breaks off at the deadline that it was given, which
// a transport can ask for.
var silent = roundTrip(func(r *http.Request) (*http.Response, error) {
	if deadline, ok := r.Context().Deadline(); !ok || time.Until(deadline) <= 0 {
		return nil, errors.New("no deadline, or one that is over")
	}
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
})

func TestH8_TheTimeoutIsExact(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Second, 30 * time.Second, 300 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a := attempt(t, hostSender(t, &http.Client{Transport: silent}), post(t, "https://receiver.test/").within(timeout))
			wantClass(t, a, ClassTimeout, "timed out after "+timeout.String())
			if a.Duration != timeout {
				t.Errorf("a timeout of %v ended it after %v", timeout, a.Duration)
			}
		})
	}
}

func TestAbort_IsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := hostSender(t, &http.Client{Transport: silent})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a := s.Do(ctx, post(t, "https://receiver.test/"))
		if !a.Aborted || a.Class != "" || a.Status != 0 {
			t.Errorf("aborted after a second of ten: %+v", a)
		}
		if a := s.Do(ctx, post(t, "https://receiver.test/")); !a.Aborted {
			t.Error("aborted before it began, but not reported as such")
		}
		// The attempt's own time ends first: that is the receiver's doing.
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if a := s.Do(ctx, post(t, "https://receiver.test/")); a.Aborted || a.Class != ClassTimeout {
			t.Errorf("timed out after ten seconds of sixty: %+v", a)
		}
	})
}

// With the status line the outcome is known. An abort that comes later changes
// nothing.
func TestAbort_AfterTheStatusLineIsStillASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := hostSender(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &stalling{ctx: r.Context()}}, nil
		})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a := s.Do(ctx, post(t, "https://receiver.test/"))
		if a.Aborted || !a.Succeeded() || !a.ResponseTruncated || a.Duration != time.Second {
			t.Errorf("%+v", a)
		}
	})
}

// stalling is a body that sends what it has and then nothing more.
type stalling struct {
	ctx  context.Context
	data []byte
}

func (s *stalling) Read(p []byte) (int, error) {
	if len(s.data) > 0 {
		n := copy(p, s.data)
		s.data = s.data[n:]
		return n, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (s *stalling) Close() error { return nil }

func TestR2_ABodyThatStallsCostsTwoSecondsAtMost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ timeout, want time.Duration }{
		{30 * time.Second, 2 * time.Second},
		{time.Second, time.Second}, // the rest of the timeout is shorter
	} {
		synctest.Test(t, func(t *testing.T) {
			s := hostSender(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 202, Body: &stalling{r.Context(), []byte("accep")}}, nil
			})})
			a := attempt(t, s, post(t, "https://receiver.test/").within(row.timeout))
			if !a.Succeeded() || a.Duration != row.want || string(a.ResponseBody) != "accep" || !a.ResponseTruncated {
				t.Errorf("with a timeout of %v: %+v", row.timeout, a)
			}
		})
	}
}

// BenchmarkAttempt compares an attempt with the least that net/http can do.
func BenchmarkAttempt(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	}))
	defer srv.Close()
	b.Run("attempt", func(b *testing.B) {
		b.ReportAllocs()
		s := newTestSender(b, transportConfig{})
		r := post(b, srv.URL)
		r.Body = body
		var failed atomic.Int64
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if a := s.Do(b.Context(), r); !a.Succeeded() {
					failed.Add(1)
				}
			}
		})
		if failed.Load() > 0 {
			b.Fatalf("%d attempts failed", failed.Load())
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		t := &http.Transport{MaxIdleConnsPerHost: 128, TLSClientConfig: &tls.Config{}}
		defer t.CloseIdleConnections()
		c := &http.Client{Transport: t}
		header := post(b, srv.URL).Header
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				req, err := http.NewRequestWithContext(b.Context(), "POST", srv.URL+"/hook", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				req.Header = header
				resp, err := c.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	})
}
