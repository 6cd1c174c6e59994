package sqlitestore

import (
	"context"
	"database/sql/driver"
	"sync"
	"time"
)

// prunePlace is where the last call of Prune ended, so that the next with the
// same time need not step over what that left.
type prunePlace struct {
	mu     sync.Mutex
	before int64
	at     key   // the last delivery
	event  int64 // the last event
}

// Prune implements [webhook.LogStore]. It looks for what can go while others
// write, and deletes it in two short transactions: deliveries, then events. A
// webhook that was deleted is forgotten with its last delivery.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	p := &pruning{s: s, before: before.UnixMicro(), future: s.future(), limit: limit}
	s.prunes.mu.Lock()
	if s.prunes.before == p.before {
		p.at, p.event = s.prunes.at, s.prunes.event
	}
	s.prunes.mu.Unlock()
	n, err := p.run(ctx)
	if err != nil {
		return 0, wrap(ctx, "prune", err)
	}
	s.prunes.mu.Lock()
	defer s.prunes.mu.Unlock()
	if s.prunes.before = p.before; n < limit {
		s.prunes.before = 0
	}
	s.prunes.at, s.prunes.event = p.at, p.event
	return n, nil
}

// pruning is one call of Prune.
type pruning struct {
	s      *Store
	before int64
	future int64 // what finished from here on finished by a clock that was wrong, and is as old as its event
	limit  int
	top    int64 // numbers from here on are too young
	at     key
	event  int64
}

func (p *pruning) run(ctx context.Context) (int, error) {
	var gone []key
	err := p.s.read(ctx, func(r runner) (err error) {
		gone = nil
		if p.top, err = p.s.numberAt(r, p.before); err != nil {
			return err
		}
		// Deliveries that a replay made have numbers between those of events.
		if err := r.query(`SELECT coalesce((SELECT min(seq) FROM {events} WHERE seq >= ?), 9223372036854775807)`, []any{p.top},
			func(v []driver.Value) error { p.top = integer(v[0]); return nil }); err != nil {
			return err
		}
		gone, err = p.deliveries(r)
		return err
	})
	if err != nil {
		return 0, err
	}
	deleted := 0
	err = p.write(ctx, len(gone), func(r runner) error {
		deleted = 0
		for _, k := range gone {
			n, err := r.exec(`DELETE FROM {deliveries} WHERE wkey = ? AND seq = ? AND state > 1 AND (finished < ? OR finished > ?)`, k.wkey, k.seq, p.before, p.future)
			if err != nil || n == 0 {
				if err != nil {
					return err
				}
				continue
			}
			deleted++
			if _, err := r.exec(`DELETE FROM {attempts} WHERE wkey = ? AND seq = ?`, k.wkey, k.seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if len(gone) == p.limit {
		return deleted, nil // the events of those that are left have to wait
	}
	events, err := p.events(ctx)
	if err != nil {
		return 0, err
	}
	if deleted += events; deleted < p.limit {
		err = p.write(ctx, 1, p.rest)
	}
	return deleted, err
}

// write runs a transaction unless there is nothing to do in it.
func (p *pruning) write(ctx context.Context, rows int, fn func(r runner) error) error {
	if rows == 0 {
		return nil
	}
	return p.s.write(ctx, &op{weight: rows, other: fn})
}

// deliveries finds finished ones, webhook by webhook, the oldest first.
func (p *pruning) deliveries(r runner) (gone []key, err error) {
	var hooks []int64
	if err := r.query(`SELECT wkey FROM {webhooks} WHERE wkey >= ? ORDER BY wkey`, []any{p.at.wkey}, func(v []driver.Value) error {
		hooks = append(hooks, integer(v[0]))
		return nil
	}); err != nil {
		return nil, err
	}
	for _, wkey := range hooks {
		after := int64(0)
		if wkey == p.at.wkey {
			after = p.at.seq
		}
		if err := r.query(`SELECT seq FROM {deliveries} WHERE wkey = ? AND seq > ? AND seq < ? AND state > 1 AND (finished < ? OR finished > ?) ORDER BY seq LIMIT ?`,
			[]any{wkey, after, p.top, p.before, p.future, int64(p.limit - len(gone))}, func(v []driver.Value) error {
				gone = append(gone, key{wkey, integer(v[0])})
				return nil
			}); err != nil {
			return nil, err
		}
		if len(gone) == p.limit {
			p.at = gone[len(gone)-1]
			return gone, nil
		}
		p.at = key{wkey, p.top}
	}
	return gone, nil
}

// unsent is true of an event e that has no delivery.
const unsent = `NOT EXISTS (SELECT 1 FROM {webhooks} w CROSS JOIN {deliveries} d ON d.wkey = w.wkey AND d.seq = e.seq WHERE w.tenant = e.tenant)
	AND NOT EXISTS (SELECT 1 FROM {deliveries} d INDEXED BY {prefix}deliveries_ekey WHERE d.ekey = e.seq)`

// events deletes those without a delivery.
func (p *pruning) events(ctx context.Context) (deleted int, err error) {
	var gone []int64
	err = p.s.read(ctx, func(r runner) error {
		gone = nil
		return r.query(`SELECT e.seq FROM {events} e WHERE e.seq > ? AND e.seq < ? AND `+unsent+` ORDER BY e.seq LIMIT ?`,
			[]any{p.event, p.top, int64(p.limit)}, func(v []driver.Value) error {
				gone = append(gone, integer(v[0]))
				return nil
			})
	})
	if err != nil {
		return 0, err
	}
	if p.event = p.top; len(gone) == p.limit && p.limit > 0 {
		p.event = gone[len(gone)-1]
	}
	list, err := jsonNumbers(gone)
	if err != nil {
		return 0, err
	}
	err = p.write(ctx, len(gone), func(r runner) error {
		n, err := r.exec(`DELETE FROM {events} AS e WHERE e.seq IN (SELECT value FROM json_each(?)) AND `+unsent, list)
		deleted = int(n)
		return err
	})
	return deleted, err
}

// rest deletes statistics, and deleted webhooks to which nothing refers.
func (p *pruning) rest(r runner) error {
	if _, err := r.exec(`DELETE FROM {stats} WHERE hour < ? OR hour > ?`, hourOf(p.before), p.future); err != nil {
		return err
	}
	for _, q := range []string{
		`DELETE FROM {webhooks} AS w WHERE w.deleted_at <> 0 AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.wkey = w.wkey)
			AND NOT EXISTS (SELECT 1 FROM {stats} s WHERE s.wkey = w.wkey)`,
		`DELETE FROM {lanes} AS l WHERE NOT EXISTS (SELECT 1 FROM {webhooks} w WHERE w.wkey = l.wkey)`,
	} {
		if _, err := r.exec(q); err != nil {
			return err
		}
	}
	return nil
}
