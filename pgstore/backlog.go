package pgstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

var _ webhook.BacklogStore = (*Store)(nil)

// backlogSQL counts along indexes, each kind up to the limit. Leased deliveries are
// found by the rows of claims, of which there are as many as claims with open
// leases. The oldest due delivery is found by a skip scan from webhook to webhook,
// as in a sweep; like a sweep, it steps over index entries of deliveries finished
// since the last vacuum.
//
// Parameters: 1 clock, 2 limit, 3 since.
const backlogSQL = `
WITH RECURSIVE n AS MATERIALIZED (SELECT {now} AS now),
held AS MATERIALIZED (
	SELECT q.lease_until > (SELECT now FROM n) AS holds
	FROM {claims} c CROSS JOIN LATERAL unnest(c.ekeys, c.wkeys) AS r(ekey, wkey)
	JOIN {queue} q ON ` + sameKey + ` AND q.token = c.token
	WHERE c.remaining > 0 LIMIT 2 * $2::bigint),
w AS (
	(SELECT q.wkey, q.due, 1 AS i FROM {queue} q
	WHERE NOT q.waiting AND q.lease_until = 0 AND q.due <= (SELECT now FROM n) ORDER BY q.wkey, q.due LIMIT 1)
	UNION ALL
	SELECT x.wkey, x.due, w.i + 1 FROM w CROSS JOIN LATERAL (
		SELECT q.wkey, q.due FROM {queue} q
		WHERE NOT q.waiting AND q.lease_until = 0 AND q.due <= (SELECT now FROM n) AND q.wkey > w.wkey ORDER BY q.wkey, q.due LIMIT 1) x
	WHERE w.i < $2::bigint)
SELECT (SELECT now FROM n),
	least((SELECT min(due) FROM w),
		(SELECT due FROM {queue} WHERE waiting AND due <= (SELECT now FROM n) ORDER BY due LIMIT 1)),
	(SELECT count(*) FROM (SELECT 1 FROM {queue} WHERE NOT waiting AND lease_until = 0 AND due <= (SELECT now FROM n) LIMIT $2::bigint) x)
		+ (SELECT count(*) FROM (SELECT 1 FROM {queue} WHERE waiting AND due <= (SELECT now FROM n) LIMIT $2::bigint) x),
	(SELECT count(*) FROM (SELECT 1 FROM {queue} WHERE waiting AND due > (SELECT now FROM n) LIMIT $2::bigint) x),
	(SELECT count(*) FROM held WHERE holds),
	(SELECT count(*) FROM held WHERE NOT holds),
	(SELECT count(*) FROM (SELECT 1 FROM {deliveries} WHERE state = 3 AND reason = 'quarantined' AND finished_at >= $3::bigint LIMIT $2::bigint) x),
	(SELECT count(*) FROM (SELECT 1 FROM {deliveries} WHERE state = 3 AND reason = 'retries_exhausted' AND finished_at >= $3::bigint LIMIT $2::bigint) x)`

// Backlog implements [webhook.BacklogStore]. It is one statement.
func (s *Store) Backlog(ctx context.Context, q webhook.BacklogQuery) (webhook.Backlog, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = webhook.DefaultBacklogLimit
	}
	var b webhook.Backlog
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		b = webhook.Backlog{}
		var now int64
		var oldest sql.NullInt64
		rows, err := tx.QueryContext(ctx, s.sql(backlogSQL), s.clock(q.Now), limit, sqlstore.Micros(q.Since))
		err = each(rows, err, func() error {
			return rows.Scan(&now, &oldest, &b.Due, &b.Waiting, &b.Leased, &b.Expired, &b.Quarantined, &b.Exhausted)
		})
		if oldest.Valid && oldest.Int64 < now {
			b.OldestDue = time.Duration(now-oldest.Int64) * time.Microsecond
		}
		return err
	})
	if err != nil {
		return webhook.Backlog{}, wrap(ctx, "backlog", err)
	}
	for _, n := range []*int{&b.Due, &b.Waiting, &b.Leased, &b.Expired, &b.Quarantined, &b.Exhausted} {
		if *n >= limit {
			*n, b.AtLeast = limit, true
		}
	}
	return b, nil
}
