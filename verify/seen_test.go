package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook/verify"
)

func TestMemorySeenContract(t *testing.T) {
	ctx := t.Context()
	for name, s := range map[string]*verify.MemorySeen{"made": verify.NewMemorySeen(0, 0), "zero": {}, "negative": verify.NewMemorySeen(-1, -1)} {
		t.Run(name, func(t *testing.T) {
			want := func(step string, got, want error) {
				t.Helper()
				if !errors.Is(got, want) || (got == nil) != (want == nil) {
					t.Fatalf("%s: %v, want %v", step, got, want)
				}
			}
			want("forget of nothing", s.Forget(ctx, "a"), nil)
			want("claim", s.Claim(ctx, "a"), nil)
			want("claim again", s.Claim(ctx, "a"), verify.ErrInProgress)
			want("claim another", s.Claim(ctx, "b"), nil)
			want("forget", s.Forget(ctx, "a"), nil)
			want("claim after forget", s.Claim(ctx, "a"), nil)
			want("done", s.Done(ctx, "a"), nil)
			want("done twice", s.Done(ctx, "a"), nil)
			want("claim after done", s.Claim(ctx, "a"), verify.ErrDuplicate)
			want("forget after done", s.Forget(ctx, "a"), nil)
			want("still done", s.Claim(ctx, "a"), verify.ErrDuplicate)
			want("done without claim", s.Done(ctx, "c"), nil)
			want("claim of it", s.Claim(ctx, "c"), verify.ErrDuplicate)
			want("the other is still claimed", s.Claim(ctx, "b"), verify.ErrInProgress)
			if s.Len() != 3 {
				t.Errorf("Len = %d, want 3", s.Len())
			}
		})
	}
}

func TestMemorySeenIsBounded(t *testing.T) {
	ctx := t.Context()
	s := verify.NewMemorySeen(10, time.Hour)
	if err := s.Claim(ctx, "held"); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		key := fmt.Sprint(i)
		if err := s.Claim(ctx, key); err != nil {
			t.Fatal(err)
		}
		if err := s.Done(ctx, key); err != nil {
			t.Fatal(err)
		}
		if s.Len() > 10 {
			t.Fatalf("Len = %d after %d keys, want at most 10", s.Len(), i+1)
		}
	}
	// The oldest keys were dropped, the newest are known, and the key in
	// progress stays.
	for key, want := range map[string]error{"999": verify.ErrDuplicate, "991": verify.ErrDuplicate, "held": verify.ErrInProgress} {
		if err := s.Claim(ctx, key); !errors.Is(err, want) {
			t.Errorf("Claim(%s) = %v, want %v", key, err, want)
		}
	}
	for i := range 9 {
		if err := s.Claim(ctx, fmt.Sprint("new", i)); err != nil {
			t.Fatalf("claim %d: %v", i, err)
		}
	}
	if err := s.Claim(ctx, "one more"); !errors.Is(err, verify.ErrSeenFull) {
		t.Errorf("Claim when all are in progress = %v, want ErrSeenFull", err)
	}
	if err := s.Done(ctx, "one more"); !errors.Is(err, verify.ErrSeenFull) {
		t.Errorf("Done of an unclaimed key = %v, want ErrSeenFull", err)
	}
	if err := s.Done(ctx, "held"); err != nil {
		t.Errorf("Done of a claimed key = %v", err)
	}
	if err := s.Claim(ctx, "one more"); err != nil {
		t.Errorf("Claim with one done = %v", err)
	}
}

func TestMemorySeenForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := verify.NewMemorySeen(100, time.Hour)
		if err := s.Claim(ctx, "running"); err != nil {
			t.Fatal(err)
		}
		if err := s.Done(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour - 1)
		if err := s.Claim(ctx, "a"); !errors.Is(err, verify.ErrDuplicate) {
			t.Errorf("just before: %v, want ErrDuplicate", err)
		}
		<-time.After(1)
		if err := s.Claim(ctx, "a"); err != nil {
			t.Errorf("after the hour: %v, want nil", err)
		}
		if err := s.Claim(ctx, "running"); !errors.Is(err, verify.ErrInProgress) {
			t.Errorf("a claim expired while its handler ran: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := verify.NewMemorySeen(0, 0)
		if err := s.Done(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		<-time.After(48 * time.Hour)
		if err := s.Claim(t.Context(), "a"); !errors.Is(err, verify.ErrDuplicate) {
			t.Errorf("two days later, by default: %v, want ErrDuplicate", err)
		}
	})
	// A key that is done twice is held once, and is free again after its time.
	synctest.Test(t, func(t *testing.T) {
		s := verify.NewMemorySeen(100, time.Hour)
		for range 2 {
			if err := s.Done(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			<-time.After(30 * time.Minute)
		}
		if err := s.Claim(t.Context(), "a"); err != nil {
			t.Errorf("after the hour: %v, want nil", err)
		}
		<-time.After(30 * time.Minute)
		if err := s.Claim(t.Context(), "a"); !errors.Is(err, verify.ErrInProgress) {
			t.Errorf("half an hour after the claim: %v, want ErrInProgress", err)
		}
		if err := s.Done(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		if err := s.Done(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if err := s.Claim(t.Context(), "b"); !errors.Is(err, verify.ErrDuplicate) {
			t.Errorf("done again: %v, want ErrDuplicate", err)
		}
	})
	// The smallest capacity.
	synctest.Test(t, func(t *testing.T) {
		s := verify.NewMemorySeen(1, 1)
		if err := errors.Join(s.Claim(t.Context(), "a"), s.Done(t.Context(), "a")); err != nil {
			t.Fatal(err)
		}
		<-time.After(1)
		if err := s.Claim(t.Context(), "a"); err != nil {
			t.Errorf("after a nanosecond: %v, want nil", err)
		}
		if err := s.Claim(t.Context(), "b"); !errors.Is(err, verify.ErrSeenFull) {
			t.Errorf("a second claim: %v, want ErrSeenFull", err)
		}
	})
}

func TestMemorySeenOneWinner(t *testing.T) {
	s := verify.NewMemorySeen(0, 0)
	for round := range 200 {
		key := fmt.Sprint(round)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if s.Claim(t.Context(), key) == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d winners", round, won.Load())
		}
	}
}

// serve sends the same delivery once more and returns the status.
func serve(h http.Handler) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)))
	return w.Code
}

func TestV10_DuplicatesAreAnsweredAndNotHandled(t *testing.T) {
	var reported []error
	s := &sink{status: http.StatusNoContent}
	h := mustNew(t, verify.Config{
		Seen:    verify.NewMemorySeen(0, 0),
		OnError: func(_ *http.Request, err error) { reported = append(reported, err) },
	}, testSecret).Middleware(s)
	var codes []int
	for range 3 {
		codes = append(codes, serve(h))
	}
	if diff := cmp.Diff([]int{204, 200, 200}, codes); diff != "" || s.calls != 1 {
		t.Errorf("%d calls, statuses (-want +got):\n%s", s.calls, diff)
	}
	if len(reported) != 2 || !errors.Is(reported[0], verify.ErrDuplicate) || errors.Is(reported[0], verify.ErrSeen) {
		t.Errorf("reported %v, want two ErrDuplicate", reported)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)))
	if w.Body.Len() != 0 {
		t.Errorf("a duplicate is answered with %q, want nothing", w.Body)
	}
}

