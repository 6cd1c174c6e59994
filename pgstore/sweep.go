package pgstore

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"
)

// A sweep finds all claimable deliveries, whenever they became due: those of a
// transaction that took long to commit, those made ready by a process that died
// before it claimed them, and those pending when this process starts. It
// has to step over index entries of finished deliveries that are not vacuumed yet,
// and a long transaction elsewhere keeps all of those, by the million.
//
// So a sweep is not part of a claim's transaction. It has its own, whose statements
// end after sweepLimit, or earlier if the server's statement_timeout is shorter.
// Then the sweep fails; claims go on with the webhooks they know, and the next
// sweeps cover the same ground in parts, as small as needed (see narrow).

const (
	sweepShare  = 20                     // sweeps may take one part in so many of the time
	sweepMax    = 10 * time.Second       // longest pause between two sweeps
	sweepPause  = 500 * time.Millisecond // shortest pause
	sweepHooks  = 20_000                 // webhooks found by one statement
	sweepBudget = 100 * time.Millisecond // time after which the statement starts with no other webhook
	sweepLimit  = 250 * time.Millisecond // time limit of one statement
)

// setSweep is for transactions of a sweep; it keeps a shorter timeout of the
// host's.
const setSweep = setLeases + `; SELECT set_config('statement_timeout', '250ms', true)
	WHERE current_setting('statement_timeout')::interval NOT BETWEEN '1ms' AND '250ms'`

// sweepSQL lists the webhooks that have ready deliveries, from one webhook on, with
// the due time of the first delivery of each. It is a skip scan from webhook to
// webhook. The last row has the time, and whether the scan reached the end.
//
// Parameters: 1 clock, 2 webhook, 3 webhooks at most, 4 microseconds.
const sweepSQL = `
WITH RECURSIVE n AS MATERIALIZED (SELECT {now} AS now),
w AS (
	(SELECT q.wkey, q.due, 1 AS i FROM {queue} q
	WHERE NOT q.waiting AND q.lease_until <= (SELECT now FROM n) AND q.wkey > $2::bigint ORDER BY q.wkey, q.due LIMIT 1)
	UNION ALL
	SELECT x.wkey, x.due, w.i + 1 FROM w CROSS JOIN LATERAL (
		SELECT q.wkey, q.due FROM {queue} q
		WHERE NOT q.waiting AND q.lease_until <= (SELECT now FROM n) AND q.wkey > w.wkey ORDER BY q.wkey, q.due LIMIT 1) x
	WHERE w.i < $3::integer AND clock_timestamp() < statement_timestamp() + $4::bigint * interval '1 microsecond')
SELECT wkey, due, true FROM w
UNION ALL
SELECT (SELECT now FROM n), 0, (SELECT count(*) FROM w) < $3::integer
	AND clock_timestamp() < statement_timestamp() + $4::bigint * interval '1 microsecond'`

// sweepDue reports whether it is time for a sweep. A sweep that stopped at its
// limit goes on as soon as claims have room.
func (w *walk) sweepDue(now time.Time, full bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.swept.IsZero() || w.unfinished && !full {
		return true
	}
	pause := w.sweepTook * sweepShare
	if w.parts {
		pause = w.sweepTook * narrowShare
	}
	return now.Sub(w.swept) >= max(min(pause, sweepMax), sweepPause)
}

