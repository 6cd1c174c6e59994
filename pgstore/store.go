package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Store is a [webhook.Store] on PostgreSQL 14 or newer. It is safe for concurrent
// use, and any number of processes may use one database. Its goroutines outlive the
// calls that need them by seconds at most. It needs no closing; the *sql.DB stays
// the caller's.
type Store struct {
	db    *sql.DB
	cfg   Config
	names *strings.Replacer
	ready atomic.Bool // the schema was found to have this version
	// readyTx is ready for callers' transactions, on which ensureTx can ask less.
	readyTx atomic.Bool

	looks  sync.Mutex
	looked time.Time // when idle connections were last checked
	walk   *walk
	hooks  *hookKeys
	events *eventCache
	joined *joined
	prunes prunePlace

	publishSQL, claimSQL, completeSQL string
}

var (
	_ webhook.Store         = (*Store)(nil)
	_ webhook.WebhookWalker = (*Store)(nil)
	_ webhook.EraseStore    = (*Store)(nil)
)

// New returns a Store that keeps its tables in db, which may have been opened with
// any PostgreSQL driver for database/sql. New does not touch the database: call
// [Store.Migrate] before any other method. The error names the field of cfg that
// was refused.
func New(db *sql.DB, cfg Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("pgstore: New: db is nil: open one with sql.Open and a PostgreSQL driver")
	}
	cfg = cfg.filled()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("pgstore: New: %w", err)
	}
	s := &Store{
		db: db, cfg: cfg, names: cfg.replacer(),
		walk: newWalk(), hooks: newHookKeys(), events: newEventCache(cfg.EventCache),
	}
	s.publishSQL = s.sql(publishSQL)
	s.claimSQL = s.sql(claimSQL)
	s.completeSQL = s.sql(completeSQL)
	s.joined = newJoined(s)
	return s, nil
}

// sql puts the names of the Store's tables into q.
func (s *Store) sql(q string) string { return s.names.Replace(q) }

// clock returns the $1 of nowExpr.
func (s *Store) clock(now time.Time) int64 {
	if s.cfg.PassedClock {
		return sqlstore.Micros(now)
	}
	return 0
}

// Settings of every transaction. The queue swings between empty and millions of
// rows faster than statistics follow: a plan made for an empty table would scan or
// sort a full one. Walking along an index is always right here, even if a role has
// switched that off for work of another kind. A plan that cannot avoid a
// switched-off node has so high a cost that the server would compile it, which
// takes a second: therefore jit is off. idle_in_transaction_session_timeout ends a
// transaction whose process was stopped in the middle of it. array_nulls and
// bytea_output fix the text format of parameters and results.
const (
	setPlans = `SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ` +
		`SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; ` +
		`SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_nestloop = on; SET LOCAL enable_tidscan = on; ` +
		`SET LOCAL array_nulls = on; SET LOCAL bytea_output = hex; SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = '30s'`
	// sameKey joins rows of the table q to the keys of r with one probe of the
	// primary key for each, whatever the statistics of the table say.
	//
	// With a plain equality of the first column the server could start from q
	// instead and read all of it by some index. That looks cheapest after a vacuum
	// that found the table empty, as the queue mostly is, and stays so until the
	// next vacuum, however many deliveries are pending by then. An array of one
	// value positions a probe as an equality does, but cannot be used to start from
	// q. The second column is compared plainly, because as an array it would not
	// position the probe. A row comparison with a lower and an upper bound is
	// positioned by the lower bound only and goes on through all deliveries of the
	// event.
	sameKey = `q.ekey = ANY (ARRAY[r.ekey]) AND q.wkey = r.wkey`
	// sameLogged is sameKey for the log, as d; inOrder must follow all conditions.
	// The log also has indexes by webhook. A server that believes the log to be
	// empty finds them as cheap, but each probe would read all rows of the webhook.
	// Only the primary key has the order of inOrder, and sorting is off. OFFSET
	// keeps the server from merging the subquery into the statement around it.
	sameLogged = `d.ekey = ANY (ARRAY[r.ekey]) AND d.wkey = r.wkey`
	inOrder    = ` ORDER BY d.ekey OFFSET 0`
	// setLeases is for claims, which need not wait for the disk: a lease that is
	// lost in a crash of the server has ended early, which may duplicate a delivery
	// but never loses one.
	setLeases = setPlans + `; SET LOCAL synchronous_commit = off`
)

// maxRetries bounds how often a transaction that lost to another is repeated.
const maxRetries = 8

// inTx runs fn in a READ COMMITTED transaction, whatever the database's default is:
// claims and fences rely on seeing the latest commits of other processes. fn runs
// again if the server chose the transaction as the victim of a deadlock or
// conflict, so it must not keep state from an earlier run.
func (s *Store) inTx(ctx context.Context, settings string, fn func(tx *sql.Tx) error) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	return retried(ctx, func() error { return s.once(ctx, settings, fn) })
}

func (s *Store) once(ctx context.Context, settings string, fn func(tx *sql.Tx) error) error {
	return s.onConn(ctx, func(l *lent) error {
		tx, err := l.begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // has no effect after a commit
		if _, err := tx.ExecContext(ctx, settings); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// retried repeats fn while it loses to other transactions.
func retried(ctx context.Context, fn func() error) error {
	for i := 0; ; i++ {
		err := fn()
		if err == nil || i == maxRetries || !lostToOther(err) || ctx.Err() != nil {
			return err
		}
		// A short random pause, so that the same two transactions do not meet
		// again.
		wait := time.NewTimer(rand.N(time.Duration(i+1) * 5 * time.Millisecond)) //nolint:gosec // a pause, not a secret
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}

// each calls scan for every row of a query.
func each(rows *sql.Rows, err error, scan func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}
