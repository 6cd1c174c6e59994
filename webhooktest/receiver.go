package webhooktest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/verify"
)

// Receiver is a customer's endpoint: it checks the signature of every request,
// records the request, and gives the answer that the test has set, 200 by
// default. It is an http.Handler and an http.RoundTripper. [Transport.Receiver]
// gives it a host name, and [Receiver.Serve] a socket.
//
// A request that does not verify is recorded with the reason and answered with
// the status of verify.StatusCode, mostly 401. The answers that a test sets are
// for verified requests only.
//
// The zero Receiver is ready to use and refuses every request until it gets a
// secret from [Receiver.Trust]. All methods are safe for concurrent use; the
// fields must not be changed once requests arrive.
type Receiver struct {
	// Verify configures the check. The zero value means verify's defaults: a
	// body of this library's form and a time at most 5 minutes off. Set Now if
	// the sender's Config.Now is set, and PublicKeys for an Ed25519Signer.
	Verify verify.Config
	// Unverified accepts every request without checking signatures, for a
	// sender whose Signer has a scheme of its own. The default is false.
	Unverified bool

	mu       sync.Mutex
	secrets  []string
	verifier *verify.Verifier // nil until made from secrets
	requests []*Request
	script   []Answer // the next answers
	usual    func(Request) Answer
	changed  chan struct{} // closed at the next change; nil without a waiter
}

// NewReceiver returns a Receiver that trusts the given secrets.
// [Receiver.Trust] adds more.
func NewReceiver(secrets ...webhook.Secret) *Receiver {
	rx := new(Receiver)
	rx.Trust(secrets...)
	return rx
}

// Request is a request that a Receiver has received: an attempt at a delivery,
// or a request of another client.
type Request struct {
	N      int         // 1, 2, … in the order of arrival
	At     time.Time   // when the request had arrived completely
	Method string      // POST for every delivery
	Host   string      // the host it was sent to, with a port where the URL has one
	Path   string      // path and query as they were sent
	Header http.Header // without Host
	Body   []byte      // as it was sent

	// Delivery is the verified delivery: ID, type, attempt, data. It is nil if
	// the request did not verify, and with Receiver.Unverified. It is shared
	// and must not be modified.
	Delivery *verify.Delivery
	// Err is the error of verify for a request that did not verify. It is nil
	// otherwise, and with Receiver.Unverified.
	Err error
	// Status is the status of the answer. It is 0 until the request has been
	// answered, and stays 0 if the connection was broken or the sender gave up.
	Status int
}

// Accepted reports whether the request verified and was answered with 2xx, so
// that the sender may consider the event delivered.
func (r Request) Accepted() bool { return r.Err == nil && r.Status >= 200 && r.Status < 300 }

// Trust adds secrets: a request verifies if any trusted secret signed it. For a
// rotation, trust the new secret beside the old one.
func (rx *Receiver) Trust(secrets ...webhook.Secret) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	for _, s := range secrets {
		if text := s.Reveal(); !slices.Contains(rx.secrets, text) {
			rx.secrets = append(rx.secrets, text)
		}
	}
	rx.verifier = nil
}

// Distrust removes secrets, as a receiver does at the end of a rotation. It
// ignores unknown secrets.
func (rx *Receiver) Distrust(secrets ...webhook.Secret) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	for _, s := range secrets {
		rx.secrets = slices.DeleteFunc(rx.secrets, func(text string) bool { return text == s.Reveal() })
	}
	rx.verifier = nil
}

// Answer sets the answers to the next verified requests, in order, after the
// earlier answers that have not been given yet. Later requests get the usual
// answer, see [Receiver.AnswerAlways]. To fail twice and then work:
//
//	rx.Answer(webhooktest.Status(503), webhooktest.Reset())
func (rx *Receiver) Answer(answers ...Answer) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.script = append(rx.script, answers...)
}

// AnswerAlways sets the usual answer, which verified requests get once the
// answers of [Receiver.Answer] are used up. The default is 200.
func (rx *Receiver) AnswerAlways(a Answer) { rx.AnswerFunc(func(Request) Answer { return a }) }

// AnswerFunc lets f choose the usual answer by the request, whose Status is not
// set yet. It calls f concurrently. A nil f restores the default of 200.
func (rx *Receiver) AnswerFunc(f func(Request) Answer) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.usual = f
}

// Requests returns all requests since the last Reset in the order of arrival,
// including requests that did not verify and requests not answered yet.
func (rx *Receiver) Requests() []Request {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	return rx.copies(func(*Request) bool { return true })
}

// Deliveries returns the accepted requests in the order of arrival: they
// verified and were answered with 2xx. An event may be among them twice, since
// delivery is at least once.
func (rx *Receiver) Deliveries() []Request {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	return rx.copies((*Request).accepted)
}

// Last returns the request that arrived last, and false if no request has
// arrived since the last Reset.
func (rx *Receiver) Last() (Request, bool) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	if len(rx.requests) == 0 {
		return Request{}, false
	}
	return rx.requests[len(rx.requests)-1].copy(), true
}

// Reset removes all requests and all answers not given yet, and restores the
// usual answer to 200. Secrets stay trusted. A request that is being answered
// at this moment gets its answer but is not recorded.
func (rx *Receiver) Reset() {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.requests, rx.script, rx.usual = nil, nil, nil
	rx.notify()
}

// Wait blocks until at least n requests were accepted since the last Reset, and
// returns the accepted requests, as Deliveries does. If ctx ends first, it
// returns the requests so far and an error that wraps ctx.Err() and says why
// requests were refused. It is for a Dispatcher that is running. The sender
// gets an answer a moment after Wait has returned; to inspect its log, use
// [UntilIdle].
func (rx *Receiver) Wait(ctx context.Context, n int) ([]Request, error) {
	return rx.wait(ctx, n, "accepted", (*Request).accepted)
}

// WaitRequests blocks until at least n requests have arrived since the last
// Reset, accepted or not, and returns all requests, as Requests does. If ctx
// ends first, it returns the requests so far and an error that wraps ctx.Err().
func (rx *Receiver) WaitRequests(ctx context.Context, n int) ([]Request, error) {
	return rx.wait(ctx, n, "received", func(*Request) bool { return true })
}

func (rx *Receiver) wait(ctx context.Context, n int, what string, which func(*Request) bool) ([]Request, error) {
	for {
		rx.mu.Lock()
		got := rx.copies(which)
		all, last := len(rx.requests), error(nil)
		for _, r := range rx.requests {
			if r.Err != nil {
				last = r.Err
			}
		}
		if rx.changed == nil {
			rx.changed = make(chan struct{})
		}
		changed := rx.changed
		rx.mu.Unlock()
		if len(got) >= n {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("webhooktest: wait: %d of %d requests %s, %d arrived: %w", len(got), n, what, all, ctx.Err())
			if last != nil {
				err = fmt.Errorf("%w; the last refused one: %w", err, last)
			}
			return got, err
		}
	}
}

// notify wakes all waiters. The caller holds mu.
func (rx *Receiver) notify() {
	if rx.changed != nil {
		close(rx.changed)
		rx.changed = nil
	}
}

// copies returns copies of the selected requests. The caller holds mu.
func (rx *Receiver) copies(which func(*Request) bool) []Request {
	var out []Request
	for _, r := range rx.requests {
		if which(r) {
			out = append(out, r.copy())
		}
	}
	return out
}

func (r *Request) accepted() bool { return r.Accepted() }

func (r *Request) copy() Request {
	c := *r
	c.Header, c.Body = r.Header.Clone(), bytes.Clone(r.Body)
	return c
}
