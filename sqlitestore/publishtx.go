package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Tx is the part of a transaction that [Store.PublishTx] uses. *sql.Tx implements
// it, and so do the connections of sqlc (DBTX) and GORM (tx.Statement.ConnPool).
type Tx interface {
	// ExecContext runs one statement in the transaction, like the method of
	// *sql.Tx.
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	// QueryContext runs one query in the transaction, like the method of *sql.Tx.
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// PublishTx stores events in the caller's own transaction on the same database:
// they are delivered if it commits, and never exist if it does not. The requests
// come from [webhook.Dispatcher.Prepare]. It returns the number of stored events;
// the others were stored before, with equal type and data.
//
// The number of statements is the same for one event and a thousand, and for any
// number of webhooks. They take the database's write lock, which the transaction
// holds until it ends: keep it short. Begin it with BEGIN IMMEDIATE (both
// modernc.org/sqlite and mattn/go-sqlite3 do with _txlock=immediate in the DSN),
// and set a busy_timeout there: a transaction that begins by reading cannot write
// once another connection has written.
//
// The transaction's commit must wait for the disk. Some drivers set
// synchronous=NORMAL for files in WAL mode, with which the loss of power may undo
// the last transactions, including their events. PublishTx refuses such a
// connection with an error wrapping [ErrNotDurable] before it writes, unless
// Config.Relaxed accepts that.
//
// If an ID belongs to another event the error wraps [webhook.ErrEventConflict]: the
// rest of the events is stored and the transaction can go on. After any other error
// roll it back.
//
// PublishTx takes no connection of the Store's pool, which may be the pool of tx
// and have no free connection left; it asks for the version of the tables on tx.
//
// Call [webhook.Dispatcher.Wake] after the commit; without it the delivery begins
// at the next poll.
func (s *Store) PublishTx(ctx context.Context, tx Tx, reqs ...webhook.PublishRequest) (stored int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
	if len(reqs) == 0 {
		return 0, nil
	}
	p := newPublishing(time.Now(), reqs)
	if err := s.durable(plain{ctx, s, tx}); err != nil {
		return 0, wrap(ctx, "publish in transaction", err)
	}
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
// transaction, and only after a write: a transaction that begins by reading cannot
// write once another connection has written.
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

// The values of SQLite's PRAGMA synchronous.
var synchronousNames = map[int64]string{0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}

// durable refuses a connection of the host whose commits do not wait for the disk.
// The PRAGMA reads the file's schema if that is not known yet; SQLite then sees
// that the file is in WAL mode and applies its default for that mode. It leaves no
// read transaction behind, which could prevent a later write.
func (s *Store) durable(r runner) error {
	if s.cfg.Relaxed {
		return nil
	}
	level := int64(-1)
	if err := r.query("PRAGMA synchronous", nil, func(v []driver.Value) error { level = integer(v[0]); return nil }); err != nil {
		return err
	}
	if level >= 2 {
		return nil
	}
	return fmt.Errorf("%w: its connection has synchronous=%s, so that the loss of power may take the committed transaction: "+
		"add _pragma=synchronous(FULL) to the DSN (modernc.org/sqlite, ncruces/go-sqlite3) or _synchronous=FULL (mattn/go-sqlite3), "+
		"or accept that with Config.Relaxed", ErrNotDurable, synchronousNames[level])
}
