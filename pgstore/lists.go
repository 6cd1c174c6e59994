package pgstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// The kinds of cursor.
const (
	cursorWebhooks   = 'w'
	cursorDeliveries = 'd'
	cursorResends    = 'r'
	cursorMissing    = 'm'
)

// defaultPage is the number of items of a page if the query has no limit.
const defaultPage = 50

func badCursor(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", webhook.ErrCursor, err)
	}
	return fmt.Errorf("%w: start again without one", webhook.ErrCursor)
}

// ListWebhooks implements [webhook.WebhookStore].
func (s *Store) ListWebhooks(ctx context.Context, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	at, id := int64(math.MaxInt64), ""
	if q.Cursor != "" {
		nums, tail, ok := sqlstore.ParseCursor(cursorWebhooks, 1, q.Cursor)
		if !ok {
			return webhook.Page[webhook.Webhook]{}, wrap(ctx, "list webhooks", badCursor(nil))
		}
		at, id = nums[0], tail
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultPage
	}
	var page webhook.Page[webhook.Webhook]
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		page = webhook.Page[webhook.Webhook]{}
		const lower = `translate(%s COLLATE "C", 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')`
		rows, err := tx.QueryContext(ctx, s.sql(`
			SELECT `+hookColumns+` FROM {webhooks} w LEFT JOIN {health} h ON h.wkey = w.wkey
			WHERE w.tenant = $1::text AND w.deleted_at = 0 AND (w.created_at, w.id) < ($2::bigint, $3::text)
				AND ($4::text = '' OR strpos(`+fmt.Sprintf(lower, "w.name")+`, `+fmt.Sprintf(lower, "$4::text")+`) > 0
					OR strpos(`+fmt.Sprintf(lower, "w.url")+`, `+fmt.Sprintf(lower, "$4::text")+`) > 0)
			ORDER BY w.created_at DESC, w.id DESC LIMIT $5::bigint`), q.Tenant, at, id, q.Search, limit+1)
		return each(rows, err, func() error {
			_, w, _, err := scanHook(rows)
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

// GetEvent implements [webhook.LogStore].
func (s *Store) GetEvent(ctx context.Context, tenant, id string) (webhook.EventRecord, error) {
	ev := webhook.EventRecord{ID: id, Tenant: tenant}
	found := false
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		var at int64
		rows, err := tx.QueryContext(ctx, s.sql(`SELECT type, time, data, coalesce(trace, '') FROM {events} WHERE tenant = $1::text AND id = $2::text`), tenant, id)
		err = each(rows, err, func() error {
			found = true
			return rows.Scan(&ev.Type, &at, &ev.Data, &ev.Trace)
		})
		ev.Time = sqlstore.FromMicros(at)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("event %q: %w", id, webhook.ErrNotFound)
	}
	if err != nil {
		return webhook.EventRecord{}, wrap(ctx, "get event", err)
	}
	return ev, nil
}

// deliveryColumns of the queue (as q) and of the log (as d), in one order.
const (
	queuedColumns = `q.ekey, q.wkey, q.created_at, 1::smallint AS state, q.attempts, q.tries, q.crashes, q.due AS due, 0::bigint AS finished_at,
		q.last_status, q.type, q.name, '' AS reason, coalesce(q.last_class, '') AS last_class`
	finishedColumns = `d.ekey, d.wkey, d.created_at, d.state, d.attempts, d.tries, d.crashes, 0::bigint, d.finished_at,
		d.last_status, d.type, d.name, coalesce(d.reason, ''), coalesce(d.last_class, '')`
)

// scanDelivery reads a row of queuedColumns or finishedColumns, and the columns
// that follow them.
func scanDelivery(rows *sql.Rows, tenant string, d *webhook.Delivery, more ...any) (k key, err error) {
	var created, due, finished int64
	var state int
	err = rows.Scan(append([]any{
		&k.event, &k.webhook, &created, &state, &d.Attempts, &d.Tries, &d.Crashes, &due, &finished,
		&d.LastStatus, &d.EventType, &d.WebhookName, &d.Reason, &d.LastClass,
	}, more...)...)
	if err != nil {
		return k, err
	}
	if state < statePending || state > stateCanceled {
		return k, fmt.Errorf("delivery %s has the unknown state %d", k.id(), state)
	}
	d.ID, d.Tenant, d.State = k.id(), tenant, stateNames[state]
	d.CreatedAt, d.NextAttemptAt, d.FinishedAt = sqlstore.FromMicros(created), sqlstore.FromMicros(due), sqlstore.FromMicros(finished)
	return k, nil
}

// GetDelivery implements [webhook.LogStore].
func (s *Store) GetDelivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	var d webhook.Delivery
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) (err error) {
		d, err = s.getDelivery(ctx, tx, tenant, id)
		return err
	})
	return d, wrap(ctx, "get delivery", err)
}

