package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"
)

// microsPerHour is the width of a bucket of statistics.
const microsPerHour = int64(time.Hour / time.Microsecond)

// hookTally sums up a batch's results for one webhook.
type hookTally struct {
	triggered, success int64 // start of the latest attempt, and of the latest successful attempt
	fails              []int64
}

// hourTally sums them up for one webhook and hour.
type hourTally struct{ succeeded, failed, duration int64 }

// bucket is the key of an hourTally.
type bucket struct{ hook, hour int64 }

// tally updates health, statistics and the counts of claims: one row version per
// webhook, per webhook and hour, and per claim, in each batch. Rows are locked in
// the order of their keys, so that batches of several processes do not deadlock,
// and at the end of the transaction, so that they are not held for long.
func (b *batch) tally(ctx context.Context, tx *sql.Tx, s *Store) error {
	hooks := map[int64]*hookTally{}
	hours := map[bucket]*hourTally{}
	tokens := map[int64]int64{}
	for _, i := range b.send {
		r := &b.results[i]
		if !b.applied[i] {
			continue
		}
		tokens[r.Token]++
		a := r.Attempt
		if a == nil || a.Class.OurFault() {
			continue
		}
		at, k := a.StartedAt.UnixMicro(), b.keys[i].webhook
		h := hooks[k]
		if h == nil {
			h = &hookTally{}
			hooks[k] = h
		}
		hour := bucket{k, at - (at%microsPerHour+microsPerHour)%microsPerHour}
		t := hours[hour]
		if t == nil {
			t = &hourTally{}
			hours[hour] = t
		}
		h.triggered = max(h.triggered, at)
		t.duration += a.Duration.Microseconds()
		if a.Succeeded() {
			h.success = max(h.success, at)
			t.succeeded++
		} else {
			h.fails = append(h.fails, at)
			t.failed++
		}
	}
	return b.writeTally(ctx, tx, s, hooks, hours, tokens)
}

// tallySQL writes all tallies in one round trip. A webhook fails since its first
// failure after its last success. Of the batch's own failures, the parameters have
// the first and the last after the batch's last success, to be compared with the
// stored times.
//
// Parameters: 1–3 claims: token, count; 4–8 health: webhook, triggered, success,
// first and last failure; 9–13 hours: webhook, hour, succeeded, failed, duration.
const tallySQL = `
WITH claims AS (
	UPDATE {claims} c SET remaining = remaining - t.n
	FROM unnest($1::bigint[], $2::integer[]) AS t(token, n) WHERE c.token = ANY (ARRAY[t.token])),
hours AS (
	INSERT INTO {stats} AS s (wkey, hour, succeeded, failed, duration)
	SELECT * FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
	ON CONFLICT (wkey, hour) DO UPDATE SET succeeded = s.succeeded + excluded.succeeded, failed = s.failed + excluded.failed,
		duration = s.duration + excluded.duration)
UPDATE {health} h SET
	last_triggered = greatest(h.last_triggered, t.triggered),
	last_success = greatest(h.last_success, t.success),
	failing_since = CASE
		WHEN h.failing_since > greatest(h.last_success, t.success)
			THEN least(h.failing_since, CASE WHEN t.first > h.last_success THEN t.first END, CASE WHEN t.last > h.last_success THEN t.last END)
		WHEN t.first > h.last_success THEN t.first
		WHEN t.last > h.last_success THEN t.last
		ELSE 0 END
FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) AS t(wkey, triggered, success, first, last)
WHERE h.wkey = ANY (ARRAY[t.wkey])` // as in sameKey

func (b *batch) writeTally(ctx context.Context, tx *sql.Tx, s *Store, hooks map[int64]*hookTally, hours map[bucket]*hourTally, tokens map[int64]int64) error {
	if len(tokens) == 0 {
		return nil
	}
	var token, count intArray
	for _, t := range slices.Sorted(maps.Keys(tokens)) {
		token.add(t)
		count.add(tokens[t])
	}
	var hook, triggered, success, first, last intArray
	for _, k := range slices.Sorted(maps.Keys(hooks)) {
		h := hooks[k]
		hook.add(k)
		triggered.add(h.triggered)
		success.add(h.success)
		var from, to int64
		for _, f := range h.fails {
			if f > h.success {
				to = max(to, f)
				if from == 0 || f < from {
					from = f
				}
			}
		}
		first.add(from)
		last.add(to)
	}
	var hourHook, hour, succeeded, failed, duration intArray
	for _, k := range slices.SortedFunc(maps.Keys(hours), func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.hook, b.hook), cmp.Compare(a.hour, b.hour))
	}) {
		t := hours[k]
		hourHook.add(k.hook)
		hour.add(k.hour)
		succeeded.add(t.succeeded)
		failed.add(t.failed)
		duration.add(t.duration)
	}
	_, err := tx.ExecContext(ctx, s.sql(tallySQL), token.String(), count.String(),
		hook.String(), triggered.String(), success.String(), first.String(), last.String(),
		hourHook.String(), hour.String(), succeeded.String(), failed.String(), duration.String())
	return err
}
