package webhook

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/internal/post/h1"
)

// maxBodyWait bounds reading the body of an answer. The outcome is known by
// then: a receiver that drips its "ok" should not keep a slot for the whole
// timeout of its webhook.
const maxBodyWait = 2 * time.Second

// attemptRequest is one POST to make.
//
// Neither url, header nor body may be changed before the process ends: a
// transport may still be writing them after it has returned an answer, or an
// error. Any number of attempts can share them.
type attemptRequest struct {
	url       *url.URL
	header    http.Header   // all of it, but for Host and Content-Length
	body      []byte        // never empty
	timeout   time.Duration // for the look-up, connecting, TLS, sending and the answer together
	verifyTLS bool
}

// responseHint is what an attempt says beyond what is logged of it.
type responseHint struct {
	// retryAfter are the values of Retry-After of a 429 or 503, see
	// parseRetryAfter.
	retryAfter []string
	// aborted: the context that was passed in ended it before there was an
	// outcome. That says nothing about the receiver, so there is nothing to
	// record, and the delivery is due again.
	aborted bool
	// fault is why nothing was sent that the receiver has no part in; nil when
	// there is no such thing. The class of the attempt is ClassUnsent.
	fault *senderError
}

// A sender makes attempts. It is safe for concurrent use.
type sender struct {
	clients              *clients
	verified, unverified route
}

// A route is a transport, and the Timeout of the client that it came with.
//
// Requests go to the transport itself: what a client would add is following
// redirects, cookies, Basic auth out of the URL and a second clock, all of
// which are unwanted here.
type route struct {
	transport http.RoundTripper // nil: there is none
	direct    *h1.Client        // makes attempts over HTTP/1.1 instead; nil when the transport is the host's
	limit     time.Duration     // 0: none beside the webhook's
	proxied   bool              // the transport is the host's own and may use a proxy
}

func routeOf(c *http.Client, direct *h1.Client) route {
	t, ok := c.Transport.(*http.Transport)
	return route{c.Transport, direct, c.Timeout, ok && t.Proxy != nil}
}

// newSender returns the sender that a Config, checked and with its defaults
// filled in, asks for.
func newSender(cfg *Config) *sender {
	return senderWith(newClients(transportConfig{
		guard: &cfg.Guard,
		proxy: cfg.Proxy,
		// All attempts may be to one host, and then next time to another.
		maxIdlePerHost: cfg.MaxInFlight,
		maxIdle:        2 * cfg.MaxInFlight,
	}, cfg.Client))
}

func senderWith(c *clients) *sender {
	s := &sender{clients: c, verified: routeOf(c.verified, c.directOn)}
	if c.unverified != nil {
		s.unverified = routeOf(c.unverified, c.directOff)
	}
	return s
}

// canSkipVerify reports whether webhooks may turn TLS verification off: not
// with every client of a host's.
func (s *sender) canSkipVerify() bool { return s.unverified.transport != nil }

// closeIdle closes the connections that no attempt is using.
func (s *sender) closeIdle() { s.clients.closeIdle() }

// do makes one attempt and blocks until it has ended: with the status line and
// as much of the body as is kept, with an error, at the timeout, or when ctx is
// done. DeliveryID, Number and StartedAt of the attempt are left to the caller.
//
// One POST is sent, whatever the receiver does; again, up to maxSends times, only
// what the receiver has not processed for certain, see mayResend. The status line
// decides: 200 to 299 is success and nothing that happens later changes it.
func (s *sender) do(ctx context.Context, r *attemptRequest) (a Attempt, hint responseHint) {
	start := time.Now()
	via := s.verified
	if !r.verifyTLS {
		via = s.unverified
	}
	if via.transport == nil {
		a.Class, a.Error = ClassInternal, "TLS verification cannot be turned off in the http.Client in use"
		return a, hint
	}
	f := newFlight(ctx, r, start, via.limit)
	defer f.end()
	f.proxied = via.proxied

	f.turns.gates = s.clients.gates

	resp, err := f.send(via)
	for err != nil && f.mayResend(err) {
		resp, err = f.send(via)
	}
	if err == nil && f.Err() != nil {
		// Ended just now. What looks like an answer may be the receiver's server
		// closing a request whose client went away, with a status that nobody
		// chose: a copy too many is better than an event lost.
		_ = resp.Body.Close()
		err = context.Cause(f)
	}
	if err != nil {
		if f.aborted() {
			hint.aborted = true
			return a, hint
		}
		if hint.fault = f.senderFault(err); hint.fault != nil {
			a.Class, a.Error = ClassUnsent, unsentText
		} else {
			a.Class, a.Error = f.explain(err)
		}
		a.Duration = time.Since(start)
		return a, hint
	}

	a.Status = resp.StatusCode
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		hint.retryAfter = resp.Header["Retry-After"]
	}
	m := masker{header: r.header, url: r.url}
	a.ResponseHeaders = keptHeaders(resp.Header, a.Succeeded(), &m)
	target := redirectTarget(resp.StatusCode, resp.Header, r.url, &m)
	if target != "" {
		if a.ResponseHeaders == nil {
			a.ResponseHeaders = make(map[string]string, 1)
		}
		a.ResponseHeaders["Location"] = target
	}
	a.ResponseBody, a.ResponseTruncated = f.readBody(resp, &m)
	if !a.Succeeded() {
		a.Class, a.Error = ClassStatus, statusText(resp.StatusCode, target, r.url)+f.statusHint(resp.StatusCode, a.ResponseBody)
	}
	a.Duration = time.Since(start)
	return a, hint
}

