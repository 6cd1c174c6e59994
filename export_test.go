package webhook

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/seed68722ecd/webhook/internal/lanes"
	"github.com/seed68722ecd/webhook/internal/post"
)

// Parts of this package that the tests of package webhook_test look at.

const (
	BareText       = bareText
	Redacted       = redacted
	SealedMark     = sealedMark
	UnreadableWait = unreadableWait
	UnsentWaitMax  = lanes.MaxUnsentWait
)

var (
	AllStats    = allStats
	CheckStates = checkStates
	Sealed      = sealed
	SealedBy    = sealedBy
	ValidID     = validID
)

// ConfigOf returns the configuration with its defaults.
func ConfigOf(d *Dispatcher) Config { return d.cfg }

// LanesOf returns how many webhooks the dispatcher remembers, and how many of
// them its claims look at.
func LanesOf(d *Dispatcher) (known, active int) {
	e := d.current()
	e.mu.Lock()
	defer e.mu.Unlock()
	have := e.sched.Stats()
	return have.Lanes, have.Active
}

// CheckScheduler returns an error unless the running engine and its scheduler agree
// with each other, and the scheduler with itself.
func CheckScheduler(d *Dispatcher) error {
	e := d.current()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.sched.Stats(); s.Held != len(e.jobs) || s.Lanes != len(e.endpoints) {
		return fmt.Errorf("the engine holds %d jobs and has %d endpoints, its scheduler %+v", len(e.jobs), len(e.endpoints), s)
	}
	return e.sched.Check()
}

// SenderOf returns a function that makes one attempt at u.
func SenderOf(d *Dispatcher, u *url.URL) func(context.Context) post.Answer {
	r := &post.Request{URL: u, Header: http.Header{}, Body: []byte("{}"), Timeout: DefaultTimeout, VerifyTLS: true}
	return func(ctx context.Context) post.Answer { return d.send.Do(ctx, r) }
}

// OpenSecret decrypts a stored secret of w.
func (k *Keyring) OpenSecret(w *Webhook, s *SecretRecord) (string, error) { return k.openSecret(w, s) }

// SealSecret encrypts a secret of w for a store.
func (k *Keyring) SealSecret(w *Webhook, secret string) string { return k.seal(secretPlace(w), secret) }
