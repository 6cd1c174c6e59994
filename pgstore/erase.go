package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/seed68722ecd/webhook"
)

// eraseKeys is how many events, or what is left of how many webhooks, a step looks
// at.
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
		return e.eraseEvents(ctx, tx)
	})
	if err != nil {
		return webhook.Erased{}, wrap(ctx, "erase event", err)
	}
	s.events.forget(e.events)
	return e.Erased, nil
}

// erasing is one step.
type erasing struct {
	webhook.Erased
	s      *Store
	tenant string
	limit  int
	events []int64 // looked at
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
		err = e.eraseEvents(ctx, tx)
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

// eraseEvents deletes rows of the events that were found, which are locked: a
// replay waits for the lock before it makes a delivery of one. The events
// themselves go when nothing else of them is left.
func (e *erasing) eraseEvents(ctx context.Context, tx *sql.Tx) error {
	slices.Sort(e.events)
	for _, table := range []struct {
		name  string
		count *int
	}{{"{queue}", &e.Deliveries}, {"{deliveries}", &e.Deliveries}, {"{attempts}", new(int)}} {
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

// eraseRows deletes up to limit rows of the events from a table, the first by the
// primary key, in whose order they are locked; as in sameLogged no other index
// has the order that is asked for.
func (e *erasing) eraseRows(ctx context.Context, tx *sql.Tx, table string) (int, error) {
	return affected(tx.ExecContext(ctx, e.s.sql(`
		WITH c AS MATERIALIZED (
			SELECT r.id FROM unnest($1::bigint[]) AS k(ekey) CROSS JOIN LATERAL (
				SELECT x.ctid AS id FROM `+table+` x WHERE x.ekey = ANY (ARRAY[k.ekey]) ORDER BY x.ekey, x.wkey LIMIT $2::bigint FOR UPDATE) r
			LIMIT $2::bigint)
		DELETE FROM `+table+` x USING c WHERE x.ctid = c.id`), ints(e.events), e.limit))
}

// remains deletes statistics and what is left of the tenant's deleted webhooks,
// none of which has a delivery any more.
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
