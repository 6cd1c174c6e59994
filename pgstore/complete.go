package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// completeSQL records results of leases that still hold.
//
// A delivery that succeeds at once costs four writes in all: its row in the queue;
// a second version of this row, within its page, by the claim; the row's deletion,
// which writes no version; its row in the log, which includes the attempt. It also
// has a share in the rows of the claim, of the webhook's health and of the hour.
// Fewer are impossible: a pending delivery must survive a crash, other processes
// must see a lease, a result must be kept, and claims would have to step over
// finished rows if the queue kept them. A retry adds the row's version back in the
// queue, another version when it becomes due, and a row for the attempt.
//
// Parameters: 1 clock; results: 2 event, 3 webhook, 4 token, 5 state, 6 reason, 7
// delay; attempts: 8 number, 9 start (null: no attempt), 10 duration, 11 status, 12
// class, 13 error, 14 headers, 15 truncated; 16 bodies, 17 offset, 18 length. It
// returns the positions of the recorded results.
const completeSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now),
r AS MATERIALIZED (
	SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[], $7::bigint[], $8::integer[], $9::bigint[],
		$10::bigint[], $11::smallint[], $12::text[], $13::text[], $14::text[], $15::smallint[], $17::integer[], $18::integer[]) WITH ORDINALITY
	AS r(ekey, wkey, token, state, reason, delay, number, started, duration, status, class, error, headers, truncated, off, len, ord)),
done AS (
	DELETE FROM {queue} q USING r
	WHERE ` + sameKey + ` AND q.token = r.token AND r.state <> 1
	RETURNING r.*, q.created_at, q.attempts, q.tries, q.crashes, q.last_status, q.last_class, q.type, q.name),
kept AS (
	INSERT INTO {deliveries} (ekey, wkey, created_at, finished_at, token, ord, started_at, duration, state, attempts, tries, crashes,
		number, last_status, status, truncated, type, name, reason, last_class, class, error, headers, body)
	SELECT d.ekey, d.wkey, d.created_at, (SELECT now FROM n), d.token, nextval('{record_seq}'), d.started, d.duration, d.state,
		CASE WHEN d.started IS NULL THEN d.attempts ELSE d.attempts + 1 END,
		d.tries + (d.started IS NOT NULL AND d.class IS DISTINCT FROM 'unsent')::integer, CASE WHEN d.started IS NULL THEN d.crashes ELSE 0 END,
		d.number, CASE WHEN d.started IS NULL THEN d.last_status ELSE d.status END, d.status, d.truncated <> 0, d.type, d.name, d.reason,
		CASE WHEN d.started IS NULL THEN d.last_class ELSE d.class END, d.class, d.error, d.headers,
		CASE WHEN d.len > 0 THEN substring($16::bytea FROM d.off FOR d.len) END
	FROM done d),
again AS (
	UPDATE {queue} q SET token = 0, lease_until = 0, waiting = true, due = (SELECT now FROM n) + r.delay,
		attempts = CASE WHEN r.started IS NULL THEN q.attempts ELSE q.attempts + 1 END,
		tries = q.tries + (r.started IS NOT NULL AND r.class IS DISTINCT FROM 'unsent')::integer, crashes = CASE WHEN r.started IS NULL THEN q.crashes ELSE 0 END,
		last_status = CASE WHEN r.started IS NULL THEN q.last_status ELSE r.status END,
		last_class = CASE WHEN r.started IS NULL THEN q.last_class ELSE r.class END
	FROM r WHERE ` + sameKey + ` AND q.token = r.token AND r.state = 1
	RETURNING r.*, q.due),
logged AS (
	INSERT INTO {attempts} (ekey, wkey, token, ord, started_at, duration, number, status, truncated, late, class, error, headers, body)
	SELECT a.ekey, a.wkey, a.token, nextval('{record_seq}'), a.started, a.duration, a.number, a.status, a.truncated <> 0, false,
		a.class, a.error, a.headers, CASE WHEN a.len > 0 THEN substring($16::bytea FROM a.off FOR a.len) END
	FROM again a
	ON CONFLICT DO NOTHING)
