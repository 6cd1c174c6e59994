package pgstore

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// pruneCursor remembers how far the calls of one pruning have come, so that the
// next does not step over what they deleted. It starts anew when a pruning is
// done, or another one begins.
type pruneCursor struct {
	mu       sync.Mutex
	before   int64
	delivery key
	event    int64
}

// Prune implements [webhook.LogStore]. Both tables are walked in the order in
// which events were published. Rows that someone else holds are left for the
// next time. When nothing is left to delete it also removes old statistics and
// the remains of deleted webhooks.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	s.prunes.mu.Lock()
	defer s.prunes.mu.Unlock()
	c := pruneCursor{before: sqlstore.Micros(before)}
	if s.prunes.before == c.before {
		c.delivery, c.event = s.prunes.delivery, s.prunes.event
	}
	p := &pruning{s: s, before: c.before, limit: limit}
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		p.deliveries, p.events = 0, 0
		p.delivery, p.event = c.delivery, c.event
		return p.step(ctx, tx)
	})
	if err != nil {
		return 0, wrap(ctx, "prune", err)
	}
	s.prunes.before, s.prunes.delivery, s.prunes.event = c.before, p.delivery, p.event
	if p.deliveries < limit && p.events < limit {
		s.prunes.before, s.prunes.delivery, s.prunes.event = 0, key{}, 0
		if err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error { return p.remains(ctx, tx) }); err != nil {
			return 0, wrap(ctx, "prune", err)
		}
	}
	return p.deliveries + p.events, nil
}

// pruning is one call of Prune.
type pruning struct {
	s                  *Store
	before             int64
	limit              int
	delivery           key
	event              int64
	deliveries, events int
}

func (p *pruning) step(ctx context.Context, tx *sql.Tx) error {
	// No delivery is finished before its event was published.
	end := keyAt(p.before) + 1<<21
	rows, err := tx.QueryContext(ctx, p.s.sql(`
		WITH c AS MATERIALIZED (
			SELECT ekey, wkey, ctid AS id FROM {deliveries}
			WHERE (ekey, wkey) > ($1::bigint, $2::bigint) AND ekey < $3::bigint AND finished_at < $4::bigint
			ORDER BY ekey, wkey LIMIT $5::bigint FOR UPDATE SKIP LOCKED),
		d AS (DELETE FROM {deliveries} x USING c WHERE x.ctid = c.id),
		a AS (DELETE FROM {attempts} q USING c r WHERE `+sameKey+`)
		SELECT ekey, wkey FROM c ORDER BY ekey, wkey`), p.delivery.event, p.delivery.webhook, end, p.before, p.limit)
	err = each(rows, err, func() error {
		p.deliveries++
		return rows.Scan(&p.delivery.event, &p.delivery.webhook)
	})
	if err != nil {
		return err
	}
	if p.deliveries == p.limit {
		end = p.delivery.event // what comes after may still lose its deliveries
	}
	return p.pruneEvents(ctx, tx, end)
}

// undelivered is true of an event e that has no delivery.
const undelivered = `NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = e.ekey OFFSET 0) AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.ekey = ANY (ARRAY[e.ekey])` + inOrder + `)`

// pruneEvents deletes events without deliveries. They are locked by one
// statement and looked at again by the next: a replay that gave one a delivery
// in between holds its lock, or is seen.
func (p *pruning) pruneEvents(ctx context.Context, tx *sql.Tx, end int64) error {
	var found []int64
	var k int64
	rows, err := tx.QueryContext(ctx, p.s.sql(`
		SELECT e.ekey FROM {events} e
		WHERE e.ekey > $1::bigint AND e.ekey < $2::bigint AND e.created_at < $3::bigint AND `+undelivered+`
		ORDER BY e.ekey LIMIT $4::bigint FOR UPDATE SKIP LOCKED`), p.event, end, p.before, p.limit)
	err = each(rows, err, func() error {
		if err := rows.Scan(&k); err != nil {
			return err
		}
		found = append(found, k)
		return nil
	})
	if err != nil {
		return err
	}
	p.event = max(p.event, end-1)
	if len(found) == 0 {
		return nil
	}
	if len(found) == p.limit {
		p.event = k
	}
	p.events, err = affected(tx.ExecContext(ctx, p.s.sql(`
		WITH a AS (DELETE FROM {attempts} x WHERE x.ekey = ANY ($1::bigint[])
			AND NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = x.ekey OFFSET 0))
		DELETE FROM {events} e WHERE e.ekey = ANY ($1::bigint[]) AND `+undelivered), ints(found)))
	return err
}

// remains deletes statistics of hours that ended before, and webhooks that were
// deleted a day ago and more, which none of their deliveries refers to.
func (p *pruning) remains(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, p.s.sql(`
		DELETE FROM {stats} WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM {stats} WHERE hour + $1::bigint <= $2::bigint LIMIT 10000))`), microsPerHour, p.before); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, p.s.sql(`
		WITH gone AS (
			DELETE FROM {webhooks} WHERE wkey = ANY (ARRAY(
				SELECT w.wkey FROM {webhooks} w
				WHERE w.deleted_at > 0 AND w.deleted_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 24 * $1::bigint
					AND NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.wkey = w.wkey AND q.created_at >= 0 OFFSET 0)
					AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.wkey = w.wkey OFFSET 0)
				ORDER BY w.deleted_at LIMIT 1000))
			RETURNING wkey),
		health AS (DELETE FROM {health} h USING gone WHERE h.wkey = gone.wkey)
		DELETE FROM {stats} t USING gone WHERE t.wkey = gone.wkey`), microsPerHour)
	return err
}
