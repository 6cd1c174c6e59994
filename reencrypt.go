package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ReencryptRequest asks for one step of a re-encryption: at most Limit webhooks,
// from Cursor on. Repeat it with the returned cursor until that is empty.
type ReencryptRequest struct {
	Tenant string // empty: of all tenants, which the Store must be able to walk, see WebhookWalker
	Cursor string // ReencryptResult.Next of the step before; empty for the first
	Limit  int    // webhooks per step, 1–500; 0 means 100
}

// ReencryptResult is what one step of a re-encryption did.
type ReencryptResult struct {
	Webhooks int // looked at
	Changed  int // of those, the ones that were written
	// Unreadable are those that hold something which no key opens: that part of
	// them is as it was.
	Unreadable []UnreadableWebhook
	Next       string // cursor of the next step; empty at the end
}

// UnreadableWebhook names a webhook that a re-encryption has left behind.
type UnreadableWebhook struct {
	Tenant, ID string
	Err        error // wraps ErrUnreadable
}

// ReencryptSecrets encrypts the secrets and header values of webhooks with the
// first of Config.Keys, where they are plain or encrypted with another key, one
// bounded step at a time: call it with the cursor of the result before until
// Next is empty. It can be interrupted and begun again at any cursor or from the
// start, as what is done is not written again.
//
// It is safe beside running dispatchers and editors. Every process has to have
// the first key before, or deliveries of what it cannot read wait there. A
// webhook that is written counts as changed: its Version grows, and whoever has
// it open for editing meanwhile gets ErrConflict; UpdatedAt stays.
//
// Databases keep what was overwritten for a while, in free pages, logs and
// backups: see docs/encryption.md. Errors: a *ValidationError, the Store's, and
// one wrapping errors.ErrUnsupported when Tenant is empty and the Store cannot
// walk all tenants.
func (d *Dispatcher) ReencryptSecrets(ctx context.Context, req ReencryptRequest) (ReencryptResult, error) {
	res, err := d.reencrypt(ctx, req)
	return res, prefixed("reencrypt", err)
}

func (d *Dispatcher) reencrypt(ctx context.Context, req ReencryptRequest) (res ReencryptResult, err error) {
	var bad ValidationError
	if req.Tenant != "" {
		checkTenant(&bad, req.Tenant)
	}
	checkLimit(&bad, &req.Limit, 100, 500)
	if err := bad.err(); err != nil {
		return res, err
	}
	if d.cfg.Keys == nil {
		return res, errors.New("there is no key to encrypt with: set Config.Keys")
	}
	found, next, err := d.walk(ctx, req)
	if err != nil {
		return res, err
	}
	for _, w := range found {
		changed, err := d.reseal(ctx, w.Tenant, w.ID)
		switch {
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case errors.Is(err, ErrUnreadable):
			res.Unreadable = append(res.Unreadable, UnreadableWebhook{w.Tenant, w.ID, err})
		case err != nil:
			// What the step has done stays done; it can be repeated.
			return ReencryptResult{}, fmt.Errorf("webhook %q: %w", w.ID, err)
		}
		if changed {
			res.Changed++
		}
	}
	res.Webhooks, res.Next = len(found), next
	return res, nil
}

// walk returns the webhooks of one step and the cursor of the next.
func (d *Dispatcher) walk(ctx context.Context, req ReencryptRequest) (found []Webhook, next string, err error) {
	if req.Tenant != "" {
		p, err := d.store.ListWebhooks(ctx, WebhookQuery{Tenant: req.Tenant, Cursor: req.Cursor, Limit: req.Limit})
		return p.Items, p.Next, err
	}
	if req.Cursor != "" && !validID(req.Cursor) {
		return nil, "", ErrCursor
	}
	walker, ok := d.store.(WebhookWalker)
	if !ok {
		return nil, "", errors.ErrUnsupported
	}
	recs, err := walker.WalkWebhooks(ctx, req.Cursor, req.Limit)
	if err != nil {
		return nil, "", err
	}
	for _, rec := range recs {
		if strings.Compare(rec.ID, req.Cursor) <= 0 {
			return nil, "", fmt.Errorf("the store's walk goes back, to %q", rec.ID)
		}
		found, req.Cursor = append(found, rec.Webhook), rec.ID
	}
	if len(recs) == req.Limit {
		next = req.Cursor
	}
	return found, next, nil
}

// reseal writes one webhook anew if it holds anything that is not encrypted with
// the first key. An error wrapping ErrUnreadable may come with changed.
func (d *Dispatcher) reseal(ctx context.Context, tenant, id string) (changed bool, err error) {
	for {
		rec, err := d.getWebhook(ctx, tenant, id)
		if err != nil {
			return false, err
		}
		why := d.cfg.Keys.check(&rec)
		if !d.cfg.Keys.sealRecord(&rec) {
			return false, why
		}
		err = d.put(ctx, &rec)
		if err == nil {
			return true, why
		}
		// Each round another writer has succeeded, so this ends.
		if !errors.Is(err, ErrConflict) {
			return false, err
		}
	}
}

// check returns why something of rec cannot be opened, expired or not.
func (k *Keyring) check(rec *WebhookRecord) error {
	_, err := k.openHeaders(&rec.Webhook)
	for i := range rec.Secrets {
		if err == nil {
			_, err = k.openSecret(&rec.Webhook, &rec.Secrets[i])
		}
	}
	return err
}
