package post

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/post/h1"
)

// maxBodyWait bounds reading the body of an answer. The outcome is known by
// then: a receiver that drips its "ok" should not keep a slot for the whole
// timeout of its webhook.
const maxBodyWait = 2 * time.Second

// Request is one POST to make.
//
// URL, Header and Body must not change until the process ends: a transport may
// still write them after it has returned an answer or an error. Any number of
// attempts can share them.
type Request struct {
	URL       *url.URL
	Header    http.Header   // complete except for Host and Content-Length
	Body      []byte        // not empty
	Timeout   time.Duration // for the look-up, connecting, TLS, sending and the answer together
	VerifyTLS bool
}

// Answer is the result of one attempt.
type Answer struct {
	Duration time.Duration // to the end of the answer's body, as far as it was read
	Status   int           // HTTP status; 0 without an answer
	Class    Class         // empty when the attempt succeeded
	Error    string        // the failure in words for the customer; never holds a secret, a header value, a path, a query or an internal address
	// ResponseHeaders are a few harmless headers of the answer, values cut short and
	// made printable.
	ResponseHeaders map[string]string
	// ResponseBody is the start of the answer's body, at most 4 KiB of any bytes.
	ResponseBody []byte
	// ResponseTruncated is true when the body was longer, or broke off.
	ResponseTruncated bool

	// Aborted is true when the caller's context ended the attempt before it had an
	// outcome. The receiver has no part in that, and all other fields are zero.
	Aborted bool
	// Fault is the failure of the sender's side that kept the request from being sent.
	// It is nil for all other outcomes. With a Fault, Class is ClassUnsent.
	Fault *SenderError

	retryAfter []string // the Retry-After of a 429 or 503
}

// Succeeded reports whether the receiver accepted the POST.
func (a *Answer) Succeeded() bool { return a.Class == "" && a.Status >= 200 && a.Status <= 299 }

// RetryAfter returns how long the receiver asked to wait from now, with a status of
// 429 or 503. See [parseRetryAfter].
func (a *Answer) RetryAfter(now time.Time) (wait time.Duration, ok bool) {
	return parseRetryAfter(a.retryAfter, now)
}

// A Client makes attempts. It is safe for concurrent use.
type Client struct {
	clients              *clients
	verified, unverified route
}

// A route is a transport, and the Timeout of the client that it came with.
//
// Requests go to the transport itself. A client would add redirects, cookies, Basic
// auth from the URL and a second clock, all of which are unwanted here.
type route struct {
	transport http.RoundTripper // nil if TLS verification cannot be turned off
	direct    *h1.Client        // makes attempts over HTTP/1.1 instead; nil when the transport is the host's
	limit     time.Duration     // 0: only the webhook's timeout holds
	proxied   bool              // the transport is the host's own and may use a proxy
}

func routeOf(c *http.Client, direct *h1.Client) route {
	t, ok := c.Transport.(*http.Transport)
	return route{c.Transport, direct, c.Timeout, ok && t.Proxy != nil}
}

// Config holds the settings of a [Client].
type Config struct {
	Client    *http.Client // the host's own; nil, or one without a Transport, means the guarded client
	Guard     *guard.Guard // which addresses the guarded client may dial; nil means public ones
	Proxy     *url.URL     // the guarded client dials this proxy only; nil means that it dials receivers
	MaxFlying int          // attempts that may be made at the same time: bounds idle connections
}

// New returns a client for the attempts of one process.
func New(cfg Config) *Client {
	return newClient(newClients(transportConfig{
		guard: cfg.Guard,
		proxy: cfg.Proxy,
		// All attempts may be to one host, and then next time to another.
		maxIdlePerHost: cfg.MaxFlying,
		maxIdle:        2 * cfg.MaxFlying,
	}, cfg.Client))
}

func newClient(c *clients) *Client {
	s := &Client{clients: c, verified: routeOf(c.verified, c.directOn)}
	if c.unverified != nil {
		s.unverified = routeOf(c.unverified, c.directOff)
	}
	return s
}

// CanSkipVerify reports whether webhooks may turn TLS verification off: not
// with every client of a host's.
func (s *Client) CanSkipVerify() bool { return s.unverified.transport != nil }

