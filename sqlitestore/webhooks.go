package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// hookColumns are the columns of a webhook w and its lane l, as scanHook reads
// them.
const hookColumns = `w.wkey, w.id, w.tenant, w.name, w.url, w.description, w.events, w.headers, w.secrets, w.active, w.verify_tls,
	w.timeout, w.max_retries, w.disabled_reason, w.disabled_at, w.created_at, w.updated_at, w.deleted_at,
	l.version, l.last_triggered, l.last_success, l.failing_since, w.rate_limit`

// secret is the JSON form of a SecretRecord in the column secrets.
type secret struct {
	Value   string `json:"v"`
	Created int64  `json:"c"`
	Expires int64  `json:"e,omitempty"`
}

// encoded has the settings of a webhook that are stored as JSON.
type encoded struct{ events, headers, secrets string }

func encodeHook(w *webhook.WebhookRecord) (out encoded, err error) {
	secrets := make([]secret, len(w.Secrets))
	for i, s := range w.Secrets {
		secrets[i] = secret{s.Value, sqlstore.Micros(s.CreatedAt), sqlstore.Micros(s.ExpiresAt)}
	}
	for _, f := range []struct {
		from any
		into *string
	}{{w.Events, &out.events}, {w.Headers, &out.headers}, {secrets, &out.secrets}} {
		b, err := json.Marshal(f.from)
		if err != nil {
			return out, err
		}
		*f.into = string(b)
	}
	return out, nil
}

// scanHook reads a row of hookColumns.
func scanHook(v []driver.Value) (wkey int64, w *webhook.WebhookRecord, deleted bool, err error) {
	w = new(webhook.WebhookRecord)
	w.ID, w.Tenant, w.Name, w.URL, w.Description = text(v[1]), text(v[2]), text(v[3]), text(v[4]), text(v[5])
	w.Active, w.VerifyTLS = integer(v[9]) != 0, integer(v[10]) != 0
	w.Timeout, w.MaxRetries = time.Duration(integer(v[11]))*time.Microsecond, int(integer(v[12]))
	w.DisabledReason, w.DisabledAt = text(v[13]), sqlstore.FromMicros(integer(v[14]))
	w.CreatedAt, w.UpdatedAt, w.Version = sqlstore.FromMicros(integer(v[15])), sqlstore.FromMicros(integer(v[16])), integer(v[18])
	setHealth(&w.Webhook, integer(v[19]), integer(v[20]), integer(v[21]))
	w.RateLimit = float64Of(v[22])
	deleted = integer(v[17]) != 0
	if deleted {
		return integer(v[0]), w, true, nil
	}
	var secrets []secret
	for _, f := range []struct {
		name string
		from driver.Value
		into any
	}{{"events", v[6], &w.Events}, {"headers", v[7], &w.Headers}, {"secrets", v[8], &secrets}} {
		if err := json.Unmarshal([]byte(text(f.from)), f.into); err != nil {
			return 0, nil, false, unreadable(w.ID, f.name, err)
		}
	}
	for _, s := range secrets {
		w.Secrets = append(w.Secrets, webhook.SecretRecord{Value: s.Value, CreatedAt: sqlstore.FromMicros(s.Created), ExpiresAt: sqlstore.FromMicros(s.Expires)})
	}
	return integer(v[0]), w, false, nil
}

func setHealth(w *webhook.Webhook, triggered, success, failing int64) {
	w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince = sqlstore.FromMicros(triggered), sqlstore.FromMicros(success), sqlstore.FromMicros(failing)
}

// hookEntry is a webhook that claims share, and must not modify.
type hookEntry struct {
	id, tenant string
	rec        *webhook.WebhookRecord // nil if it was deleted
	lane       lane                   // version and health of rec
	err        error                  // the row cannot be read: its deliveries are claimed with this error
}

// hookCache keeps the webhooks of claimed deliveries. The version in the lane,
// which a claim reads anyway, shows whether an entry is current.
type hookCache struct {
	mu sync.Mutex
	m  map[int64]*hookEntry
}

// maxHooks bounds the cache, which is cleared when it is full.
const maxHooks = 10_000

func newHookCache() *hookCache { return &hookCache{m: map[int64]*hookEntry{}} }

func (c *hookCache) get(wkey int64) *hookEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[wkey]
}

func (c *hookCache) put(wkey int64, e *hookEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxHooks {
		clear(c.m)
	}
	c.m[wkey] = e
}

