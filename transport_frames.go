package webhook

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/internal/post/h1"
)

// An HTTP/2 receiver can send frames that have nothing to do with an answer, for
// as long as the connection lasts. net/http answers pings, applies settings, and
// for every frame of a kind that it does not know writes a line to the standard
// logger: gigabytes of log for one attempt. A frameConn stands between the two.

const (
	// frameAllowance is what one attempt may cost in frames: each costs 1, and 1
	// more for every frameUnit bytes of it. It is generous: a body of 8 KiB, sent
	// byte by byte, costs half of it.
	frameAllowance = 16 << 10
	frameUnit      = 256
	// mostAttemptsAhead is how many attempts' allowance a connection can have
	// saved up.
	mostAttemptsAhead = 64
	// closeGrace is how long saying goodbye over TLS may take; net/http gives a
	// *tls.Conn as long.
	closeGrace = 250 * time.Millisecond

	frameHeaderSize = 9
	priorityFrame   = 2 // deprecated; nothing in net/http looks at it
	lastKnownFrame  = 9
)

var errTooManyFrames = errors.New("the receiver sends HTTP/2 frames without end")

// A frameConn is an HTTP/2 connection on which frames that nobody reads are left
// out, and which ends when there are too many of the others for the attempts that
// were made on it.
type frameConn struct {
	*tls.Conn
	r      *bufio.Reader
	credit atomic.Int64

	ends    atomic.Int64 // when it is too old, in nanoseconds of Unix time
	goodbye []byte       // what is left to hand on of the frame that tells net/http so
	retired bool

	// Of the frame being read; only the reader looks at them.
	head   [frameHeaderSize]byte
	unsent int // bytes at the end of head that were not handed on yet
	left   int // bytes of the payload to come
	drop   bool
}

func newFrameConn(conn *tls.Conn) *frameConn {
	c := &frameConn{Conn: conn, r: bufio.NewReader(conn)}
	c.credit.Store(frameAllowance)
	c.ends.Store(time.Now().Add(h1.Lifetime()).UnixNano())
	return c
}

// anotherAttempt adds the allowance of an attempt.
func (c *frameConn) anotherAttempt() {
	if c.credit.Load() < mostAttemptsAhead*frameAllowance {
		c.credit.Add(frameAllowance)
	}
}

// Read returns the frames that are not left out. It blocks only while there is
// nothing to return.
func (c *frameConn) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(c.goodbye) > 0:
			moved := copy(p[n:], c.goodbye)
			c.goodbye = c.goodbye[moved:]
			n += moved
		case c.unsent > 0:
			moved := copy(p[n:], c.head[frameHeaderSize-c.unsent:])
			c.unsent -= moved
			n += moved
		case n > 0 && c.r.Buffered() == 0:
			return n, nil
		case c.left > 0 && c.drop:
			var skipped int
			skipped, err = c.r.Discard(min(c.left, max(c.r.Buffered(), 1)))
			c.left -= skipped
		case c.left > 0:
			var read int
			read, err = c.r.Read(p[n:min(len(p), n+c.left)])
			c.left -= read
			n += read
		default:
			err = c.nextFrame()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// tooOld is a GOAWAY frame as a receiver sends it that will answer all requests made
// so far and wants no more. net/http takes another connection from then on, and
// closes this one after the last answer: a busy receiver whose name leads elsewhere
// by now is followed, as over HTTP/1.1.
var tooOld = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// nextFrame reads the header of a frame and decides about it.
func (c *frameConn) nextFrame() error {
	if !c.retired && time.Now().UnixNano() >= c.ends.Load() {
		c.retired, c.goodbye = true, tooOld
		return nil
	}
	if _, err := io.ReadFull(c.r, c.head[:]); err != nil {
		return err
	}
	c.left = int(binary.BigEndian.Uint32(c.head[:4]) >> 8)
	kind := c.head[3]
	c.drop = kind == priorityFrame || kind > lastKnownFrame
	if !c.drop {
		c.unsent = frameHeaderSize
	}
	if c.credit.Add(-1-int64(c.left/frameUnit)) < 0 {
		c.unsent, c.left = 0, 0
		return errTooManyFrames
	}
	return nil
}

// Close ends the connection, whether or not the receiver takes its goodbye.
func (c *frameConn) Close() error {
	t := time.AfterFunc(closeGrace, func() { c.NetConn().Close() })
	defer t.Stop()
	return c.Conn.Close()
}

// filterFrames has a transport put a frameConn between itself and every HTTP/2
// receiver. It must come before the transport's first request.
//
// A function in TLSNextProto is handed a *tls.Conn, which nothing can be put in
// front of. The one for HTTP/2 without TLS takes any connection, wrapped as
// net/http and golang.org/x/net/http2 do it when they hand connections to each
// other; that there is TLS below makes no difference to it. If ever there is no
// such function, connections are handed on as they are; a test will tell.
func filterFrames(t *http.Transport) {
	t.CloseIdleConnections() // there are none, but now net/http has filled TLSNextProto
	take := t.TLSNextProto["unencrypted_http2"]
	if take == nil || t.TLSNextProto["h2"] == nil {
		return
	}
	t.TLSNextProto["h2"] = func(authority string, conn *tls.Conn) http.RoundTripper {
		return take(authority, tls.Client(handedOver{conn: newFrameConn(conn)}, nil))
	}
}

// handedOver is how a connection is wrapped that is not for TLS.
type handedOver struct {
	net.Conn // nil: nobody calls it
	conn     net.Conn
}

// UnencryptedNetConn returns the connection inside.
func (h handedOver) UnencryptedNetConn() net.Conn { return h.conn }
