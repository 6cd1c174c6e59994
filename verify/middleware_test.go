package verify_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// sink is a handler that records the requests that reach it.
type sink struct {
	calls  int
	body   string
	length int64
	coding []string // TransferEncoding
	d      *verify.Delivery
	status int // 0: no answer is written
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls++
	b, _ := io.ReadAll(r.Body)
	s.body, s.length, s.coding = string(b), r.ContentLength, r.TransferEncoding
	s.d, _ = verify.FromContext(r.Context())
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
}

// bodyMeter counts the bytes that are read from a body.
type bodyMeter struct {
	io.Reader
	n        int
	closed   bool
	closeErr error
}

func (m *bodyMeter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += n
	return n, err
}

func (m *bodyMeter) Close() error { m.closed = true; return m.closeErr }

func TestV9_NextSeesTheVerifiedBytes(t *testing.T) {
	for name, length := range map[string]int64{"known length": int64(len(testBody)), "chunked": -1, "made by hand": 0} {
		s := &sink{status: http.StatusAccepted}
		r := newRequest(testBody, signedHeader(testBody, testTime, testSecret))
		// One byte at a time, as on a slow network.
		r.Body = io.NopCloser(iotest.OneByteReader(strings.NewReader(testBody)))
		if r.ContentLength = length; length < 0 {
			r.TransferEncoding = []string{"chunked"}
		}
		w := httptest.NewRecorder()
		mustNew(t, verify.Config{}, testSecret).Middleware(s).ServeHTTP(w, r)
		if w.Code != http.StatusAccepted || s.calls != 1 {
			t.Fatalf("%s: status %d, %d calls", name, w.Code, s.calls)
		}
		if s.body != testBody || s.length != int64(len(testBody)) || s.coding != nil {
			t.Errorf("%s: next saw %d bytes, ContentLength %d, coding %q; want %d of both and none", name, len(s.body), s.length, s.coding, len(testBody))
		}
		if s.d == nil || string(s.d.Body) != testBody || s.d.ID != testID {
			t.Errorf("%s: FromContext = %+v", name, s.d)
		}
	}
	if d, ok := verify.FromContext(t.Context()); ok || d != nil {
		t.Errorf("FromContext without middleware = %v, %v", d, ok)
	}
}

func TestV9_Refusals(t *testing.T) {
	good := func() http.Header { return signedHeader(testBody, testTime, testSecret) }
	with := func(kv ...string) http.Header {
		h := good()
		for i := 0; i < len(kv); i += 2 {
			if h.Del(kv[i]); kv[i+1] != "-" {
				h.Set(kv[i], kv[i+1])
			}
		}
		return h
	}
	repeated := good()
	repeated["webhook-id"] = []string{testID}
	long := strings.Repeat("x", 2001)
	for _, tt := range []struct {
		name   string
		method string
		header http.Header
		body   string
		status int
		want   error
	}{
		{"GET", "GET", good(), testBody, 405, verify.ErrMethod},
		{"PUT", "PUT", good(), testBody, 405, verify.ErrMethod},
		{"OPTIONS", "OPTIONS", good(), "", 405, verify.ErrMethod},
		{"lower-case post", "post", good(), testBody, 405, verify.ErrMethod},
		{"gzip", "POST", with("Content-Encoding", "gzip"), testBody, 415, verify.ErrContentEncoding},
		{"identity and gzip", "POST", with("Content-Encoding", "identity, gzip"), testBody, 415, verify.ErrContentEncoding},
		{"too large", "POST", signedHeader(long, testTime, testSecret), long, 413, verify.ErrBodyTooLarge},
		{"no signature", "POST", with("webhook-signature", "-", "X-Webhook-Signature", "-"), testBody, 401, verify.ErrNoSignature},
		{"plain only", "POST", with("webhook-signature", "-"), testBody, 401, verify.ErrPlainOnly},
		{"wrong secret", "POST", signedHeader(testBody, testTime, oldSecret), testBody, 401, verify.ErrSignatureMismatch},
		{"changed body", "POST", good(), testBody + " ", 401, verify.ErrSignatureMismatch},
		{"old", "POST", signedHeader(testBody, testTime.Add(-time.Hour), testSecret), testBody, 401, verify.ErrTooOld},
		{"new", "POST", signedHeader(testBody, testTime.Add(time.Hour), testSecret), testBody, 401, verify.ErrTooNew},
		{"other version", "POST", with("webhook-signature", "v2,x"), testBody, 401, verify.ErrSignatureVersion},
		{"malformed", "POST", with("webhook-signature", "v1,x"), testBody, 400, verify.ErrSignatureFormat},
		{"no ID", "POST", with("webhook-id", "-"), testBody, 400, verify.ErrNoID},
		{"no time", "POST", with("webhook-timestamp", "-"), testBody, 400, verify.ErrNoTimestamp},
		{"bad time", "POST", with("webhook-timestamp", "+1"), testBody, 400, verify.ErrTimestampFormat},
		{"bad ID", "POST", with("webhook-id", "a.b"), testBody, 400, verify.ErrIDFormat},
		{"not JSON", "POST", signedHeader("hello", testTime, testSecret), "hello", 400, verify.ErrPayload},
		{"other event", "POST", with("X-Webhook-Event", "x"), testBody, 400, verify.ErrEventHeader},
		{"two IDs", "POST", repeated, testBody, 400, verify.ErrHeaderRepeated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &sink{}
			var reported []error
			v := mustNew(t, verify.Config{
				MaxBody: 2000,
				OnError: func(_ *http.Request, err error) { reported = append(reported, err) },
			}, testSecret)
			r := newRequest(tt.body, tt.header)
			r.Method = tt.method
			m := &bodyMeter{Reader: strings.NewReader(tt.body)}
			r.Body = m
			w := httptest.NewRecorder()
			v.Middleware(s).ServeHTTP(w, r)
			if w.Code != tt.status || s.calls != 0 {
				t.Errorf("status %d, %d calls; want %d and none", w.Code, s.calls, tt.status)
			}
			if len(reported) != 1 || !errors.Is(reported[0], tt.want) {
				t.Errorf("reported %v, want one %v", reported, tt.want)
			}
			if got, want := w.Body.String(), http.StatusText(tt.status)+"\n"; got != want {
				t.Errorf("answered %q, want %q and no detail", got, want)
			}
			if m.n != len(tt.body) {
				t.Errorf("%d of %d bytes of the body were drained", m.n, len(tt.body))
			}
			if tt.status == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow = %q", w.Header().Get("Allow"))
			}
			if tt.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate, which a 401 must have")
			}
		})
	}
}

