package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// drainLimit bounds how much of a refused body is read, so that a client
	// which writes before it reads gets the answer rather than a reset
	// connection. net/http itself would read as much.
	drainLimit = 256 << 10

	// recordTimeout bounds a call to Seen after the handler has returned, when
	// the request's own context may be over.
	recordTimeout = 5 * time.Second
)

// Middleware returns a handler that passes verified deliveries on to next and
// refuses all other requests, with the zero [Config]. It returns ErrNoSecret
// and ErrSecret as [New] does, and ErrConfig when next is nil. See
// [Verifier.Middleware].
//
// It does not log, and the sender gets only a status. To see why a request was
// refused, use [New] with Config.OnError.
func Middleware(next http.Handler, secrets ...string) (http.Handler, error) {
	if next == nil {
		return nil, fmt.Errorf("%w: the handler is nil", ErrConfig)
	}
	v, err := New(Config{}, secrets...)
	if err != nil {
		return nil, err
	}
	return v.Middleware(next), nil
}

// Middleware returns a handler that passes verified deliveries on to next and
// refuses all other requests with the status of [StatusCode] and no detail: 405
// with Allow for any method but POST, 415, 413, 401 or 400. Config.OnError gets
// the reason.
//
// Next gets the Delivery from [FromContext]. It can also read the request's
// body from the start, which gives the verified bytes; ContentLength is their
// number. An X-Webhook-Event header, if present, equals the Delivery's Type,
// unless Config.AnyBody let a body without a type through. No other header
// outside the signature is checked. Next's answer is the answer to the sender:
// any 2xx within the webhook's timeout means done, and any other answer is
// retried. With a nil next, every request is answered with 500.
//
// With Config.Seen, next is not called for a delivery that was handled before
// (answered with 200), that another request is handling (409), or that cannot
// be looked up (503). A delivery counts as handled when next has returned
// without a panic, its status is 2xx (also when it wrote no answer), and the
// request's context had not ended by then. In every other case the delivery is
// forgotten, and the sender's next attempt reaches next again. So a next that
// gives up for a reason of its own must answer with an error status. A next
// that finishes its work after the sender has hung up, or after an
// http.TimeoutHandler around the middleware has answered, is called again for
// the same delivery: the sender did not get the answer, and a next that gave up
// looks the same. A connection that next hijacked before it wrote a status
// counts as not handled. With Config.Seen, next reaches Flush and the other
// optional methods of its ResponseWriter through http.NewResponseController.
//
// The method value fits routers that want a func(http.Handler) http.Handler.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			v.refuse(w, r, fmt.Errorf("%w: it is %.16q", ErrMethod, r.Method))
			return
		}
		if next == nil {
			v.refuse(w, r, fmt.Errorf("%w: the handler behind the middleware is nil", ErrConfig))
			return
		}
		d, err := v.Request(r)
		if err != nil {
			v.refuse(w, r, err)
			return
		}
		r = withDelivery(r, d)
		if key := d.DedupKey(); v.cfg.Seen != nil && key != "" {
			v.serveOnce(w, r, next, key)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withDelivery returns r with d in its context. It keeps the body that Request
// has put in place.
func withDelivery(r *http.Request, d *Delivery) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), deliveryKey{}, d))
}

// serveOnce runs next only if the delivery could be claimed.
func (v *Verifier) serveOnce(w http.ResponseWriter, r *http.Request, next http.Handler, key string) {
	if err := v.cfg.Seen.Claim(r.Context(), key); err != nil {
		if !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrInProgress) {
			err = fmt.Errorf("%w: claim: %w", ErrSeen, err)
		}
		v.refuse(w, r, err)
		return
	}
	sw := &statusWriter{ResponseWriter: w}
	returned := false
	// A panic of next is only noticed and not recovered here: it goes on to the
	// server with its stack.
	defer func() {
		v.record(r, key, returned && sw.ok() && !over(r.Context()))
	}()
	next.ServeHTTP(sw, r)
	returned = true
}

// over reports whether the request's context has ended. The sender then no
// longer gets the handler's answer: it has hung up, or an http.TimeoutHandler
// has answered 503 in the handler's place. Frameworks and buffering writers
// turn a silent return into a written 200, so the status does not tell finished
// work from abandoned work. Taking abandoned work for finished would lose the
// delivery; the reverse only repeats it.
//
// The deadline is checked as well as Err: a handler that watches the deadline
// can give up a moment before the context's own timer fires.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// record ends a claim. It does so also when the sender has hung up by now: a
// claim left standing would refuse the sender's next attempt.
func (v *Verifier) record(r *http.Request, key string, handled bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
	defer cancel()
	end, what := v.cfg.Seen.Forget, "forget"
	if handled {
		end, what = v.cfg.Seen.Done, "done"
	}
	if err := end(ctx, key); err != nil {
		v.report(r, fmt.Errorf("%w: %s: %w", ErrSeen, what, err))
	}
}

// refuse answers without the reason, which would help an attacker who tries
// signatures more than a developer who debugs a receiver.
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error) {
	v.report(r, err)
	code := StatusCode(err)
	switch code {
	case http.StatusOK:
		w.WriteHeader(code)
		return
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Webhook-Signature")
	}
	// A client that sent "Expect: 100-continue" has not sent its body yet, and
	// reading the body would ask for it. A body announced as longer than the
	// limit would not be read to its end anyway.
	if r.Body != nil && r.Header.Get("Expect") == "" && r.ContentLength <= drainLimit {
		// The answer is the same whether or not the body can be read.
		_, _ = io.CopyN(io.Discard, r.Body, drainLimit)
	}
	http.Error(w, http.StatusText(code), code)
}

func (v *Verifier) report(r *http.Request, err error) {
	if v != nil && v.cfg.OnError != nil {
		v.cfg.OnError(r, err)
	}
}

// statusWriter notes the final status. Handlers reach methods beyond the three
// of http.ResponseWriter through http.ResponseController.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	// 1xx answers other than 101 come before the final one.
	if w.status == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker. The handler's answer on the connection is
// not visible here, so the status becomes 101 unless the handler wrote a status
// before.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ok reports whether the status says that the delivery is done. For a handler
// that does not write, net/http answers with 200.
func (w *statusWriter) ok() bool {
	return w.status == 0 || w.status >= 200 && w.status <= 299
}
