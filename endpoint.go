package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/header"
	"github.com/seed68722ecd/webhook/internal/lanes"
)

// An endpoint is a webhook as the engine knows it while it has work for it. Its fields
// are guarded by engine.mu.
type endpoint struct {
	id     string
	lane   *lanes.Lane
	target *target   // the webhook as last read; nil until then
	read   time.Time // when it was last read
	health health
	spell  spell // how long it has only failed

	unreadUntil time.Time // until then its deliveries wait, see putOff
}

// health is a webhook's health as it was last read from the store.
type health struct{ lastTriggered, failingSince time.Time }

// staleAfter is how old a webhook's settings may be when an attempt begins. It
// bounds how long a change made by another process goes unnoticed.
const staleAfter = time.Second

// endpointOf returns or makes the endpoint of a delivery. Caller holds mu.
func (e *engine) endpointOf(d *Delivery, now time.Time) *endpoint {
	p := e.endpoints[d.WebhookID]
	if p == nil {
		p = &endpoint{id: d.WebhookID, lane: e.sched.Lane(d.WebhookID, d.Tenant, now)}
		e.endpoints[d.WebhookID] = p
	}
	return p
}

// target is one version of a webhook, prepared for attempts.
type target struct {
	rec *WebhookRecord // nil: deleted

	once    sync.Once
	url     *url.URL
	header  http.Header // custom headers; values are shared by every request
	secrets []Secret    // those of rec, in order
	err     error       // why no attempt can be made
	sealed  []error     // why a header, then each secret, cannot be opened; nil when all can
}

func (t *target) prepare(rules *settingsRules) {
	if t.rec == nil {
		return
	}
	u, err := url.Parse(t.rec.URL)
	if err != nil || u.Host == "" {
		t.err = errNoURL // url.Parse's own error shows the whole URL
		return
	}
	switch {
	case u.Scheme != "https" && !rules.url.AllowHTTP:
		t.err = errNoHTTP
		return
	case !t.rec.VerifyTLS && !rules.canSkipVerify:
		t.err = errMustVerify
		return
	}
	t.url = u
	headers, err := rules.keys.openHeaders(&t.rec.Webhook)
	unreadable := []error{err}
	t.header = make(http.Header, len(headers))
	for name, value := range headers {
		// Such a header is refused when it is saved. A header that got into the
		// store by another way must not replace the library's own.
		if !header.Reserved(name) {
			t.header[http.CanonicalHeaderKey(name)] = []string{value}
		}
	}
	for i := range t.rec.Secrets {
		text, err := rules.keys.openSecret(&t.rec.Webhook, &t.rec.Secrets[i])
		t.secrets, unreadable = append(t.secrets, NewSecret(text)), append(unreadable, err)
	}
	if errors.Join(unreadable...) != nil {
		t.sealed = unreadable
	}
}

// unreadable returns why the headers, or a secret that signs at the given time,
// cannot be decrypted.
func (t *target) unreadable(now time.Time) error {
	for i, err := range t.sealed {
		if err != nil && (i == 0 || !t.rec.Secrets[i-1].expired(now)) {
			return err
		}
	}
	return nil
}

// Why a webhook that was saved once gets no attempts now.
var (
	errNoURL      = errors.New("the webhook's stored url cannot be used")
	errNoHTTP     = errors.New("plain http is not allowed any more: use https")
	errMustVerify = errors.New("TLS verification may not be switched off any more")
)

func (t *target) secretsAt(now time.Time) []Secret {
	if !slices.ContainsFunc(t.rec.Secrets, func(s SecretRecord) bool { return s.expired(now) }) {
		return t.secrets
	}
	out := make([]Secret, 0, len(t.secrets))
	for i := range t.rec.Secrets {
		if !t.rec.Secrets[i].expired(now) {
			out = append(out, t.secrets[i])
		}
	}
	return out
}

// adopt takes a webhook as read from the store, or nil for a deleted webhook,
// unless a newer version is known. Deletion is final. Caller holds mu.
func (e *engine) adopt(p *endpoint, rec *WebhookRecord, now time.Time) {
	have := p.target
	switch {
	case rec == nil: // deleted
	case have == nil:
		e.sched.Known(p.lane, classOf(rec))
	case have.rec == nil || rec.Version < have.rec.Version:
		return
	case rec.Version == have.rec.Version:
		// The target stays; only the health may have moved on.
		p.health, p.read = healthOf(rec), now
		return
	}
	p.target, p.read = &target{rec: rec}, now
	perSecond := 0.0
	if rec != nil {
		p.health = healthOf(rec)
		if rec.Active { // deliveries that are to be canceled wait for no limit
			perSecond = rec.RateLimit
		}
	}
	if now.Before(p.unreadUntil) { // perhaps it can be read now
		p.unreadUntil = time.Time{}
		e.sched.Rested(p.lane)
	}
	e.sched.Changed(p.lane, perSecond, now)
}

func healthOf(rec *WebhookRecord) health { return health{rec.LastTriggeredAt, rec.FailingSince} }

func classOf(rec *WebhookRecord) lanes.Class {
	switch {
	case !rec.FailingSince.IsZero():
		return lanes.ClassFailing
	case !rec.LastSuccessAt.IsZero():
		return lanes.ClassWell
	}
	return lanes.ClassNew
}

// freshTarget returns the webhook as it is now, or was a moment ago.
func (e *engine) freshTarget(p *endpoint) *target {
	e.mu.Lock()
	t, read := p.target, p.read
	e.mu.Unlock()
	if time.Since(read) > staleAfter && t.rec != nil {
		tenant := t.rec.Tenant
		_, err, _ := e.d.refresh.Do(p.id, func() (any, error) {
			now := time.Now()
			rec, err := timed(e.attemptCtx, e.d, "GetWebhook", e.d.soon(), func(ctx context.Context) (WebhookRecord, error) {
				return e.d.store.GetWebhook(ctx, tenant, p.id)
			})
			e.mu.Lock()
			defer e.mu.Unlock()
			switch {
			case errors.Is(err, ErrNotFound):
				e.adopt(p, nil, now)
			case err == nil:
				e.adopt(p, &rec, now)
			default:
				return nil, err
			}
			return nil, nil
		})
		if err != nil {
			if muted, ok := e.unread.Pass(); ok {
				e.d.log.Warn("webhook: settings could not be read again, using those of a moment ago",
					"webhook", p.id, "error", err, "alike_not_logged", muted)
			}
		}
		e.mu.Lock()
		t = p.target
		e.mu.Unlock()
	}
	t.once.Do(func() { t.prepare(&e.d.rules) })
	return t
}