// A proxy may say that it has not compressed anything.
func TestV9_IdentityIsNoEncoding(t *testing.T) {
	for _, encoding := range []string{"", "identity", "Identity"} {
		h := signedHeader(testBody, testTime, testSecret)
		h["Content-Encoding"] = []string{encoding}
		if _, err := mustNew(t, verify.Config{}, testSecret).Request(newRequest(testBody, h)); err != nil {
			t.Errorf("%q: %v", encoding, err)
		}
	}
}

func TestV9_BodyLimit(t *testing.T) {
	fits := strings.Replace(testBody, "hello", strings.Repeat("x", 1<<20-len(testBody)+len("hello")), 1)
	over := fits + " "
	for _, tt := range []struct {
		name, body string
		length     int64
		want       error
	}{
		{"1 MiB", fits, int64(len(fits)), nil},
		{"1 MiB, chunked", fits, -1, nil},
		{"one more", over, int64(len(over)), verify.ErrBodyTooLarge},
		{"one more, chunked", over, -1, verify.ErrBodyTooLarge},
	} {
		r := newRequest(tt.body, signedHeader(tt.body, time.Now(), testSecret))
		r.ContentLength = tt.length
		d, err := verify.Request(r, testSecret)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && string(d.Body) != tt.body {
			t.Errorf("%s: Body differs", tt.name)
		}
	}
	if _, err := verify.Verify([]byte(over), signedHeader(over, time.Now(), testSecret), testSecret); !errors.Is(err, verify.ErrBodyTooLarge) {
		t.Errorf("Verify: %v, want ErrBodyTooLarge", err)
	}
	for limit, want := range map[int64]error{1 << 30: nil, 1<<30 + 1: verify.ErrConfig, -1: verify.ErrConfig} {
		if _, err := verify.New(verify.Config{MaxBody: limit}, testSecret); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("MaxBody %d: %v, want %v", limit, err, want)
		}
	}
	// The host's own limit, in front of the package.
	r := newRequest(fits, signedHeader(fits, time.Now(), testSecret))
	r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 100)
	if _, err := verify.Request(r, testSecret); !errors.Is(err, verify.ErrBodyTooLarge) {
		t.Errorf("behind MaxBytesReader: %v, want ErrBodyTooLarge", err)
	}
}

