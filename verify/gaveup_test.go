package verify_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// endings are the ways in which a handler, or a framework around it, returns
// when its context has ended.
var endings = map[string]func(w http.ResponseWriter, done <-chan struct{}){
	"silent":             func(_ http.ResponseWriter, done <-chan struct{}) { <-done },
	"status afterwards":  func(w http.ResponseWriter, done <-chan struct{}) { <-done; w.WriteHeader(http.StatusOK) },
	"status beforehand":  func(w http.ResponseWriter, done <-chan struct{}) { w.WriteHeader(http.StatusAccepted); <-done },
	"failure afterwards": func(w http.ResponseWriter, done <-chan struct{}) { <-done; w.WriteHeader(http.StatusBadGateway) },
	"body afterwards": func(w http.ResponseWriter, done <-chan struct{}) {
		<-done
		// The handler ignores the error, as real handlers do at their end.
		_, _ = io.WriteString(w, "ok")
	},
}

// endedSeen reports how each claim ended.
type endedSeen struct {
	verify.MemorySeen
	ended chan string
}

func newEndedSeen() *endedSeen { return &endedSeen{ended: make(chan string, 10)} }

func (s *endedSeen) Done(ctx context.Context, key string) error {
	defer func() { s.ended <- "done" }()
	return s.MemorySeen.Done(ctx, key)
}

func (s *endedSeen) Forget(ctx context.Context, key string) error {
	defer func() { s.ended <- "forgotten" }()
	return s.MemorySeen.Forget(ctx, key)
}

func (s *endedSeen) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.ended:
		if got != want {
			t.Errorf("the delivery was %s, want %s", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("the claim never ended, want it %s", want)
	}
}

// The sender was told 503, so its next attempt must reach the handler.
func TestV11_HandlerThatGaveUpBehindTimeoutHandler(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := newEndedSeen()
				calls := 0
				inner := mustNew(t, verify.Config{Seen: seen}, testSecret).
					Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if calls++; calls == 1 {
							end(w, r.Context().Done())
						}
					}))
				h := http.TimeoutHandler(inner, time.Second, "")
				if code := serve(h); code != http.StatusServiceUnavailable {
					t.Fatalf("first attempt: %d, want the timeout's 503", code)
				}
				seen.want(t, "forgotten")
				if code := serve(h); code != http.StatusOK || calls != 2 {
					t.Errorf("second attempt: %d, %d calls; want 200 and 2", code, calls)
				}
				seen.want(t, "done")
				if code := serve(h); code != http.StatusOK || calls != 2 {
					t.Errorf("a duplicate: %d, %d calls; want 200 and still 2", code, calls)
				}
			})
		})
	}
}

// The sender hung up after a timeout and sends the delivery again.
func TestV11_HandlerThatGaveUpWhenTheSenderHungUp(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for name, end := range endings {
			t.Run(proto+"/"+name, func(t *testing.T) {
				seen := newEndedSeen()
				entered := make(chan struct{}, 2)
				first := true
				rc := newReceiver(t, verify.Config{Seen: seen}, proto == "HTTP/2.0", func(w http.ResponseWriter, r *http.Request) {
					entered <- struct{}{}
					if first {
						first = false
						end(w, r.Context().Done())
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, rc.URL, strings.NewReader(testBody))
				if err != nil {
					t.Fatal(err)
				}
				req.Header = signedHeader(testBody, testTime, testSecret)
				go func() { <-entered; cancel() }()
				res, err := rc.Client().Do(req)
				if err == nil {
					res.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("first attempt: %v, want that the sender hung up", err)
				}
				seen.want(t, "forgotten")
				if res := rc.post(t, strings.NewReader(testBody), signedHeader(testBody, testTime, testSecret)); res.StatusCode != http.StatusOK {
					t.Errorf("second attempt: %d, want 200", res.StatusCode)
				}
				seen.want(t, "done")
				if len(entered) != 1 {
					t.Error("the second attempt did not reach the handler")
				}
			})
		}
	}
}

// lateContext is past its deadline, and its timer has not fired yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestV11_DeadlineCountsBeforeItsTimer(t *testing.T) {
	seen := newEndedSeen()
	h := mustNew(t, verify.Config{Seen: seen}, testSecret).Middleware(&sink{})
	r := newRequest(testBody, signedHeader(testBody, testTime, testSecret))
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(lateContext{t.Context()}))
	seen.want(t, "forgotten")
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	r = newRequest(testBody, signedHeader(testBody, testTime, testSecret))
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	seen.want(t, "done")
}

// The answer on a hijacked connection is not visible, so it does not count as a
// success.
func TestV11_HijackedConnectionIsNotHandled(t *testing.T) {
	seen := newEndedSeen()
	first := true
	rc := newReceiver(t, verify.Config{Seen: seen}, false, func(w http.ResponseWriter, r *http.Request) {
		if !first {
			return
		}
		first = false
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil || rw == nil {
			t.Errorf("Hijack: %v, %v", rw, err)
			return
		}
		defer c.Close()
		if _, err := io.WriteString(c, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); err != nil {
			t.Errorf("writing to the hijacked connection: %v", err)
		}
	})
	for i, want := range []int{500, 200} {
		res := rc.post(t, strings.NewReader(testBody), signedHeader(testBody, testTime, testSecret))
		if res.StatusCode != want {
			t.Errorf("attempt %d: status %d, want %d", i+1, res.StatusCode, want)
		}
		seen.want(t, []string{"forgotten", "done"}[i])
	}
}

// hijackable is a ResponseWriter that can be hijacked.
type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }

func TestV11_StatusAroundHijack(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	hijack := func(w http.ResponseWriter) error {
		_, _, err := http.NewResponseController(w).Hijack()
		return err
	}
	for _, tt := range []struct {
		name   string
		w      http.ResponseWriter
		handle func(w http.ResponseWriter) error
		err    error
		want   string
	}{
		{"status afterwards goes nowhere", hijackable{httptest.NewRecorder(), a}, func(w http.ResponseWriter) error {
			err := hijack(w)
			w.WriteHeader(http.StatusOK)
			return err
		}, nil, "forgotten"},
		{"status beforehand was sent", hijackable{httptest.NewRecorder(), a}, func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusOK)
			return hijack(w)
		}, nil, "done"},
		{"not supported", httptest.NewRecorder(), hijack, http.ErrNotSupported, "done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := newEndedSeen()
			mustNew(t, verify.Config{Seen: seen}, testSecret).
				Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if err := tt.handle(w); !errors.Is(err, tt.err) {
						t.Errorf("Hijack = %v, want %v", err, tt.err)
					}
				})).
				ServeHTTP(tt.w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)))
			seen.want(t, tt.want)
		})
	}
}
