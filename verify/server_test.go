package verify_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// receiver is a real server behind the middleware, with real sockets.
type receiver struct {
	*httptest.Server
	handled atomic.Int32
	refused chan error
}

func newReceiver(t *testing.T, cfg verify.Config, http2 bool, handle http.HandlerFunc) *receiver {
	t.Helper()
	rc := &receiver{refused: make(chan error, 100)}
	cfg.OnError = func(_ *http.Request, err error) { rc.refused <- err }
	if handle == nil {
		handle = func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			d, _ := verify.FromContext(r.Context())
			if err != nil || d == nil || !bytes.Equal(b, d.Body) || r.ContentLength != int64(len(b)) {
				t.Errorf("handler: read %d bytes, %v, ContentLength %d, delivery %v", len(b), err, r.ContentLength, d)
			}
			rc.handled.Add(1)
		}
	}
	rc.Server = httptest.NewUnstartedServer(mustNew(t, cfg, testSecret).Middleware(handle))
	rc.Config.ReadTimeout = 2 * time.Second
	if http2 {
		rc.EnableHTTP2 = true
		rc.StartTLS()
	} else {
		rc.Start()
	}
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) post(t *testing.T, body io.Reader, h http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rc.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	res, err := rc.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// wantRefusal waits for the middleware's report.
func (rc *receiver) wantRefusal(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-rc.refused:
		if !errors.Is(err, want) {
			t.Errorf("reported %v, want %v", err, want)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("nothing reported, want %v", want)
	}
}

func TestV9_OverTheWire(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(testBody)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	gzipHeader := signedHeader(zipped.String(), testTime, testSecret)
	gzipHeader.Set("Content-Encoding", "gzip")
	twice := signedHeader(testBody, testTime, testSecret)
	twice["Webhook-Id"] = []string{testID, testID}
	huge := strings.Repeat("x", 8<<20)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, tt := range []struct {
			name   string
			body   io.Reader
			header http.Header
			status int
		}{
			{"good", strings.NewReader(testBody), signedHeader(testBody, testTime, testSecret), 200},
			{"chunked", io.MultiReader(strings.NewReader(testBody)), signedHeader(testBody, testTime, testSecret), 200},
			{"wrong secret", strings.NewReader(testBody), signedHeader(testBody, testTime, oldSecret), 401},
			{"gzip", strings.NewReader(zipped.String()), gzipHeader, 415},
			{"8 MiB", strings.NewReader(huge), signedHeader(huge, testTime, testSecret), 413},
			{"repeated header", strings.NewReader(testBody), twice, 400},
			{"empty", http.NoBody, signedHeader("", testTime, testSecret), 400},
		} {
			t.Run(proto+"/"+tt.name, func(t *testing.T) {
				rc := newReceiver(t, verify.Config{}, proto == "HTTP/2.0", nil)
				res := rc.post(t, tt.body, tt.header)
				if res.Proto != proto || res.StatusCode != tt.status {
					t.Errorf("%s %d, want %s %d", res.Proto, res.StatusCode, proto, tt.status)
				}
				if want := tt.status == 200; (rc.handled.Load() == 1) != want {
					t.Errorf("handled %d times", rc.handled.Load())
				}
			})
		}
	}
}

func TestV9_ConnectionIsReusedAfterRefusal(t *testing.T) {
	rc := newReceiver(t, verify.Config{}, false, nil)
	var dials atomic.Int32
	dialer := &net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dialer.DialContext(ctx, network, addr)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	body := strings.Repeat("x", 200<<10)
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rc.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d, want 401", res.StatusCode)
		}
	}
	if dials.Load() != 1 {
		t.Errorf("%d connections for 3 refused deliveries, want 1", dials.Load())
	}
}

func TestV9_AbortAndSlowBody(t *testing.T) {
	rc := newReceiver(t, verify.Config{}, false, nil)
	u, err := url.Parse(rc.URL)
	if err != nil {
		t.Fatal(err)
	}
	head := func(length int, extra string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s", length, extra)
		if err := signedHeader(testBody, testTime, testSecret).Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String() + "\r\n"
	}
	dial := func(text string) net.Conn {
		t.Helper()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}

	c := dial(head(len(testBody), "") + testBody[:20])
	c.Close()
	rc.wantRefusal(t, verify.ErrBodyRead)

	// The rest of the body never comes: the server's ReadTimeout ends it.
	c = dial(head(len(testBody), "") + testBody[:20])
	rc.wantRefusal(t, verify.ErrBodyRead)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("slow body: %v, %v; want 400", res, err)
	}

	// A client that expects 100 Continue is refused without being asked for its
	// body.
	c = dial(head(2<<20, "Expect: 100-continue\r\n"))
	rc.wantRefusal(t, verify.ErrBodyTooLarge)
	res, err = http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large, expecting 100: %v, %v; want 413 at once", res, err)
	}

	// A client with an acceptable request is asked for its body.
	c = dial(head(len(testBody), "Expect: 100-continue\r\n"))
	br := bufio.NewReader(c)
	res, err = http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusContinue {
		t.Fatalf("expecting 100: %v, %v", res, err)
	}
	if _, err := io.WriteString(c, testBody); err != nil {
		t.Fatal(err)
	}
	res, err = http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusOK || rc.handled.Load() != 1 {
		t.Errorf("after 100: %v, %v, handled %d", res, err, rc.handled.Load())
	}
}

// Early hints come before the answer and do not count as the answer.
func TestSeenIgnoresInformationalStatus(t *testing.T) {
	var calls atomic.Int32
	rc := newReceiver(t, verify.Config{Seen: &verify.MemorySeen{}}, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for _, want := range []int{500, 200, 200} {
		res := rc.post(t, strings.NewReader(testBody), signedHeader(testBody, testTime, testSecret))
		if res.StatusCode != want {
			t.Errorf("status %d, want %d", res.StatusCode, want)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls, want 2: one failed, one done, one duplicate", calls.Load())
	}
}

// One Verifier and one Seen serve all requests at once: every delivery is
// handled once, and a copy with a wrong signature never.
func TestConcurrentUse(t *testing.T) {
	key, pub := edKey(1)
	var handled, refused atomic.Int32
	v := mustNew(t, verify.Config{
		AllowPlain: true,
		PublicKeys: []string{pub},
		Seen:       verify.NewMemorySeen(0, 0),
		OnError:    func(*http.Request, error) { refused.Add(1) },
	}, testSecret, oldSecret)
	h := v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if d, ok := verify.FromContext(r.Context()); !ok || string(d.Body) != testBody {
			t.Errorf("handler got %+v", d)
		}
		handled.Add(1)
	}))
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range each {
				// Half of the workers send the same deliveries as the other
				// half.
				id := fmt.Sprintf("msg_%d_%d", worker/2, i)
				hd := signedHeader(testBody, testTime, testSecret)
				hd.Set("webhook-id", id)
				switch i % 4 {
				case 0:
					hd.Set("webhook-signature", signV1(testSecret, id, unix(testTime), testBody))
				case 1:
					hd.Set("webhook-signature", signV1a(key, id, unix(testTime), testBody))
				case 2:
					hd.Del("webhook-signature")
				case 3: // signed for another ID
				}
				h.ServeHTTP(httptest.NewRecorder(), newRequest(testBody, hd))
			}
		})
	}
	wg.Wait()
	wantHandled := int32(workers / 2 * (each - each/4))
	if handled.Load() != wantHandled || handled.Load()+refused.Load() != workers*each {
		t.Errorf("%d handled and %d refused, want %d handled of %d", handled.Load(), refused.Load(), wantHandled, workers*each)
	}
}
