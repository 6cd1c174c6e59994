package pgstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// hookColumns are the columns of a webhook and its health, as scanHook reads them.
// The rate limit is read as its bits: in text format, which lib/pq uses, its digits
// would depend on extra_float_digits.
const hookColumns = `w.wkey, w.id, w.tenant, w.name, w.url, w.description, w.events, w.headers, w.secrets, w.active, w.verify_tls,
	w.timeout, w.max_retries, ('x' || encode(float8send(w.rate_limit), 'hex'))::bit(64)::bigint, w.disabled_reason, w.disabled_at, w.created_at, w.updated_at, w.version, w.deleted_at,
	coalesce(h.last_triggered, 0), coalesce(h.last_success, 0), coalesce(h.failing_since, 0)`

// secret is the JSON form of a SecretRecord in the column secrets.
type secret struct {
	Value   string `json:"v"`
	Created int64  `json:"c"`
	Expires int64  `json:"e,omitempty"`
}

// settings encodes the columns that hold JSON.
func settings(w *webhook.WebhookRecord) (events, headers, secrets string) {
	ss := make([]secret, len(w.Secrets))
	for i, s := range w.Secrets {
		ss[i] = secret{s.Value, sqlstore.Micros(s.CreatedAt), sqlstore.Micros(s.ExpiresAt)}
	}
	return toJSON(w.Events), toJSON(w.Headers), toJSON(ss)
}

// scanHook reads a row of hookColumns.
func scanHook(rows *sql.Rows) (k int64, w *webhook.WebhookRecord, deleted bool, err error) {
	w = new(webhook.WebhookRecord)
	var events, headers, secrets string
	var timeout, rate, disabled, created, updated, gone, triggered, success, failing int64
	err = rows.Scan(&k, &w.ID, &w.Tenant, &w.Name, &w.URL, &w.Description, &events, &headers, &secrets, &w.Active, &w.VerifyTLS,
		&timeout, &w.MaxRetries, &rate, &w.DisabledReason, &disabled, &created, &updated, &w.Version, &gone, &triggered, &success, &failing)
	if err != nil {
		return 0, nil, false, err
	}
	w.Timeout, w.RateLimit = time.Duration(timeout)*time.Microsecond, math.Float64frombits(uint64(rate))
	w.DisabledAt, w.CreatedAt, w.UpdatedAt = sqlstore.FromMicros(disabled), sqlstore.FromMicros(created), sqlstore.FromMicros(updated)
	w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince = sqlstore.FromMicros(triggered), sqlstore.FromMicros(success), sqlstore.FromMicros(failing)
	var ss []secret
	for _, f := range []struct {
		column, text string
		into         any
	}{{"events", events, &w.Events}, {"headers", headers, &w.Headers}, {"secrets", secrets, &ss}} {
		if err := json.Unmarshal([]byte(f.text), f.into); err != nil {
			return 0, nil, false, fmt.Errorf("webhook %s: column %s: %w", w.ID, f.column, err)
		}
	}
	for _, s := range ss {
		w.Secrets = append(w.Secrets, webhook.SecretRecord{Value: s.Value, CreatedAt: sqlstore.FromMicros(s.Created), ExpiresAt: sqlstore.FromMicros(s.Expires)})
	}
	return k, w, gone != 0, nil
}

// loadHooks reads webhooks by key, and the IDs of deleted webhooks too.
func (s *Store) loadHooks(ctx context.Context, q querier, keys []int64, into map[int64]*webhook.WebhookRecord, ids map[int64]string) error {
	rows, err := q.QueryContext(ctx, s.sql(`
		SELECT `+hookColumns+` FROM {webhooks} w LEFT JOIN {health} h ON h.wkey = w.wkey
		WHERE w.wkey = ANY ($1::bigint[])`), ints(keys))
	tenants := make(map[int64]string, len(keys))
	err = each(rows, err, func() error {
		k, w, deleted, err := scanHook(rows)
		if err != nil {
			return err
		}
		ids[k], tenants[k] = w.ID, w.Tenant
		if !deleted {
			into[k] = w
		}
		return nil
	})
	s.hooks.learn(ids)
	s.walk.belongs(tenants)
	return err
}

// lockTenantSQL makes the calls that create webhooks of one tenant follow one
// another until they have committed, so that each counts the webhooks of the
// others. No other call takes this lock: publishing does not wait for it. The key
// includes the table's OID, as the database may hold several sets of tables.
const lockTenantSQL = `SELECT pg_advisory_xact_lock(hashtextextended($1::text COLLATE "C", '{webhooks}'::regclass::oid::bigint))`

