package post

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/post/h1"
)

const (
	// maxResponseHead bounds the status line and the headers of an answer,
	// all 1xx answers before it included.
	maxResponseHead = 64 << 10
	// idleConnTimeout, of a transport of the host's that sets none, is below the 5
	// seconds after which Node.js closes an idle connection, so that it is we who
	// close it: a POST that crosses a close is an attempt lost.
	idleConnTimeout = 4 * time.Second
	// idleHTTP2 is how long a connection of HTTP/2 is kept. Its receiver says when it
	// is about to close it, and which requests it has not looked at.
	idleHTTP2 = 55 * time.Second
	// tlsSessions is how many hosts' TLS sessions are kept, each for verified and
	// unverified connections: a host costs a full handshake only once.
	tlsSessions = 4096
	// longestDial bounds connecting where no attempt does: the longest timeout
	// that a webhook can have.
	longestDial = 300 * time.Second
	// tunnelHandshake bounds a TLS handshake that net/http does by itself, and not
	// within the attempt's time.
	tunnelHandshake = 30 * time.Second
	// maxDials is how many connections one attempt may open. One is the rule;
	// an HTTP/2 receiver that admits no stream on any connection would
	// otherwise have us open them in a loop until the timeout.
	maxDials = 4

	defaultMaxIdle        = 1024
	defaultMaxIdlePerHost = 128
)

var errTooManyDials = errors.New("the receiver accepts connections but takes no request on them")

// transportConfig holds the settings of a transport. The zero value makes a
// transport that connects to public addresses directly.
type transportConfig struct {
	guard           *guard.Guard   // which addresses may be dialed; nil: public ones only
	proxy           *url.URL       // dial this http or https proxy only; nil dials receivers, whatever the environment says
	maxIdle         int            // idle connections kept, in total; 0: 1024
	maxIdlePerHost  int            // idle connections kept to one host; 0: 128
	maxConnsPerHost int            // connections to one host; 0: as many as there are attempts
	rootCAs         *x509.CertPool // nil: the system's
	gates           *streamGates   // told of HTTP/2 receivers; nil means gates of its own
}

// newPair returns a transport, and a client for HTTP/1.1 that connects as it does
// and hands it the connections of receivers that speak HTTP/2. Attempts go to the
// client first. Both have connection pools of their own, and a TLS configuration
// and a session cache that no other pair has: a webhook that verifies never uses a
// session or a connection that was made without verification.
//
// Connections are only as public as cfg.guard wants them. With a proxy set the
// guard judges the proxy's address and never sees the targets: the proxy has to
// filter.
func newPair(cfg transportConfig, verifyTLS bool) (*http.Transport, *h1.Client) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // named, because a dialer of one's own turns it off
	target := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            cfg.rootCAs,
		InsecureSkipVerify: !verifyTLS, //nolint:gosec // a setting of the webhook; verification is the default
		ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
		NextProtos:         []string{"h2", "http/1.1"},
		// A request is written at once: small records first would only make it many.
		DynamicRecordSizingDisabled: true,
	}
	t := &http.Transport{
		Protocols:              protocols,
		TLSClientConfig:        target,
		TLSHandshakeTimeout:    tunnelHandshake,
		DisableCompression:     true, // the log holds the bytes as sent, and no bomb is inflated
		MaxResponseHeaderBytes: maxResponseHead,
		IdleConnTimeout:        idleHTTP2,
		MaxIdleConns:           positiveOr(cfg.maxIdle, defaultMaxIdle),
		MaxIdleConnsPerHost:    positiveOr(cfg.maxIdlePerHost, defaultMaxIdlePerHost),
		MaxConnsPerHost:        cfg.maxConnsPerHost,
		HTTP2: &http.HTTP2Config{
			// The defaults let one receiver make us hold 4 MiB an answer. We
			// keep 4 KiB of it.
			MaxReceiveBufferPerStream:     64 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			// One connection carries all attempts to a host: find out that it
			// is dead before every one of them has timed out on it.
			SendPingTimeout:  15 * time.Second,
			PingTimeout:      10 * time.Second,
			WriteByteTimeout: 30 * time.Second,
		},
	}
	guard := new(guard.Guard)
	if cfg.guard != nil {
		*guard = *cfg.guard
	}
	if guard.Timeout == 0 {
		guard.Timeout = longestDial // the attempt's own timeout is the bound
	}
	d := &dialer{connect: guard.DialContext, tls: target.Clone()}
	if cfg.proxy != nil {
		d.connect = newTunnel(cfg.proxy, guard, target).connect // the proxy is the only thing that is ever dialed
	}
	t.DialContext = d.dial
	t.DialTLSContext = d.dialTLS
	if cfg.gates == nil {
		cfg.gates = new(streamGates)
	}
	filterFrames(t, cfg.gates, verifyTLS)
	return t, h1.New(h1.Config{
		Dial: d.dial, Secure: d.secure, HTTP2: handOver(t),
		MaxIdle: t.MaxIdleConns, MaxIdlePerHost: t.MaxIdleConnsPerHost, MaxPerHost: t.MaxConnsPerHost,
	})
}

// handOver gives connections of HTTP/2 to a transport, which keeps them for all
// requests to their address.
func handOver(t *http.Transport) func(address string, conn *tls.Conn) error {
	return func(address string, conn *tls.Conn) error {
		if failed, ok := t.TLSNextProto["h2"](address, conn).(interface{ RoundTripErr() error }); ok {
			return failed.RoundTripErr()
		}
		return nil
	}
}

