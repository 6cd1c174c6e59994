package pgstore

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// replayScan bounds how many finished deliveries of the webhook, and how many
// events of all tenants, one step of a replay looks at. An index of each tenant's
// events in order would make replays cheaper and every publish more expensive.
const replayScan = 10_000

// Replay implements [webhook.QueueStore]. It goes through the webhook's finished
// deliveries in the order of their creation, and then through the events that it
// lacks in the order of theirs. Since and Until refer to the time when an event was
// published. An event published to one webhook only is not missing at others.
// Replays of one webhook wait for one another.
func (s *Store) Replay(ctx context.Context, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
	r := replay{s: s, req: req, since: math.MinInt64, until: math.MaxInt64}
	if !req.Since.IsZero() {
		r.since = sqlstore.Micros(req.Since)
	}
	if !req.Until.IsZero() {
		r.until = sqlstore.Micros(req.Until)
	}
	if err := r.start(); err != nil {
		return webhook.ReplayResult{}, wrap(ctx, "replay", err)
	}
	kind, from := r.kind, r.from
	err := s.inTx(ctx, setPlans, func(tx *sql.Tx) error {
		r.kind, r.from, r.res, r.due = kind, from, webhook.ReplayResult{}, 0
		return r.step(ctx, tx)
	})
	if err != nil {
		return webhook.ReplayResult{}, wrap(ctx, "replay", err)
	}
	if r.due > 0 {
		s.walk.noteWaiting(r.due)
	}
	return r.res, nil
}

// replay is one step of a replay.
type replay struct {
	s            *Store
	req          webhook.ReplayRequest
	since, until int64
	kind         byte
	from         []int64 // created, event; of the last delivery or event that was looked at
	hook         *webhook.WebhookRecord
	wkey         int64
	due          int64
	res          webhook.ReplayResult
}

// start reads the cursor.
func (r *replay) start() error {
	r.kind, r.from = cursorResends, []int64{math.MinInt64, 0}
	if r.req.Cursor == "" {
		return nil
	}
	for _, kind := range []byte{cursorResends, cursorMissing} {
		if nums, tail, ok := sqlstore.ParseCursor(kind, 2, r.req.Cursor); ok && tail == "" {
			r.kind, r.from = kind, nums
			return nil
		}
	}
	return badCursor(nil)
}

func (r *replay) step(ctx context.Context, tx *sql.Tx) error {
	lock := "FOR NO KEY UPDATE OF w"
	if r.req.DryRun {
		lock = ""
	}
	var err error
	if r.hook, r.wkey, err = r.s.getHook(ctx, tx, r.req.Tenant, r.req.WebhookID, lock); err != nil {
		return err
	}
	var keys []key
	var missing []int64
	more := false
	if r.kind == cursorResends {
		if keys, more, err = r.finished(ctx, tx); err != nil {
			return err
		}
		r.res.Resent = len(keys)
		if !more {
			r.kind, r.from = cursorMissing, []int64{math.MinInt64, 0}
		}
	}
	if !more && r.req.Missing {
		if missing, more, err = r.missing(ctx, tx); err != nil {
			return err
		}
		r.res.Created = len(missing)
	}
	if more {
		r.res.Next = sqlstore.Cursor(r.kind, "", r.from...)
	}
	if r.req.DryRun {
		return nil
	}
	// The order of locks is events, deliveries. The lock keeps Prune from deleting
	// an event that is just getting its first delivery.
	if len(missing) > 0 {
		if _, err := tx.ExecContext(ctx, r.s.sql(lockEventsSQL+` KEY SHARE`), ints(missing)); err != nil {
			return err
		}
	}
	if len(keys) > 0 {
		slices.SortFunc(keys, compareKeys)
		if r.res.Resent, r.due, err = r.s.revive(ctx, tx, r.s.clock(r.req.Now), keys); err != nil {
			return err
		}
	}
	return r.create(ctx, tx, missing)
}

