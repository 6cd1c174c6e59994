package pgstore

import (
	"context"
	"database/sql"
	"math"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// pruneScan is how many rows one transaction of a pruning looks at, whether it
// deletes them or not.
const pruneScan = 10_000

// prunePlace is how far the calls of one pruning have come, so that the next call
// does not step over deleted rows. When a pruning has looked at all rows it ends,
// and the next one begins at the first row.
type prunePlace struct {
	mu       sync.Mutex
	under    bool  // a pruning is under way
	before   int64 // the earliest time that one of its calls asked for
	delivery key
	event    int64
}

// Prune implements [webhook.LogStore]. Deliveries and events are walked in the
// order of publication, in transactions that look at 10,000 rows at most. Rows
// locked by other transactions are left for the next call. When no row is left to
// delete, Prune also removes old statistics and the rows of deleted webhooks.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	s.prunes.mu.Lock()
	defer s.prunes.mu.Unlock()
	p := &pruning{s: s, before: sqlstore.Micros(before), limit: limit}
	n, err := p.run(ctx, &s.prunes)
	return n, wrap(ctx, "prune", err)
}

// pruning is one call of Prune.
type pruning struct {
	s                  *Store
	before             int64
	limit              int
	deliveries, events int // deleted
}

func (p *pruning) full() bool { return p.deliveries >= p.limit || p.events >= p.limit }

func (p *pruning) run(ctx context.Context, at *prunePlace) (int, error) {
	for whole := false; !whole; {
		if !at.under {
			at.under, at.before, at.delivery, at.event = true, p.before, key{}, 0
		}
		at.before = min(at.before, p.before)
		for done := false; !done; {
			var err error
			if done, err = p.step(ctx, at); err != nil {
				return 0, err
			}
			if p.full() {
				return p.deliveries + p.events, nil
			}
		}
		// Earlier calls of this pruning may have asked for an earlier time and kept
		// rows that this call must delete.
		whole = at.before >= p.before
		at.under = false
	}
	if err := p.statistics(ctx); err != nil {
		return 0, err
	}
	return p.deliveries + p.events, p.webhooks(ctx)
}

// step looks at the next deliveries and then at the events up to the same key, and
// reports whether it has reached the end.
func (p *pruning) step(ctx context.Context, at *prunePlace) (done bool, err error) {
	var delivery key
	var event int64
	var deliveries, events int
	err = p.s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		delivery, event, done = at.delivery, at.event, false
		// A delivery is never finished before its event was published.
		end := keyAt(p.before) + 1<<21
		var more bool
		var err error
		if deliveries, more, err = p.pruneDeliveries(ctx, tx, &delivery, end); err != nil {
			return err
		}
		if more {
			end = delivery.event // later events may still lose their deliveries
		}
		var moreEvents bool
		events, moreEvents, err = p.pruneEvents(ctx, tx, &event, end)
		done = !more && !moreEvents
		return err
	})
	if err != nil {
		return false, err
	}
	at.delivery, at.event = delivery, event
	p.deliveries, p.events = p.deliveries+deliveries, p.events+events
	return done, nil
}

