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
	// drainLimit bounds what is read of a refused body, so that a client which
	// writes before it reads gets the answer rather than a reset connection.
	// It is as much as net/http itself would read.
	drainLimit = 256 << 10

	// recordTimeout bounds a call to Seen after the handler has returned, when
	// the request's own context may be over.
	recordTimeout = 5 * time.Second
)

// Middleware returns a handler that passes verified deliveries on to next and
// refuses everything else, with the zero [Config]. It returns ErrNoSecret and
// ErrSecret as [New] does, and ErrConfig when next is nil. See
// [Verifier.Middleware].
//
// Nothing is logged, and the sender is told a status and no more. To see why a
// request was refused, use [New] with Config.OnError.
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
// refuses everything else with the status of [StatusCode] and no detail: 405
// with Allow for any method but POST, 415, 413, 401 or 400. Config.OnError is
// told the reason.
//
// Next finds the Delivery with [FromContext]; the request's body can be read
// from the start and gives the verified bytes, and ContentLength is their
// number. An X-Webhook-Event header, where there is one, equals the Delivery's
// Type (unless Config.AnyBody let a body without a type through); no other
// header that is not part of the signature is checked. Next's answer is the
// answer to the sender: any 2xx within the webhook's timeout means done,
// anything else is retried. With a nil next, everything is answered with 500.
//
// With Config.Seen, a delivery that was handled before is answered with 200,
// one that is being handled by another request with 409, and one that cannot be
// looked up with 503; next is not called. A delivery counts as handled when
// next has returned without a panic, its status is 2xx (which it is when
// nothing was written), and the request's context had not ended by then. On
// everything else it is forgotten, and the sender's next attempt reaches next
// again. So a next that gives up for any reason of its own must answer with an
// error status. One that finishes its work after the sender has hung up, or
// after an http.TimeoutHandler around the middleware has answered, is called
// again for the same delivery: the sender was not told that it is done, and a
// next that gave up looks the same. A connection that next hijacked before it
// wrote a status counts as not handled. Next's ResponseWriter then flushes and
// so on through http.NewResponseController.
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

// withDelivery keeps the body that Request has put in place.
func withDelivery(r *http.Request, d *Delivery) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), deliveryKey{}, d))
}

// serveOnce runs next if, and only if, the delivery could be claimed.
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
	// A panic of next goes on to the server with its stack: it is not
	// recovered here, only noticed.
	defer func() {
		v.record(r, key, returned && sw.ok() && !over(r.Context()))
	}()
	next.ServeHTTP(sw, r)
	returned = true
}

// over reports whether the request's context has ended. The sender then no
// longer hears the answer, whatever it is: it has hung up, or an
// http.TimeoutHandler has answered 503 in the handler's place. Frameworks and
// buffering writers turn a silent return into a written 200, so that a status
// does not tell work that was done from work that was given up. Taking the one
// for the other would lose the delivery; the reverse only repeats it.
//
// What works to the deadline rather than to Done can give up a moment before
// the context's own timer fires.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// record ends a claim. That the sender may have hung up by now must not leave
// the claim standing, which would refuse its next attempt.
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

// refuse answers without a word about the reason, which would help those who
// try signatures more than those who debug a receiver.
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
	// A client that asked to be told to go on has not sent its body yet, and
	// reading it would ask for it. One that announces more than the limit
	// would not be heard out anyway.
	if r.Body != nil && r.Header.Get("Expect") == "" && r.ContentLength <= drainLimit {
		// Whether that works out changes nothing about the answer.
		_, _ = io.CopyN(io.Discard, r.Body, drainLimit)
	}
	http.Error(w, http.StatusText(code), code)
}

func (v *Verifier) report(r *http.Request, err error) {
	if v != nil && v.cfg.OnError != nil {
		v.cfg.OnError(r, err)
	}
}

// statusWriter notes the final status. Everything beyond the three methods of
// http.ResponseWriter is reached through http.ResponseController.
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

// Hijack implements http.Hijacker. What is said on the connection from then on
// is not seen here, so it counts as another protocol, unless a status was
// written before.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ok reports whether the status says that the delivery is done. A handler that
// writes nothing answers with 200.
func (w *statusWriter) ok() bool {
	return w.status == 0 || w.status >= 200 && w.status <= 299
}
