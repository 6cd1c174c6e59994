package webhook

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/header"
)

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

// prepare does once what all attempts need.
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
		// Refused when saved; whatever got into the store by another way must
		// not reach the wire beside, or in place of, the library's own.
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

// unreadable returns why nothing can be sent at the given time: the headers, or
// a secret that signs, cannot be decrypted.
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

// secretsAt returns the secrets that sign at the given time.
func (t *target) secretsAt(now time.Time) []Secret {
	expired := false
	for i := range t.rec.Secrets {
		expired = expired || t.rec.Secrets[i].expired(now)
	}
	if !expired {
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

// adopt takes a webhook as read from the store, or nil for one that does not
// exist, unless what is known is newer. Deletion is final. Caller holds
// engine.mu.
func (l *lane) adopt(rec *WebhookRecord, now time.Time) {
	have := l.target
	if have == nil && rec != nil {
		switch {
		case !rec.FailingSince.IsZero():
			l.class = classFailing
		case !rec.LastSuccessAt.IsZero():
			l.class = classWell
		}
	}
	switch {
	case have == nil || rec == nil:
	case have.rec == nil || rec.Version < have.rec.Version:
		return
	case rec.Version == have.rec.Version:
		// Nothing to prepare again; only the health may have moved on.
		l.health = health{rec.LastTriggeredAt, rec.FailingSince}
		l.seen = now
		return
	}
	l.target = &target{rec: rec}
	if now.Before(l.unreadUntil) { // perhaps it can be read now
		l.rest, l.unreadUntil = time.Time{}, time.Time{}
	}
	if rec != nil {
		l.health = health{rec.LastTriggeredAt, rec.FailingSince}
	}
	l.seen = now
}

// health is what the store said of a webhook when it was last read.
type health struct{ lastTriggered, failingSince time.Time }
