package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/whsec"
)

// maxSecrets bounds the secrets that sign at once: with more, a header of
// signatures would grow with every rotation.
const maxSecrets = 5

// CreateWebhook registers a webhook and returns it with its secret, which is
// not shown again: hand it to the customer now. Errors: a *ValidationError that
// names every refused field, ErrTooManyWebhooks, and the Store's.
func (d *Dispatcher) CreateWebhook(ctx context.Context, tenant string, spec WebhookSpec) (Webhook, Secret, error) {
	w, err := d.rules.fromSpec(tenant, spec)
	if err != nil {
		return Webhook{}, Secret{}, prefixed("create webhook", err)
	}
	now := d.now()
	w.ID = newID("wh_", now)
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

// shown is a webhook as the host sees it.
func (d *Dispatcher) shown(rec *WebhookRecord) Webhook { return d.cfg.Keys.shownRecord(rec, d.now()) }

// getWebhook asks the store for a webhook, if it can have one of this ID. Its
// values are as they are stored.
func (d *Dispatcher) getWebhook(ctx context.Context, tenant, id string) (WebhookRecord, error) {
	if err := findable(tenant, id); err != nil {
		return WebhookRecord{}, err
	}
	return d.store.GetWebhook(ctx, tenant, id)
}

// findable returns ErrNotFound for a tenant or ID that nothing can have. A
// Store is promised that it never sees one: what it cannot even hold, such as
// a NUL, may be an error of quite another kind there.
func findable(tenant, id string) error {
	var bad ValidationError
	if checkTenant(&bad, tenant); len(bad.Fields) > 0 || !validID(id) {
		return ErrNotFound
	}
	return nil
}

// checkFilterID refuses a filter by an ID that nothing can have.
func checkFilterID(bad *ValidationError, field, id string) {
	if id != "" && !validID(id) {
		bad.add(field, "must be 1–%d characters of A–Z a–z 0–9 _ -, got %s", MaxEventIDLength, quoted(id))
	}
}

// checkFilterType refuses a filter by what is no event type.
func checkFilterType(bad *ValidationError, field, eventType string) {
	if eventType == "" {
		return
	}
	if err := eventtype.Check(eventType); err != nil {
		bad.add(field, "%v", err)
	}
}

// Webhooks returns a page of the tenant's webhooks, newest first. Errors: a
// *ValidationError, or ErrCursor.
func (d *Dispatcher) Webhooks(ctx context.Context, q WebhookQuery) (Page[Webhook], error) {
	var bad ValidationError
	checkTenant(&bad, q.Tenant)
	checkText(&bad, "search", q.Search, MaxURLLength)
	checkLimit(&bad, &q.Limit, 50, 500)
	if err := bad.err(); err != nil {
		return Page[Webhook]{}, prefixed("list webhooks", err)
	}
	p, err := d.store.ListWebhooks(ctx, q)
	for i := range p.Items {
		p.Items[i] = d.cfg.Keys.shown(p.Items[i])
	}
	return p, prefixed("list webhooks", err)
}

// UpdateWebhook changes the settings that u names, if the webhook is still at
// the given version, and returns it as it is then. ErrConflict means that
// someone else changed it since it was read. The change is in force for every
// attempt that begins after UpdateWebhook has returned; in other processes
// within a second. Errors besides: *ValidationError, ErrNotFound.
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
		rec.Headers = stored // also when they cannot be opened
	}
	if u.Active != nil {
		rec.setActive(*u.Active, u.DisabledReason, d.now())
	}
	if err := d.write(ctx, &rec); err != nil {
		return Webhook{}, prefixed("update webhook", err)
	}
	return d.shown(&rec), nil
}

