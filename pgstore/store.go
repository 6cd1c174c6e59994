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

// Store is a [webhook.Store] on PostgreSQL 14 or newer. It is safe for
// concurrent use, and any number of processes may use one database. No
// goroutine outlives the calls that need it by more than seconds, and it needs no
// closing; the *sql.DB stays the caller's.
type Store struct {
	db    *sql.DB
	cfg   Config
	names *strings.Replacer
	ready atomic.Bool // the schema has been found to be this version's
	// readyTx says it of transactions of callers, on which less can be asked.
	readyTx atomic.Bool

	looks  sync.Mutex
	looked time.Time // when other connections were looked at last
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

// New returns a Store that keeps its tables in db, which any PostgreSQL driver
// for database/sql may have opened. It does not touch the database: call
// [Store.Migrate] before anything else. The error names a field of cfg that is
// refused.
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

// clock is the $1 that nowExpr wants.
func (s *Store) clock(now time.Time) int64 {
	if s.cfg.PassedClock {
		return sqlstore.Micros(now)
	}
	return 0
}

// Settings of every transaction. The queue swings between empty and millions
// of rows faster than statistics follow, and a plan made for an empty table
// would scan, or sort, a full one. Here it is always right to walk along an
// index, which a role may have switched off for work of another kind. A plan that
// cannot do without what is switched off looks so dear that the server would
// compile it, for a second: jit is off for that reason. The time-out ends a
// transaction whose process was stopped in the middle of it. array_nulls and
// bytea_output say what the texts mean that parameters and results travel as.
const (
	setPlans = `SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ` +
		`SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; ` +
		`SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_nestloop = on; SET LOCAL enable_tidscan = on; ` +
		`SET LOCAL array_nulls = on; SET LOCAL bytea_output = hex; SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = '30s'`
	// sameKey finds the rows of the table q by the keys of r, one probe of the
	// primary key for each, whatever the server believes about the table. With
	// an equality of the first column the server could start from q instead, and
	// read all of it by some index: that looks cheapest to it from a vacuum that
	// found the table empty, which the queue mostly is, until the next one,
	// however much waits by then. An array of one value positions a probe as an
	// equality does, and is no such offer. The second column is compared plainly:
	// as an array it would not position. A comparison of rows from below and
	// above is positioned from below only, and goes on through all deliveries of
	// the event.
	sameKey = `q.ekey = ANY (ARRAY[r.ekey]) AND q.wkey = r.wkey`
	// sameLogged does it for the log, as d, with inOrder after all conditions. The
	// log has indexes by webhook too, which look as cheap to a server that
	// believes the log to be empty, and cost all that the webhook has there. Only
	// the primary key has the order that is asked for, and nothing is sorted here.
	// OFFSET keeps what is asked for apart from the statement around it.
	sameLogged = `d.ekey = ANY (ARRAY[r.ekey]) AND d.wkey = r.wkey`
	inOrder    = ` ORDER BY d.ekey OFFSET 0`
	// setLeases is for claims: a lease that is lost with the last moments
	// before a crash of the server is one that ended early, which duplicates a
	// delivery and loses none. So a claim need not wait for the disk.
	setLeases = setPlans + `; SET LOCAL synchronous_commit = off`
)

// maxRetries bounds how often a transaction that lost to another is repeated.
const maxRetries = 8

// inTx runs fn in a READ COMMITTED transaction, whatever the database's default
// is: claims and fences rely on seeing what others have just committed. fn runs
// again when the server chose the transaction as the victim of a deadlock or of
// a conflict, so it must not keep anything from a run before.
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
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
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
		// A moment, at random, so that the same two do not meet again.
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
