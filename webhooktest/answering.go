package webhooktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// maxBody bounds the bytes of a body that are kept.
const maxBody = 64 << 20

// ServeHTTP implements http.Handler: it records the request and gives the
// configured answer. It blocks while the answer is delayed or hangs.
func (rx *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := rx.handle(r, r.Host, r.URL.RequestURI())
	if err != nil {
		breakConnection(w)
		return
	}
	for name, values := range a.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // an error means that the sender has gone
}

// breakConnection ends a connection without an answer. Over HTTP/1 the peer sees
// a reset, over HTTP/2 the end of the stream.
func breakConnection(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // makes Close reset the connection; on an error, a plain close has to do
		}
		conn.Close()
		return
	}
	panic(http.ErrAbortHandler) // net/http's way to break a connection
}

// RoundTrip implements http.RoundTripper: it answers the request as ServeHTTP
// does, without a connection. It blocks while the answer is delayed or hangs.
// If the request's context ends first, it returns the cause.
func (rx *Receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	// A transport must not change the caller's request, so a copy gets the body
	// that was read.
	a, err := rx.handle(r.WithContext(r.Context()), host, r.URL.RequestURI())
	if err != nil {
		return nil, err
	}
	header := make(http.Header, len(a.Header))
	for name, values := range a.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return &http.Response{
		StatusCode: a.Status, Status: strconv.Itoa(a.Status) + " " + http.StatusText(a.Status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Request: r,
	}, nil
}

// handle checks and records a request, and waits until the answer is due. An
// error means that the request gets no answer.
func (rx *Receiver) handle(r *http.Request, host, path string) (Answer, error) {
	req := &Request{Method: r.Method, Host: host, Path: path, Header: r.Header.Clone()}
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			req.Err = fmt.Errorf("%w: %w", verify.ErrBodyRead, err)
		}
		req.Body = body
	}
	r.Body = io.NopCloser(bytes.NewReader(req.Body))
	if req.Err == nil && !rx.Unverified {
		req.Delivery, req.Err = rx.check(r)
	}
	req.At = time.Now()
	a := rx.record(req)
	if err := a.wait(r.Context()); err != nil {
		return Answer{}, err
	}
	if a.Err != nil {
		return Answer{}, a.Err
	}
	a = a.resolved()
	rx.mu.Lock()
	defer rx.mu.Unlock()
	req.Status = a.Status
	rx.notify()
	return a, nil
}

// check verifies a request.
func (rx *Receiver) check(r *http.Request) (*verify.Delivery, error) {
	rx.mu.Lock()
	v, err := rx.verifier, error(nil)
	if v == nil {
		v, err = verify.New(rx.Verify, rx.secrets...)
		rx.verifier = v
	}
	rx.mu.Unlock()
	switch {
	case errors.Is(err, verify.ErrNoSecret):
		return nil, fmt.Errorf("webhooktest: the receiver trusts no secret yet: call Trust with the webhook's, or set Unverified: %w", err)
	case err != nil:
		return nil, fmt.Errorf("webhooktest: the receiver's settings: %w", err)
	case r.Method != http.MethodPost:
		return nil, fmt.Errorf("%w: %s", verify.ErrMethod, r.Method)
	}
	return v.Request(r)
}

// record keeps a request and chooses its answer.
func (rx *Receiver) record(req *Request) Answer {
	rx.mu.Lock()
	req.N = len(rx.requests) + 1
	rx.requests = append(rx.requests, req)
	rx.notify()
	if req.Err != nil {
		rx.mu.Unlock()
		return Answer{Status: verify.StatusCode(req.Err), Body: req.Err.Error()}
	}
	if len(rx.script) > 0 {
		a := rx.script[0]
		rx.script = rx.script[1:]
		rx.mu.Unlock()
		return a
	}
	usual, seen := rx.usual, req.copy()
	rx.mu.Unlock()
	if usual == nil {
		return Answer{}
	}
	return usual(seen)
}

// wait returns when the answer is due, or an error when the sender has given
// up.
func (a Answer) wait(ctx context.Context) error {
	var due <-chan time.Time
	switch {
	case a.Hang:
	case a.Delay <= 0:
		return nil
	default:
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// handlerResponse runs a handler on a request without a connection, and returns
// the handler's response.
func handlerResponse(h http.Handler, r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "192.0.2.1:1234" // from the range for documentation
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &bufferedWriter{header: make(http.Header)}
	defer func() {
		// As net/http does, turn a panic of the handler into a broken
		// connection.
		if p := recover(); p != nil {
			resp, err = nil, fmt.Errorf("webhooktest: the handler panicked: %v: %w", p, Reset().Err)
		}
	}()
	h.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		StatusCode: w.status, Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// bufferedWriter collects a handler's response.
type bufferedWriter struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *bufferedWriter) Header() http.Header { return w.header }

func (w *bufferedWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *bufferedWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