SELECT ord, 0 FROM done UNION ALL SELECT ord, due FROM again UNION ALL SELECT 0, now FROM n`

// States as they are stored. The log has an index of its own for all states but
// succeeded.
const (
	statePending = iota + 1
	stateSucceeded
	stateFailed
	stateCanceled
)

var stateNumbers = map[webhook.State]int64{
	webhook.StatePending: statePending, webhook.StateSucceeded: stateSucceeded,
	webhook.StateFailed: stateFailed, webhook.StateCanceled: stateCanceled,
}

var stateNames = [...]webhook.State{
	statePending: webhook.StatePending, stateSucceeded: webhook.StateSucceeded,
	stateFailed: webhook.StateFailed, stateCanceled: webhook.StateCanceled,
}

// Complete implements [webhook.QueueStore], in one transaction for the whole batch.
// Recording takes one statement, the health and statistics another; results whose
// lease was lost take two more.
func (s *Store) Complete(ctx context.Context, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
	b, err := newBatch(results)
	if err == nil {
		err = s.inTx(ctx, setPlans, func(tx *sql.Tx) error { return b.record(ctx, tx, s, s.clock(now)) })
	}
	if err != nil {
		return nil, wrap(ctx, "complete", err)
	}
	if b.due > 0 {
		s.walk.noteWaiting(b.due)
	}
	return b.out, nil
}

// batch is the state of one call of Complete.
type batch struct {
	results []webhook.Result
	keys    []key
	send    []int // positions of the results that are sent, in the order of locks
	applied []bool
	out     []webhook.Outcome
	due     int64 // of the earliest retry; 0: none
	now     int64
}

// newBatch handles the results that need no query: unknown IDs, and repetitions
// within the call.
func newBatch(results []webhook.Result) (*batch, error) {
	b := &batch{results: results, keys: make([]key, len(results)), out: make([]webhook.Outcome, len(results))}
	type name struct {
		key
		token int64
	}
	seen := make(map[name]bool, len(results))
	for i := range results {
		r := &results[i]
		if stateNumbers[r.State] == 0 {
			return nil, fmt.Errorf("result %d: unknown state %q", i, r.State)
		}
		k, ok := parseID(r.DeliveryID)
		if !ok {
			b.out[i] = webhook.OutcomeGone
			continue
		}
		b.keys[i] = k
		if seen[name{k, r.Token}] {
			continue
		}
		seen[name{k, r.Token}] = true
		b.send = append(b.send, i)
	}
	slices.SortStableFunc(b.send, func(i, j int) int { return compareKeys(b.keys[i], b.keys[j]) })
	return b, nil
}

// record is one run of the transaction.
func (b *batch) record(ctx context.Context, tx *sql.Tx, s *Store, clock int64) error {
	if len(b.send) == 0 {
		return nil
	}
	b.applied, b.due = make([]bool, len(b.results)), 0
	if err := b.lock(ctx, tx, s); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, s.completeSQL, b.args(clock, b.send)...)
	var ord, due int64
	err = each(rows, err, func() error {
		if err := rows.Scan(&ord, &due); err != nil {
			return err
		}
		if ord == 0 {
			b.now = due
			return nil
		}
		i := b.send[ord-1]
		b.applied[i], b.out[i] = true, webhook.OutcomeApplied
		if due > 0 && (b.due == 0 || due < b.due) {
			b.due = due
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.late(ctx, tx, s); err != nil {
		return err
	}
	return b.tally(ctx, tx, s)
}

// args encodes the results at the given positions as parameters of completeSQL.
func (b *batch) args(clock int64, at []int) []any {
	var ekeys, wkeys, tokens, states, delays, numbers, started, durations, statuses, truncated intArray
	var reasons, classes, errs, headers textArray
	var bodies blobs
	for _, i := range at {
		r := &b.results[i]
		ekeys.add(b.keys[i].event)
		wkeys.add(b.keys[i].webhook)
		tokens.add(r.Token)
		states.add(stateNumbers[r.State])
		if r.State == webhook.StateFailed || r.State == webhook.StateCanceled {
			reasons.addOrNull(string(r.Reason))
		} else {
			reasons.addOrNull("")
		}
		delays.add(max(r.Delay, 0).Microseconds())
		a := r.Attempt
		if a == nil {
			started.addNull()
			a = &webhook.Attempt{}
		} else {
			started.add(a.StartedAt.UnixMicro())
		}
		numbers.add(int64(a.Number))
		durations.add(a.Duration.Microseconds())
		statuses.add(int64(a.Status))
		classes.addOrNull(string(a.Class))
		errs.addOrNull(a.Error)
		if len(a.ResponseHeaders) == 0 {
			headers.addOrNull("")
		} else {
			headers.add(toJSON(a.ResponseHeaders))
		}
		if a.ResponseTruncated {
			truncated.add(1)
		} else {
			truncated.add(0)
		}
		bodies.add(a.ResponseBody)
	}
	return []any{
		clock, ekeys.String(), wkeys.String(), tokens.String(), states.String(), reasons.String(), delays.String(), numbers.String(),
		started.String(), durations.String(), statuses.String(), classes.String(), errs.String(), headers.String(), truncated.String(),
		bodies.bytes(), bodies.offs.String(), bodies.len.String(),
	}
}

// late handles results whose token holds no lease. Results recorded before are
// acknowledged; other attempts are logged if their delivery exists. OFFSET 0 keeps
// the server from reading a whole table at once instead of probing it for each row.
func (b *batch) late(ctx context.Context, tx *sql.Tx, s *Store) error {
	var rest []int
	for _, i := range b.send {
		if !b.applied[i] {
			rest = append(rest, i)
			b.out[i] = webhook.OutcomeGone
		}
	}
	if len(rest) == 0 {
		return nil
	}
	var ekeys, wkeys, tokens intArray
	for _, i := range rest {
		ekeys.add(b.keys[i].event)
		wkeys.add(b.keys[i].webhook)
		tokens.add(b.results[i].Token)
	}
	rows, err := tx.QueryContext(ctx, s.sql(`
		SELECT r.ord,
			EXISTS (SELECT 1 FROM {attempts} a WHERE a.ekey = r.ekey AND a.wkey = r.wkey AND a.token = r.token OFFSET 0)
			OR EXISTS (SELECT 1 FROM {deliveries} d WHERE `+sameLogged+` AND d.token = r.token`+inOrder+`),
			EXISTS (SELECT 1 FROM {queue} q WHERE `+sameKey+` OFFSET 0)
			OR EXISTS (SELECT 1 FROM {deliveries} d WHERE `+sameLogged+inOrder+`)
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS r(ekey, wkey, token, ord)`),
		ekeys.String(), wkeys.String(), tokens.String())
	var log []int
	var ord int
	var before, exists bool
	err = each(rows, err, func() error {
		if err := rows.Scan(&ord, &before, &exists); err != nil {
			return err
		}
		i := rest[ord-1]
		switch {
		case before:
			b.out[i] = webhook.OutcomeApplied
		case exists:
			b.out[i] = webhook.OutcomeLate
			if b.results[i].Attempt != nil {
				log = append(log, i)
			}
		}
		return nil
	})
	if err != nil || len(log) == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, s.sql(lateSQL), b.args(0, log)...)
	return err
}

// lateSQL logs attempts whose lease was lost; its parameters are those of
// completeSQL. They are numbered in the order of the parameters, and inserted in
// the order of locks, since another call may insert the same results at the same
// time.
const lateSQL = `
WITH r AS MATERIALIZED (
	SELECT r.*, nextval('{record_seq}') AS ord
	FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[], $7::bigint[], $8::integer[], $9::bigint[],
		$10::bigint[], $11::smallint[], $12::text[], $13::text[], $14::text[], $15::smallint[], $17::integer[], $18::integer[])
	AS r(ekey, wkey, token, state, reason, delay, number, started, duration, status, class, error, headers, truncated, off, len)
	WHERE $1::bigint = 0)
INSERT INTO {attempts} (ekey, wkey, token, ord, started_at, duration, number, status, truncated, late, class, error, headers, body)
SELECT ekey, wkey, token, ord, started, duration, number, status, truncated <> 0, true,
	class, error, headers, CASE WHEN len > 0 THEN substring($16::bytea FROM off FOR len) END
FROM r ORDER BY ekey, wkey, token
ON CONFLICT DO NOTHING`
