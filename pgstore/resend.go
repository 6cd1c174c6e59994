package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// reviveSQL moves finished deliveries back into the queue. The attempts in their
// rows move into the log of attempts, with the token that finished them.
// Parameters: 1 clock, 2 event, 3 webhook.
const reviveSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now),
back AS (
	DELETE FROM {deliveries} x USING (
		SELECT l.id FROM unnest($2::bigint[], $3::bigint[]) AS r(ekey, wkey) CROSS JOIN LATERAL (
			SELECT d.ctid AS id FROM {deliveries} d WHERE ` + sameLogged + inOrder + ` FOR UPDATE) l) l
	WHERE x.ctid = l.id RETURNING x.*),
queued AS (
	INSERT INTO {queue} (ekey, wkey, due, created_at, attempts, last_status, last_class, waiting, type, name)
	SELECT ekey, wkey, (SELECT now FROM n), created_at, attempts, last_status, last_class, true, type, name FROM back
	RETURNING ekey),
logged AS (
	INSERT INTO {attempts} (ekey, wkey, token, ord, started_at, duration, number, status, truncated, late, class, error, headers, body)
	SELECT ekey, wkey, token, ord, started_at, duration, number, status, truncated, false, class, error, headers, body FROM back
	ON CONFLICT DO NOTHING)
SELECT count(*), (SELECT now FROM n) FROM queued`

// revive runs reviveSQL and returns how many deliveries it moved and when they are
// due.
func (s *Store) revive(ctx context.Context, tx *sql.Tx, clock int64, keys []key) (n int, due int64, err error) {
	var ekeys, wkeys intArray
	for _, k := range keys {
		ekeys.add(k.event)
		wkeys.add(k.webhook)
	}
	rows, err := tx.QueryContext(ctx, s.sql(reviveSQL), clock, ekeys.String(), wkeys.String())
	err = each(rows, err, func() error { return rows.Scan(&n, &due) })
	return n, due, err
}

// Resend implements [webhook.QueueStore]. If the delivery's lease has expired,
// Resend ends it and counts its attempt, which may have been sent.
func (s *Store) Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (webhook.Delivery, error) {
	var out webhook.Delivery
	due := int64(0)
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		k, ok := parseID(deliveryID)
		if !ok {
			return fmt.Errorf("delivery %q: %w", deliveryID, webhook.ErrNotFound)
		}
		if _, err := s.getDelivery(ctx, tx, tenant, deliveryID); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, s.sql(`
			UPDATE {queue} SET tries = 0, crashes = 0, token = 0, lease_until = 0,
				attempts = attempts + (lease_until > 0)::integer,
				waiting = waiting OR lease_until > 0, due = CASE WHEN lease_until > 0 OR due > {now} THEN {now} ELSE due END
			WHERE ekey = $2::bigint AND wkey = $3::bigint AND lease_until <= {now}
			RETURNING due`), s.clock(now), k.event, k.webhook)
		if err := each(rows, err, func() error { return rows.Scan(&due) }); err != nil {
			return err
		}
		if due == 0 {
			if _, due, err = s.revive(ctx, tx, s.clock(now), []key{k}); err != nil {
				return err
			}
		}
		out, err = s.getDelivery(ctx, tx, tenant, deliveryID)
		return err
	})
	if err != nil {
		return webhook.Delivery{}, wrap(ctx, "resend", err)
	}
	s.walk.noteWaiting(due)
	return out, nil
}
