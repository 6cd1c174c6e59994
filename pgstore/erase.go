package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// eraseKeys is how many events, or how many deleted webhooks, a step looks at.
const eraseKeys = 100

// EraseTenant implements [webhook.EraseStore].
func (s *Store) EraseTenant(ctx context.Context, tenant string, limit int) (webhook.Erased, error) {
	e := erasing{s: s, tenant: tenant, limit: limit}
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		e.Erased, e.events = webhook.Erased{}, nil
		return e.tenantStep(ctx, tx)
	})
	if err != nil {
		return webhook.Erased{}, wrap(ctx, "erase tenant", err)
	}
	s.events.forget(e.events)
	return e.Erased, nil
}

// EraseEvent implements [webhook.EraseStore].
func (s *Store) EraseEvent(ctx context.Context, tenant, eventID string, limit int) (webhook.Erased, error) {
	e := erasing{s: s, tenant: tenant, limit: limit}
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		e.Erased, e.events = webhook.Erased{}, nil
		rows, err := tx.QueryContext(ctx, s.sql(`SELECT ekey FROM {events} WHERE tenant = $1::text AND id = $2::text FOR UPDATE`), tenant, eventID)
		if err := e.found(rows, err); err != nil {
			return err
		}
		if len(e.events) == 0 {
			return fmt.Errorf("event %q: %w", eventID, webhook.ErrNotFound)
		}
		return e.eraseEvents(ctx, tx, 0)
	})
	if err != nil {
		return webhook.Erased{}, wrap(ctx, "erase event", err)
	}
	s.events.forget(e.events)
	return e.Erased, nil
}

// erasing is one step of an erasure.
type erasing struct {
	webhook.Erased
	s      *Store
	tenant string
	limit  int
	events []int64 // events the step looks at
}

func (e *erasing) tenantStep(ctx context.Context, tx *sql.Tx) error {
	n, err := affected(tx.ExecContext(ctx, e.s.sql(`
		WITH w AS MATERIALIZED (
			SELECT wkey FROM {webhooks} WHERE tenant = $1::text AND deleted_at = 0
			ORDER BY tenant, created_at, id LIMIT $2::bigint FOR UPDATE),
		gone AS (DELETE FROM {subscriptions} x USING w WHERE x.wkey = w.wkey)
		UPDATE {webhooks} x SET `+emptied+` FROM w WHERE x.wkey = w.wkey`), e.tenant, e.limit))
	if err != nil || n > 0 {
		e.Webhooks, e.More = n, true
		return err
	}
	rows, err := tx.QueryContext(ctx, e.s.sql(`
		SELECT ekey FROM {events} WHERE tenant = $1::text ORDER BY tenant, id LIMIT $2::bigint`), e.tenant, min(e.limit, eraseKeys))
	if err := e.found(rows, err); err != nil {
		return err
	}
	if len(e.events) > 0 {
		if _, err := tx.ExecContext(ctx, e.s.sql(lockEventsSQL+` UPDATE`), ints(e.events)); err != nil {
			return err
		}
		err = e.eraseEvents(ctx, tx, 0)
		e.More = true
		return err
	}
	return e.remains(ctx, tx)
}

// found reads the keys of the events to erase.
func (e *erasing) found(rows *sql.Rows, err error) error {
	var k int64
	return each(rows, err, func() error {
		if err := rows.Scan(&k); err != nil {
			return err
		}
		e.events = append(e.events, k)
		return nil
	})
}

// eraseEvents deletes rows of the events that were found. They are locked: a replay
// waits for the lock before it creates a delivery of one. An event itself is
// deleted when it has no other rows left. from skips the first tables of the list:
// with 1, pending deliveries and their events stay.
func (e *erasing) eraseEvents(ctx context.Context, tx *sql.Tx, from int) error {
	slices.Sort(e.events)
	tables := []struct {
		name  string
		count *int
	}{{"{queue}", &e.Deliveries}, {"{deliveries}", &e.Deliveries}, {"{attempts}", new(int)}}
	for _, table := range tables[from:] {
		n, err := e.eraseRows(ctx, tx, table.name)
		if err != nil {
			return err
		}
		if *table.count += n; n >= e.limit {
			e.More = true
			return nil
		}
	}
	n, err := affected(tx.ExecContext(ctx, e.s.sql(`DELETE FROM {events} e WHERE e.ekey = ANY ($1::bigint[]) AND `+undelivered), ints(e.events)))
	e.Events = n
	e.More = n < len(e.events)
	return err
}

// eraseRows deletes up to limit rows of the events from a table, in the order of
// the primary key, in which they are locked. As in sameLogged, no other index has
// this order.
func (e *erasing) eraseRows(ctx context.Context, tx *sql.Tx, table string) (int, error) {
	return affected(tx.ExecContext(ctx, e.s.sql(`
		WITH c AS MATERIALIZED (
			SELECT r.id FROM unnest($1::bigint[]) AS k(ekey) CROSS JOIN LATERAL (
				SELECT x.ctid AS id FROM `+table+` x WHERE x.ekey = ANY (ARRAY[k.ekey]) ORDER BY x.ekey, x.wkey LIMIT $2::bigint FOR UPDATE) r
			LIMIT $2::bigint)
		DELETE FROM `+table+` x USING c WHERE x.ctid = c.id`), ints(e.events), e.limit))
}

// eraseScan is how many events a step of EraseOld looks at.
const eraseScan = 10_000

// oldCursor marks the cursors of EraseOld.
const oldCursor = 'o'