// CreateWebhook implements [webhook.WebhookStore].
func (s *Store) CreateWebhook(ctx context.Context, w webhook.WebhookRecord, limit int) error {
	events, headers, secrets := settings(&w)
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		if limit > 0 {
			if _, err := tx.ExecContext(ctx, s.sql(lockTenantSQL), w.Tenant); err != nil {
				return err
			}
			n, err := affected(tx.ExecContext(ctx, s.sql(`
				SELECT 1 FROM {webhooks} WHERE tenant = $1::text AND deleted_at = 0 LIMIT $2::bigint`), w.Tenant, limit))
			if err != nil {
				return err
			}
			if n >= limit {
				return fmt.Errorf("%w: tenant %q has %d, at most %d are allowed", webhook.ErrTooManyWebhooks, w.Tenant, n, limit)
			}
		}
		var k int64
		rows, err := tx.QueryContext(ctx, s.sql(`
			INSERT INTO {webhooks} (id, tenant, name, url, description, events, headers, secrets, active, verify_tls,
				timeout, max_retries, disabled_reason, disabled_at, created_at, updated_at, version, rate_limit)
			VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::boolean, $10::boolean,
				$11::bigint, $12::integer, $13::text, $14::bigint, $15::bigint, $16::bigint, $17::bigint, $18::double precision)
			ON CONFLICT (id) WHERE deleted_at = 0 DO NOTHING
			RETURNING wkey`),
			w.ID, w.Tenant, w.Name, w.URL, w.Description, events, headers, secrets, w.Active, w.VerifyTLS,
			w.Timeout.Microseconds(), w.MaxRetries, w.DisabledReason, sqlstore.Micros(w.DisabledAt), sqlstore.Micros(w.CreatedAt), sqlstore.Micros(w.UpdatedAt), w.Version, w.RateLimit)
		if err := each(rows, err, func() error { return rows.Scan(&k) }); err != nil {
			return err
		}
		if k == 0 {
			return fmt.Errorf("%w: webhook %q", webhook.ErrExists, w.ID)
		}
		if _, err := tx.ExecContext(ctx, s.sql(`INSERT INTO {health} (wkey, last_triggered, last_success, failing_since)
			VALUES ($1::bigint, $2::bigint, $3::bigint, $4::bigint)`),
			k, sqlstore.Micros(w.LastTriggeredAt), sqlstore.Micros(w.LastSuccessAt), sqlstore.Micros(w.FailingSince)); err != nil {
			return err
		}
		return s.subscribe(ctx, tx, k, &w)
	})
	return wrap(ctx, "create webhook", err)
}

// subscribe sets the subscriptions of a webhook to its settings.
func (s *Store) subscribe(ctx context.Context, tx *sql.Tx, k int64, w *webhook.WebhookRecord) error {
	if _, err := tx.ExecContext(ctx, s.sql(`DELETE FROM {subscriptions} WHERE wkey = $1::bigint`), k); err != nil || !w.Active {
		return err
	}
	var patterns textArray
	for _, p := range w.Events {
		patterns.add(p)
	}
	_, err := tx.ExecContext(ctx, s.sql(`
		INSERT INTO {subscriptions} (tenant, pattern, wkey, name)
		SELECT DISTINCT $2::text, p, $1::bigint, $3::text FROM unnest($4::text[]) AS p`), k, w.Tenant, w.Name, patterns.String())
	return err
}

// GetWebhook implements [webhook.WebhookStore].
func (s *Store) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	var out *webhook.WebhookRecord
	err := s.ensure(ctx)
	if err == nil {
		err = s.onConn(ctx, func(l *lent) (err error) {
			out, _, err = s.getHook(ctx, l, tenant, id, "")
			return err
		})
	}
	if err != nil {
		return webhook.WebhookRecord{}, wrap(ctx, "get webhook", err)
	}
	return *out, nil
}

// WalkWebhooks implements [webhook.WebhookWalker].
func (s *Store) WalkWebhooks(ctx context.Context, after string, limit int) ([]webhook.WebhookRecord, error) {
	var out []webhook.WebhookRecord
	err := s.ensure(ctx)
	if err == nil {
		err = s.onConn(ctx, func(l *lent) error {
			rows, err := l.QueryContext(ctx, s.sql(`
				SELECT `+hookColumns+` FROM {webhooks} w LEFT JOIN {health} h ON h.wkey = w.wkey
				WHERE w.deleted_at = 0 AND w.id > $1::text ORDER BY w.id LIMIT $2::bigint`), after, limit)
			return each(rows, err, func() error {
				_, w, _, err := scanHook(rows)
				if err == nil {
					out = append(out, *w)
				}
				return err
			})
		})
	}
	if err != nil {
		return nil, wrap(ctx, "walk webhooks", err)
	}
	return out, nil
}

