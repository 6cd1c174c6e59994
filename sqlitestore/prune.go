package sqlitestore

import (
	"context"
	"database/sql/driver"
	"math"
	"sync"
	"time"
)

const (
	// pruneRows is how many rows one transaction of a pruning deletes, not counting
	// the attempts of deliveries. It bounds how long other writers wait.
	pruneRows = 250
	// pruneHooks is how many webhooks, and pruneEvents how many events, one read
	// transaction looks at.
	pruneHooks  = 1000
	pruneEvents = 1000
)

// prunePlace is how far the calls of one pruning have come, so that the next call
// does not look at kept rows again. When a pruning has looked at all rows it ends,
// and the next one begins at the first row.
type prunePlace struct {
	mu     sync.Mutex
	under  bool  // a pruning is under way
	before int64 // the earliest time that one of its calls asked for
	at     key   // the last delivery
	event  int64 // the last event
}

// Prune implements [webhook.LogStore]. It searches in read transactions, without
// blocking writers, and deletes in short transactions of some hundred rows each.
// The row of a deleted webhook is removed after its last delivery.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	s.prunes.mu.Lock()
	defer s.prunes.mu.Unlock()
	p := &pruning{s: s, before: before.UnixMicro(), future: s.future(), limit: limit}
	if err := p.run(ctx, &s.prunes); err != nil {
		return 0, wrap(ctx, "prune", err)
	}
	return p.deliveries + p.events, nil
}

// pruning is one call of Prune.
type pruning struct {
	s                  *Store
	before             int64
	future             int64 // a delivery finished after this had a wrong clock, and counts as old as its event
	limit              int
	top                int64 // events from this number on are too young
	deliveries, events int   // deleted
}

func (p *pruning) full() bool { return p.deliveries >= p.limit || p.events >= p.limit }

func (p *pruning) run(ctx context.Context, at *prunePlace) error {
	err := p.s.read(ctx, func(r runner) (err error) {
		if p.top, err = p.s.numberAt(r, p.before); err != nil {
			return err
		}
		// Deliveries created by a replay have numbers between those of events.
		return r.query(`SELECT coalesce((SELECT min(seq) FROM {events} WHERE seq >= ?), 9223372036854775807)`, []any{p.top},
			func(v []driver.Value) error { p.top = integer(v[0]); return nil })
	})
	if err != nil {
		return err
	}
	for whole := false; !whole; {
		if !at.under {
			at.under, at.before, at.at, at.event = true, p.before, key{}, 0
		}
		at.before = min(at.before, p.before)
		for _, step := range []func(context.Context, *prunePlace) (bool, error){p.pruneDeliveries, p.pruneEvents} {
			for more := true; more; {
				if more, err = step(ctx, at); err != nil || p.full() {
					return err
				}
			}
		}
		// Earlier calls of this pruning may have asked for an earlier time and kept
		// rows that this call must delete.
		whole = at.before >= p.before
		at.under = false
	}
	if err := p.statistics(ctx); err != nil {
		return err
	}
	return p.webhooks(ctx)
}

