package pgstore

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// horizons are the times and keys at which the looks of a claim start, since
// everything before has been seen. Without them each look would step over the index
// entries of all deliveries finished since the last vacuum. A sweep looks without
// horizons.
type horizons struct {
	discover, slack int64 // key, and age in microseconds
	waiting, check  int64
}

const (
	// looksBack is how far a look goes back behind the last horizon, for
	// transactions that commit late.
	looksBack = int64(5 * time.Second / time.Microsecond)
	// discoverRows is about how many events a look at published events reads again;
	// discoverMin and discoverMax bound the time that this covers.
	discoverRows = 128
	discoverMin  = 50 * time.Millisecond
	discoverMax  = 10 * time.Second
	discoverFull = 256 // the LIMIT in claimSQL
)

// horizons returns where the looks of a claim start.
func (w *walk) horizons(full bool) horizons {
	w.mu.Lock()
	defer w.mu.Unlock()
	slack := discoverMax
	if w.rate > 0 {
		slack = min(max(time.Duration(discoverRows/w.rate*float64(time.Second)), discoverMin), discoverMax)
	}
	h := horizons{discover: w.discover, slack: slack.Microseconds()}
	if !full {
		h.waiting, h.check = w.promoted-looksBack, w.reaped-looksBack
	}
	return h
}

// looked notes the result of a claim's looks.
func (w *walk) looked(found, last, now int64, callerNow time.Time, waiting, check int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discover = 0
	if found >= discoverFull {
		w.discover = last + 1
	}
	w.ahead = now - callerNow.UnixMicro()
	w.waiting, w.check = waiting, check
}

// claimed notes how many deliveries a claim took, for the rate at which they come.
func (w *walk) claimed(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if took := now.Sub(w.counted).Seconds(); took > 0 && !w.counted.IsZero() {
		share := min(took, 1) // roughly the average of the last second
		w.rate += (float64(n)/took - w.rate) * share
	}
	w.counted = now
}

// prepare makes waiting deliveries ready that are due by now, and finds expired
// leases, unless neither can have changed.
func (c *claim) prepare(ctx context.Context, tx *sql.Tx) error {
	w := c.s.walk
	h := w.horizons(c.s.cfg.PassedClock)
	w.mu.Lock()
	now := c.req.Now.UnixMicro() + w.ahead
	promote := c.s.cfg.PassedClock || w.waiting > 0 && w.waiting <= now
	reap := c.s.cfg.PassedClock || w.check > 0 && w.check <= now
	w.mu.Unlock()

	if promote {
		found, due, err := c.hooks(ctx, tx, promoteSQL, h.waiting, math.MaxInt64)
		if err != nil {
			return err
		}
		c.more = c.more || found >= promoteRows
		if found >= promoteRows { // the next statement goes on from there
			now = due + looksBack
		}
		w.mu.Lock()
		w.promoted = max(w.promoted, now)
		w.mu.Unlock()
	}
	if reap {
		if _, _, err := c.hooks(ctx, tx, reapSQL, h.check, math.MaxInt64); err != nil {
			return err
		}
		w.mu.Lock()
		w.reaped = max(w.reaped, now)
		w.mu.Unlock()
	}
	return nil
}

// hooks runs a statement that returns webhooks and due times, and enters them into
// the walk. It returns the number of rows and the latest due time.
func (c *claim) hooks(ctx context.Context, tx *sql.Tx, q string, from, to int64) (found int, last int64, err error) {
	rows, err := tx.QueryContext(ctx, c.s.sql(q), c.s.clock(c.req.Now), from, to)
	var hook, due int64
	err = each(rows, err, func() error {
		if err := rows.Scan(&hook, &due); err != nil {
			return err
		}
		found++
		last = max(last, due)
		c.s.walk.add(hook, due)
		return nil
	})
	return found, last, err
}