// getHook reads a webhook and its key; lock is a locking clause or empty.
func (s *Store) getHook(ctx context.Context, q querier, tenant, id, lock string) (out *webhook.WebhookRecord, k int64, err error) {
	rows, err := q.QueryContext(ctx, s.sql(`
		SELECT `+hookColumns+` FROM {webhooks} w LEFT JOIN {health} h ON h.wkey = w.wkey
		WHERE w.id = $1::text AND w.tenant = $2::text AND w.deleted_at = 0 `+lock), id, tenant)
	err = each(rows, err, func() error {
		var err error
		k, out, _, err = scanHook(rows)
		return err
	})
	if err == nil && out == nil {
		err = fmt.Errorf("webhook %q: %w", id, webhook.ErrNotFound)
	}
	return out, k, err
}

// UpdateWebhook implements [webhook.WebhookStore].
func (s *Store) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	events, headers, secrets := settings(&w)
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		old, k, err := s.getHook(ctx, tx, w.Tenant, w.ID, "FOR UPDATE OF w")
		if err != nil {
			return err
		}
		if old.Version != w.Version {
			return fmt.Errorf("webhook %q: %w: it is at version %d, the change was made from %d", w.ID, webhook.ErrConflict, old.Version, w.Version)
		}
		if _, err := tx.ExecContext(ctx, s.sql(`
			UPDATE {webhooks} SET name = $2::text, url = $3::text, description = $4::text, events = $5::text, headers = $6::text,
				secrets = $7::text, active = $8::boolean, verify_tls = $9::boolean, timeout = $10::bigint, max_retries = $11::integer,
				disabled_reason = $12::text, disabled_at = $13::bigint, updated_at = $14::bigint, rate_limit = $15::double precision,
				version = version + 1
			WHERE wkey = $1::bigint`),
			k, w.Name, w.URL, w.Description, events, headers, secrets, w.Active, w.VerifyTLS, w.Timeout.Microseconds(), w.MaxRetries,
			w.DisabledReason, sqlstore.Micros(w.DisabledAt), sqlstore.Micros(w.UpdatedAt), w.RateLimit); err != nil {
			return err
		}
		if w.Active && !old.Active {
			if _, err := tx.ExecContext(ctx, s.sql(`UPDATE {health} SET failing_since = 0 WHERE wkey = $1::bigint`), k); err != nil {
				return err
			}
		}
		defer s.walk.endRest(k)
		return s.subscribe(ctx, tx, k, &w)
	})
	return wrap(ctx, "update webhook", err)
}

// emptied clears the columns of a webhook that is deleted.
const emptied = `name = '', url = '', description = '', events = '[]', headers = '{}', secrets = '[]', active = false,
	disabled_reason = '', deleted_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// DeleteWebhook implements [webhook.WebhookStore]. The row stays, without settings
// and secrets, until Prune finds that no delivery refers to it.
func (s *Store) DeleteWebhook(ctx context.Context, tenant, id string) error {
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		_, k, err := s.getHook(ctx, tx, tenant, id, "FOR UPDATE OF w")
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.sql(`DELETE FROM {subscriptions} WHERE wkey = $1::bigint`), k); err != nil {
			return err
		}
		defer s.walk.endRest(k)
		_, err = tx.ExecContext(ctx, s.sql(`UPDATE {webhooks} SET `+emptied+` WHERE wkey = $1::bigint`), k)
		return err
	})
	return wrap(ctx, "delete webhook", err)
}

// hookKeys remembers the keys of webhooks by ID. A key never changes, and a stale
// entry does no harm: its webhook has been deleted.
type hookKeys struct {
	mu sync.Mutex
	m  map[string]int64
}

// maxHookKeys bounds the map, which is cleared when it is full.
const maxHookKeys = 100_000

func newHookKeys() *hookKeys { return &hookKeys{m: map[string]int64{}} }

func (h *hookKeys) learn(ids map[int64]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.m)+len(ids) > maxHookKeys {
		clear(h.m)
	}
	for k, id := range ids {
		h.m[id] = k
	}
}

// hookKeysOf returns the keys of the webhooks that exist.
func (s *Store) hookKeysOf(ctx context.Context, ids []string) (map[string]int64, error) {
	out := make(map[string]int64, len(ids))
	var missing textArray
	s.hooks.mu.Lock()
	for _, id := range ids {
		if k, ok := s.hooks.m[id]; ok {
			out[id] = k
		} else {
			missing.add(id)
		}
	}
	s.hooks.mu.Unlock()
	if len(out) == len(ids) {
		return out, nil
	}
	found := map[int64]string{}
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		clear(found)
		rows, err := tx.QueryContext(ctx, s.sql(`
			SELECT wkey, id FROM {webhooks} WHERE id = ANY ($1::text[]) AND deleted_at = 0`), missing.String())
		var k int64
		var id string
		return each(rows, err, func() error {
			if err := rows.Scan(&k, &id); err != nil {
				return err
			}
			found[k] = id
			return nil
		})
	})
	for k, id := range found {
		out[id] = k
	}
	s.hooks.learn(found)
	return out, err
}
