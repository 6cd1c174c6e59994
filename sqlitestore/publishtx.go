package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Tx is what [Store.PublishTx] needs of a transaction. *sql.Tx has it, and so
// have the connections of sqlc (DBTX) and GORM (tx.Statement.ConnPool).
type Tx interface {
	// ExecContext runs one statement in the transaction, as that of *sql.Tx does.
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	// QueryContext runs one query in the transaction, as that of *sql.Tx does.
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// PublishTx stores events in the caller's own transaction on the same database:
// they are delivered if it commits, and otherwise nobody ever sees them. The
// requests come from [webhook.Dispatcher.Prepare]. It returns how many of them
// were stored; the others were there already, with equal type and data.
//
// The statements are as many for one event as for a thousand, whatever the
// number of webhooks. They take the database's write lock, which the
// transaction holds until it ends: keep it short. Begin it with BEGIN IMMEDIATE
// (both modernc.org/sqlite and mattn/go-sqlite3 do with _txlock=immediate in
// the DSN), and set a busy_timeout there: a transaction that begins by reading
// cannot write once another has written since.
//
// When an ID belongs to another event the error wraps
// [webhook.ErrEventConflict]: the rest of the events is stored, and the
// transaction can go on. After any other error roll it back.
//
// It takes no connection of the Store's pool, which may be the one that tx is
// from, and have none left: what it has to know it asks on tx.
//
// Call [webhook.Dispatcher.Wake] after the commit; without it the delivery
// begins at the next poll.
func (s *Store) PublishTx(ctx context.Context, tx Tx, reqs ...webhook.PublishRequest) (stored int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if len(reqs) == 0 {
		return 0, nil
	}
	p := newPublishing(time.Now(), reqs)
	if err := s.publishAll(plain{ctx, s, tx}, []*publishing{p}); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if err := s.ensureTx(ctx, tx); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	conflicts := 0
	for _, r := range p.out {
		switch {
		case r.Conflict:
			conflicts++
		case !r.Duplicate:
			stored++
		}
	}
	if conflicts > 0 {
		return stored, wrap(ctx, "publish in transaction", fmt.Errorf("%w: %d of %d events", webhook.ErrEventConflict, conflicts, len(reqs)))
	}
	return stored, nil
}

// ensureTx refuses tables of another version. It asks once, on the host's
// transaction, and after that has written: a transaction that begins by reading
// may not write any more when another has written since.
func (s *Store) ensureTx(ctx context.Context, tx Tx) error {
	if s.ready.Load() || s.fitsTx.Load() {
		return nil
	}
	have, err := s.version(ctx, tx)
	if err != nil {
		return err
	}
	if have != schemaVersion {
		return s.misfit(have)
	}
	s.fitsTx.Store(true)
	return nil
}
