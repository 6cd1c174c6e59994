package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook/internal/id"
	"github.com/seed68722ecd/webhook/internal/whsec"
)

// maxSecrets bounds the secrets that sign at once, so that the header of
// signatures does not grow with every rotation.
const maxSecrets = 5

// CreateWebhook creates a webhook and returns it with its secret, which is not
// shown again: show it to the customer now. It returns a *ValidationError that
// names every refused field, ErrTooManyWebhooks, or the Store's error.
func (d *Dispatcher) CreateWebhook(ctx context.Context, tenant string, spec WebhookSpec) (Webhook, Secret, error) {
	w, err := d.rules.fromSpec(tenant, spec)
	if err != nil {
		return Webhook{}, Secret{}, prefixed("create webhook", err)
	}
	now := d.now()
	w.ID = id.New("wh_", now)
	w.CreatedAt, w.UpdatedAt, w.Version = now, now, 1
	if !w.Active {
		w.DisabledAt, w.DisabledReason = now, reasonNeverEnabled
	}
	text := spec.Secret
	if text == "" {
		text = whsec.New()
	}
	rec := WebhookRecord{Webhook: w, Secrets: []SecretRecord{{Value: text, CreatedAt: now}}}
	d.cfg.Keys.sealRecord(&rec)
	if err := d.store.CreateWebhook(ctx, rec, d.cfg.MaxWebhooks); err != nil {
		return Webhook{}, Secret{}, prefixed("create webhook", err)
	}
	return w, NewSecret(text), nil
}

// The reasons for which the library itself disables a webhook.
const (
	reasonNeverEnabled = "created disabled"
	reasonByHand       = "disabled by hand"
	reasonGone         = "the receiver answered 410 Gone"
)

// Webhook returns one webhook of the tenant, or ErrNotFound.
func (d *Dispatcher) Webhook(ctx context.Context, tenant, id string) (Webhook, error) {
	rec, err := d.getWebhook(ctx, tenant, id)
	if err != nil {
		return Webhook{}, prefixed("get webhook", err)
	}
	return d.shown(&rec), nil
}

func (d *Dispatcher) shown(rec *WebhookRecord) Webhook { return d.cfg.Keys.shownRecord(rec, d.now()) }

// getWebhook reads a webhook with its values as they are stored.
func (d *Dispatcher) getWebhook(ctx context.Context, tenant, id string) (WebhookRecord, error) {
	if err := findable(tenant, id); err != nil {
		return WebhookRecord{}, err
	}
	return d.store.GetWebhook(ctx, tenant, id)
}

// findable returns ErrNotFound for an invalid tenant or ID: for a character that
// it cannot hold, such as NUL, a Store might return a different error.
func findable(tenant, id string) error {
	var bad ValidationError
	if checkTenant(&bad, tenant); len(bad.Fields) > 0 || !validID(id) {
		return ErrNotFound
	}
	return nil
}

// Webhooks returns a page of the tenant's webhooks, newest first. It returns a
// *ValidationError, ErrCursor, or the Store's error.
func (d *Dispatcher) Webhooks(ctx context.Context, q WebhookQuery) (Page[Webhook], error) {
	var bad ValidationError
	checkTenant(&bad, q.Tenant)
	checkText(&bad, "search", q.Search, MaxURLLength)
	checkLimit(&bad, "limit", &q.Limit, 50, 500)
	if err := bad.err(); err != nil {
		return Page[Webhook]{}, prefixed("list webhooks", err)
	}
	p, err := d.store.ListWebhooks(ctx, q)
	for i := range p.Items {
		p.Items[i] = d.cfg.Keys.shown(p.Items[i])
	}
	return p, prefixed("list webhooks", err)
}