// keyLogged is like sameLogged, for the key in parameters 1 and 2.
const keyLogged = `d.ekey = ANY (ARRAY[$1::bigint]) AND d.wkey = $2::bigint` + inOrder

func (s *Store) getDelivery(ctx context.Context, q querier, tenant, id string) (d webhook.Delivery, err error) {
	k, ok := parseID(id)
	found := false
	if ok {
		rows, err := q.QueryContext(ctx, s.sql(`
			SELECT x.*, e.id, w.id FROM (
				SELECT `+queuedColumns+` FROM {queue} q WHERE q.ekey = $1::bigint AND q.wkey = $2::bigint
				UNION ALL
				SELECT `+finishedColumns+` FROM (SELECT * FROM {deliveries} d WHERE `+keyLogged+`) d) x
			JOIN {webhooks} w ON w.wkey = x.wkey AND w.tenant = $3::text
			JOIN {events} e ON e.ekey = x.ekey`), k.event, k.webhook, tenant)
		err = each(rows, err, func() error {
			found = true
			_, err = scanDelivery(rows, tenant, &d, &d.EventID, &d.WebhookID)
			return err
		})
		if err != nil {
			return d, err
		}
	}
	if !found {
		return d, fmt.Errorf("delivery %q: %w", id, webhook.ErrNotFound)
	}
	return d, nil
}

// ListAttempts implements [webhook.LogStore].
func (s *Store) ListAttempts(ctx context.Context, tenant, deliveryID string) ([]webhook.Attempt, error) {
	var out []webhook.Attempt
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		out = nil
		if _, err := s.getDelivery(ctx, tx, tenant, deliveryID); err != nil {
			return err
		}
		k, _ := parseID(deliveryID)
		rows, err := tx.QueryContext(ctx, s.sql(`
			SELECT number, started_at, duration, status, coalesce(class, ''), coalesce(error, ''), coalesce(headers, ''), body, truncated, late FROM (
				SELECT ord, number, started_at, duration, status, class, error, headers, body, truncated, late
				FROM {attempts} WHERE ekey = $1::bigint AND wkey = $2::bigint AND started_at IS NOT NULL
				UNION ALL
				SELECT ord, number, started_at, duration, status, class, error, headers, body, truncated, false
				FROM (SELECT * FROM {deliveries} d WHERE `+keyLogged+`) d WHERE started_at IS NOT NULL) a
			ORDER BY ord`), k.event, k.webhook)
		return each(rows, err, func() error {
			a := webhook.Attempt{DeliveryID: deliveryID}
			var started, duration int64
			var headers string
			if err := rows.Scan(&a.Number, &started, &duration, &a.Status, &a.Class, &a.Error, &headers, &a.ResponseBody,
				&a.ResponseTruncated, &a.Late); err != nil {
				return err
			}
			a.StartedAt, a.Duration = sqlstore.FromMicros(started), time.Duration(duration)*time.Microsecond
			if headers != "" {
				if err := json.Unmarshal([]byte(headers), &a.ResponseHeaders); err != nil {
					return fmt.Errorf("attempt %d of delivery %s: %w", a.Number, deliveryID, err)
				}
			}
			out = append(out, a)
			return nil
		})
	})
	return out, wrap(ctx, "list attempts", err)
}