// The status that the sender got decides.
func TestV10_WhatTheSenderWasTold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter)
		handled bool
	}{
		{"299", func(w http.ResponseWriter) { w.WriteHeader(299) }, true},
		{"300", func(w http.ResponseWriter) { w.WriteHeader(300) }, false},
		{"a body only", func(w http.ResponseWriter) { io.WriteString(w, "ok") }, true},
		{"an error after the body began", func(w http.ResponseWriter) { io.WriteString(w, "ok"); w.WriteHeader(500) }, true},
		{"an error after early hints", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(500) }, false},
		{"success after any informational status", func(w http.ResponseWriter) { w.WriteHeader(199); w.WriteHeader(204) }, true},
		{"another protocol", func(w http.ResponseWriter) { w.WriteHeader(101) }, false},
	} {
		calls := 0
		h := mustNew(t, verify.Config{Seen: &verify.MemorySeen{}}, testSecret).Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls++
			tt.answer(w)
		}))
		serve(h)
		serve(h)
		if handled := calls == 1; handled != tt.handled {
			t.Errorf("%s: handled %d times, want it to count as done: %v", tt.name, calls, tt.handled)
		}
	}
}

// A delivery that was not handled must be handled when it comes again.
func TestV10_FailedDeliveryIsHandledAgain(t *testing.T) {
	for _, status := range []int{301, 400, 404, 500, 503} {
		s := &sink{status: status}
		h := mustNew(t, verify.Config{Seen: &verify.MemorySeen{}}, testSecret).Middleware(s)
		if code := serve(h); code != status {
			t.Errorf("status %d, want the handler's %d", code, status)
		}
		s.status = 0 // a handler that does not write answers 200
		if code := serve(h); code != http.StatusOK || s.calls != 2 {
			t.Errorf("after %d: status %d, %d calls; want 200 and 2", status, code, s.calls)
		}
		if code := serve(h); code != http.StatusOK || s.calls != 2 {
			t.Errorf("after success: status %d, %d calls; want 200 and still 2", code, s.calls)
		}
	}
}

func TestV10_PanicForgetsTheDelivery(t *testing.T) {
	calls := 0
	h := mustNew(t, verify.Config{Seen: &verify.MemorySeen{}}, testSecret).
		Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls == 1 {
				w.WriteHeader(http.StatusOK)
				panic(http.ErrAbortHandler)
			}
		}))
	func() {
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("recovered %v, want the handler's own panic", err)
			}
		}()
		serve(h)
	}()
	if code := serve(h); code != http.StatusOK || calls != 2 {
		t.Errorf("status %d, %d calls; want the delivery to be handled again", code, calls)
	}
}

func TestV10_ConcurrentDuplicate(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	var reported error
	h := mustNew(t, verify.Config{Seen: &verify.MemorySeen{}, OnError: func(_ *http.Request, err error) { reported = err }}, testSecret).
		Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				close(entered)
				<-release
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
	first := make(chan int)
	go func() { first <- serve(h) }()
	<-entered
	// A 2xx here would end the retries of a delivery that then fails.
	if code := serve(h); code != http.StatusConflict {
		t.Errorf("while the first is handled: %d, want 409", code)
	}
	if !errors.Is(reported, verify.ErrInProgress) || errors.Is(reported, verify.ErrSeen) {
		t.Errorf("reported %v, want ErrInProgress and no failure of the store", reported)
	}
	close(release)
	if code := <-first; code != http.StatusInternalServerError {
		t.Errorf("the first: %d, want 500", code)
	}
	if code := serve(h); code != http.StatusOK || calls.Load() != 2 {
		t.Errorf("the next attempt: %d, %d calls; want 200 and 2", code, calls.Load())
	}
}

// The same event for another webhook, and another tenant's event of the same
// ID, are deliveries of their own.
func TestV11_KeyIsPerWebhook(t *testing.T) {
	s := &sink{}
	h := mustNew(t, verify.Config{Seen: &verify.MemorySeen{}}, testSecret).Middleware(s)
	for i := range 3 {
		body := fmt.Sprintf(`{"event":"agent.message","webhook":{"id":"wh_%d","name":"n"},"timestamp":"2024-01-15T11:45:00.000000Z","data":{}}`, i)
		for range 2 {
			h.ServeHTTP(httptest.NewRecorder(), newRequest(body, signedHeader(body, testTime, testSecret)))
		}
	}
	if s.calls != 3 {
		t.Errorf("%d calls for 3 webhooks with 2 attempts each, want 3", s.calls)
	}
}

