package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Tx is the part of a transaction that [Store.PublishTx] uses. *sql.Tx implements
// it, and so do the connections of sqlc (DBTX) and GORM (tx.Statement.ConnPool). A
// pgx.Tx does with this adapter:
//
//	type pgxTx struct{ pgx.Tx }
//
//	func (t pgxTx) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
//		tag, err := t.Exec(ctx, q, args...)
//		return driver.RowsAffected(tag.RowsAffected()), err
//	}
type Tx interface {
	// ExecContext runs one statement in the transaction and returns how many rows
	// it wrote, like the method of *sql.Tx.
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PublishTx stores events in the caller's own transaction: they are delivered if it
// commits, and never exist if it does not. The requests come from
// [webhook.Dispatcher.Prepare]. It returns the number of stored events; the others
// were stored before, with equal type and data.
//
// It sends one statement, and a second one only if an ID was taken; the first call
// of a process also asks for the version of the tables. All statements go over tx:
// PublishTx takes no connection of the Store's pool, which may be the pool of tx
// and have no free connection left. Two transactions that publish do not wait for
// one another unless they publish the same event ID. Two transactions that publish
// several equal IDs in several calls and in different orders can deadlock, which
// the server resolves; publish such events in one call.
//
// If an ID belongs to another event the error wraps [webhook.ErrEventConflict]: the
// rest of the events is stored and the transaction can go on. After any other error
// the transaction is aborted: roll it back.
//
// Call [webhook.Dispatcher.Wake] after the commit; without it the delivery begins
// at the next poll.
func (s *Store) PublishTx(ctx context.Context, tx Tx, reqs ...webhook.PublishRequest) (stored int, err error) {
	if err := s.ensureTx(ctx, tx); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if len(reqs) == 0 {
		return 0, nil
	}
	p := newPublication(reqs)
	for i, r := range p.out {
		if r.Conflict {
			return 0, wrap(ctx, "publish in transaction", fmt.Errorf("%w: %q is twice in this call, with different content",
				webhook.ErrEventConflict, reqs[i].Event.ID))
		}
	}
	now := time.Time{}
	if s.cfg.PassedClock {
		now = reqs[0].Event.Time
	}
	n, err := affected(tx.ExecContext(ctx, s.publishSQL, p.args(s.clock(now))...))
	if err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if n == len(p.send) {
		return n, nil
	}
	same, err := affected(tx.ExecContext(ctx, s.sql(sameSQL), p.sameArgs(p.send)...))
	if err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if same < len(p.send) {
		return n, wrap(ctx, "publish in transaction", fmt.Errorf("%w: %d of %d events", webhook.ErrEventConflict, len(p.send)-same, len(reqs)))
	}
	return n, nil
}

// sameSQL returns the positions of the given events that are stored with equal
// content.
const sameSQL = `
SELECT r.ord
FROM unnest($1::text[], $2::text[], $3::text[], $5::integer[], $6::integer[])
	WITH ORDINALITY AS r(tenant, id, type, off, len, ord)
CROSS JOIN LATERAL (SELECT type, data FROM {events} e WHERE e.tenant = r.tenant AND e.id = r.id LIMIT 1) e
WHERE e.type = r.type AND e.data = substring($4::bytea FROM r.off FOR r.len)`

// sameArgs encodes the events at the given positions for sameSQL.
func (p *publication) sameArgs(at []int) []any {
	var tenants, ids, types textArray
	var data blobs
	for _, i := range at {
		ev := &p.reqs[i].Event
		tenants.add(ev.Tenant)
		ids.add(ev.ID)
		types.add(ev.Type)
		data.add(ev.Data)
	}
	return []any{tenants.String(), ids.String(), types.String(), data.bytes(), data.offs.String(), data.len.String()}
}

// affected returns the number of rows of a statement.
func affected(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}