// sweep makes a sweep if it is time for one. It does not return errors: claims work
// without it, and report errors of the database themselves.
func (c *claim) sweep(ctx context.Context) {
	w := c.s.walk
	if !c.s.cfg.PassedClock && !w.sweepDue(time.Now(), w.len() >= c.req.Limit) {
		return
	}
	if c.s.cfg.PassedClock {
		w.sweeping.Lock()
	} else if !w.sweeping.TryLock() {
		return // another claim is sweeping
	}
	defer w.sweeping.Unlock()
	began := time.Now()
	if w.narrow == nil {
		if err := c.sweepAll(ctx); timedOut(ctx, err) {
			w.mu.Lock()
			w.narrow = newNarrow(c.req.Now.UnixMicro() + w.ahead)
			w.mu.Unlock()
		}
	}
	for w.narrow != nil && time.Since(began) < sweepLimit && ctx.Err() == nil {
		if !w.narrow.step(ctx, c) {
			w.narrow = nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.swept = time.Now()
	w.parts = w.narrow != nil
	w.unfinished = !w.parts && w.sweepFrom != 0
	w.sweepTook = w.swept.Sub(began)
}

// timedOut reports whether the server ended a statement that took too long.
func timedOut(ctx context.Context, err error) bool {
	return sqlState(err) == "57014" && ctx.Err() == nil
}

// sweepAll looks at everything at once: waiting deliveries, claims and webhooks.
func (c *claim) sweepAll(ctx context.Context) error {
	w := c.s.walk
	w.mu.Lock()
	from, first := w.sweepFrom, w.swept.IsZero()
	w.mu.Unlock()
	if first {
		// From their first round on, claims only look at new rows, even if this
		// sweep fails. For that the database's time must be known.
		if err := c.readClock(ctx); err != nil {
			return err
		}
	}
	var all bool
	var found int
	var last, now int64
	err := c.s.once(ctx, setSweep, func(tx *sql.Tx) error {
		var err error
		if found, _, err = c.hooks(ctx, tx, promoteSQL, math.MinInt64, math.MaxInt64); err != nil {
			return err
		}
		if _, _, err := c.hooks(ctx, tx, reapSQL, math.MinInt64, math.MaxInt64); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, c.s.sql(sweepSQL), c.s.clock(c.req.Now), from, sweepHooks, sweepBudget.Microseconds())
		var hook, due int64
		return each(rows, err, func() error {
			if err := rows.Scan(&hook, &due, &all); err != nil {
				return err
			}
			if due == 0 {
				now = hook
				return nil
			}
			last = hook
			w.add(hook, due)
			return nil
		})
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !all:
		w.sweepFrom = last
	case found >= promoteRows: // more waiting deliveries, although all webhooks were found
		w.sweepFrom = math.MaxInt64
	default:
		w.sweepFrom = 0
	}
	w.promoted, w.reaped = max(w.promoted, now), max(w.reaped, now)
	return nil
}

// readClock reads the database's time, from which on claims will look.
func (c *claim) readClock(ctx context.Context) error {
	var now int64
	err := c.s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, c.s.sql(`SELECT {now}`), c.s.clock(c.req.Now))
		return each(rows, err, func() error { return rows.Scan(&now) })
	})
	w := c.s.walk
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.ahead = now - c.req.Now.UnixMicro()
		w.promoted, w.reaped = now, now
	}
	return err
}

// narrow is a sweep in parts. It looks at waiting deliveries by due time and at
// claims by the time of their check, the latest first, where most of them are; then
// at webhooks, several at a time. A webhook with too many finished deliveries is
// looked at alone, by the due times of its deliveries. A part that takes too long
// is made smaller, and skipped if it cannot be.
type narrow struct {
	now     int64
	waiting stretch
	claims  stretch
	hook    int64   // webhook after which it goes on
	hooks   int     // how many at a time
	next    int64   // webhook that is looked at alone
	alone   stretch // its due times that are left
}

// stretch is a range of times that is looked at in parts from its end: the times
// below end are left, and each part covers width. After four parts in time the
// width doubles.
type stretch struct {
	end, width int64
	passed     int
}

const (
	narrowFirst = int64(time.Hour / time.Microsecond)
	narrowLeast = int64(10 * time.Millisecond / time.Microsecond)
	narrowHooks = 256
	narrowShare = 4 // sweepShare for a sweep in parts
)

func newNarrow(now int64) *narrow {
	return &narrow{now: now, waiting: stretch{end: now, width: narrowFirst}, claims: stretch{end: now, width: narrowFirst}, hooks: narrowHooks}
}

// next looks at the next part and reports whether any part is left.
func (s *stretch) next(ctx context.Context, look func(from, to int64) (again bool, err error)) bool {
	from := max(s.end-s.width, 0)
	again, err := look(from, s.end)
	switch {
	case err == nil && !again:
		s.end = from
		if s.passed++; s.passed == 4 {
			s.width, s.passed = s.width*2, 0
		}
	case err == nil:
	case timedOut(ctx, err) && s.width > narrowLeast:
		s.width, s.passed = s.width/2, 0
	default:
		s.end = from
	}
	return s.end > 0
}

// step looks at one part and reports whether there are more.
func (n *narrow) step(ctx context.Context, c *claim) bool {
	switch {
	case n.waiting.end > 0:
		n.waiting.next(ctx, func(from, to int64) (bool, error) { return n.look(ctx, c, promoteLateSQL, from, to) })
	case n.claims.end > 0:
		n.claims.next(ctx, func(from, to int64) (bool, error) { return n.look(ctx, c, reapLateSQL, from, to) })
	case n.alone.end > 0:
		more := n.alone.next(ctx, func(from, to int64) (bool, error) { return false, n.one(ctx, c, from, to) })
		if !more {
			n.hook = n.next
		}
	default:
		seen, last, err := n.webhooks(ctx, c, n.hooks, math.MinInt64, math.MaxInt64)
		switch {
		case err == nil:
			more := seen == n.hooks
			n.hook, n.hooks = last, min(n.hooks*2, narrowHooks)
			return more
		case timedOut(ctx, err) && n.hooks > 1:
			n.hooks /= 2
		case timedOut(ctx, err):
			if _, n.next, err = n.webhooks(ctx, c, 1, 0, 0); err != nil {
				return false
			}
			n.alone = stretch{end: n.now, width: narrowFirst}
		default:
			return false // the next sweep starts anew
		}
	}
	return true
}