// hook returns the webhook of a lane.
func (s *Store) hook(r runner, l *lane) (*hookEntry, error) {
	e := s.hooks.get(l.wkey)
	if e != nil && e.lane.version == l.version {
		if e.rec == nil || e.lane.triggered == l.triggered && e.lane.success == l.success && e.lane.failing == l.failing {
			return e, nil
		}
		rec := *e.rec
		setHealth(&rec.Webhook, l.triggered, l.success, l.failing)
		e = &hookEntry{id: e.id, tenant: e.tenant, rec: &rec, lane: *l}
		s.hooks.put(l.wkey, e)
		return e, nil
	}
	e = nil
	err := r.query(`SELECT `+hookColumns+` FROM {webhooks} w JOIN {lanes} l ON l.wkey = w.wkey WHERE w.wkey = ?`, []any{l.wkey},
		func(v []driver.Value) error {
			_, w, deleted, err := scanHook(v)
			e = &hookEntry{id: text(v[1]), tenant: text(v[2]), rec: w, lane: *l, err: err}
			if deleted || err != nil {
				e.rec = nil
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	if e == nil {
		e = &hookEntry{err: fmt.Errorf("webhook number %d is missing", l.wkey)}
	}
	s.hooks.put(l.wkey, e)
	return e, nil
}

// find reads an existing webhook, and its key.
func (s *Store) find(r runner, tenant, id string) (wkey int64, w *webhook.WebhookRecord, err error) {
	err = r.query(`SELECT `+hookColumns+` FROM {webhooks} w JOIN {lanes} l ON l.wkey = w.wkey
		WHERE w.id = ? AND w.tenant = ? AND w.deleted_at = 0`, []any{id, tenant}, func(v []driver.Value) (err error) {
		wkey, w, _, err = scanHook(v)
		return err
	})
	if err == nil && w == nil {
		err = refused("webhook %q: %w", id, webhook.ErrNotFound)
	}
	return wkey, w, err
}

// CreateWebhook implements [webhook.WebhookStore].
func (s *Store) CreateWebhook(ctx context.Context, w webhook.WebhookRecord, limit int) error {
	enc, err := encodeHook(&w)
	if err != nil {
		return wrap(ctx, "create webhook", err)
	}
	events := append([]string(nil), w.Events...)
	return wrap(ctx, "create webhook", s.write(ctx, &op{weight: 1, other: func(r runner) error {
		if limit > 0 {
			n := 0
			if err := r.query(`SELECT 1 FROM {webhooks} WHERE tenant = ? AND deleted_at = 0 LIMIT ?`, []any{w.Tenant, int64(limit)},
				func([]driver.Value) error { n++; return nil }); err != nil {
				return err
			}
			if n >= limit {
				return refused("%w: tenant %q has %d, at most %d are allowed", webhook.ErrTooManyWebhooks, w.Tenant, n, limit)
			}
		}
		var wkey int64
		err := r.query(`INSERT INTO {webhooks} (id, tenant, name, url, description, events, headers, secrets, active, verify_tls,
			timeout, max_retries, disabled_reason, disabled_at, created_at, updated_at, rate_limit)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING wkey`,
			[]any{w.ID, w.Tenant, w.Name, w.URL, w.Description, enc.events, enc.headers, enc.secrets, flag(w.Active), flag(w.VerifyTLS),
				w.Timeout.Microseconds(), int64(w.MaxRetries), w.DisabledReason, sqlstore.Micros(w.DisabledAt), sqlstore.Micros(w.CreatedAt), sqlstore.Micros(w.UpdatedAt), w.RateLimit},
			func(v []driver.Value) error { wkey = integer(v[0]); return nil })
		if err != nil {
			return err
		}
		if wkey == 0 {
			return refused("%w: webhook %q", webhook.ErrExists, w.ID)
		}
		if _, err := r.exec(`INSERT INTO {lanes} (wkey, version, last_triggered, last_success, failing_since, tkey)
			VALUES (?, ?, ?, ?, ?, coalesce((`+tenantKeySQL+`), ?))`,
			wkey, w.Version, sqlstore.Micros(w.LastTriggeredAt), sqlstore.Micros(w.LastSuccessAt), sqlstore.Micros(w.FailingSince), w.Tenant, wkey); err != nil {
			return err
		}
		return s.subscribe(r, wkey, w.Tenant, w.Name, events, w.Active)
	}}))
}

// subscribe sets the subscriptions of a webhook to its settings.
func (s *Store) subscribe(r runner, wkey int64, tenant, name string, events []string, active bool) error {
	if _, err := r.exec(`DELETE FROM {subscriptions} WHERE wkey = ?`, wkey); err != nil || !active {
		return err
	}
	for _, pattern := range events {
		if _, err := r.exec(`INSERT OR IGNORE INTO {subscriptions} (tenant, pattern, wkey, name) VALUES (?, ?, ?, ?)`,
			tenant, pattern, wkey, name); err != nil {
			return err
		}
	}
	return nil
}

// GetWebhook implements [webhook.WebhookStore].
func (s *Store) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	var out webhook.WebhookRecord
	err := s.read(ctx, func(r runner) error {
		_, w, err := s.find(r, tenant, id)
		if err == nil {
			out = *w
		}
		return err
	})
	return out, wrap(ctx, "get webhook", err)
}

// ListWebhooks implements [webhook.WebhookStore].
func (s *Store) ListWebhooks(ctx context.Context, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	var page webhook.Page[webhook.Webhook]
	at, id, limit := int64(math.MaxInt64), "", pageSize(q.Limit)
	if q.Cursor != "" {
		nums, tail, err := parseCursor(cursorWebhooks, 1, q.Cursor)
		if err != nil {
			return page, wrap(ctx, "list webhooks", err)
		}
		at, id = nums[0], tail
	}
	err := s.read(ctx, func(r runner) error {
		page = webhook.Page[webhook.Webhook]{}
		// lower and instr are limited to ASCII letters, as the contract is.
		return r.query(`SELECT `+hookColumns+` FROM {webhooks} w JOIN {lanes} l ON l.wkey = w.wkey
			WHERE w.tenant = ? AND w.deleted_at = 0 AND (w.created_at, w.id) < (?, ?)
				AND (? = '' OR instr(lower(w.name), lower(?)) > 0 OR instr(lower(w.url), lower(?)) > 0)
			ORDER BY w.created_at DESC, w.id DESC LIMIT ?`, []any{q.Tenant, at, id, q.Search, q.Search, q.Search, int64(limit + 1)},
			func(v []driver.Value) error {
				_, w, _, err := scanHook(v)
				if err != nil {
					return err
				}
				if len(page.Items) == limit {
					last := page.Items[limit-1]
					page.Next = sqlstore.Cursor(cursorWebhooks, last.ID, sqlstore.Micros(last.CreatedAt))
					return nil
				}
				page.Items = append(page.Items, w.Webhook)
				return nil
			})
	})
	if err != nil {
		return webhook.Page[webhook.Webhook]{}, wrap(ctx, "list webhooks", err)
	}
	return page, nil
}

// WalkWebhooks implements [webhook.WebhookWalker].
func (s *Store) WalkWebhooks(ctx context.Context, after string, limit int) ([]webhook.WebhookRecord, error) {
	var out []webhook.WebhookRecord
	err := s.read(ctx, func(r runner) error {
		out = nil
		return r.query(`SELECT `+hookColumns+` FROM {webhooks} w JOIN {lanes} l ON l.wkey = w.wkey
			WHERE w.deleted_at = 0 AND w.id > ? ORDER BY w.id LIMIT ?`, []any{after, int64(limit)}, func(v []driver.Value) error {
			_, w, _, err := scanHook(v)
			if err == nil {
				out = append(out, *w)
			}
			return err
		})
	})
	if err != nil {
		return nil, wrap(ctx, "walk webhooks", err)
	}
	return out, nil
}

// UpdateWebhook implements [webhook.WebhookStore].
func (s *Store) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	enc, err := encodeHook(&w)
	if err != nil {
		return wrap(ctx, "update webhook", err)
	}
	events := append([]string(nil), w.Events...)
	return wrap(ctx, "update webhook", s.write(ctx, &op{weight: 1, other: func(r runner) error {
		wkey, old, err := s.find(r, w.Tenant, w.ID)
		if err != nil {
			return err
		}
		if old.Version != w.Version {
			return refused("webhook %q: %w: it is at version %d, the change was made from %d", w.ID, webhook.ErrConflict, old.Version, w.Version)
		}
		if _, err := r.exec(`UPDATE {webhooks} SET name = ?, url = ?, description = ?, events = ?, headers = ?, secrets = ?, active = ?,
			verify_tls = ?, timeout = ?, max_retries = ?, disabled_reason = ?, disabled_at = ?, updated_at = ?, rate_limit = ? WHERE wkey = ?`,
			w.Name, w.URL, w.Description, enc.events, enc.headers, enc.secrets, flag(w.Active), flag(w.VerifyTLS), w.Timeout.Microseconds(),
			int64(w.MaxRetries), w.DisabledReason, sqlstore.Micros(w.DisabledAt), sqlstore.Micros(w.UpdatedAt), w.RateLimit, wkey); err != nil {
			return err
		}
		if _, err := r.exec(`UPDATE {lanes} SET version = version + 1, `+endRestSQL+`, failing_since = CASE WHEN ? THEN 0 ELSE failing_since END WHERE wkey = ?`,
			flag(w.Active && !old.Active), wkey); err != nil {
			return err
		}
		return s.subscribe(r, wkey, w.Tenant, w.Name, events, w.Active)
	}}))
}

// DeleteWebhook implements [webhook.WebhookStore]. The row stays, without settings
// and secrets, until Prune finds that no row refers to it.
func (s *Store) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return wrap(ctx, "delete webhook", s.write(ctx, &op{weight: 1, other: func(r runner) error {
		wkey, _, err := s.find(r, tenant, id)
		if err != nil {
			return err
		}
		return s.remove(r, tenant, wkey)
	}}))
}

// remove clears the row of a webhook, which stays while it has deliveries.
func (s *Store) remove(r runner, tenant string, wkey int64) error {
	if err := s.subscribe(r, wkey, tenant, "", nil, false); err != nil {
		return err
	}
	if _, err := r.exec(`UPDATE {webhooks} SET name = '', url = '', description = '', events = '[]', headers = '{}', secrets = '[]',
		active = 0, disabled_reason = '', deleted_at = ? WHERE wkey = ?`, time.Now().UnixMicro(), wkey); err != nil {
		return err
	}
	_, err := r.exec(`UPDATE {lanes} SET version = version + 1, `+endRestSQL+` WHERE wkey = ?`, wkey)
	return err
}
