package post

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// A receiver that ends an HTTP/2 connection names the last request that it has read
// (GOAWAY, RFC 9113, 6.8). An overloaded receiver refuses a request without having
// looked at it (REFUSED_STREAM, 8.7). Servers do this on a normal day: nginx after each
// 1,000 requests and at each reload, all others when they are deployed. The receiver
// has certainly not processed such a request, so it is sent again within the attempt. A
// request that the receiver may have read is not sent again: after a connection that
// just ends, a stream reset for another reason, or part of an answer.
//
// A receiver can lie. maxSends bounds the copies of its own event that it gets in one
// attempt.

const (
	// maxSends is how many times an attempt may send its request, the first time
	// included. A third time is for a receiver whose processes are replaced one
	// after the other.
	maxSends = 3
	// maxUnsent is the number of times that an attempt may look for another
	// connection when its connection has ended before a byte was sent.
	maxUnsent = 8
	// refusedPause is the pause after the first refusal of a stream, ten times as
	// long after the next: a receiver that is full needs a moment. No pause is
	// needed after GOAWAY, since the next connection is another process's.
	refusedPause = 20 * time.Millisecond
)

// errCalm is GOAWAY's ENHANCE_YOUR_CALM: a receiver that asks for less is not sent
// more.
const errCalm = 11

// turns is the share of an attempt in a receiver that allows few requests at once.
type turns struct {
	gates   *streamGates
	gate    *streamGate
	turn    bool         // the gate has counted the request against a limit
	body    *gateBody    // of a request that has to leave the gate when net/http is done with it
	conn    *frameConn   // on which a request was admitted
	waits   atomic.Int64 // for a turn: 1 more than the requests that are allowed at once
	settles atomic.Bool  // waits for a receiver's settings
	cancel  context.CancelCauseFunc
	kept    bool // the turn is for the next request
	unsent  int  // requests that no connection was found for
	lost    bool // the connection that it was given was closed, and net/http does not know yet
	bounced bool // the last request was given a connection that was full, and was not begun
}

var errBounced = errors.New("the connection was full")

// awaitTurn blocks until the receiver allows another request, and returns the
// context for it.
func (f *flight) awaitTurn() (context.Context, error) {
	t := &f.turns
	u := f.request.URL
	if t.gates == nil || u.Scheme != "https" {
		return f.watched(), nil
	}
	if t.kept {
		t.kept = false
	} else if err := f.enterGate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(f.watched())
	t.cancel = cancel
	return ctx, nil
}

// keepTurn is called when the request that had its turn needs a connection first.
func (f *flight) keepTurn() {
	t := &f.turns
	if t.gate == nil {
		return
	}
	if t.conn != nil {
		t.conn.streams.done()
		t.conn = nil
	}
	t.kept, t.body = true, nil
	f.sends--
}

// enterGate waits until the receiver allows another request.
func (f *flight) enterGate() error {
	t := &f.turns
	f.endTurn()
	var err error
	t.gate, t.turn, err = t.gates.enter(f, gateKey{authorityOf(f.request.URL), f.request.VerifyTLS}, func(limit int) { t.waits.Store(int64(limit) + 1) })
	if err != nil {
		return err
	}
	t.waits.Store(0)
	t.bounced = false
	return nil
}

// takeTurn is called when net/http has chosen a connection, and before it has sent
// anything there. Where the connection turns out to be full the request is taken
// back from net/http, which looks at its context before it sends.
func (f *flight) takeTurn(c *frameConn) {
	t := &f.turns
	if t.cancel == nil {
		return
	}
	if t.conn != nil { // net/http has left it for another one, by itself
		t.conn.streams.done()
		t.conn = nil
	}
	t.settles.Store(true)
	if !c.lost.Load() && c.streams.admit(f, t.turn) {
		t.conn = c
	} else {
		t.bounced, t.lost = true, c.lost.Load()
		t.cancel(errBounced)
	}
	if f.Err() == nil {
		t.settles.Store(false)
	}
}

// endTurn gives back the turn of a request.
func (f *flight) endTurn() {
	t := &f.turns
	if t.conn != nil {
		t.conn.streams.done()
		t.conn = nil
	}
	if t.body != nil {
		t.body.half()
		t.gate, t.body = nil, nil
	}
	if t.gate != nil {
		t.gate.leave()
		t.gate = nil
	}
	if t.cancel != nil {
		t.cancel(nil)
	}
}

// A gateBody is the body of a request to a receiver that allows few at once. Its
// turn ends when both the attempt and net/http have done with it: net/http closes
// the body when it is about to count one stream less, which may be a moment after
// the answer was read. The next request would find no room and open a connection.
type gateBody struct {
	io.Reader
	gate   *streamGate
	closed atomic.Bool
	halves atomic.Int32
}

func (b *gateBody) half() {
	if b.halves.Add(1) == 2 {
		b.gate.leave()
	}
}

// Close says that net/http has done with the request.
func (b *gateBody) Close() error {
	if b.closed.CompareAndSwap(false, true) {
		b.half()
	}
	return nil
}

// bodyFor returns the body of the request that has its turn.
func (f *flight) bodyFor(r *bytes.Reader) io.ReadCloser {
	t := &f.turns
	if t.gate == nil || !t.turn {
		return io.NopCloser(r)
	}
	t.body = &gateBody{Reader: r, gate: t.gate}
	return t.body
}

// mayResend reports, after an error, whether the request may be sent again as part
// of the same attempt, and blocks while it has to be put off.
func (f *flight) mayResend(err error) bool {
	if f.Err() != nil || f.answered.Load() {
		return false
	}
	if f.turns.bounced {
		f.sends-- // no byte was sent
		if !f.turns.lost {
			f.dials.Store(0) // there are connections enough
		}
		return !f.turns.lost || f.pause(refusedPause)
	}
	if f.untouched() {
		return true
	}
	what := unprocessed(err)
	if c := f.turns.conn; c != nil && what == goneAway && c.wentFor.Load() == errCalm+1 {
		return false
	}
	if what == unsent && f.turns.unsent < maxUnsent {
		f.turns.unsent++
		f.sends--
		f.again()
		return true
	}
	if what == processed || what == unsent || f.sends >= maxSends {
		return false
	}
	if what == refused {
		if !f.pause(refusedPause * time.Duration(1+9*(f.sends-1))) {
			return false
		}
	}
	f.again()
	return true
}

// pause reports whether the attempt still goes on after d.
func (f *flight) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.Done():
		return false
	}
}

// again forgets how far the last request got.
func (f *flight) again() {
	f.reused.Store(false)
	f.connected.Store(false)
	f.begun.Store(false)
	f.written.Store(false)
}

// certainty is why a request was not processed for certain.
type certainty int

const (
	processed certainty = iota // or perhaps processed
	unsent                     // no byte of it was sent
	goneAway                   // its stream is above GOAWAY's last one
	refused                    // its stream was refused
)

// The texts of net/http's error for a request that it would have sent again if it
// could. Both texts, and the reason between them, are net/http's: no byte comes from the
// receiver. Errors with bytes of a receiver, which it may try to make look like this,
// begin in another way.
const (
	cannotRetry = "http2: Transport: cannot retry err ["
	defineBody  = "] after Request.Body was written; define Request.GetBody to avoid this error"
)

// h2Reason is the reason in an error of net/http's about HTTP/2.
func h2Reason(text string) string {
	if reason, ok := strings.CutPrefix(text, cannotRetry); ok {
		if reason, ok := strings.CutSuffix(reason, defineBody); ok {
			return reason
		}
	}
	return text
}

// unsentTexts are net/http's errors about a connection that ended before anything
// of the request was sent there. It has closed the request's body then, and the last
// one is its complaint that it cannot take it to another connection.
var unsentTexts = map[string]bool{
	"http2: client conn not usable":                      true,
	"http2: client conn could not be established":        true,
	"net/http: cannot rewind body after connection loss": true,
}

// unprocessed reports whether an error of net/http's, or of
// golang.org/x/net/http2, means that the receiver has not processed the request.
// Their errors are texts.
func unprocessed(err error) certainty {
	text := err.Error()
	switch reason := h2Reason(text); {
	case unsentTexts[text]:
		return unsent
	case reason == text:
		return processed
	case reason == "http2: Transport received Server's graceful shutdown GOAWAY":
		return goneAway
	case strings.HasPrefix(reason, "stream error: stream ID ") && strings.HasSuffix(reason, "; REFUSED_STREAM; received from peer"):
		return refused
	}
	return processed
}