// look runs a statement about a range of times, and reports whether the same range
// must be looked at again, since there may be more rows.
func (n *narrow) look(ctx context.Context, c *claim, q string, from, to int64) (again bool, err error) {
	err = c.s.once(ctx, setSweep, func(tx *sql.Tx) error {
		found, _, err := c.hooks(ctx, tx, q, from, to)
		again = found >= promoteRows
		return err
	})
	return again, err
}

// narrowSQL looks at the next webhooks, whether they have deliveries or not.
//
// Parameters: 1 clock, 2 webhook, 3 how many; due times: 4 from, 5 to.
const narrowSQL = `
SELECT w.wkey, x.due FROM (SELECT wkey FROM {webhooks} WHERE wkey > $2::bigint ORDER BY wkey LIMIT $3::bigint) w
LEFT JOIN LATERAL (
	SELECT q.due FROM {queue} q
	WHERE q.wkey = w.wkey AND NOT q.waiting AND q.due >= $4::bigint AND q.due < $5::bigint AND q.lease_until <= (SELECT {now})
	ORDER BY q.due LIMIT 1) x ON true
ORDER BY w.wkey`

// webhooks looks at due times of the next webhooks. It returns the number of
// webhooks and the last one.
func (n *narrow) webhooks(ctx context.Context, c *claim, count int, from, to int64) (seen int, last int64, err error) {
	err = c.s.once(ctx, setSweep, func(tx *sql.Tx) error {
		seen = 0
		rows, err := tx.QueryContext(ctx, c.s.sql(narrowSQL), c.s.clock(c.req.Now), n.hook, count, from, to)
		var due sql.NullInt64
		return each(rows, err, func() error {
			if err := rows.Scan(&last, &due); err != nil {
				return err
			}
			if seen++; due.Valid {
				c.s.walk.add(last, due.Int64)
			}
			return nil
		})
	})
	return seen, last, err
}

// Deliveries found in a part that became due long ago get the current time as due
// time: claims that looked for them at their old due time would have to step over
// all deliveries finished since then.
var (
	promoteLateSQL = strings.Replace(promoteSQL, "SET waiting = false", "SET waiting = false, due = (SELECT {now})", 1)
	reapLateSQL    = strings.Replace(reapSQL, "SELECT wkey, min(due) FROM m", `, late AS MATERIALIZED (
	SELECT q.ekey, q.wkey FROM m r JOIN {queue} q ON `+sameKey+` AND q.lease_until <= (SELECT now FROM n)
	WHERE r.lease_until <= (SELECT now FROM n) FOR UPDATE OF q SKIP LOCKED),
moved AS (
	UPDATE {queue} q SET waiting = true, due = (SELECT now FROM n) FROM late r WHERE `+sameKey+`)
SELECT wkey, (SELECT now FROM n) FROM m`, 1)
)

// aloneSQL looks at a range of due times of one webhook. If it finds as many
// deliveries as its limit, it leaves them as they are, to be claimed there.
//
// Parameters: 1 clock, 2 webhook; due times: 3 from, 4 to; 5 how many.
const aloneSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now),
f AS MATERIALIZED (
	SELECT q.ekey, q.wkey, q.due FROM {queue} q
	WHERE q.wkey = $2::bigint AND NOT q.waiting AND q.due >= $3::bigint AND q.due < $4::bigint AND q.lease_until <= (SELECT now FROM n)
	ORDER BY q.due LIMIT $5::bigint FOR UPDATE SKIP LOCKED),
moved AS (
	UPDATE {queue} q SET waiting = true, due = (SELECT now FROM n) FROM f r
	WHERE ` + sameKey + ` AND (SELECT count(*) FROM f) < $5::bigint)
SELECT (SELECT now FROM n), count(*), coalesce(min(due), 0) FROM f`

// one runs aloneSQL.
func (n *narrow) one(ctx context.Context, c *claim, from, to int64) error {
	var now, found, first int64
	err := c.s.once(ctx, setSweep, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, c.s.sql(aloneSQL), c.s.clock(c.req.Now), n.next, from, to, promoteRows)
		return each(rows, err, func() error { return rows.Scan(&now, &found, &first) })
	})
	switch {
	case err != nil:
	case found >= promoteRows:
		c.s.walk.add(n.next, first)
	case found > 0:
		c.s.walk.noteWaiting(now)
	}
	return err
}
