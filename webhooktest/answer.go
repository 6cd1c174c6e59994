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

// Answer is what a Receiver does with a request that has verified. The zero
// value answers 200 at once, with an empty body.
type Answer struct {
	// Status is the HTTP status, 200–999. 0 means 200. Anything else cannot be
	// an answer: 500 is sent in its place, with a body that says so.
	Status int
	// Header is added to the answer. Nil means none.
	Header http.Header
	// Body is the answer's body.
	Body string
	// Delay is how long to wait before answering; 0 or less means not at all.
	// The wait ends early when the sender gives up, and then nothing is answered.
	Delay time.Duration
	// Hang answers nothing until the sender gives up. Status, Header and Body
	// do not count then.
	Hang bool
	// Err breaks the connection in place of an answer, after Delay. A transport
	// returns it as it is; over a socket the connection is reset, whatever Err
	// is. Nil means that there is an answer.
	Err error
}

// Status answers with an HTTP status and an empty body.
func Status(code int) Answer { return Answer{Status: code} }

// RetryAfter answers with a status, 429 or 503 where it is to have an effect,
// and a Retry-After header of d in whole seconds, rounded up. Below zero counts
// as zero.
func RetryAfter(code int, d time.Duration) Answer {
	seconds := max(0, (d+time.Second-1)/time.Second)
	return Answer{Status: code, Header: http.Header{"Retry-After": {strconv.FormatInt(int64(seconds), 10)}}}
}

// Hang answers nothing until the sender gives up: its attempt times out.
func Hang() Answer { return Answer{Hang: true} }

// Reset breaks the connection without an answer, as a receiver does that
// crashes: the attempt's class is webhook.ClassConnect.
func Reset() Answer {
	return Fail(&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET})
}

// Fail makes a transport return err, such as a *net.DNSError or an error that
// wraps webhook.ErrBlockedAddress. A nil err is replaced, as a transport must
// return something. Over a socket it is the same as [Reset].
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
// It returns nil when n is 0 or less.
func Times(n int, a Answer) []Answer {
	var out []Answer
	for range n {
		out = append(out, a)
	}
	return out
}

// After returns the same answer, given d later.
func (a Answer) After(d time.Duration) Answer {
	a.Delay += d
	return a
}

// resolved is the answer with its status filled in and possible.
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
