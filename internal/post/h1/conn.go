package h1

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// maxAge is how long a connection is used at most, less up to a fifth by chance: a
// busy receiver whose name leads elsewhere by now, or whose load balancer has grown,
// is found again within that time, and not by all connections at once.
const maxAge = 5 * time.Minute

// Lifetime returns how long a new connection may be used.
func Lifetime() time.Duration {
	return maxAge - rand.N(maxAge/5) //nolint:gosec // spreads load, guards nothing
}

// A conn is a connection to a receiver.
type conn struct {
	*wire
	key string
	tls *tls.Conn     // nil: plain
	rw  io.ReadWriter // tls, or the wire itself

	ends time.Time // when it is too old
	used bool      // a request was answered on it

	// While it is idle; guarded by pool.mu.
	since   time.Time // when that began
	seen    time.Time // when it was last found open
	expires time.Time
	older   *conn
	newer   *conn
}

func newConn(raw net.Conn, key string) *conn {
	w := &wire{Conn: raw, raw: socketOf(raw)}
	return &conn{wire: w, key: key, rw: w, ends: time.Now().Add(Lifetime())}
}

// abort makes everything on the connection fail at once, for good.
func (c *conn) abort() { _ = c.Conn.SetDeadline(longAgo) }

// leave says goodbye over TLS and closes the connection. It must be all written.
func (c *conn) leave() {
	if c.tls != nil {
		c.tls.Close()
		return
	}
	c.Conn.Close()
}

// drained reports whether the TLS layer holds no unread bytes of the receiver, such as
// part of another answer or a close notification. silent finds bytes that are still in
// the socket.
func (c *conn) drained() bool {
	if c.tls == nil {
		return true
	}
	var one [1]byte
	c.muted = true
	n, err := c.tls.Read(one[:])
	c.muted = false
	return n == 0 && errors.Is(err, errMuted)
}

// A wire is the socket below TLS. It counts written bytes, which tell whether a
// request has touched it.
type wire struct {
	net.Conn
	raw   syscall.RawConn // nil: there is no socket to look at
	muted bool            // reads return mutedError at once
	sent  atomic.Int64
}

func (w *wire) Read(p []byte) (int, error) {
	if w.muted {
		return 0, errMuted
	}
	return w.Conn.Read(p)
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

// silent reports whether an idle connection is still usable: the receiver has not
// closed it and has not sent any byte. It does not wait on a socket.
func (w *wire) silent() bool {
	if w.raw != nil {
		return silentSocket(w.raw)
	}
	if w.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return false
	}
	var one [1]byte
	n, err := w.Conn.Read(one[:])
	return n == 0 && isTimeout(err) && w.SetReadDeadline(time.Time{}) == nil
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error) //nolint:errorlint // the error of a net.Conn itself
	return ok && t.Timeout()
}

// mutedError is the result of reading a muted wire. It is a temporary error, so that
// crypto/tls can go on reading afterwards.
type mutedError struct{}

var errMuted net.Error = mutedError{}

func (mutedError) Error() string   { return "h1: not reading now" }
func (mutedError) Timeout() bool   { return true }
func (mutedError) Temporary() bool { return true }