// UpdateWebhook changes the settings that u names if the webhook is still at
// the given version, and returns the changed webhook. It returns ErrConflict if
// the webhook was changed since it was read. The change applies to every
// attempt that begins after UpdateWebhook has returned; in other processes
// within a second. It also returns a *ValidationError, ErrNotFound, or the
// Store's error.
func (d *Dispatcher) UpdateWebhook(ctx context.Context, tenant, id string, version int64, u WebhookUpdate) (Webhook, error) {
	rec, err := d.getWebhook(ctx, tenant, id)
	if err != nil {
		return Webhook{}, prefixed("update webhook", err)
	}
	if rec.Version != version {
		return Webhook{}, prefixed("update webhook", ErrConflict)
	}
	stored := rec.Headers
	rec.Webhook = d.cfg.Keys.shown(rec.Webhook)
	if err := d.rules.apply(&rec.Webhook, u); err != nil {
		return Webhook{}, prefixed("update webhook", err)
	}
	if u.Headers == nil {
		rec.Headers = stored // also if they cannot be decrypted
	}
	if u.Active != nil {
		rec.setActive(*u.Active, u.DisabledReason, d.now())
	}
	if err := d.write(ctx, &rec); err != nil {
		return Webhook{}, prefixed("update webhook", err)
	}
	return d.shown(&rec), nil
}

// EnableWebhook makes a webhook active. Deliveries that were canceled while it
// was disabled stay canceled: see [Dispatcher.Replay]. It has no effect on an
// active webhook. It returns ErrNotFound if the webhook does not exist.
func (d *Dispatcher) EnableWebhook(ctx context.Context, tenant, id string) (Webhook, error) {
	return d.switchWebhook(ctx, "enable webhook", tenant, id, true, "")
}

// DisableWebhook makes a webhook inactive, for the given reason (empty:
// "disabled by hand"; at most 1024 bytes). No attempt begins after
// DisableWebhook has returned (in other processes: after a second). Attempts in
// flight may finish; waiting deliveries are canceled as they become due. It has
// no effect on an inactive webhook. It returns ErrNotFound, or a
// *ValidationError if the reason is too long.
func (d *Dispatcher) DisableWebhook(ctx context.Context, tenant, id, reason string) (Webhook, error) {
	var bad ValidationError
	checkText(&bad, "disabledReason", reason, MaxDescriptionLength)
	if err := bad.err(); err != nil {
		return Webhook{}, prefixed("disable webhook", err)
	}
	return d.switchWebhook(ctx, "disable webhook", tenant, id, false, reason)
}

func (d *Dispatcher) switchWebhook(ctx context.Context, op, tenant, id string, active bool, reason string) (Webhook, error) {
	rec, err := d.modify(ctx, tenant, id, func(rec *WebhookRecord, now time.Time) error {
		if !rec.setActive(active, reason, now) {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return Webhook{}, prefixed(op, err)
	}
	return d.shown(&rec), nil
}

// setActive reports whether it has changed the webhook.
func (r *WebhookRecord) setActive(active bool, reason string, now time.Time) bool {
	switch {
	case active == r.Active:
		return false
	case active:
		r.Active, r.DisabledReason, r.DisabledAt, r.FailingSince = true, "", time.Time{}, time.Time{}
	default:
		r.Active, r.DisabledReason, r.DisabledAt = false, orDefault(reason, reasonByHand), now
	}
	return true
}

// DeleteWebhook removes a webhook and its secrets, or returns ErrNotFound. No
// attempt begins after DeleteWebhook has returned (in other processes: after a
// second). The webhook's deliveries and attempts stay in the log until they are
// pruned.
func (d *Dispatcher) DeleteWebhook(ctx context.Context, tenant, id string) error {
	if err := findable(tenant, id); err != nil {
		return prefixed("delete webhook", err)
	}
	if err := d.store.DeleteWebhook(ctx, tenant, id); err != nil {
		return prefixed("delete webhook", err)
	}
	if e := d.current(); e != nil {
		e.webhookChanged(id, nil)
	}
	return nil
}

// Rotation holds the options of a rotation. The zero value generates the new
// secret and lets the old secret sign for Config.SecretOverlap.
type Rotation struct {
	// Secret imports the new secret, see WebhookSpec.Secret; empty generates it.
	Secret string
	// Overlap replaces Config.SecretOverlap; 0 ends the old secret at once, as
	// after a leak; below 0 is refused, and there is no upper bound. Nil keeps
	// the configured overlap.
	Overlap *time.Duration
	// Version is the expected version of the webhook: at another version the
	// rotation is refused with ErrConflict. 0 means any version.
	Version int64
}

// Format prints the rotation without the secret, whatever the verb.
func (r Rotation) Format(f fmt.State, verb rune) {
	type fields Rotation
	r.Secret = hidden(r.Secret)
	fmt.Fprintf(f, fmt.FormatString(f, verb), fields(r))
}

// LogValue says whether a secret is imported, and never shows it.
func (r Rotation) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("imported", r.Secret != ""))
}

// RotateSecret gives a webhook a new secret and returns it, once. The new
// secret signs at once. In X-Webhook-Signature it signs alone; in
// webhook-signature the old secrets sign too until their overlap ends, so that
// receivers that check this header can change over without missing an event. At
// most five secrets sign at once: the oldest is dropped. RotateSecret returns
// ErrUnreadable if the old secrets cannot be decrypted and so cannot go on
// signing (an Overlap of 0 replaces them), ErrNotFound, ErrConflict (see
// [Rotation]), or a *ValidationError for an invalid secret or overlap.
func (d *Dispatcher) RotateSecret(ctx context.Context, tenant, id string, r Rotation) (Webhook, Secret, error) {
	var bad ValidationError
	text := r.Secret
	if text == "" {
		text = whsec.New()
	} else if err := whsec.Check(text); err != nil {
		bad.add("secret", "%v", err)
	}
	overlap := deref(r.Overlap, d.cfg.SecretOverlap)
	if r.Overlap != nil && overlap < 0 {
		bad.add("overlap", "must not be below 0, got %v", overlap)
	}
	if err := bad.err(); err != nil {
		return Webhook{}, Secret{}, prefixed("rotate secret", err)
	}
	rec, err := d.modify(ctx, tenant, id, func(rec *WebhookRecord, now time.Time) error {
		if r.Version != 0 && r.Version != rec.Version {
			return ErrConflict
		}
		secrets := []SecretRecord{{Value: text, CreatedAt: now}}
		for i := range rec.Secrets {
			if end := now.Add(overlap); rec.Secrets[i].ExpiresAt.IsZero() || rec.Secrets[i].ExpiresAt.After(end) {
				rec.Secrets[i].ExpiresAt = end
			}
		}
		texts, err := d.cfg.Keys.openAll(rec, now)
		if err != nil {
			return err
		}
		var gap time.Time
		for i, s := range rec.Secrets {
			if texts[i] == text {
				gap = secrets[len(secrets)-1].CreatedAt
				continue
			}
			if !gap.IsZero() {
				// When a secret returns, its earlier period as current secret
				// is no longer recorded, and the secrets before it were not
				// current in that period: see secretsThen.
				s.CreatedAt = gap
			}
			if now.Before(s.ExpiresAt) && len(secrets) < maxSecrets {
				secrets = append(secrets, s)
			}
		}
		rec.Secrets = secrets
		return nil
	})
	if err != nil {
		return Webhook{}, Secret{}, prefixed("rotate secret", err)
	}
	return d.shown(&rec), NewSecret(text), nil
}

// errUnchanged ends a modification without a change.
var errUnchanged = errors.New("unchanged")

// modify reads a webhook, changes it and writes it, and repeats that after a
// conflict. It is for changes that do not depend on the other settings.
func (d *Dispatcher) modify(ctx context.Context, tenant, id string, change func(*WebhookRecord, time.Time) error) (WebhookRecord, error) {
	for {
		rec, err := d.getWebhook(ctx, tenant, id)
		if err != nil {
			return WebhookRecord{}, err
		}
		if err := change(&rec, d.now()); errors.Is(err, errUnchanged) {
			return rec, nil
		} else if err != nil {
			return WebhookRecord{}, err
		}
		err = d.write(ctx, &rec)
		if err == nil {
			return rec, nil
		}
		// Another writer has succeeded in each round, so this ends.
		if !errors.Is(err, ErrConflict) {
			return WebhookRecord{}, err
		}
	}
}

// write stores a changed record and informs the running engine.
func (d *Dispatcher) write(ctx context.Context, rec *WebhookRecord) error {
	rec.UpdatedAt = d.now()
	return d.put(ctx, rec)
}

// put is write for changes that are not made by the customer.
func (d *Dispatcher) put(ctx context.Context, rec *WebhookRecord) error {
	rec.Unreadable = ""
	d.cfg.Keys.sealRecord(rec)
	if err := d.store.UpdateWebhook(ctx, *rec); err != nil {
		return err
	}
	rec.Version++
	if e := d.current(); e != nil {
		// The engine keeps the record, and the caller may change its copy.
		shared := *rec
		shared.Events, shared.Headers = slices.Clone(rec.Events), maps.Clone(rec.Headers)
		e.webhookChanged(rec.ID, &shared)
	}
	return nil
}
