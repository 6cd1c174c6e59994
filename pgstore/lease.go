package pgstore

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Extend implements [webhook.QueueStore]. Like a claim, it does not wait for the
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
		// A lease may have become shorter; then its claim must be checked earlier.
		_, err = tx.ExecContext(ctx, s.sql(`
			UPDATE {claims} c SET check_at = {now} + $3::bigint
			FROM (SELECT DISTINCT token FROM unnest($2::bigint[]) AS token ORDER BY token) t
			WHERE c.token = ANY (ARRAY[t.token]) AND c.check_at > {now} + $3::bigint`), s.clock(now), tokens, d.Microseconds())
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

// leaseArrays encodes the leases whose delivery ID is valid, in the order of locks,
// and returns their positions.
func leaseArrays(leases []webhook.Lease) (ekeys, wkeys, tokens string, known []int) {
	keys := make([]key, len(leases))
	for i, l := range leases {
		if k, ok := parseID(l.DeliveryID); ok {
			keys[i] = k
			known = append(known, i)
		}
	}
	slices.SortFunc(known, func(i, j int) int { return compareKeys(keys[i], keys[j]) })
	var e, w, t intArray
	for _, i := range known {
		e.add(keys[i].event)
		w.add(keys[i].webhook)
		t.add(leases[i].Token)
	}
	return e.String(), w.String(), t.String(), known
}

// releaseSQL releases leases. The deliveries become waiting even if they are due
// now, since every process finds waiting deliveries.
//
// Parameters: 1 clock; leases: 2 event, 3 webhook, 4 token; 5 tokens of which all
// leases are released; 6 delay.
const releaseSQL = `
WITH r AS MATERIALIZED (
	SELECT * FROM (
		SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS r(ekey, wkey, token)
		UNION ALL
		SELECT u.ekey, u.wkey, c.token FROM {claims} c CROSS JOIN LATERAL unnest(c.ekeys, c.wkeys) AS u(ekey, wkey)
		WHERE c.token = ANY ($5::bigint[])) r
	ORDER BY ekey, wkey)
UPDATE {queue} q SET token = 0, lease_until = 0, waiting = true, due = {now} + $6::bigint
FROM r WHERE ` + sameKey + ` AND q.token = r.token
RETURNING q.due`

// Release implements [webhook.QueueStore].
func (s *Store) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
	var all intArray
	for _, l := range leases {
		if l.DeliveryID == "" {
			all.add(l.Token)
		}
	}
	ekeys, wkeys, tokens, _ := leaseArrays(leases)
	due := int64(0)
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, s.sql(releaseSQL), s.clock(now), ekeys, wkeys, tokens, all.String(), delay.Microseconds())
		return each(rows, err, func() error { return rows.Scan(&due) })
	})
	if err == nil && due > 0 {
		s.walk.noteWaiting(due)
	}
	return wrap(ctx, "release", err)
}
