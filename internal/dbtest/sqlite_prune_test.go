package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// writeLock records how the write lock is held.
type writeLock struct {
	driver driver.Driver
	path   string

	since time.Time
	rows  int64 // changed in the current transaction
	times []time.Duration
	most  int64 // rows changed in one transaction
}

func (l *writeLock) Connect(context.Context) (driver.Conn, error) {
	conn, err := l.driver.Open(l.path)
	if err != nil {
		return nil, err
	}
	return &lockedConn{conn, l}, nil
}

// Driver implements [driver.Connector].
func (l *writeLock) Driver() driver.Driver { return l.driver }

func (l *writeLock) reset() { l.times, l.most = nil, 0 }

// held returns how long transactions held the lock: the median since the reset.
func (l *writeLock) held() time.Duration {
	slices.Sort(l.times)
	return l.times[len(l.times)/2]
}

// lockedConn is a connection whose transactions are recorded.
type lockedConn struct {
	driver.Conn
	l *writeLock
}

func (c *lockedConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	st, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	return &lockedStmt{st, c.l, q}, nil
}

func (c *lockedConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, q, args)
}

func (c *lockedConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, args)
}

type lockedStmt struct {
	driver.Stmt
	l *writeLock
	q string
}

func (s *lockedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

func (s *lockedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	res, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if err != nil {
		return res, err
	}
	switch s.q {
	case "BEGIN IMMEDIATE":
		s.l.since, s.l.rows = time.Now(), 0
	case "COMMIT":
		s.l.times = append(s.l.times, time.Since(s.l.since))
		s.l.most = max(s.l.most, s.l.rows)
	default: // after other statements SQLite returns the previous value
		if n, _ := res.RowsAffected(); strings.HasPrefix(s.q, "DELETE") || strings.HasPrefix(s.q, "UPDATE") || strings.HasPrefix(s.q, "INSERT") {
			s.l.rows += n
		}
	}
	return res, nil
}

// sqliteCrowd returns a store whose tenant has so many webhooks. None of them
// selects the events published here.
func sqliteCrowd(t *testing.T, hooks int) (*sqlitestore.Store, *sql.DB, *writeLock) {
	t.Helper()
	bare, err := sql.Open("sqlite3", "")
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	lock := &writeLock{driver: bare.Driver(), path: filepath.Join(t.TempDir(), "webhook.db")}
	db := sql.OpenDB(lock)
	t.Cleanup(func() { db.Close() })
	s := sqliteStoreOn(t, db, sqlitestore.Config{Relaxed: true})
	pgHook(t, s, "wh_1", "none")
	if _, err := db.Exec(fmt.Sprintf(`
		WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO webhook_webhooks (id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout, max_retries,
			disabled_reason, disabled_at, created_at, updated_at)
		SELECT 'wh_' || i, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout, max_retries,
			disabled_reason, disabled_at, created_at, updated_at FROM n, webhook_webhooks WHERE id = 'wh_1'`, hooks)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO webhook_lanes (wkey, version, last_triggered, last_success, failing_since)
		SELECT wkey, 1, 0, 0, 0 FROM webhook_webhooks WHERE id <> 'wh_1'`); err != nil {
		t.Fatal(err)
	}
	return s, db, lock
}

// sqlitePrune prunes in steps. It returns the number of deleted rows and of steps.
func sqlitePrune(t *testing.T, s *sqlitestore.Store, before time.Time, limit int) (total, steps int) {
	t.Helper()
	for {
		n, err := s.Prune(t.Context(), before, limit)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		if steps++; n < limit {
			return total, steps
		}
	}
}

// Events without deliveries are deleted in transactions of bounded size, which hold
// the write lock as long beside 10,000 webhooks as beside 100: the search for
// deliveries runs in read transactions.
func TestD20_SQLitePruningHoldsTheLockShortly(t *testing.T) {
	const events = 2000
	cost := func(hooks int) time.Duration {
		s, _, lock := sqliteCrowd(t, hooks)
		for from := 0; from < events; from += 500 {
			reqs := make([]webhook.PublishRequest, 500)
			for i := range reqs {
				reqs[i] = pgEvent(fmt.Sprint("ev-", from+i))
			}
			if _, err := s.Publish(t.Context(), time.Now(), reqs); err != nil {
				t.Fatal(err)
			}
		}
		lock.reset()
		total, steps := sqlitePrune(t, s, time.Now().Add(time.Second), 1000)
		if total != events {
			t.Errorf("deleted %d of %d events", total, events)
		}
		if lock.most > 600 || len(lock.times) < events/600 {
			t.Errorf("%d transactions in %d steps, of up to %d rows", len(lock.times), steps, lock.most)
		}
		t.Logf("%d webhooks: %d transactions of up to %d rows in %d steps, %v each", hooks, len(lock.times), lock.most, steps, lock.held())
		return lock.held()
	}
	few, many := cost(100), cost(10_000)
	if many > 20*few {
		t.Errorf("the write lock was held for %v beside 10,000 webhooks, and for %v beside 100", many, few)
	}
}

// So are statistics, and deleted webhooks.
func TestD20_SQLitePruningOfStatisticsAndDeletedWebhooks(t *testing.T) {
	const hooks = 3000
	s, db, lock := sqliteCrowd(t, hooks)
	before := time.Now().Truncate(time.Hour)
	for _, q := range []string{
		fmt.Sprintf(`INSERT INTO webhook_stats (wkey, hour, succeeded, failed, duration)
			SELECT wkey, %d + value * 3600000000, 1, 1, 1 FROM webhook_webhooks, json_each('[-5,-4,-3,-2,2,3]')`, before.UnixMicro()),
		`UPDATE webhook_webhooks SET deleted_at = 1, active = 0 WHERE wkey % 2 = 0`,
		`DELETE FROM webhook_stats WHERE wkey % 2 = 0 AND hour > ` + fmt.Sprint(before.UnixMicro()),
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	lock.reset()
	sqlitePrune(t, s, before, 1000)
	if lock.most > 600 || len(lock.times) < hooks*4/600 {
		t.Errorf("%d transactions of up to %d rows", len(lock.times), lock.most)
	}
	for q, want := range map[string]int{
		`SELECT count(*) FROM webhook_stats`:                                                hooks,
		`SELECT count(*) FROM webhook_stats WHERE hour < ` + fmt.Sprint(before.UnixMicro()): 0,
		`SELECT count(*) FROM webhook_webhooks`:                                             hooks / 2,
		`SELECT count(*) FROM webhook_lanes`:                                                hooks / 2,
	} {
		var n int
		if err := db.QueryRow(q).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", q, n, err, want)
		}
	}
}

// The search finds exactly the events with deliveries, whichever webhooks have
// them: each event here is selected by different webhooks, or by no webhook.
func TestD20_SQLitePruningFindsDeliveries(t *testing.T) {
	const hooks, events = 150, 300
	s, db, _ := sqliteCrowd(t, hooks)
	reqs := make([]webhook.PublishRequest, events)
	for i := range reqs {
		reqs[i] = pgEvent(fmt.Sprint("ev-", i))
	}
	if _, err := s.Publish(t.Context(), time.Now(), reqs); err != nil {
		t.Fatal(err)
	}
	// Every third event has no delivery. The others have one at the webhooks that
	// follow from their number, some of them created as by a replay.
	if _, err := db.Exec(`
		INSERT INTO webhook_deliveries (wkey, seq, created, type, name)
		SELECT w.wkey, e.seq, 1, 'a.b', 'n' FROM webhook_events e CROSS JOIN webhook_webhooks w
		WHERE e.seq % 3 = 1 AND w.wkey % 75 IN (e.seq % 75, e.seq % 11);
		INSERT INTO webhook_deliveries (wkey, seq, created, ekey, type, name)
		SELECT 1 + e.seq % 75, 1000000 + e.seq, 1, e.seq, 'a.b', 'n' FROM webhook_events e WHERE e.seq % 3 = 2`); err != nil {
		t.Fatal(err)
	}
	var want int
	if err := db.QueryRow(`SELECT count(*) FROM webhook_events e WHERE EXISTS (SELECT 1 FROM webhook_deliveries d WHERE coalesce(d.ekey, d.seq) = e.seq)`).Scan(&want); err != nil {
		t.Fatal(err)
	}
	if want < events/2 || want > events*5/6 {
		t.Fatalf("%d of %d events have a delivery", want, events)
	}
	if total, _ := sqlitePrune(t, s, time.Now().Add(time.Second), 70); total != events-want {
		t.Errorf("deleted %d events, want %d", total, events-want)
	}
	var left int
	if err := db.QueryRow(`SELECT count(*) FROM webhook_events e WHERE EXISTS (SELECT 1 FROM webhook_deliveries d WHERE coalesce(d.ekey, d.seq) = e.seq)`).Scan(&left); err != nil || left != want {
		t.Errorf("%d events with a delivery are left, %v, want %d", left, err, want)
	}
}

// As TestD20_PruningForALaterTime on PostgreSQL.
func TestD20_SQLitePruningForALaterTime(t *testing.T) {
	const events, step = 1000, 100
	s, db, _ := sqliteCrowd(t, 3)
	pgHook(t, s, "wh_all", "*")
	reqs := make([]webhook.PublishRequest, events)
	for i := range reqs {
		reqs[i] = pgEvent(fmt.Sprint("ev-", i))
	}
	if _, err := s.Publish(t.Context(), time.Now(), reqs); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := db.Exec(`UPDATE webhook_deliveries SET state = 2, finished = CASE WHEN seq % 2 = 0 THEN ? ELSE ? END`,
		now.UnixMicro(), now.Add(30*time.Minute).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i := range 2 {
		n, err := s.Prune(t.Context(), now.Add(time.Duration(i+1)*time.Minute), step)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	rest, _ := sqlitePrune(t, s, now.Add(time.Hour), step)
	if total+rest != 2*events {
		t.Errorf("deleted %d, want %d deliveries and as many events", total+rest, events)
	}
}