// A flight is the state of one attempt, and the context of its requests.
type flight struct {
	context.Context // ends with the attempt
	parent          context.Context
	cancel          context.CancelCauseFunc
	timer           *time.Timer // the one clock of the attempt
	timeout         time.Duration
	deadline        time.Time
	request         *attemptRequest
	body            bytes.Reader // of the first request
	trace           httptrace.ClientTrace
	traced          context.Context // the flight, with trace; nil until net/http is to send
	direct          bool            // net/http is not to connect by itself

	dials     atomic.Int32 // connections opened
	connected atomic.Bool  // there was a connection to send on
	reused    atomic.Bool  // it had been used before
	begun     atomic.Bool  // the headers were written, or buffered, and the body is next
	written   atomic.Bool  // all of the request was
	sent      bool         // body was handed to a transport
	answered  atomic.Bool  // part of an answer came, be it a 1xx one
	lookups   lookupTime
	turns     turns
	sends     int                       // requests that were handed to net/http
	resent    bool                      // after a connection that was closed while it was idle
	proxy     atomic.Pointer[proxyWait] // until a proxy has opened its tunnel
	proxied   bool                      // the transport is the host's and may use a proxy
	shaking   atomic.Bool               // a TLS handshake of such a transport's was begun
	shake     atomic.Pointer[heardConn] // the connection of the last handshake that was begun
	// systemRoots: the receiver's certificate is judged by the roots of the machine.
	systemRoots atomic.Bool
}

type flightKey struct{}

// errTimedOut is the cause of the end of a flight whose time ran out.
var errTimedOut = errors.New("timed out")

func newFlight(ctx context.Context, r *attemptRequest, start time.Time, limit time.Duration) *flight {
	f := &flight{parent: ctx, request: r, timeout: r.timeout}
	if limit > 0 {
		f.timeout = min(f.timeout, limit)
	}
	f.deadline = start.Add(f.timeout)
	f.Context, f.cancel = context.WithCancelCause(ctx)
	f.timer = time.AfterFunc(f.timeout, func() { f.cancel(errTimedOut) })
	return f
}

// watched returns the flight with the hooks by which net/http tells how far it got.
func (f *flight) watched() context.Context {
	if f.traced != nil {
		return f.traced
	}
	// No hook for 1xx answers: with one set, net/http bounds them no longer.
	f.trace.GotConn = func(info httptrace.GotConnInfo) {
		if c, ok := info.Conn.(*frameConn); ok {
			c.anotherAttempt()
			f.takeTurn(c)
		}
		f.Connected(info.Reused)
	}
	if f.proxied {
		f.trace.TLSHandshakeStart = func() { f.shaking.Store(true) }
	}
	progress := f.Begun // one function is one allocation
	f.trace.WroteHeaders, f.trace.GotFirstResponseByte = progress, progress
	f.trace.WroteRequest = func(info httptrace.WroteRequestInfo) { f.written.Store(info.Err == nil) }
	f.traced = httptrace.WithClientTrace(f, &f.trace)
	return f.traced
}

// Connecting, Connected, Begun and Written take down how far the attempt has got.
func (f *flight) Connecting() {
	f.connected.Store(false)
	f.reused.Store(false)
}

