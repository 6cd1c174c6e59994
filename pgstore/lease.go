package pgstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Extend implements [webhook.QueueStore]. Like a claim it does not wait for the
// disk.
func (s *Store) Extend(ctx context.Context, now time.Time, leases []webhook.Lease, d time.Duration) (lost []string, err error) {
	ekeys, wkeys, tokens, known := leaseArrays(leases)
	held := map[int]bool{}
	err = s.inTx(ctx, setLeases, func(tx *sql.Tx) error {
		clear(held)
		rows, err := tx.QueryContext(ctx, s.sql(`
			UPDATE {queue} q SET lease_until = {now} + $5::bigint
			FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS r(ekey, wkey, token, ord)
			WHERE `+sameKey+` AND q.token = r.token
			RETURNING r.ord`), s.clock(now), ekeys, wkeys, tokens, d.Microseconds())
		var ord int
		err = each(rows, err, func() error {
			if err := rows.Scan(&ord); err != nil {
				return err
			}
			held[known[ord-1]] = true
			return nil
		})
		if err != nil {
			return err
		}
		// A lease may have become shorter: then it is looked at earlier.
		_, err = tx.ExecContext(ctx, s.sql(`
			UPDATE {claims} SET check_at = {now} + $3::bigint
			WHERE token = ANY ($2::bigint[]) AND check_at > {now} + $3::bigint`), s.clock(now), tokens, d.Microseconds())
		return err
	})
	if err != nil {
		return nil, wrap(ctx, "extend", err)
	}
	for i, l := range leases {
		if !held[i] {
			lost = append(lost, l.DeliveryID)
		}
	}
	return lost, nil
}

// leaseArrays encodes the leases of deliveries that can exist, and returns
// their positions.
func leaseArrays(leases []webhook.Lease) (ekeys, wkeys, tokens string, known []int) {
	var e, w, t intArray
	for i, l := range leases {
		if k, ok := parseID(l.DeliveryID); ok {
			e.add(k.event)
			w.add(k.webhook)
			t.add(l.Token)
			known = append(known, i)
		}
	}
	return e.String(), w.String(), t.String(), known
}

// releaseSQL gives leases back. The deliveries wait for their time, even if
// that is now, since what waits is found by every process.
const releaseSQL = `
UPDATE {queue} q SET token = 0, lease_until = 0, waiting = true, due = {now} + $5::bigint
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS r(ekey, wkey, token)
WHERE ` + sameKey + ` AND q.token = r.token
RETURNING q.due`

// releaseAllSQL does it for all that tokens hold.
const releaseAllSQL = `
UPDATE {queue} q SET token = 0, lease_until = 0, waiting = true, due = {now} + $3::bigint
FROM (
	SELECT c.token, u.ekey, u.wkey FROM {claims} c CROSS JOIN LATERAL unnest(c.ekeys, c.wkeys) AS u(ekey, wkey)
	WHERE c.token = ANY ($2::bigint[])) r
WHERE ` + sameKey + ` AND q.token = r.token
RETURNING q.due`

// Release implements [webhook.QueueStore].
func (s *Store) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
	var one []webhook.Lease
	var all intArray
	for _, l := range leases {
		if l.DeliveryID == "" {
			all.add(l.Token)
		} else {
			one = append(one, l)
		}
	}
	due := int64(0)
	note := func(rows *sql.Rows, err error) error {
		return each(rows, err, func() error { return rows.Scan(&due) })
	}
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		if len(one) > 0 {
			ekeys, wkeys, tokens, _ := leaseArrays(one)
			if err := note(tx.QueryContext(ctx, s.sql(releaseSQL), s.clock(now), ekeys, wkeys, tokens, delay.Microseconds())); err != nil {
				return err
			}
		}
		if len(all.b) == 0 {
			return nil
		}
		return note(tx.QueryContext(ctx, s.sql(releaseAllSQL), s.clock(now), all.String(), delay.Microseconds()))
	})
	if err == nil && due > 0 {
		s.walk.noteWaiting(due)
	}
	return wrap(ctx, "release", err)
}