// EnableWebhook makes a webhook active. What was canceled while it was not is
// not revived: see [Dispatcher.Replay]. Enabling an active one changes nothing.
// ErrNotFound when there is no such webhook.
func (d *Dispatcher) EnableWebhook(ctx context.Context, tenant, id string) (Webhook, error) {
	rec, err := d.modify(ctx, tenant, id, func(rec *WebhookRecord, _ time.Time) error {
		if !rec.setActive(true, "", time.Time{}) {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return Webhook{}, prefixed("enable webhook", err)
	}
	return d.shown(&rec), nil
}

// DisableWebhook makes a webhook inactive, for the given reason (empty:
// "disabled by hand"; at most 1024 bytes). No attempt at it begins after this
// has returned (in other processes: within a second); attempts in flight may
// finish; deliveries that wait are canceled as they become due. Disabling an
// inactive one changes nothing. Errors: ErrNotFound, and a *ValidationError for
// a reason that is too long.
func (d *Dispatcher) DisableWebhook(ctx context.Context, tenant, id, reason string) (Webhook, error) {
	var bad ValidationError
	checkText(&bad, "disabledReason", reason, MaxDescriptionLength)
	if err := bad.err(); err != nil {
		return Webhook{}, prefixed("disable webhook", err)
	}
	rec, err := d.modify(ctx, tenant, id, func(rec *WebhookRecord, now time.Time) error {
		if !rec.setActive(false, reason, now) {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return Webhook{}, prefixed("disable webhook", err)
	}
	return d.shown(&rec), nil
}

// setActive enables a webhook, or disables it for a reason, and reports whether
// that changes anything.
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
// attempt at it begins after this has returned (in other processes: within a
// second). What was sent to it stays in the log until it is pruned.
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

// Rotation says how to rotate a secret. The zero value generates the new one
// and lets the old one sign for Config.SecretOverlap.
type Rotation struct {
	// Secret imports the new secret, see WebhookSpec.Secret; empty generates it.
	Secret string
	// Overlap replaces Config.SecretOverlap; 0 ends the old secret at once, for
	// one that has leaked; below 0 is refused, and there is no upper bound. Nil
	// keeps the configured overlap.
	Overlap *time.Duration
	// Version is the version of the webhook that is to be rotated: at another one
	// the rotation is refused with ErrConflict. 0 means whatever there is.
	Version int64
}

// Format prints the rotation without the secret, whatever the verb.
func (r Rotation) Format(f fmt.State, verb rune) {
	type fields Rotation
	r.Secret = hidden(r.Secret)
	fmt.Fprintf(f, fmt.FormatString(f, verb), fields(r))
}

// LogValue says whether a secret is imported, and not which.
func (r Rotation) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("imported", r.Secret != ""))
}

// RotateSecret gives a webhook a new secret and returns it, once. The new one
// signs at once, alone in X-Webhook-Signature; in webhook-signature the old
// ones go on signing beside it until their overlap ends, so receivers that
// check that header can change over without missing anything. At most five
// secrets sign at once: the oldest is dropped. Errors: ErrUnreadable when the
// old ones cannot be decrypted and so cannot go on signing (an Overlap of 0
// replaces them), ErrNotFound, ErrConflict (see [Rotation]), and a
// *ValidationError for a secret or an overlap that cannot be used.
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
				// When a secret comes back its former time is forgotten, and in that
				// time none of those before it was the current one: see secretsThen.
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

// errUnchanged ends a modification that has nothing to do.
var errUnchanged = errors.New("unchanged")

// modify reads a webhook, changes it and writes it, again when someone else got
// in between: for changes that hold whatever else was edited.
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
		// Each round another writer has succeeded, so this ends.
		if !errors.Is(err, ErrConflict) {
			return WebhookRecord{}, err
		}
	}
}

// write stores a changed record and tells the running engine.
func (d *Dispatcher) write(ctx context.Context, rec *WebhookRecord) error {
	rec.UpdatedAt = d.now()
	return d.put(ctx, rec)
}

// put is write for changes that are not the customer's.
func (d *Dispatcher) put(ctx context.Context, rec *WebhookRecord) error {
	rec.Unreadable = ""
	d.cfg.Keys.sealRecord(rec)
	if err := d.store.UpdateWebhook(ctx, *rec); err != nil {
		return err
	}
	rec.Version++
	if e := d.current(); e != nil {
		// The engine keeps what it is given, and the caller may change what it gets.
		shared := *rec
		shared.Events, shared.Headers = slices.Clone(rec.Events), maps.Clone(rec.Headers)
		e.webhookChanged(rec.ID, &shared)
	}
	return nil
}

// checkLimit fills in and clamps the size of a page.
func checkLimit(bad *ValidationError, limit *int, def, top int) {
	if *limit < 0 {
		bad.add("limit", "must be 1–%d, got %d", top, *limit)
	}
	*limit = min(orDefault(*limit, def), top)
}
