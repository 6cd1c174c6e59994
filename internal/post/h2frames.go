package post

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/internal/post/h1"
)

// An HTTP/2 receiver can send frames unrelated to an answer for as long as the
// connection lasts. net/http answers pings, applies settings, and writes a line to the
// standard logger for each frame of an unknown kind: gigabytes of log for one attempt.
// A frameConn stands between the two.

const (
	// frameAllowance bounds the frames of one attempt: each costs 1, and 1
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
	priorityFrame   = 2 // deprecated; net/http ignores it
	settingsFrame   = 4
	goAwayFrame     = 7
	lastKnownFrame  = 9

	ackFlag           = 1
	maxStreamsSetting = 3 // SETTINGS_MAX_CONCURRENT_STREAMS
)

var errTooManyFrames = errors.New("the receiver sends HTTP/2 frames without end")

// A frameConn is an HTTP/2 connection that leaves out frames that net/http does not
// need. It ends the connection when the other frames are too many for the attempts
// made on it.
type frameConn struct {
	*tls.Conn
	r       *bufio.Reader
	credit  atomic.Int64
	streams streams
	lost    atomic.Bool   // written bytes do not reach the receiver
	wentFor atomic.Uint32 // 1 more than the error code of a GOAWAY; 0 without a GOAWAY

	ends    atomic.Int64 // when it is too old, in nanoseconds of Unix time; 0: never
	goodbye []byte       // the rest of the frame that tells net/http so
	retired bool

	// Of the frame being read; only the reader looks at them.
	head   [frameHeaderSize]byte
	unsent int // bytes at the end of head that were not handed on yet
	left   int // bytes of the payload to come
	drop   bool
	field  [8]byte // of a payload that is looked into
	fill   int     // bytes of field that were read

	settings bool // the frame is the receiver's settings
	heard    bool // all of such a frame was handed on
	settled  bool // streams were told so
}

func newFrameConn(conn *tls.Conn, gate *streamGate) *frameConn {
	c := &frameConn{Conn: conn, r: bufio.NewReader(conn)}
	c.credit.Store(frameAllowance)
	c.ends.Store(time.Now().Add(h1.Lifetime()).UnixNano())
	c.streams = streams{gate: gate, settled: make(chan struct{})}
	return c
}

// anotherAttempt adds the allowance of an attempt.
func (c *frameConn) anotherAttempt() {
	if c.credit.Load() < mostAttemptsAhead*frameAllowance {
		c.credit.Add(frameAllowance)
	}
}

// Read returns the frames that are not left out. It blocks until it has bytes to
// return.
func (c *frameConn) Read(p []byte) (n int, err error) {
	if !c.settled && (c.heard || c.settings && c.unsent == 0 && c.left == 0) {
		c.settled = true
		c.streams.settle(false) // net/http reads on when it has applied the settings
	}
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
			c.lookInto(p[n : n+read])
			c.left -= read
			n += read
		default:
			err = c.nextFrame()
		}
		if err != nil {
			c.streams.settle(false)
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
	if ends := c.ends.Load(); !c.retired && ends > 0 && time.Now().UnixNano() >= ends {
		c.retired, c.goodbye = true, tooOld
		return nil
	}
	if _, err := io.ReadFull(c.r, c.head[:]); err != nil {
		return err
	}
	c.left = int(binary.BigEndian.Uint32(c.head[:4]) >> 8)
	kind := c.head[3]
	c.drop = kind == priorityFrame || kind > lastKnownFrame
	c.fill = 0
	if !c.drop {
		c.unsent = frameHeaderSize
	}
	c.heard = c.heard || c.settings
	c.settings = kind == settingsFrame && c.head[4]&ackFlag == 0
	if c.credit.Add(-1-int64(c.left/frameUnit)) < 0 {
		c.unsent, c.left = 0, 0
		return errTooManyFrames
	}
	return nil
}

// lookInto reads the payload of a frame, piece by piece as it passes, for the number of
// requests that a receiver allows and for the reason why it goes away.
func (c *frameConn) lookInto(piece []byte) {
	size := 0 // of a field
	switch {
	case c.settings:
		size = 6
	case c.head[3] == goAwayFrame && c.fill < 8:
		size = 8
	}
	for size > 0 && len(piece) > 0 {
		n := copy(c.field[c.fill:size], piece)
		piece = piece[n:]
		if c.fill += n; c.fill < size {
			return
		}
		if size == 8 {
			c.wentFor.Store(binary.BigEndian.Uint32(c.field[4:]) + 1)
			return
		}
		c.fill = 0
		if binary.BigEndian.Uint16(c.field[:]) == maxStreamsSetting {
			c.streams.allow(binary.BigEndian.Uint32(c.field[2:]))
		}
	}
}

// Write reports no error when the receiver has closed the connection. On an error
// net/http would drop the connection with the receiver's last frames unread: answers,
// and the GOAWAY with the last request that it has read. Reading to the end ends the
// connection, at once as a rule.
func (c *frameConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	if c.lost.CompareAndSwap(false, true) {
		time.AfterFunc(closeGrace, func() { c.NetConn().Close() })
	}
	return len(p), nil
}

// Close ends the connection, whether or not the receiver takes its goodbye.
func (c *frameConn) Close() error {
	c.streams.settle(true)
	t := time.AfterFunc(closeGrace, func() { c.NetConn().Close() })
	defer t.Stop()
	return c.Conn.Close()
}

// filterFrames has a transport put a frameConn between itself and every HTTP/2
// receiver, of which gates are told. It must come before the transport's first
// request.
//
// A function in TLSNextProto takes a *tls.Conn, which cannot be wrapped. The function
// for HTTP/2 without TLS takes any connection, wrapped as net/http and
// golang.org/x/net/http2 wrap connections for each other; TLS below makes no difference
// to it. Without such a function connections are passed on unwrapped, which a test
// would show.
func filterFrames(t *http.Transport, gates *streamGates, verified bool) {
	t.CloseIdleConnections() // the call makes net/http fill TLSNextProto
	take := t.TLSNextProto["unencrypted_http2"]
	if take == nil || t.TLSNextProto["h2"] == nil {
		return
	}
	t.TLSNextProto["h2"] = func(authority string, conn *tls.Conn) http.RoundTripper {
		return take(authority, tls.Client(handedOver{conn: newFrameConn(conn, gates.connected(authority, verified))}, nil))
	}
}

// handedOver is how a connection is wrapped that is not for TLS.
type handedOver struct {
	net.Conn // nil: its methods are not called
	conn     net.Conn
}

// UnencryptedNetConn returns the connection inside.
func (h handedOver) UnencryptedNetConn() net.Conn { return h.conn }