// CloseIdle closes the connections that no attempt is using.
func (s *Client) CloseIdle() { s.clients.closeIdle() }

// Do makes one attempt and blocks until it has ended: with the status line and
// as much of the body as is kept, with an error, at the timeout, or when ctx is
// done.
//
// Do sends one POST, whatever the receiver does. It sends the request again, up to
// maxSends times, only if the receiver has certainly not processed it; see mayResend.
// The status line decides: 200 to 299 is success, even if the body breaks off later.
func (s *Client) Do(ctx context.Context, r *Request) (a Answer) {
	start := time.Now()
	via := s.verified
	if !r.VerifyTLS {
		via = s.unverified
	}
	if via.transport == nil {
		a.Class, a.Error = ClassInternal, "TLS verification cannot be turned off in the http.Client in use"
		return a
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
		// The attempt has ended just now. The answer may come from a server that
		// closes the request of a client that went away, with a status that no
		// application chose. A copy too many is better than a lost event.
		_ = resp.Body.Close()
		err = context.Cause(f)
	}
	if err != nil {
		if f.aborted() {
			a.Aborted = true
			return a
		}
		if a.Fault = f.senderFault(err); a.Fault != nil {
			a.Class, a.Error = ClassUnsent, unsentText
		} else {
			a.Class, a.Error = f.explain(err)
		}
		a.Duration = time.Since(start)
		return a
	}

	a.Status = resp.StatusCode
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		a.retryAfter = resp.Header["Retry-After"]
	}
	m := masker{header: r.Header, url: r.URL}
	a.ResponseHeaders = keptHeaders(resp.Header, a.Succeeded(), &m)
	target := redirectTarget(resp.StatusCode, resp.Header, r.URL, &m)
	if target != "" {
		if a.ResponseHeaders == nil {
			a.ResponseHeaders = make(map[string]string, 1)
		}
		a.ResponseHeaders["Location"] = target
	}
	a.ResponseBody, a.ResponseTruncated = f.readBody(resp, &m)
	if !a.Succeeded() {
		a.Class, a.Error = ClassStatus, statusText(resp.StatusCode, target, r.URL)+f.statusHint(resp.StatusCode, a.ResponseBody)
	}
	a.Duration = time.Since(start)
	return a
}

// A flight is the state of one attempt, and the context of its requests.
type flight struct {
	context.Context // ends with the attempt
	parent          context.Context
	cancel          context.CancelCauseFunc
	timer           *time.Timer // the one clock of the attempt
	timeout         time.Duration
	deadline        time.Time
	request         *Request
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

func newFlight(ctx context.Context, r *Request, start time.Time, limit time.Duration) *flight {
	f := &flight{parent: ctx, request: r, timeout: r.Timeout}
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

// end frees the attempt's timer, context and turn. It does not end dials that are
// still running; see dialer.
func (f *flight) end() {
	f.timer.Stop()
	f.cancel(nil)
	f.endTurn()
}

// errNoConnection is the answer to net/http when it would connect by itself.
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
	req := h1.Request{URL: f.request.URL, Header: f.request.Header, Body: f.request.Body}
	for {
		resp, err := via.direct.Do(f, &req, f)
		if !errors.Is(err, h1.ErrHTTP2) {
			return resp, err
		}
		resp, err = f.sendBy(via.transport)
		if !errors.Is(err, errNoConnection) {
			return resp, err
		}
		req.Connect = true // no connection, or no room on one; dialContext bounds the number of dials
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
	body.Reset(f.request.Body)
	req := http.Request{
		Method:        http.MethodPost,
		URL:           f.request.URL,
		Host:          f.request.URL.Host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        f.request.Header,
		Body:          f.bodyFor(body),
		ContentLength: int64(len(f.request.Body)),
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
// begun. Then the receiver has no complete request, whatever the error says and
// whichever protocol it was. It happens once: a second dead connection fails the
// attempt.
//
// Once the body was begun, a receiver that closed an idle connection looks the same
// as a receiver that read the request and closed.
func (f *flight) untouched() bool {
	if f.resent || f.sends >= maxSends || !f.reused.Load() || f.begun.Load() || len(f.request.Body) == 0 || f.Err() != nil {
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
