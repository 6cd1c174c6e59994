// Package sqlitestore keeps webhooks, events and deliveries in an SQLite database:
// a [webhook.Store] for one machine, durable, without a server.
//
// It imports no driver: open a file on a local disk with any driver that carries
// SQLite 3.51.3 or newer, such as modernc.org/sqlite or
// github.com/mattn/go-sqlite3, and pass the *sql.DB.
//
//	// modernc.org/sqlite, without cgo
//	db, err := sql.Open("sqlite", "file:/var/lib/app/app.db?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)")
//	// github.com/mattn/go-sqlite3
//	db, err := sql.Open("sqlite3", "file:/var/lib/app/app.db?_txlock=immediate&_busy_timeout=10000&_synchronous=FULL&_foreign_keys=1")
//
//	store, err := sqlitestore.New(db, sqlitestore.Config{})
//	err = store.Migrate(ctx) // also switches the file to WAL
//	d, err := webhook.New(store, webhook.Config{})
//
// The settings in the DSN are for the host's own transactions; the Store sets its
// own on the one connection that it writes with. It uses this connection of the
// pool, and one for each concurrent read. A transaction that calls
// [Store.PublishTx] should begin with BEGIN IMMEDIATE, as it does with
// _txlock=immediate. Foreign keys are the host's choice; the Store uses none.
//
// SQLite allows one writer at a time. Calls that arrive while a transaction is
// being written share the next one, and its wait for the disk.
// Readers are not blocked.
package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/coalesce"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Store is a [webhook.Store] on SQLite. It is safe for concurrent use, and several
// processes of one machine may use one file.
//
// For writing, it borrows one connection of the pool and keeps it while it is busy,
// and a second longer. It sets the connection to synchronous=FULL and to its own
// way of waiting for locks, and restores the settings before it returns the
// connection. With a pool of one connection it borrows that for each transaction.
// Its goroutines end with the calls that need them.
//
// Leases and due times are measured by the machine's clock. They keep their length
// when the clock is set while a process has the file in use. Times of publication
// are passed in by callers; the stored times never go back, even if a clock does.
type Store struct {
	db      *sql.DB
	cfg     Config
	names   *strings.Replacer
	texts   sync.Map    // SQL with names put in, by SQL without
	ready   atomic.Bool // schema and settings were found to fit
	fitsTx  atomic.Bool // the schema was found to fit, in a transaction of the host's
	events  *eventCache
	hooks   *hookCache
	group   *coalesce.Group[*op, struct{}]
	prunes  prunePlace
	fanouts sqlstore.Fanouts

	mu     sync.Mutex // guards the following fields; held during a transaction
	writer *session   // nil: not borrowed
	idle   *time.Timer
	used   time.Time
	closed bool
	turns  turns  // where the next claim goes on
	last   moment // of the last transaction
	now    moment // of the current transaction
}

var (
	_ webhook.Store         = (*Store)(nil)
	_ webhook.WebhookWalker = (*Store)(nil)
	_ webhook.EraseStore    = (*Store)(nil)
)

// New returns a Store that keeps its tables in db, a file opened with any SQLite
// driver for database/sql. New does not touch the database: call [Store.Migrate]
// before any other method. The error names the field of cfg that was refused.
func New(db *sql.DB, cfg Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlitestore: New: db is nil: open one with sql.Open and an SQLite driver")
	}
	cfg = cfg.filled()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("sqlitestore: New: %w", err)
	}
	s := &Store{
		db: db, cfg: cfg, names: cfg.replacer(),
		events: newEventCache(cfg.EventCache), hooks: newHookCache(),
	}
	s.group = coalesce.New(coalesce.Config[*op]{
		MaxItems: 1024, MaxWeight: 4096, Parallel: 1,
		Weight: func(o *op) int { return o.weight },
		Divide: func(err error, ops []*op) [][]int {
			if blameless(err) {
				return nil
			}
			return coalesce.Parts(len(ops), 1)
		},
	}, s.serve)
	return s, nil
}

// Close returns the writing connection to the pool at once instead of a second
// after its last use. Calls in progress end first; later writes return an error
// wrapping [ErrClosed]. The *sql.DB stays open: it is the caller's. Close may be
// called more than once; it returns nil.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.giveBack()
	return nil
}

// sql puts the names of the Store's tables into q.
func (s *Store) sql(q string) string {
	if text, ok := s.texts.Load(q); ok {
		return text.(string)
	}
	text := s.names.Replace(q)
	s.texts.Store(q, text)
	return text
}

// lending is how long the writing connection is kept after its last use.
const lending = time.Second

// giveBack returns the writing connection to the pool. The caller holds s.mu.
func (s *Store) giveBack() {
	if s.writer != nil {
		s.writer.close()
		s.writer = nil
	}
	if s.idle != nil {
		s.idle.Stop()
	}
}

// expire returns the connection if it was not used for a while.
func (s *Store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return
	}
	if left := lending - time.Since(s.used); left > 0 {
		s.idle.Reset(left)
		return
	}
	s.giveBack()
}

// borrow returns the writing connection. The caller holds s.mu.
func (s *Store) borrow(ctx context.Context) (*session, error) {
	if s.closed {
		return nil, ErrClosed
	}
	if s.writer != nil {
		return s.writer, nil
	}
	x, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.writer = x
	if s.idle == nil {
		s.idle = time.AfterFunc(lending, s.expire)
	} else {
		s.idle.Reset(lending)
	}
	return x, nil
}

// write runs a write as part of a group.
func (s *Store) write(ctx context.Context, o *op) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	if _, err := s.group.Do(ctx, o); err != nil {
		return err
	}
	return o.err
}

// read runs fn in a read transaction: it sees one state of the database and waits
// for no writer.
func (s *Store) read(ctx context.Context, fn func(r runner) error) (err error) {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	conn, err := s.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.patiently(ctx, func() error {
		// Not BeginTx: with _txlock=immediate in the DSN, as the host's
		// transactions should have it, that would wait for the write lock and take
		// it.
		if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
			return err
		}
		err := fn(plain{ctx, s, conn})
		if _, e := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); e != nil { // it only read
			discard(conn)
		}
		return err
	})
}

// discard makes the pool discard a connection.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }
