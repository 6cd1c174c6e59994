package webhooktest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Answer is a Receiver's answer to a verified request. The zero value answers
// 200 at once, with an empty body.
type Answer struct {
	// Status is the HTTP status, 200–999. 0 means 200. For any other value, 500
	// is sent instead, with a body that says so.
	Status int
	// Header is added to the answer. Nil means no header.
	Header http.Header
	// Body is the answer's body.
	Body string
	// Delay is how long to wait before answering; 0 or less means no wait. The
	// wait ends early when the sender gives up, without an answer.
	Delay time.Duration
	// Hang holds the request without an answer until the sender gives up.
	// Status, Header and Body are then ignored.
	Hang bool
	// Err, if not nil, breaks the connection instead of answering, after Delay.
	// A transport returns Err unchanged; over a socket every Err resets the
	// connection.
	Err error
}

// Status answers with an HTTP status and an empty body.
func Status(code int) Answer { return Answer{Status: code} }

// RetryAfter answers with a status and a Retry-After header of d in whole
// seconds, rounded up. A negative d counts as zero. The sender obeys the header
// with status 429 and 503.
func RetryAfter(code int, d time.Duration) Answer {
	seconds := max(0, (d+time.Second-1)/time.Second)
	return Answer{Status: code, Header: http.Header{"Retry-After": {strconv.FormatInt(int64(seconds), 10)}}}
}

// Hang holds the request without an answer until the sender gives up: the
// attempt times out.
func Hang() Answer { return Answer{Hang: true} }

// Reset breaks the connection without an answer, like a receiver that crashes.
// The attempt's class is webhook.ClassConnect.
func Reset() Answer {
	return Fail(&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET})
}

// Fail makes a transport return err, such as a *net.DNSError or an error that
// wraps guard.ErrBlockedAddress. A nil err is replaced, because a transport
// must return an error or a response. Over a socket Fail is the same as
// [Reset].
func Fail(err error) Answer {
	if err == nil {
		err = errors.New("webhooktest: the connection failed")
	}
	return Answer{Err: err}
}

// Times repeats an answer n times, for [Receiver.Answer]:
//
//	rx.Answer(webhooktest.Times(2, webhooktest.Status(503))...)
//
// It returns nil if n is 0 or less.
func Times(n int, a Answer) []Answer {
	var out []Answer
	for range n {
		out = append(out, a)
	}
	return out
}

// After returns the answer delayed by d.
func (a Answer) After(d time.Duration) Answer {
	a.Delay += d
	return a
}

// resolved returns the answer with a valid status.
func (a Answer) resolved() Answer {
	switch {
	case a.Status == 0:
		a.Status = http.StatusOK
	case a.Status < 200 || a.Status > 999:
		a.Body = fmt.Sprintf("webhooktest: %d cannot be the status of an answer, use 200–999", a.Status)
		a.Status = http.StatusInternalServerError
	}
	return a
}
