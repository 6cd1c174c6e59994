package sqlitestore

import (
	"context"
	"database/sql/driver"
	"math"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

var _ webhook.BacklogStore = (*Store)(nil)

// Backlog implements [webhook.BacklogStore], in one read transaction, which does
// not block writers. Besides the rows it counts it reads one row per webhook.
func (s *Store) Backlog(ctx context.Context, q webhook.BacklogQuery) (webhook.Backlog, error) {
	c := &counting{limit: q.Limit}
	if c.limit <= 0 {
		c.limit = webhook.DefaultBacklogLimit
	}
	err := s.read(ctx, func(r runner) error {
		c.r, c.out, c.oldest = r, webhook.Backlog{}, math.MaxInt64
		if err := readShift(r, &c.shift); err != nil {
			return err
		}
		c.now = q.Now.UnixMicro() - c.shift
		if !s.cfg.PassedClock {
			c.now = s.moment().wall - c.shift
		}
		return c.count(sqlstore.Micros(q.Since))
	})
	if err != nil {
		return webhook.Backlog{}, wrap(ctx, "backlog", err)
	}
	if c.oldest < c.now {
		c.out.OldestDue = time.Duration(c.now-c.oldest) * time.Microsecond
	}
	return c.out, nil
}

// counting is the work of one call of Backlog.
type counting struct {
	r           runner
	limit       int
	shift       int64
	now, oldest int64 // in the queue's time
	out         webhook.Backlog
}

// count counts deliveries of all kinds.
func (c *counting) count(since int64) error {
	var lanes []*lane
	err := c.r.query(`SELECT `+laneColumns+` FROM {lanes} WHERE tail > head OR next_due IS NOT NULL`, nil, func(v []driver.Value) error {
		lanes = append(lanes, scanLane(v))
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range lanes {
		if err := c.lane(l); err != nil {
			return err
		}
	}
	if err := c.leases(); err != nil {
		return err
	}
	for reason, n := range map[webhook.Reason]*int{
		webhook.ReasonQuarantined: &c.out.Quarantined, webhook.ReasonRetriesExhausted: &c.out.Exhausted,
	} {
		if err := c.rows(n, `{deliveries} INDEXED BY {prefix}deliveries_ended WHERE state = 3 AND reason = ? AND finished >= ?`,
			string(reason), since); err != nil {
			return err
		}
	}
	return nil
}

// lane counts the unclaimed deliveries of one webhook.
func (c *counting) lane(l *lane) error {
	if l.due != 0 {
		if err := c.first(`SELECT min(due) FROM {waiting} WHERE wkey = ?`, l.wkey); err != nil {
			return err
		}
		if err := c.rows(&c.out.Due, `{waiting} WHERE wkey = ? AND due <= ?`, l.wkey, c.now); err != nil {
			return err
		}
		if err := c.rows(&c.out.Waiting, `{waiting} WHERE wkey = ? AND due > ?`, l.wkey, c.now); err != nil {
			return err
		}
	}
	if l.tail <= l.head {
		return nil
	}
	if err := c.first(`SELECT created - (SELECT shift FROM {counters} WHERE id = 1) FROM {deliveries} WHERE wkey = ? AND seq > ? ORDER BY seq LIMIT 1`,
		l.wkey, l.head); err != nil {
		return err
	}
	return c.rows(&c.out.Due, `{deliveries} WHERE wkey = ? AND seq > ?`, l.wkey, l.head)
}

// first updates the time since which the oldest delivery has been due.
func (c *counting) first(q string, args ...any) error {
	return c.r.query(q, args, func(v []driver.Value) error {
		if v[0] != nil {
			c.oldest = min(c.oldest, integer(v[0]))
		}
		return nil
	})
}

// leases counts the leases of all claims.
func (c *counting) leases() error {
	return c.r.query(`SELECT token, items FROM {claims}`, nil, func(v []driver.Value) error {
		h := &held{token: integer(v[0])}
		if err := h.decode(blob(v[1])); err != nil {
			return err
		}
		for _, l := range h.leases {
			if l.expiry > c.now {
				c.add(&c.out.Leased, 1)
			} else {
				c.add(&c.out.Expired, 1)
			}
		}
		return nil
	})
}

// rows counts rows up to the limit.
func (c *counting) rows(n *int, where string, args ...any) error {
	left := c.limit - *n
	if left <= 0 {
		return nil
	}
	return c.r.query(`SELECT count(*) FROM (SELECT 1 FROM `+where+` LIMIT ?)`, append(args, int64(left)), func(v []driver.Value) error {
		c.add(n, int(integer(v[0])))
		return nil
	})
}

// add adds n to a count, up to the limit.
func (c *counting) add(to *int, n int) {
	if *to += n; *to >= c.limit {
		*to, c.out.AtLeast = c.limit, true
	}
}