// finished returns deliveries to make pending, and reports whether there are more.
// It looks at a bounded number of them. The query returns the last one even if it
// does not match, for the cursor.
func (r *replay) finished(ctx context.Context, tx *sql.Tx) (keys []key, more bool, err error) {
	var states intArray
	failed := ` AND d.state <> 2` // the smaller index suffices
	for _, st := range r.req.States {
		if st != webhook.StatePending {
			states.add(stateNumbers[st])
		}
		if st == webhook.StateSucceeded {
			failed = ""
		}
	}
	if len(states.b) == 0 {
		return nil, false, nil
	}
	rows, err := tx.QueryContext(ctx, r.s.sql(`
		SELECT created_at, ekey, matches, last FROM (
			SELECT d.created_at, d.ekey, coalesce(e.created_at >= $4::bigint AND e.created_at < $7::bigint, false) AS matches, d.nth = $9::bigint AS last
			FROM (SELECT created_at, ekey, state = ANY ($5::smallint[]) AND ($6::text = '' OR type = $6::text) AS wanted,
					row_number() OVER (ORDER BY created_at, ekey) AS nth
				FROM (SELECT created_at, ekey, state, type FROM {deliveries} d
					WHERE d.wkey = $1::bigint AND (d.created_at, d.ekey) > ($2::bigint, $3::bigint) AND d.created_at >= $4::bigint`+failed+`
					ORDER BY d.created_at, d.ekey LIMIT $9::bigint) d) d
				LEFT JOIN {events} e ON e.ekey = CASE WHEN d.wanted THEN d.ekey END) x
		WHERE matches OR last ORDER BY created_at, ekey LIMIT $8::bigint`),
		r.wkey, r.from[0], r.from[1], r.since, states.String(), r.req.EventType, r.until, r.req.Limit, replayScan)
	err = each(rows, err, func() error {
		k := key{webhook: r.wkey}
		var created int64
		var matches, last bool
		if err := rows.Scan(&created, &k.event, &matches, &last); err != nil {
			return err
		}
		r.from, more = []int64{created, k.event}, last
		if matches {
			keys = append(keys, k)
		}
		return nil
	})
	return keys, more || len(keys) >= r.req.Limit, err
}

// missing returns events that lack a delivery to the webhook, and reports whether
// there may be more. It looks at a bounded number of events.
func (r *replay) missing(ctx context.Context, tx *sql.Tx) (want []int64, more bool, err error) {
	var patterns textArray
	for _, p := range r.hook.Events {
		patterns.add(p)
	}
	first := r.from[1]
	if r.since > 0 {
		first = max(first, keyAt(r.since)-1)
	}
	end := int64(math.MaxInt64)
	if r.until < end {
		end = keyAt(r.until) + 1<<21
	}
	rows, err := tx.QueryContext(ctx, r.s.sql(`
		SELECT e.ekey, e.tenant = $1::text AND e.created_at >= $4::bigint AND e.created_at < $5::bigint AND ($6::text = '' OR e.type = $6::text)
			AND CASE WHEN e.only_id IS NOT NULL THEN e.only_id = $7::text ELSE EXISTS (
				SELECT 1 FROM unnest($8::text[]) AS p WHERE p = '*' OR p = e.type
					OR right(p, 2) = '.*' AND length(e.type) > length(p) - 1 AND starts_with(e.type, left(p, -1))) END
			AND NOT EXISTS (SELECT 1 FROM {queue} q WHERE q.ekey = e.ekey AND q.wkey = $9::bigint OFFSET 0)
			AND NOT EXISTS (SELECT 1 FROM {deliveries} d WHERE d.ekey = ANY (ARRAY[e.ekey]) AND d.wkey = $9::bigint`+inOrder+`)
		FROM (SELECT ekey, tenant, type, created_at, only_id FROM {events}
			WHERE ekey > $2::bigint AND ekey < $10::bigint ORDER BY ekey LIMIT $3::bigint) e
		ORDER BY e.ekey`),
		r.req.Tenant, first, replayScan, r.since, r.until, r.req.EventType, r.hook.ID, patterns.String(), r.wkey, end)
	left := r.req.Limit - r.res.Resent
	seen, full := 0, false
	var k int64
	var missing bool
	err = each(rows, err, func() error {
		if err := rows.Scan(&k, &missing); err != nil || full {
			return err
		}
		if missing && len(want) == left {
			full = true
			return nil
		}
		if missing {
			want = append(want, k)
		}
		seen++
		r.from = []int64{0, k}
		return nil
	})
	return want, full || seen == replayScan, err
}

// create creates the missing deliveries of events, which are locked.
func (r *replay) create(ctx context.Context, tx *sql.Tx, events []int64) error {
	if len(events) == 0 {
		return nil
	}
	rows, err := tx.QueryContext(ctx, r.s.sql(`
		INSERT INTO {queue} (ekey, wkey, due, created_at, waiting, type, name)
		SELECT e.ekey, $3::bigint, n.now, n.now, true, e.type, $4::text
		FROM {events} e, (SELECT {now} AS now) n WHERE e.ekey = ANY ($2::bigint[])
		ON CONFLICT DO NOTHING RETURNING due`), r.s.clock(r.req.Now), ints(events), r.wkey, r.hook.Name)
	r.res.Created = 0
	return each(rows, err, func() error {
		r.res.Created++
		return rows.Scan(&r.due)
	})
}

// keyAt returns the smallest key of an event published at a time in microseconds.
func keyAt(us int64) int64 { return us / 1000 << 21 }