// pruneDeliveries deletes old deliveries among the next finished ones. at becomes
// the last row it looked at, which the query returns even if it is not deleted.
func (p *pruning) pruneDeliveries(ctx context.Context, tx *sql.Tx, at *key, end int64) (deleted int, more bool, err error) {
	if p.deliveries >= p.limit {
		return 0, true, nil
	}
	rows, err := tx.QueryContext(ctx, p.s.sql(`
		WITH l AS MATERIALIZED (
			SELECT ekey, wkey, ctid AS id, finished_at < $4::bigint AS old FROM {deliveries}
			WHERE (ekey, wkey) > ($1::bigint, $2::bigint) AND ekey < $3::bigint
			ORDER BY ekey, wkey LIMIT $6::bigint),
		c AS MATERIALIZED (
			SELECT l.* FROM l CROSS JOIN LATERAL (
				SELECT 1 FROM {deliveries} d WHERE d.ctid = l.id FOR UPDATE SKIP LOCKED) x
			WHERE l.old LIMIT $5::bigint),
		d AS (DELETE FROM {deliveries} x USING c WHERE x.ctid = c.id),
		a AS (DELETE FROM {attempts} q USING c r WHERE `+sameKey+`)
		SELECT ekey, wkey, true FROM c
		UNION ALL
		SELECT * FROM (SELECT ekey, wkey, false FROM l WHERE (SELECT count(*) FROM c) < $5::bigint OFFSET $6::bigint - 1) x`), at.event, at.webhook, end, p.before, p.limit-p.deliveries, pruneScan)
	var k, last key
	var gone bool
	err = each(rows, err, func() error {
		if err := rows.Scan(&k.event, &k.webhook, &gone); err != nil {
			return err
		}
		if gone {
			deleted++
			*at = k
		} else {
			last = k
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	switch {
	case deleted == p.limit-p.deliveries: // it looked no further than the last deleted row
	case last != key{}:
		*at = last
	default:
		*at = key{end - 1, math.MaxInt64}
		return deleted, false, nil
	}
	return deleted, true, nil
}

// undelivered is true of an event e that has no delivery.
const undelivered = `NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = e.ekey OFFSET 0) AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.ekey = ANY (ARRAY[e.ekey])` + inOrder + `)`

// pruneEvents deletes events without deliveries. One statement locks them and the
// next checks them again: a replay that gives such an event a delivery in between
// either holds the event's lock or has committed the delivery.
func (p *pruning) pruneEvents(ctx context.Context, tx *sql.Tx, at *int64, end int64) (deleted int, more bool, err error) {
	if p.events >= p.limit {
		return 0, true, nil
	}
	var found []int64
	var k, last int64
	var gone bool
	rows, err := tx.QueryContext(ctx, p.s.sql(`
		WITH l AS MATERIALIZED (
			SELECT ekey, ctid AS id, created_at < $3::bigint AS old FROM {events}
			WHERE ekey > $1::bigint AND ekey < $2::bigint ORDER BY ekey LIMIT $5::bigint),
		c AS MATERIALIZED (
			SELECT x.ekey FROM l CROSS JOIN LATERAL (
				SELECT e.ekey FROM {events} e WHERE e.ctid = l.id AND `+undelivered+` FOR UPDATE SKIP LOCKED) x
			WHERE l.old LIMIT $4::bigint)
		SELECT ekey, true FROM c
		UNION ALL
		SELECT * FROM (SELECT ekey, false FROM l WHERE (SELECT count(*) FROM c) < $4::bigint OFFSET $5::bigint - 1) x`), *at, end, p.before, p.limit-p.events, pruneScan)
	err = each(rows, err, func() error {
		if err := rows.Scan(&k, &gone); err != nil {
			return err
		}
		if gone {
			found = append(found, k)
		} else {
			last = k
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	switch {
	case len(found) == p.limit-p.events:
		*at, more = found[len(found)-1], true
	case last > 0:
		*at, more = last, true
	default:
		*at = max(*at, end-1)
	}
	if len(found) == 0 {
		return 0, more, nil
	}
	deleted, err = affected(tx.ExecContext(ctx, p.s.sql(`
		WITH a AS (DELETE FROM {attempts} x WHERE x.ekey = ANY ($1::bigint[])
			AND NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = x.ekey OFFSET 0))
		DELETE FROM {events} e WHERE e.ekey = ANY ($1::bigint[]) AND `+undelivered), ints(found)))
	return deleted, more, err
}

const (
	// pruneHooks is how many webhooks one transaction of housekeeping looks at, and
	// pruneHours how many hours of statistics it deletes.
	pruneHooks = 1000
	pruneHours = 5000
)

// statistics deletes the hours that ended before p.before. It is a skip scan from
// webhook to webhook; the first hour of each shows whether any must be deleted.
func (p *pruning) statistics(ctx context.Context) error {
	for from, more := int64(math.MinInt64), true; more; {
		var seen, deleted int
		var last int64
		err := p.s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, p.s.sql(`
				WITH RECURSIVE w AS (
					(SELECT wkey, hour, 1 AS i FROM {stats} WHERE wkey > $1::bigint ORDER BY wkey, hour LIMIT 1)
					UNION ALL
					SELECT x.wkey, x.hour, w.i + 1 FROM w CROSS JOIN LATERAL (
						SELECT wkey, hour FROM {stats} t WHERE t.wkey > w.wkey ORDER BY wkey, hour LIMIT 1) x
					WHERE w.i < $3::integer),
				old AS MATERIALIZED (
					SELECT x.wkey, x.hour FROM w CROSS JOIN LATERAL (
						SELECT t.wkey, t.hour FROM {stats} t WHERE t.wkey = w.wkey AND t.hour <= $2::bigint
						ORDER BY t.hour LIMIT $4::bigint FOR UPDATE SKIP LOCKED) x
					WHERE w.hour <= $2::bigint LIMIT $4::bigint),
				gone AS (
					DELETE FROM {stats} t USING old WHERE t.wkey = ANY (ARRAY[old.wkey]) AND t.hour = old.hour RETURNING 1)
				SELECT (SELECT count(*) FROM gone), count(*), coalesce(max(wkey), 0) FROM w`),
				from, p.before-microsPerHour, pruneHooks, pruneHours)
			return each(rows, err, func() error { return rows.Scan(&deleted, &seen, &last) })
		})
		if err != nil {
			return err
		}
		if deleted < pruneHours {
			from, more = last, seen == pruneHooks
		}
	}
	return nil
}

// webhooks deletes the rows of webhooks that were deleted at least a day ago and
// have no deliveries or statistics left.
func (p *pruning) webhooks(ctx context.Context) error {
	for from, seen := int64(0), pruneHooks; seen >= pruneHooks; {
		err := p.s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, p.s.sql(`
				WITH l AS MATERIALIZED (
					SELECT wkey, deleted_at FROM {webhooks}
					WHERE deleted_at > $1::bigint AND deleted_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 24 * $2::bigint
					ORDER BY deleted_at FETCH FIRST ($3::bigint) ROWS WITH TIES),
				c AS MATERIALIZED (
					SELECT x.wkey FROM l CROSS JOIN LATERAL (
						SELECT w.wkey FROM {webhooks} w WHERE w.wkey = l.wkey
							AND NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.wkey = w.wkey AND q.created_at >= 0 OFFSET 0)
							AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.wkey = w.wkey OFFSET 0)
							AND NOT EXISTS (SELECT 1 FROM {stats} t WHERE t.wkey = w.wkey OFFSET 0)
						FOR UPDATE SKIP LOCKED) x),
				gone AS (DELETE FROM {webhooks} w USING c WHERE w.wkey = ANY (ARRAY[c.wkey]) RETURNING w.wkey),
				health AS (DELETE FROM {health} h USING gone WHERE h.wkey = ANY (ARRAY[gone.wkey]))
				SELECT count(*), coalesce(max(deleted_at), 0) FROM l`), from, microsPerHour, pruneHooks)
			return each(rows, err, func() error { return rows.Scan(&seen, &from) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}
