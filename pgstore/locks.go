package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
)

// The order of locks. Two transactions that lock the same rows in different
// orders end in a deadlock, which costs deadlock_timeout (a second), and the
// work of the one that the server chooses. So every transaction takes the locks
// that it may have to wait for in one order, by table:
//
//	webhooks, events, queue, deliveries, attempts, health, stats, claims, subscriptions
//
// and within a table by primary key, claims by token, new events by tenant and
// ID. To wait for a row that another transaction has just inserted under the
// same key counts as a lock of it.
//
// A statement locks rows in the order in which its plan finds them. Those about
// many rows are given the keys in order, and find a row for each by sameKey,
// which leaves the server no other order. The statements in WITH that change
// rows run one after the other, not row by row: where two of them change one
// table, the rows are locked beforehand (lockSQL).
//
// Who waits for nobody may take locks in any order: Claim, the sweep and Prune
// skip rows that are locked.
//
// One thing is left to callers: a transaction of theirs that calls PublishTx
// several times, with IDs that others publish too, decides the order itself.
//
// The server's own verdict (40P01) is still answered by a repetition, in inTx.

// lockSQL locks the pending deliveries that tokens hold, in the order of the
// parameters: 1 event, 2 webhook, 3 token.
const lockSQL = `
SELECT 1 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r(ekey, wkey, token)
JOIN {queue} q ON ` + sameKey + ` AND q.token = r.token
FOR UPDATE OF q`

// lockEventsSQL locks events in the order of their keys; how strongly follows.
const lockEventsSQL = `SELECT 1 FROM {events} WHERE ekey = ANY ($1::bigint[]) ORDER BY ekey FOR`

// compareKeys orders keys as the tables do.
func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.event, b.event), cmp.Compare(a.webhook, b.webhook))
}

// lock locks what Complete is about to change in two statements, some by one and
// the rest by the other. A batch of which all or none is due again needs no lock
// beforehand.
func (b *batch) lock(ctx context.Context, tx *sql.Tx, s *Store) error {
	again := func(i int) bool { return stateNumbers[b.results[i].State] == statePending }
	if !slices.ContainsFunc(b.send, again) || !slices.ContainsFunc(b.send, func(i int) bool { return !again(i) }) {
		return nil
	}
	var ekeys, wkeys, tokens intArray
	for _, i := range b.send {
		ekeys.add(b.keys[i].event)
		wkeys.add(b.keys[i].webhook)
		tokens.add(b.results[i].Token)
	}
	_, err := tx.ExecContext(ctx, s.sql(lockSQL), ekeys.String(), wkeys.String(), tokens.String())
	return err
}
