package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
)

// The order of locks. Two transactions that lock the same rows in different orders
// end in a deadlock, which costs deadlock_timeout (a second) and the work of the
// transaction that the server chooses as victim. So every transaction takes the
// locks that it may have to wait for in one order, by table:
//
//	webhooks, events, queue, deliveries, attempts, health, stats, claims, subscriptions
//
// Within a table the order is by primary key, for claims by token, for new events
// by tenant and ID. Waiting for a row that another transaction has just inserted
// under the same key counts as locking it.
//
// A statement locks rows in the order in which its plan finds them. A statement
// about many rows is given the keys in order and finds each row by sameKey, which
// leaves the server no other order. The statements in WITH that change rows run one
// after the other, not row by row: where two of them change one table, the rows are
// locked beforehand (lockSQL).
//
// Transactions that never wait may take locks in any order: Claim, the sweep and
// Prune skip locked rows.
//
// Callers can break the order in one way: a transaction that calls PublishTx
// several times, with IDs that others publish too, decides the order itself.
//
// If the server finds a deadlock nevertheless (40P01), inTx repeats the
// transaction.

// lockSQL locks the pending deliveries that tokens hold, in the order of the
// parameters: 1 event, 2 webhook, 3 token.
const lockSQL = `
SELECT 1 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r(ekey, wkey, token)
JOIN {queue} q ON ` + sameKey + ` AND q.token = r.token
FOR UPDATE OF q`

// lockEventsSQL locks events in the order of their keys; the caller appends the
// strength of the lock.
const lockEventsSQL = `SELECT 1 FROM {events} WHERE ekey = ANY ($1::bigint[]) ORDER BY ekey FOR`

// compareKeys orders keys as the tables do.
func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.event, b.event), cmp.Compare(a.webhook, b.webhook))
}

// lock locks the rows that Complete is about to change in two statements. If all
// deliveries of the batch are due again, or all are finished, one statement changes
// them and no lock is needed beforehand.
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
