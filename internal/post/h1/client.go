// Package h1 sends POST requests over HTTP/1.1 and reads their answers.
//
// One goroutine makes a request: it connects, writes head and body in one go, and
// reads the answer. A second goroutine helps only where a body is too large for one
// write, so that an answer which comes before all of the body was read is seen.
// A request is never sent twice: only one of which not a byte has left this process
// goes to another connection.
package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrHTTP2 is returned when the receiver speaks HTTP/2. The request was not sent, and
// a newly opened connection has been passed to Config.HTTP2.
var ErrHTTP2 = errors.New("h1: the receiver speaks HTTP/2")

// A Config says how a Client connects, and how much it keeps.
type Config struct {
	// Dial opens a connection to a host and a port.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Secure shakes hands over conn with the server of that name. It leaves conn
	// open when it fails.
	Secure func(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error)
	// HTTP2 takes over a connection to address, a host and a port, on which the
	// handshake agreed on HTTP/2. Nil: Secure never agrees on it.
	HTTP2 func(address string, conn *tls.Conn) error

	MaxIdle        int // idle connections kept, in total; 0 keeps no connection
	MaxIdlePerHost int // idle connections kept to one host and port; 0 keeps no connection
	MaxPerHost     int // requests under way to one host and port; 0: any number
}

// A Request is one POST. Its fields must not change until the process ends: a large
// body may still be written when the answer has been read.
type Request struct {
	URL    *url.URL // http or https
	Header http.Header
	Body   []byte
	// Connect opens a connection even to a receiver that spoke HTTP/2 before.
	Connect bool
}

// A Watcher is told how far a request has got. Written may be called by another
// goroutine than the caller of Do.
type Watcher interface {
	// Connecting says that a connection is being opened, the first or another after
	// an unusable connection.
	Connecting()
	// Connected says that there is a connection, its handshake done.
	Connected(reused bool)
	// Begun says that part of the request was written.
	Begun()
	// Written says that all of the request was written.
	Written()
}

// A Client sends requests and keeps connections for the next ones. It is safe for
// concurrent use. Clients share no state.
type Client struct {
	cfg  Config
	pool pool
}

// New returns a Client.
func New(cfg Config) *Client {
	return &Client{cfg: cfg, pool: pool{
		maxIdle: cfg.MaxIdle, maxIdlePerHost: cfg.MaxIdlePerHost, maxPerHost: cfg.MaxPerHost,
		hosts: make(map[string]*host),
	}}
}

// CloseIdle closes the connections that no request is using. Those in use are
// closed when their requests end, unless another request was begun in between.
func (c *Client) CloseIdle() { c.pool.closeIdle() }

// Do sends a request and returns its answer, whose Body must be closed. It ends
// with ctx: then the error is the one of the operation that was broken off, and
// reads of the body fail. The error is ErrHTTP2 where the receiver speaks that.
func (c *Client) Do(ctx context.Context, r *Request, w Watcher) (*http.Response, error) {
	t, err := targetOf(r.URL)
	if err != nil {
		return nil, err
	}
	if err := checkURL(r.URL); err != nil {
		return nil, err
	}
	if err := checkHeader(r.Header); err != nil {
		return nil, err
	}
	if !r.Connect && c.pool.speaksHTTP2(t.key) {
		return nil, ErrHTTP2
	}
	leave, err := c.pool.enter(ctx, t.key)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, t, r, w, leave)
	if err != nil {
		leave()
	}
	return resp, err
}

func (c *Client) do(ctx context.Context, t target, r *Request, w Watcher, leave func()) (*http.Response, error) {
	if cn := c.pool.take(t.key); cn != nil {
		resp, err := c.exchange(ctx, cn, r, w, leave)
		if !errors.Is(err, errUntouched) || ctx.Err() != nil {
			return resp, err
		}
	}
	w.Connecting()
	cn, err := c.connect(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.exchange(ctx, cn, r, w, leave)
}

// connect opens a connection of HTTP/1.1, or hands one of HTTP/2 over.
func (c *Client) connect(ctx context.Context, t target) (*conn, error) {
	raw, err := c.cfg.Dial(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	cn := newConn(raw, t.key)
	if !t.secure {
		return cn, nil
	}
	secure, err := c.cfg.Secure(ctx, cn.wire, t.name)
	if err != nil {
		raw.Close()
		return nil, err
	}
	http2 := secure.ConnectionState().NegotiatedProtocol == "h2"
	c.pool.setHTTP2(t.key, http2)
	if http2 {
		if err := c.cfg.HTTP2(t.address, secure); err != nil {
			return nil, err
		}
		return nil, ErrHTTP2
	}
	cn.tls, cn.rw = secure, secure
	return cn, nil
}

// A target is where a request goes.
type target struct {
	key     string // of the pool: scheme, host and port
	address string // host and port
	name    string // the host, for the certificate
	secure  bool
}

func targetOf(u *url.URL) (t target, err error) {
	port := u.Port()
	switch u.Scheme {
	case "http":
		if port == "" {
			port = "80"
		}
	case "https":
		t.secure = true
		if port == "" {
			port = "443"
		}
	default:
		return t, errors.New("the URL is neither http nor https")
	}
	t.name = strings.ToLower(u.Hostname())
	if t.name == "" {
		return t, errors.New("the URL has no host")
	}
	t.address = net.JoinHostPort(t.name, port)
	t.key = u.Scheme + " " + t.address
	return t, nil
}

// longAgo is a deadline that ends whatever a connection is doing.
var longAgo = time.Unix(1, 0)