// inSteps deletes n rows in several transactions; one deletes the i-th row.
func (p *pruning) inSteps(ctx context.Context, n int, one func(r runner, i int) error) error {
	for from := 0; from < n; from += pruneRows {
		to := min(from+pruneRows, n)
		err := p.s.write(ctx, &op{weight: to - from, other: func(r runner) error {
			for i := from; i < to; i++ {
				if err := one(r, i); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// pruneDeliveries deletes finished deliveries of the next webhooks, the oldest
// first, and reports whether there are more webhooks.
func (p *pruning) pruneDeliveries(ctx context.Context, at *prunePlace) (more bool, err error) {
	var gone []key
	end := key{}
	err = p.s.read(ctx, func(r runner) error {
		gone = nil
		hooks, err := column(r, `SELECT wkey FROM {webhooks} WHERE wkey >= ? ORDER BY wkey LIMIT ?`, at.at.wkey, int64(pruneHooks))
		if err != nil {
			return err
		}
		more, end = len(hooks) == pruneHooks, key{wkey: math.MaxInt64}
		for _, wkey := range hooks {
			after := int64(0)
			if wkey == at.at.wkey {
				after = at.at.seq
			}
			found, err := column(r, `SELECT seq FROM {deliveries} WHERE wkey = ? AND seq > ? AND seq < ? AND state > 1 AND (finished < ? OR finished > ?) ORDER BY seq LIMIT ?`,
				wkey, after, p.top, p.before, p.future, int64(p.limit-p.deliveries-len(gone)))
			if err != nil {
				return err
			}
			for _, seq := range found {
				gone = append(gone, key{wkey, seq})
			}
			if len(gone) == p.limit-p.deliveries {
				more, end = true, gone[len(gone)-1]
				return nil
			}
			if more {
				end = key{wkey, p.top}
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	deleted := make([]bool, len(gone)) // a transaction may run twice
	err = p.inSteps(ctx, len(gone), func(r runner, i int) error {
		k := gone[i]
		n, err := r.exec(`DELETE FROM {deliveries} WHERE wkey = ? AND seq = ? AND state > 1 AND (finished < ? OR finished > ?)`, k.wkey, k.seq, p.before, p.future)
		if deleted[i] = n > 0; err != nil || n == 0 {
			return err
		}
		_, err = r.exec(`DELETE FROM {attempts} WHERE wkey = ? AND seq = ?`, k.wkey, k.seq)
		return err
	})
	if err != nil {
		return false, err
	}
	at.at = end
	p.deliveries += count(deleted)
	return more, nil
}

func count(all []bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// pruneEvents deletes those of the next events that have no delivery, and reports
// whether there are more events. It finds them in a read transaction: an event gets
// deliveries when it is published, which is over, or from a replay. The deleting
// statement looks for those of a replay again.
func (p *pruning) pruneEvents(ctx context.Context, at *prunePlace) (more bool, err error) {
	var free []int64
	size := min(pruneEvents, p.limit-p.events)
	end := p.top - 1
	err = p.s.read(ctx, func(r runner) error {
		free = nil
		tenants := map[string][]int64{}
		n := 0
		if err := r.query(`SELECT seq, tenant FROM {events} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?`, []any{at.event, p.top, int64(size)},
			func(v []driver.Value) error {
				n++
				end = integer(v[0])
				tenants[text(v[1])] = append(tenants[text(v[1])], end)
				return nil
			}); err != nil {
			return err
		}
		if more = n == size; !more {
			end = p.top - 1
		}
		for tenant, events := range tenants {
			left, err := unsent(r, tenant, events)
			if err != nil {
				return err
			}
			free = append(free, left...)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	deleted := make([]bool, len(free))
	err = p.inSteps(ctx, len(free), func(r runner, i int) error {
		n, err := r.exec(`DELETE FROM {events} AS e WHERE e.seq = ?
			AND NOT EXISTS (SELECT 1 FROM {deliveries} d INDEXED BY {prefix}deliveries_ekey WHERE d.ekey = e.seq)`, free[i])
		deleted[i] = n > 0
		return err
	})
	if err != nil {
		return false, err
	}
	at.event = max(at.event, end)
	p.events += count(deleted)
	return more, nil
}

// statistics deletes hours that ended before p.before, or that lie in the future.
func (p *pruning) statistics(ctx context.Context) error {
	if err := p.hours(ctx, `s.hour < ?`, hourOf(p.before)); err != nil {
		return err
	}
	return p.hours(ctx, `s.hour > ?`, p.future)
}

func (p *pruning) hours(ctx context.Context, which string, bound int64) error {
	type hour struct{ wkey, hour int64 }
	for from, more := int64(0), true; more; {
		var old []hour
		err := p.s.read(ctx, func(r runner) error {
			old = nil
			return r.query(`SELECT s.wkey, s.hour FROM {webhooks} w CROSS JOIN {stats} s ON s.wkey = w.wkey AND `+which+`
				WHERE w.wkey >= ? ORDER BY w.wkey LIMIT ?`, []any{bound, from, int64(pruneRows)}, func(v []driver.Value) error {
				old = append(old, hour{integer(v[0]), integer(v[1])})
				return nil
			})
		})
		if err != nil {
			return err
		}
		if more = len(old) == pruneRows; more {
			from = old[len(old)-1].wkey
		}
		if err := p.inSteps(ctx, len(old), func(r runner, i int) error {
			_, err := r.exec(`DELETE FROM {stats} WHERE wkey = ? AND hour = ?`, old[i].wkey, old[i].hour)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// webhooks deletes the rows of deleted webhooks without deliveries and statistics.
func (p *pruning) webhooks(ctx context.Context) error {
	const forgotten = `w.deleted_at <> 0 AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.wkey = w.wkey)
		AND NOT EXISTS (SELECT 1 FROM {stats} s WHERE s.wkey = w.wkey)`
	for from, more := int64(0), true; more; {
		var gone []int64
		err := p.s.read(ctx, func(r runner) (err error) {
			gone, err = column(r, `SELECT w.wkey FROM {webhooks} w WHERE w.wkey > ? AND `+forgotten+` ORDER BY w.wkey LIMIT ?`, from, int64(pruneRows))
			return err
		})
		if err != nil {
			return err
		}
		if more = len(gone) == pruneRows; more {
			from = gone[len(gone)-1]
		}
		if err := p.inSteps(ctx, len(gone), func(r runner, i int) error {
			n, err := r.exec(`DELETE FROM {webhooks} AS w WHERE w.wkey = ? AND `+forgotten, gone[i])
			if err != nil || n == 0 {
				return err
			}
			_, err = r.exec(`DELETE FROM {lanes} WHERE wkey = ?`, gone[i])
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
