package webhook

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
)

// HiddenValue stands for the value of a custom header wherever one is shown:
// such values often are credentials, and can be written but not read.
const HiddenValue = "********"

// SentRequest is the request of one attempt, put together again from the log. The
// library keeps no copy of a request: the body of a delivery never changes, and
// signatures follow from the body, the time and the secrets.
type SentRequest struct {
	Number int       // of the attempt, as in X-Webhook-Attempt
	Time   time.Time // when it began
	Method string    // POST
	// URL of the webhook, empty when it was deleted since.
	URL string
	// Headers by canonical name, as an HTTP/1.1 connection carries them, Host
	// and Content-Length included. Values of custom headers are HiddenValue.
	Headers http.Header
	Body    []byte // the bytes that were signed and sent
	// Signatures says how far the signatures in Headers equal the sent signatures.
	Signatures SignatureState
	// Changed is true when the webhook's settings have been changed since: URL
	// and custom headers are those of now. It is also true after a rotation.
	Changed bool
}

// SignatureState says how far shown signatures equal the sent signatures.
type SignatureState string

// The states of shown signatures.
const (
	// SignaturesExact: the shown signatures were sent.
	SignaturesExact SignatureState = "exact"
	// SignaturesPartial: secrets have been rotated since. The secret that was
	// current then is still known, so X-Webhook-Signature and the first entry of
	// webhook-signature are as sent; entries of older secrets may be missing.
	SignaturesPartial SignatureState = "partial"
	// SignaturesUnknown: the secrets that signed are gone or cannot be decrypted,
	// or the signer failed. No signature is shown, because it would be wrong.
	SignaturesUnknown SignatureState = "unknown"
)

// SentRequest returns the request of a recorded attempt of a delivery, for
// people who look for the reason of a failure. Number 0 stands for the request
// that would be sent if the next attempt began now. It returns ErrNotFound when
// there is no such delivery or attempt, or its event has been pruned.
//
// It never returns secrets or values of custom headers. It returns signatures,
// which are good for this body alone and, for receivers that check the time, for
// minutes: show them only to people who may see the event.
func (d *Dispatcher) SentRequest(ctx context.Context, tenant, deliveryID string, number int) (_ SentRequest, err error) {
	defer func() { err = prefixed("sent request", err) }()
	if err := findable(tenant, deliveryID); err != nil {
		return SentRequest{}, err
	}
	del, err := d.store.GetDelivery(ctx, tenant, deliveryID)
	if err != nil {
		return SentRequest{}, err
	}
	at := d.now()
	if number == 0 {
		number = del.Attempts + 1
	} else if at, err = d.attemptTime(ctx, &del, number); err != nil {
		return SentRequest{}, err
	}
	ev, err := d.store.GetEvent(ctx, tenant, del.EventID)
	if err != nil {
		return SentRequest{}, err
	}

	r := SentRequest{Number: number, Time: at, Method: http.MethodPost, Body: Body(ev, del), Signatures: SignaturesUnknown}
	own := http.Header{
		"Content-Type":         {"application/json"},
		"User-Agent":           {d.cfg.UserAgent},
		headerWebhookID:        {ev.ID},
		headerWebhookTimestamp: {strconv.FormatInt(at.Unix(), 10)},
		headerEvent:            {ev.Type},
		headerAttempt:          {strconv.Itoa(number)},
	}
	rec, err := d.getWebhook(ctx, tenant, del.WebhookID)
	switch {
	case errors.Is(err, ErrNotFound):
		r.Changed = true
	case err != nil:
		return SentRequest{}, err
	default:
		t := &target{rec: &rec}
		if t.prepare(&d.rules); t.url != nil {
			own["Host"] = []string{t.url.Host}
		}
		r.URL, r.Changed = rec.URL, rec.UpdatedAt.After(at)
		d.signShown(own, &r, t, Message{ID: ev.ID, Time: at, Body: r.Body})
		for name := range t.header {
			if _, taken := own[name]; !taken {
				own[name] = []string{HiddenValue}
			}
		}
	}
	own["Content-Length"] = []string{strconv.Itoa(len(r.Body))}
	r.Headers = own
	return r, nil
}

// attemptTime returns when a recorded attempt began. An attempt that came too
// late, after its lease was lost, shares its number with its replacement, which
// counts.
func (d *Dispatcher) attemptTime(ctx context.Context, del *Delivery, number int) (time.Time, error) {
	attempts, err := d.store.ListAttempts(ctx, del.Tenant, del.ID)
	if err != nil {
		return time.Time{}, err
	}
	found := time.Time{}
	for i := range attempts {
		if a := &attempts[i]; a.Number == number && (found.IsZero() || !a.Late) {
			found = a.StartedAt
		}
	}
	if found.IsZero() {
		return time.Time{}, ErrNotFound
	}
	return found, nil
}

// signShown adds the signatures of m to h if the secrets of then are known.
func (d *Dispatcher) signShown(h http.Header, r *SentRequest, t *target, m Message) {
	secrets, state := t.secretsThen(m.Time)
	if state == SignaturesUnknown {
		return
	}
	signed := maps.Clone(h)
	m.Body = slices.Clone(m.Body) // the host's signer could change it
	if err := contain.Run("signing", func() error { return d.cfg.Signer.Sign(signed, m, secrets) }); err != nil {
		d.logContained(err)
		return
	}
	r.Signatures = state
	maps.Copy(h, signed)
}

// rotationSpread is how long after a rotation other processes may go on signing
// with the secret before it.
const rotationSpread = 2 * time.Second

// secretsThen returns the secrets that signed an attempt at a past time, the
// current secret of then first, as far as they are still known. A rotation drops
// the secrets that have ended, so all secrets are known for attempts after the
// last rotation; for earlier attempts some may be gone.
func (t *target) secretsThen(at time.Time) ([]Secret, SignatureState) {
	if t.err != nil || t.sealed != nil {
		return nil, SignaturesUnknown
	}
	state := SignaturesExact
	var out []Secret
	for i, s := range t.rec.Secrets {
		if at.Before(s.CreatedAt) {
			state = SignaturesPartial
			continue
		}
		first := len(out) == 0
		if first && !s.ExpiresAt.IsZero() && !at.Before(s.ExpiresAt) {
			break // a later secret signed, and is gone
		}
		if first && s.CreatedAt.After(t.rec.CreatedAt) && at.Sub(s.CreatedAt) < rotationSpread {
			return nil, SignaturesUnknown // this secret or the secret before it
		}
		if s.ExpiresAt.IsZero() || at.Before(s.ExpiresAt) {
			out = append(out, t.secrets[i])
		}
	}
	if len(out) == 0 {
		return nil, SignaturesUnknown
	}
	return out, state
}
