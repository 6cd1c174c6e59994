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
// records it, and answers as it was told, 200 if it was told nothing. It is an
// http.Handler and an http.RoundTripper; put it into a [Transport] to give it a
// name, or let it [Receiver.Serve] on a socket.
//
// A request that does not verify is recorded with the reason and answered with
// the status of verify.StatusCode, mostly 401. Answers are for those that do.
//
// The zero Receiver is ready to use and refuses everything until it is given
// a secret with [Receiver.Trust]. All methods are safe for concurrent use; the
// fields must not be changed once requests arrive.
type Receiver struct {
	// Verify adjusts the check. The zero value means verify's defaults, a body
	// of this library's form and a time that is not off by more than 5 minutes.
	// Set Now where Config.Now of the sender is set, and PublicKeys for an
	// Ed25519Signer.
	Verify verify.Config
	// Unverified accepts every request without looking at signatures, for a
	// sender whose Signer has a scheme of its own. False, the default, checks.
	Unverified bool

	mu       sync.Mutex
	secrets  []string
	verifier *verify.Verifier // nil: make it from secrets
	requests []*Request
	script   []Answer // the next answers
	usual    func(Request) Answer
	changed  chan struct{} // closed at the next change; nil: nobody waits
}

// NewReceiver returns a Receiver that trusts the given secrets. More can be
// added with [Receiver.Trust].
func NewReceiver(secrets ...webhook.Secret) *Receiver {
	rx := new(Receiver)
	rx.Trust(secrets...)
	return rx
}

// Request is one request that a Receiver has got: one attempt at a delivery, or
// somebody else's.
type Request struct {
	N      int         // 1, 2, … in the order of arrival
	At     time.Time   // when it had arrived completely
	Method string      // POST for every delivery
	Host   string      // the host it was sent to, with a port where the URL has one
	Path   string      // path and query as they were sent
	Header http.Header // without Host
	Body   []byte      // as it was sent

	// Delivery is what the signature vouches for: ID, type, attempt, data. It is
	// nil when the request did not verify, and with Receiver.Unverified. It is
	// shared and must not be modified.
	Delivery *verify.Delivery
	// Err says why the request did not verify, one of verify's errors. Nil when
	// it did, and with Receiver.Unverified.
	Err error
	// Status is what was answered: 0 while it is being answered, and when it
	// never was, as the connection was broken or the sender gave up.
	Status int
}

// Accepted reports whether the request verified and was answered 2xx: whether
// the sender may take the event for delivered.
func (r Request) Accepted() bool { return r.Err == nil && r.Status >= 200 && r.Status < 300 }

// Trust adds secrets: a request verifies if any of them signed it. So a receiver
// goes through a rotation by trusting the new secret beside the old one.
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

// Distrust removes secrets, as a receiver does at the end of a rotation.
// Secrets it does not have are ignored.
func (rx *Receiver) Distrust(secrets ...webhook.Secret) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	for _, s := range secrets {
		rx.secrets = slices.DeleteFunc(rx.secrets, func(text string) bool { return text == s.Reveal() })
	}
	rx.verifier = nil
}

// Answer says how the next requests that verify are answered, one after the
// other. It adds to what was said before and is not used up yet. After the last
// one the usual answer follows, see [Receiver.AnswerAlways]. So "fail twice, then
// work" is
//
//	rx.Answer(webhooktest.Status(503), webhooktest.Reset())
func (rx *Receiver) Answer(answers ...Answer) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.script = append(rx.script, answers...)
}

// AnswerAlways sets the usual answer, given to every request that verifies and
// for which [Receiver.Answer] has none. Without it that is 200.
func (rx *Receiver) AnswerAlways(a Answer) { rx.AnswerFunc(func(Request) Answer { return a }) }

// AnswerFunc lets f choose the usual answer by the request, whose Status is not
// set yet. F is called concurrently. Nil means 200 again.
func (rx *Receiver) AnswerFunc(f func(Request) Answer) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.usual = f
}

// Requests returns every request since the last Reset in the order of arrival,
// also those that did not verify and those not answered yet.
func (rx *Receiver) Requests() []Request {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	return rx.copies(func(*Request) bool { return true })
}

// Deliveries returns the requests that were accepted, in the order of arrival:
// they verified and were answered 2xx. One event can be among them twice, as
// with every receiver.
func (rx *Receiver) Deliveries() []Request {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	return rx.copies((*Request).accepted)
}

// Last returns the request that arrived last, and false when none has since the
// last Reset.
func (rx *Receiver) Last() (Request, bool) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	if len(rx.requests) == 0 {
		return Request{}, false
	}
	return rx.requests[len(rx.requests)-1].copy(), true
}

// Reset forgets every request and every answer that was not given yet; the
// usual answer is 200 again. Secrets stay trusted. A request that is being
// answered goes on and leaves no trace.
func (rx *Receiver) Reset() {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	rx.requests, rx.script, rx.usual = nil, nil, nil
	rx.notify()
}

// Wait blocks until at least n requests were accepted since the last Reset, and
// returns all that were, as Deliveries does. When ctx ends first it returns what
// there is and an error that wraps ctx.Err() and says why requests were refused.
// It is for a Dispatcher that is running. The sender learns of an answer a moment
// after this has returned: to look at its log, use [UntilIdle].
func (rx *Receiver) Wait(ctx context.Context, n int) ([]Request, error) {
	return rx.wait(ctx, n, "accepted", (*Request).accepted)
}

// WaitRequests blocks until at least n requests have arrived since the last
// Reset, whatever became of them, and returns all of them, as Requests does.
// When ctx ends first it returns what there is and an error that wraps ctx.Err().
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

// notify wakes all that wait. Caller holds mu.
func (rx *Receiver) notify() {
	if rx.changed != nil {
		close(rx.changed)
		rx.changed = nil
	}
}

// copies returns the requests that are selected. Caller holds mu.
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