// Connected says that there is a connection to send on.
func (f *flight) Connected(reused bool) {
	f.reused.Store(reused)
	f.connected.Store(true)
}

// Begun says that part of the request was written, or is about to be; said again, that
// part of an answer came.
func (f *flight) Begun() {
	if f.begun.Swap(true) {
		f.answered.Store(true)
	}
}

// Written says that all of the request was written.
func (f *flight) Written() { f.written.Store(true) }

// Deadline returns when the attempt times out.
func (f *flight) Deadline() (time.Time, bool) { return f.deadline, true }

// Value lets the dialer find the attempt that it dials for.
func (f *flight) Value(key any) any {
	if key == (flightKey{}) {
		return f
	}
	return f.Context.Value(key)
}

// end frees what the attempt holds. Dials that are still going on are not
// ended by it, see dialer.
func (f *flight) end() {
	f.timer.Stop()
	f.cancel(nil)
	f.endTurn()
}

// errNoConnection is what net/http gets when it would connect by itself.
var errNoConnection = errors.New("no HTTP/2 connection")

// send sends the request, once. Where the client is the library's own, it is net/http
// that sends only if the receiver speaks HTTP/2, and on connections that were opened
// here: of this attempt, or of those before.
func (f *flight) send(via route) (*http.Response, error) {
	if err := context.Cause(f); err != nil {
		return nil, err
	}
	if via.direct == nil {
		return f.sendBy(via.transport)
	}
	f.direct = true
	req := h1.Request{URL: f.request.url, Header: f.request.header, Body: f.request.body}
	for {
		resp, err := via.direct.Do(f, &req, f)
		if !errors.Is(err, h1.ErrHTTP2) {
			return resp, err
		}
		resp, err = f.sendBy(via.transport)
		if !errors.Is(err, errNoConnection) {
			return resp, err
		}
		req.Connect = true // none, or none with room: dialContext bounds how often
	}
}

// sendBy sends the request with a transport of net/http's kind, once. Without GetBody net/http cannot send a body
// again by itself, whatever the receiver does: HTTP/2 alone has three ways to
// ask for thousands of copies. That the body is a *bytes.Reader lets it put
// headers and body into one packet.
func (f *flight) sendBy(via http.RoundTripper) (*http.Response, error) {
	ctx, err := f.awaitTurn()
	if err != nil {
		return nil, err
	}
	body := &f.body
	if f.sent {
		body = new(bytes.Reader) // the transport may still hold the other
	}
	f.sent = true
	f.sends++
	body.Reset(f.request.body)
	req := http.Request{
		Method:        http.MethodPost,
		URL:           f.request.url,
		Host:          f.request.url.Host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        f.request.header,
		Body:          f.bodyFor(body),
		ContentLength: int64(len(f.request.body)),
	}
	resp, err := via.RoundTrip(req.WithContext(ctx))
	if errors.Is(err, errNoConnection) {
		f.keepTurn()
	}
	switch {
	case err != nil:
		return nil, err
	case resp == nil:
		return nil, errNoResponse
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// errNoResponse is a transport of the host's that breaks its contract.
var errNoResponse = errors.New("the http.Client's transport returned neither an answer nor an error")

// untouched reports, after an error, whether the request may be sent again as
// part of the same attempt: the connection came from the pool, so that the
// receiver may have closed it while it was idle, and sending the body had not
// begun. Then there is no complete request anywhere, whatever the error says
// and whichever protocol it was. It happens once: a second connection that is
// dead as well is a failed attempt.
//
// Once the body was begun nobody can tell a receiver that closed an idle
// connection from one that read the request and closed.
func (f *flight) untouched() bool {
	if f.resent || f.sends >= maxSends || !f.reused.Load() || f.begun.Load() || len(f.request.body) == 0 || f.Err() != nil {
		return false
	}
	f.resent = true
	f.again()
	return true
}

// timedOut reports whether the attempt's own time ran out.
func (f *flight) timedOut() bool { return errors.Is(context.Cause(f), errTimedOut) }

// aborted reports whether the attempt ended because the context that it was
// started with did. A dial can see that context's deadline pass before the
// context itself says so.
func (f *flight) aborted() bool {
	if f.timedOut() {
		return false
	}
	if f.parent.Err() != nil {
		return true
	}
	end, ok := f.parent.Deadline()
	return ok && end.Before(f.deadline) && !time.Now().Before(end)
}