// brokenSeen fails in the chosen methods.
type brokenSeen struct {
	verify.MemorySeen
	claim, end error
	ctxErr     error
	deadline   bool
}

func (b *brokenSeen) Claim(ctx context.Context, key string) error {
	if b.claim != nil {
		return b.claim
	}
	return b.MemorySeen.Claim(ctx, key)
}

func (b *brokenSeen) Done(ctx context.Context, _ string) error {
	b.ctxErr = ctx.Err()
	_, b.deadline = ctx.Deadline()
	return b.end
}

func (b *brokenSeen) Forget(ctx context.Context, key string) error { return b.Done(ctx, key) }

func TestSeenFailures(t *testing.T) {
	down := errors.New("connection refused")
	for _, tt := range []struct {
		name   string
		seen   *brokenSeen
		answer int
		status int
		calls  int
		want   error
		gone   bool // the sender has hung up by the time the handler is done
	}{
		{"claim", &brokenSeen{claim: down}, 0, 503, 0, down, false},
		{"claim when full", &brokenSeen{claim: verify.ErrSeenFull}, 0, 503, 0, verify.ErrSeenFull, false},
		{"wrapped duplicate", &brokenSeen{claim: fmt.Errorf("redis: %w", verify.ErrDuplicate)}, 0, 200, 0, verify.ErrDuplicate, false},
		{"done", &brokenSeen{end: down}, 0, 200, 1, down, false},
		{"forget", &brokenSeen{end: down}, 500, 500, 1, down, false},
		{"forget when gone", &brokenSeen{end: down}, 500, 500, 1, down, true},
		{"nothing", &brokenSeen{}, 204, 204, 1, nil, false},
		{"nothing when gone", &brokenSeen{}, 204, 204, 1, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reported error
			s := &sink{status: tt.answer}
			h := mustNew(t, verify.Config{Seen: tt.seen, OnError: func(_ *http.Request, err error) { reported = err }}, testSecret).Middleware(s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.gone {
				cancel()
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)).WithContext(ctx))
			if w.Code != tt.status || s.calls != tt.calls {
				t.Errorf("status %d, %d calls; want %d and %d", w.Code, s.calls, tt.status, tt.calls)
			}
			if !errors.Is(reported, tt.want) || (reported == nil) != (tt.want == nil) {
				t.Errorf("reported %v, want %v", reported, tt.want)
			}
			if tt.calls == 1 && (tt.seen.ctxErr != nil || !tt.seen.deadline) {
				t.Errorf("recorded with context error %v, deadline %v; want a live one with a deadline", tt.seen.ctxErr, tt.seen.deadline)
			}
		})
	}
}

// The abilities of a handler's ResponseWriter do not depend on Seen.
func TestSeenKeepsTheResponseWriter(t *testing.T) {
	w := httptest.NewRecorder()
	mustNew(t, verify.Config{Seen: &verify.MemorySeen{}}, testSecret).
		Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := w.Write([]byte("ok")); err != nil {
				t.Error(err)
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("Flush: %v", err)
			}
		})).
		ServeHTTP(w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)))
	if !w.Flushed || w.Body.String() != "ok" {
		t.Errorf("flushed %v, body %q", w.Flushed, w.Body.String())
	}
}

// Deliveries without an ID are not deduplicated, and all are handled.
func TestSeenWithoutID(t *testing.T) {
	s := &sink{}
	h := mustNew(t, verify.Config{AllowPlain: true, Seen: &verify.MemorySeen{}}, testSecret).Middleware(s)
	for range 2 {
		h.ServeHTTP(httptest.NewRecorder(), newRequest(testBody, plainHeader(signPlain(testSecret, testBody))))
	}
	if s.calls != 2 {
		t.Errorf("%d calls, want 2", s.calls)
	}
}