func positiveOr(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// proxyAddress is the host and port of a proxy, with the port that belongs to
// its scheme as the default.
func proxyAddress(proxy *url.URL) string {
	return net.JoinHostPort(proxy.Hostname(), portOf(proxy))
}

// portOf is the port of an http or https URL, given or implied.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// A dialer connects, and shakes hands, within the time of the attempt that
// asked for it.
//
// Where net/http dials, a dial that was begun for a request lives on when the
// request is gone, for as long as its own timeouts let it. Two hundred receivers
// that accept and stay silent would then keep two hundred goroutines and sockets
// long after the attempts. Here a dial ends with the timeout of its attempt, or
// when sending is aborted.
type dialer struct {
	connect func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel, err := dialContext(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	conn, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// dialTLS is for net/http, which connects by itself only where it was not told to
// leave that to the attempt.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	if f, ok := ctx.Value(flightKey{}).(*flight); ok && f.direct {
		return nil, errNoConnection
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := dialContext(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	conn, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secure, err := d.secure(ctx, conn, name)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// secure shakes hands with the server of a name: the host of the webhook's URL, and
// never the address that it resolved to.
func (d *dialer) secure(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error) {
	cfg := d.tls.Clone()
	cfg.ServerName = name
	if f, ok := ctx.Value(flightKey{}).(*flight); ok {
		conn = f.watchHandshake(cfg, conn)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, &handshakeError{err}
	}
	return secure, nil
}

// dialContext bounds a dial by the attempt that it is for.
func dialContext(ctx context.Context) (context.Context, context.CancelFunc, error) {
	f, ok := ctx.Value(flightKey{}).(*flight)
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, longestDial)
		return ctx, cancel, nil
	}
	if f.dials.Add(1) > maxDials {
		return nil, nil, errTooManyDials
	}
	ctx, cancel := context.WithDeadline(f.dialing(context.WithValue(f.parent, flightKey{}, f)), f.deadline)
	return ctx, cancel, nil
}

// A handshakeError is a TLS handshake that failed, for whatever reason.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "tls handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// clients make the attempts, with separate connections for webhooks that verify
// certificates and webhooks that do not.
type clients struct {
	verified *http.Client
	// unverified is nil when verification cannot be turned off in the client
	// that the host passed in. Webhooks that ask for it have to be refused.
	unverified *http.Client
	// own are the transports that were made here, so their connections have to be
	// closed here. A host closes its own transport.
	own []*http.Transport
	// directOn and directOff make the attempts of verified and unverified that are
	// not over HTTP/2; nil with a client of the host's.
	directOn, directOff *h1.Client
	// gates are those of the guarded transports; nil for a host's own.
	gates *streamGates
}

// newClients returns the guarded clients, or ones made from the host's own.
//
// A host's client is used as given, its Transport and its Timeout (a bound
// beside the webhook's), with three exceptions. Redirects are never followed.
// Its cookie jar is not used: a receiver's cookies must not come back in the
// deliveries of another tenant. A client without a Transport gets the guarded
// transport, so that a host that only sets a timeout keeps the guard.
// Verification can be turned off in an *http.Transport that does its own TLS:
// see unverifiedClone.
func newClients(cfg transportConfig, host *http.Client) *clients {
	if host == nil || host.Transport == nil {
		var timeout time.Duration
		if host != nil {
			timeout = host.Timeout
		}
		cfg.gates = new(streamGates)
		on, directOn := newPair(cfg, true)
		off, directOff := newPair(cfg, false)
		return &clients{
			verified: plainClient(on, timeout), unverified: plainClient(off, timeout), own: []*http.Transport{on, off},
			directOn: directOn, directOff: directOff,
			gates: cfg.gates,
		}
	}
	c := &clients{verified: plainClient(host.Transport, host.Timeout)}
	if t, ok := host.Transport.(*http.Transport); ok {
		if off := unverifiedClone(t); off != nil {
			c.unverified = plainClient(off, host.Timeout)
			c.own = append(c.own, off)
		}
	}
	return c
}

// unverifiedClone returns a transport that is like the host's but verifies no
// certificate, and shares no connection and no session with it. It returns nil
// if the host shakes hands itself, or speaks a protocol over TLS that net/http does
// not know.
func unverifiedClone(host *http.Transport) *http.Transport {
	//lint:ignore SA1019 a host may still set DialTLS, and it does its own verification
	if host.DialTLSContext != nil || host.DialTLS != nil { //nolint:staticcheck // likewise
		return nil
	}
	t := host.Clone()
	// A function in TLSNextProto owns a connection pool, from which the requests of
	// the transport that it was made for are served. Clone copies the functions of
	// golang.org/x/net/http2, and net/http's own if the host's map was empty and not
	// nil. On a transport that verifies they would use connections made without
	// verification. Without them the clone sets up HTTP/2 with a pool of its own.
	for name := range t.TLSNextProto {
		if name != "h2" && name != "unencrypted_http2" {
			return nil
		}
	}
	t.TLSNextProto = nil
	// Named, because HTTP/2 is off by default in a transport with a TLS
	// configuration. Clone has made the host's transport choose its protocols,
	// and this entry shows the choice.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if t.Protocols != nil {
		*protocols = *t.Protocols
	}
	protocols.SetHTTP2(host.TLSNextProto["h2"] != nil)
	t.Protocols = protocols

	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	t.TLSClientConfig.InsecureSkipVerify = true
	t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
	t.TLSClientConfig.ClientSessionCache = nil // the clone of a Config shares its cache
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = idleConnTimeout // no limit, where the host cannot close them
	}
	return t
}

// plainClient returns a client without a cookie jar that follows no redirect.
func plainClient(t http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: t,
		Timeout:   timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// closeIdle closes the connections that no attempt is using, except those of a
// host's own transport.
func (c *clients) closeIdle() {
	for _, t := range c.own {
		t.CloseIdleConnections()
	}
	if c.directOn != nil {
		c.directOn.CloseIdle()
		c.directOff.CloseIdle()
	}
}