// EraseOld implements [webhook.EraseStore].
func (s *Store) EraseOld(ctx context.Context, req webhook.EraseOldRequest) (res webhook.EraseOldResult, err error) {
	after := int64(0)
	if req.After != "" {
		nums, _, ok := sqlstore.ParseCursor(oldCursor, 1, req.After)
		if !ok {
			return res, wrap(ctx, "erase old", webhook.ErrCursor)
		}
		after = nums[0]
	}
	e := erasing{s: s, limit: req.Limit}
	next := after
	err = s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		e.Erased, e.events = webhook.Erased{}, nil
		var more bool
		var err error
		if next, more, err = e.findOld(ctx, tx, &req, after); err != nil || len(e.events) == 0 {
			e.More = more
			return err
		}
		if err = e.eraseEvents(ctx, tx, 1); e.More {
			next = after // not all rows of the first event are deleted
		}
		e.More = e.More || more
		return err
	})
	if err != nil {
		return res, wrap(ctx, "erase old", err)
	}
	s.events.forget(e.events)
	return webhook.EraseOldResult{Erased: e.Erased, Next: sqlstore.Cursor(oldCursor, "", next)}, nil
}

// selectedSQL is true of an event e whose type is one of the exact types or begins
// with one of the prefixes.
const selectedSQL = `(e.type = ANY (%s::text[]) OR EXISTS (SELECT 1 FROM unnest(%s::text[]) p WHERE starts_with(e.type, p)))`

// findOld locks the next events that are to be deleted. It returns how far it
// looked and whether there are more.
func (e *erasing) findOld(ctx context.Context, tx *sql.Tx, req *webhook.EraseOldRequest, after int64) (next int64, more bool, err error) {
	before := sqlstore.Micros(req.Before)
	types, prefixes := split(req.Types)
	not, notPrefixes := split(req.Except)
	most := min(req.Limit, eraseKeys)
	var locked []int64
	var looked int
	next = after
	rows, err := tx.QueryContext(ctx, e.s.sql(`
		WITH l AS MATERIALIZED (
			SELECT e.ekey, e.ctid AS id, e.created_at < $3::bigint AND `+fmt.Sprintf(selectedSQL, "$4", "$5")+` AND NOT `+fmt.Sprintf(selectedSQL, "$6", "$7")+` AS wanted
			FROM {events} e WHERE e.ekey > $1::bigint AND e.ekey < $2::bigint ORDER BY e.ekey LIMIT $8::bigint),
		c AS MATERIALIZED (
			SELECT x.ekey FROM l CROSS JOIN LATERAL (
				SELECT e.ekey FROM {events} e WHERE e.ctid = l.id FOR UPDATE SKIP LOCKED) x
			WHERE l.wanted LIMIT $9::bigint)
		SELECT ekey, 0 FROM c
		UNION ALL
		SELECT coalesce(max(ekey), $1::bigint), count(*) FROM l`),
		after, keyAt(before)+1<<21, before, types, prefixes, not, notPrefixes, eraseScan, most)
	var k int64
	var n int
	if err := each(rows, err, func() error {
		if err := rows.Scan(&k, &n); err != nil {
			return err
		}
		if n == 0 && k != after {
			locked = append(locked, k)
		} else {
			next, looked = k, n
		}
		return nil
	}); err != nil {
		return after, false, err
	}
	more = looked == eraseScan
	if len(locked) == most {
		next, more = locked[len(locked)-1], true
	}
	if len(locked) == 0 {
		return next, more, nil
	}
	// Checked after locking, to see the commits that the locks waited for.
	rows, err = tx.QueryContext(ctx, e.s.sql(`
		SELECT e.ekey FROM unnest($1::bigint[]) AS e(ekey)
		WHERE NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = e.ekey OFFSET 0)
			AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.ekey = ANY (ARRAY[e.ekey]) AND d.finished_at >= $2::bigint`+inOrder+`)`), ints(locked), before)
	return next, more, e.found(rows, err)
}

// split splits selections into exact types and prefixes.
func split(selections []string) (types, prefixes string) {
	var exact, begin textArray
	for _, p := range selections {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			begin.add(prefix)
		} else {
			exact.add(p)
		}
	}
	return exact.String(), begin.String()
}

// remains deletes statistics and the rows of the tenant's deleted webhooks, which
// have no deliveries any more.
func (e *erasing) remains(ctx context.Context, tx *sql.Tx) error {
	var hooks []int64
	var k int64
	rows, err := tx.QueryContext(ctx, e.s.sql(`
		SELECT wkey FROM {webhooks} WHERE tenant = $1::text ORDER BY tenant, created_at, id LIMIT $2::bigint FOR UPDATE`), e.tenant, min(e.limit, eraseKeys))
	if err := each(rows, err, func() error {
		err := rows.Scan(&k)
		hooks = append(hooks, k)
		return err
	}); err != nil || len(hooks) == 0 {
		return err
	}
	e.More = true
	n, err := affected(tx.ExecContext(ctx, e.s.sql(`
		WITH c AS MATERIALIZED (
			SELECT t.wkey, t.hour FROM unnest($1::bigint[]) AS k(wkey) CROSS JOIN LATERAL (
				SELECT x.wkey, x.hour FROM {stats} x WHERE x.wkey = k.wkey ORDER BY x.wkey, x.hour LIMIT $2::bigint) t
			LIMIT $2::bigint)
		DELETE FROM {stats} x USING c WHERE x.wkey = c.wkey AND x.hour = c.hour`), ints(hooks), e.limit))
	if err != nil || n == e.limit {
		return err
	}
	_, err = tx.ExecContext(ctx, e.s.sql(`
		WITH s AS (DELETE FROM {subscriptions} WHERE wkey = ANY ($1::bigint[])),
		h AS (DELETE FROM {health} WHERE wkey = ANY ($1::bigint[]))
		DELETE FROM {webhooks} WHERE wkey = ANY ($1::bigint[])`), ints(hooks))
	return err
}