func TestV9_DrainIsBounded(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"chunked":   func(r *http.Request) { r.ContentLength = -1 },
		"announced": func(r *http.Request) { r.ContentLength = 1 << 40 },
		"as much as is drained": func(r *http.Request) {
			r.ContentLength = 256 << 10
			r.Header.Del("webhook-id")
		},
		"one more": func(r *http.Request) {
			r.ContentLength = 256<<10 + 1
			r.Header.Del("webhook-id")
		},
		"expect": func(r *http.Request) {
			r.ContentLength = 1000
			r.Header.Set("Expect", "100-continue")
			r.Header.Del("webhook-id")
		},
	} {
		r := newRequest("", signedHeader(testBody, testTime, testSecret))
		m := &bodyMeter{Reader: endless{}}
		r.Body = m
		change(r)
		w := httptest.NewRecorder()
		mustNew(t, verify.Config{}, testSecret).Middleware(&sink{}).ServeHTTP(w, r)
		want := map[string]int{"chunked": 1<<20 + 1 + 256<<10, "as much as is drained": 256 << 10}[name]
		if w.Code < 400 || m.n != want {
			t.Errorf("%s: status %d after %d bytes, want %d", name, w.Code, m.n, want)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestV9_ReadErrors(t *testing.T) {
	abort := errors.New("connection reset")
	for _, tt := range []struct {
		name string
		body io.ReadCloser
		want error
	}{
		{"reset", io.NopCloser(io.MultiReader(strings.NewReader(testBody[:50]), iotest.ErrReader(abort))), abort},
		{"reset after the last byte", io.NopCloser(io.MultiReader(strings.NewReader(testBody), iotest.ErrReader(abort))), abort},
		{"cut off", io.NopCloser(io.MultiReader(strings.NewReader(testBody[:50]), iotest.ErrReader(io.ErrUnexpectedEOF))), io.ErrUnexpectedEOF},
		{"deadline", io.NopCloser(iotest.ErrReader(context.DeadlineExceeded)), context.DeadlineExceeded},
		{"read by someone before", http.NoBody, verify.ErrBodyRead},
		{"nil", nil, verify.ErrBodyRead},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reported error
			s := &sink{}
			v := mustNew(t, verify.Config{OnError: func(_ *http.Request, err error) { reported = err }}, testSecret)
			r := newRequest(testBody, signedHeader(testBody, testTime, testSecret))
			r.Body = tt.body
			w := httptest.NewRecorder()
			v.Middleware(s).ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest || s.calls != 0 {
				t.Errorf("status %d, %d calls; want 400 and none", w.Code, s.calls)
			}
			if !errors.Is(reported, verify.ErrBodyRead) || !errors.Is(reported, tt.want) {
				t.Errorf("reported %v, want ErrBodyRead wrapping %v", reported, tt.want)
			}
		})
	}
	if _, err := mustNew(t, verify.Config{}, testSecret).Request(nil); !errors.Is(err, verify.ErrBodyRead) {
		t.Errorf("Request(nil): %v", err)
	}
	r := newRequest("", signedHeader("", testTime, testSecret))
	r.ContentLength = 1
	if _, err := mustNew(t, verify.Config{}, testSecret).Request(r); !errors.Is(err, verify.ErrBodyRead) {
		t.Errorf("none of one byte: %v, want ErrBodyRead", err)
	}
	if _, err := verify.Request(newRequest(testBody, r.Header), "short"); !errors.Is(err, verify.ErrSecret) {
		t.Errorf("Request with an unusable secret: %v, want ErrSecret", err)
	}
}

func TestRequestLeavesTheBodyReadable(t *testing.T) {
	r := newRequest(testBody, signedHeader(testBody, testTime, testSecret))
	m := &bodyMeter{Reader: strings.NewReader(testBody), closeErr: errors.New("already closed")}
	r.Body = m
	r.ContentLength = -1
	// After a failed check the body can be checked again.
	if _, err := mustNew(t, verify.Config{}, oldSecret).Request(r); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Fatalf("wrong secret: %v", err)
	}
	for range 2 {
		d, err := mustNew(t, verify.Config{}, testSecret).Request(r)
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Body) != testBody {
			t.Fatal("Body differs")
		}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != testBody || r.ContentLength != int64(len(testBody)) {
		t.Errorf("read %d bytes, %v, ContentLength %d", len(b), err, r.ContentLength)
	}
	if err := r.Body.Close(); !errors.Is(err, m.closeErr) || !m.closed {
		t.Errorf("Close = %v, closed the original: %v", err, m.closed)
	}
}

func TestMiddlewareConstructor(t *testing.T) {
	if h, err := verify.Middleware(&sink{}, ""); h != nil || !errors.Is(err, verify.ErrNoSecret) {
		t.Errorf("without a secret: %v, %v", h, err)
	}
	if h, err := verify.Middleware(nil, testSecret); h != nil || !errors.Is(err, verify.ErrConfig) {
		t.Errorf("without a handler: %v, %v", h, err)
	}
	s := &sink{}
	h, err := verify.Middleware(s, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, time.Now(), testSecret)))
	if w.Code != http.StatusOK || s.calls != 1 {
		t.Errorf("status %d, %d calls", w.Code, s.calls)
	}
	// A nil Verifier or handler answers, and does not panic.
	var none *verify.Verifier
	for name, h := range map[string]http.Handler{
		"nil next":     mustNew(t, verify.Config{}, testSecret).Middleware(nil),
		"nil verifier": none.Middleware(s),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, testTime, testSecret)))
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%s: status %d, want 500", name, w.Code)
		}
	}
}

func TestStatusCode(t *testing.T) {
	if c := verify.StatusCode(nil); c != http.StatusOK {
		t.Errorf("nil: %d", c)
	}
	if c := verify.StatusCode(errors.New("other")); c != http.StatusInternalServerError {
		t.Errorf("other: %d", c)
	}
	if c := verify.StatusCode(errors.Join(errors.New("x"), verify.ErrInProgress)); c != http.StatusConflict {
		t.Errorf("ErrInProgress: %d", c)
	}
	if c := verify.StatusCode(verify.ErrSeenFull); c != http.StatusServiceUnavailable {
		t.Errorf("ErrSeenFull: %d", c)
	}
}
