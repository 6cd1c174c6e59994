package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// oneWrite is how large a body may be to be written together with the head, in
	// one go and by the goroutine that then reads: any socket's buffer has room for
	// it, so that the write does not wait for the receiver.
	oneWrite = 16 << 10
	// lastWord is how long an answer is waited for after the request could not be
	// written: it was sent before the receiver closed, so it is here or nearly.
	lastWord = time.Second
	// lateWrite is how long, when the answer has been read, the rest of the body may
	// take to be written before the connection is closed under it.
	lateWrite = 50 * time.Millisecond
	// bufferSize is that of the buffers which requests are written from and answers
	// are read to. Larger ones are not kept.
	bufferSize = 4 << 10
	mostKept   = 32 << 10
)

// errUntouched is a request that failed before a byte of it had left.
var errUntouched = errors.New("h1: nothing was sent")

// untouched is the error of a request that failed so, as a whole.
type untouched struct{ error }

func (u untouched) Unwrap() error        { return u.error }
func (u untouched) Is(target error) bool { return target == errUntouched }

var writeBuffers = sync.Pool{New: func() any { return new(make([]byte, 0, bufferSize)) }}

// An exchange is one request and its answer. It is the body of the answer.
type exchange struct {
	reader
	c       *Client
	conn    *conn
	ctx     context.Context
	stop    func() bool // ends watching ctx
	leave   func()
	writing chan error // receives the result of a concurrent write; nil without such a write
	done    bool

	resp     http.Response
	body     framing
	keep     bool          // the connection stays open, as far as the head says
	said     time.Duration // how long the receiver keeps it; negative: it does not say
	bodyDone bool
	bodyErr  error
}

// exchange sends a request on a connection and reads the head of its answer. It
// takes care of the connection, and calls leave unless it returns an error.
func (c *Client) exchange(ctx context.Context, cn *conn, r *Request, w Watcher, leave func()) (*http.Response, error) {
	x := &exchange{c: c, conn: cn, ctx: ctx, leave: leave, said: -1}
	x.stop = context.AfterFunc(ctx, cn.abort)
	w.Connected(cn.used)
	before := cn.sent.Load()
	sent := func() bool { return cn.sent.Load() > before }

	writeErr := x.write(r, w)
	if writeErr == nil || sent() {
		w.Begun()
		x.open(cn.rw)
		err := x.readHead()
		if err == nil {
			cn.used = true
			x.keep = x.keep && writeErr == nil
			return &x.resp, nil
		}
		if cn.used && x.buffered() == 0 && ctx.Err() == nil {
			c.pool.closed(cn)
		}
		writeErr = x.cause(err, writeErr)
	}
	x.close(false)
	if !sent() {
		return nil, untouched{writeErr}
	}
	return nil, writeErr
}

// write writes the request, or begins to.
func (x *exchange) write(r *Request, w Watcher) error {
	buf := writeBuffers.Get().(*[]byte)
	*buf = appendHead((*buf)[:0], r)
	if len(r.Body) <= oneWrite {
		*buf = append(*buf, r.Body...)
		_, err := x.conn.rw.Write(*buf)
		putBuffer(&writeBuffers, buf)
		if err == nil {
			w.Written()
		} else {
			x.hurry()
		}
		return err
	}
	x.writing = make(chan error, 1)
	go func() {
		defer putBuffer(&writeBuffers, buf)
		err := x.writeLarge(*buf, r.Body)
		if err == nil {
			w.Written()
		} else {
			x.hurry()
		}
		x.writing <- err
	}()
	return nil
}

func (x *exchange) writeLarge(head, body []byte) error {
	if x.conn.tls == nil {
		if tcp, ok := x.conn.Conn.(*net.TCPConn); ok {
			both := net.Buffers{head, body}
			n, err := both.WriteTo(tcp)
			x.conn.sent.Add(n)
			return err
		}
	}
	if _, err := x.conn.rw.Write(head); err != nil {
		return err
	}
	_, err := x.conn.rw.Write(body)
	return err
}

// hurry bounds reading an answer when the request could not be written.
func (x *exchange) hurry() {
	_ = x.conn.SetReadDeadline(time.Now().Add(lastWord))
	if x.ctx.Err() != nil {
		x.conn.abort() // which may have come before, and been undone just now
	}
}

// cause returns the error that tells most when there is no answer.
func (x *exchange) cause(readErr, writeErr error) error {
	if x.writing != nil {
		select {
		case writeErr = <-x.writing:
			x.writing = nil
		default:
		}
	}
	if writeErr != nil && isTimeout(readErr) && x.ctx.Err() == nil {
		return writeErr // the time that ran out was that of the last word
	}
	return readErr
}

// Close frees the connection. It is kept for the next request if the answer was read to
// its end and no byte came behind it.
func (x *exchange) Close() error {
	if x.done {
		return nil
	}
	reuse := x.keep && x.bodyDone && errors.Is(x.bodyErr, io.EOF) && x.buffered() == 0
	x.close(reuse)
	x.leave()
	return nil
}

func (x *exchange) close(reuse bool) {
	x.done = true
	clean := x.writing == nil
	if x.writing != nil {
		if reuse {
			late := time.NewTimer(lateWrite)
			select {
			case err := <-x.writing:
				clean = true
				reuse = err == nil
			case <-late.C:
			}
			late.Stop()
		}
		if !clean {
			_ = x.conn.Conn.Close() // the rest of the body is lost in any case
			<-x.writing             //nolint:errcheck // the write has just failed, as was wanted
		}
	}
	x.release()
	switch {
	case !x.stop() || !clean || !x.bodyDone:
		x.conn.Conn.Close()
	case reuse && x.conn.drained():
		x.c.pool.put(x.conn, x.said)
	default:
		x.conn.leave()
	}
}

func putBuffer(pool *sync.Pool, buf *[]byte) {
	if cap(*buf) <= mostKept {
		pool.Put(buf)
	}
}
