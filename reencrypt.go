package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ReencryptRequest asks for one step of a re-encryption: at most Limit
// webhooks, from Cursor on. Repeat it with the returned cursor until the cursor
// is empty.
type ReencryptRequest struct {
	Tenant string // empty: all tenants, for which the Store must be a WebhookWalker
	Cursor string // ReencryptResult.Next of the previous step; empty for the first
	Limit  int    // webhooks per step, 1–500; 0 means 100
}

// ReencryptResult is the result of one step of a re-encryption.
type ReencryptResult struct {
	Webhooks int // webhooks read
	Changed  int // webhooks written
	// Unreadable are the webhooks with a value that no key decrypts. Such
	// values are unchanged.
	Unreadable []UnreadableWebhook
	Next       string // cursor of the next step; empty at the end
}

// UnreadableWebhook names a webhook with a value that no key decrypts.
type UnreadableWebhook struct {
	Tenant, ID string
	Err        error // wraps ErrUnreadable
}

// ReencryptSecrets encrypts the secrets and header values of webhooks with the
// first of Config.Keys, where they are plain or encrypted with another key. It
// makes one bounded step: repeat it with the cursor of the previous result
// until Next is empty. It can be interrupted and resumed at any cursor or from
// the start; webhooks that are done are not written again.
//
// It is safe beside running dispatchers and editors. Give every process the
// first key beforehand, or deliveries of the webhooks that a process cannot
// read wait there. Writing a webhook increments its Version, so an edit in
// progress gets ErrConflict; UpdatedAt stays.
//
// Databases keep overwritten values for a while, in free pages, logs and
// backups: see docs/encryption.md. ReencryptSecrets returns a *ValidationError,
// the Store's error, or an error wrapping errors.ErrUnsupported if Tenant is
// empty and the Store is not a [WebhookWalker].
func (d *Dispatcher) ReencryptSecrets(ctx context.Context, req ReencryptRequest) (res ReencryptResult, err error) {
	defer func() { err = prefixed("reencrypt", err) }()
	var bad ValidationError
	if req.Tenant != "" {
		checkTenant(&bad, req.Tenant)
	}
	checkLimit(&bad, "limit", &req.Limit, 100, 500)
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
		case errors.Is(err, ErrNotFound): // deleted in the meantime
		case errors.Is(err, ErrUnreadable):
			res.Unreadable = append(res.Unreadable, UnreadableWebhook{w.Tenant, w.ID, err})
		case err != nil:
			// Webhooks written so far stay written; the step can be repeated.
			return ReencryptResult{}, fmt.Errorf("webhook %q: %w", w.ID, err)
		}
		if changed {
			res.Changed++
		}
	}
	res.Webhooks, res.Next = len(found), next
	return res, nil
}

func (d *Dispatcher) walk(ctx context.Context, req ReencryptRequest) (found []Webhook, next string, err error) {
	if req.Tenant != "" {
		p, err := d.store.ListWebhooks(ctx, WebhookQuery{Tenant: req.Tenant, Cursor: req.Cursor, Limit: req.Limit})
		return p.Items, p.Next, err
	}
	if req.Cursor != "" && !validID(req.Cursor) {
		return nil, "", ErrCursor
	}
	recs, err := d.store.WalkWebhooks(ctx, req.Cursor, req.Limit)
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

// reseal writes one webhook again if it has a value that is not encrypted with the
// first key. It may return changed together with an error wrapping ErrUnreadable.
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

// check returns the error of a value of rec, an expired secret too, that cannot be
// decrypted.
func (k *Keyring) check(rec *WebhookRecord) error {
	_, err := k.openHeaders(&rec.Webhook)
	for i := range rec.Secrets {
		if err == nil {
			_, err = k.openSecret(&rec.Webhook, &rec.Secrets[i])
		}
	}
	return err
}
