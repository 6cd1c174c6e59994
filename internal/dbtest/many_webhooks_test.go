package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// manyHooks returns how many webhooks there are, of a tenth as many tenants, and
// for each step how many of them have a backlog.
func manyHooks() (hooks int, backlogged []int) {
	hooks = backlogRows()
	return hooks, []int{1, 10, 1_000, hooks * 6 / 100}
}

// claimsOf makes some claims of 100 and returns the median of their costs, as count
// returns them. Together they must claim the one event of the tenant "quiet",
// published before the last but one.
func claimsOf(t *testing.T, s webhook.Store, backlogged int, named map[string]int, count func() int) int {
	t.Helper()
	const claims = 9
	var costs []int
	served := false
	for i := range claims {
		if i == claims-2 {
			if _, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{{
				Event:    webhook.EventRecord{ID: fmt.Sprint("q", backlogged, len(named)), Tenant: "quiet", Type: "q", Data: []byte("{}"), Time: time.Now().UTC()},
				Patterns: []string{"*"},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		count()
		token := rand.Int64N(1<<62) + 1
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: time.Minute, Limit: 100, PerWebhook: 10, Limits: named})
		cost := count()
		if err != nil || backlogged >= 10 && len(res.Deliveries) != 100 {
			t.Fatalf("claimed %d deliveries, %v", len(res.Deliveries), err)
		}
		costs = append(costs, cost)
		for _, d := range res.Deliveries {
			served = served || d.Delivery.Tenant == "quiet"
		}
		if err := s.Release(t.Context(), time.Now(), []webhook.Lease{{Token: token}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if !served {
		t.Errorf("with %d webhooks that have a backlog, two claims did not serve another tenant's event", backlogged)
	}
	slices.Sort(costs)
	return costs[len(costs)/2]
}

// costsOfMany compares claims beside few webhooks with a backlog and claims beside
// many, also with as many webhooks named as a dispatcher has in flight.
func costsOfMany(t *testing.T, unit string, fill func(from, to int) webhook.Store, count func() int) {
	t.Helper()
	_, steps := manyHooks()
	named := map[string]int{}
	for i := range 2048 {
		named[fmt.Sprintf("wh_%d", i*7)] = 20
	}
	few, fewNamed, from := 0, 0, 0
	for _, n := range steps {
		s := fill(from, n)
		from = n
		cost, costNamed := claimsOf(t, s, n, nil, count), claimsOf(t, s, n, named, count)
		t.Logf("%d webhooks with a backlog: a claim of 100 costs %d %s, %d with 2048 webhooks named", n, cost, unit, costNamed)
		if n == 10 {
			few, fewNamed = cost, costNamed
		}
		if n > 10 && (cost > 2*few || costNamed > 2*fewNamed) {
			t.Errorf("%d webhooks with a backlog: %d and %d %s, beside 10 it was %d and %d", n, cost, costNamed, unit, few, fewNamed)
		}
	}
}

// Among very many webhooks, the cost of a claim depends on the deliveries it
// returns, not on how many webhooks have a backlog; and tenants take turns. The
// unit is pages touched.
func TestD9_ClaimAmongManyWebhooks(t *testing.T) {
	hooks, _ := manyHooks()
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	db := pgExplained(t)
	s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := plain.Exec(fmt.Sprintf(q, args...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateWebhook(t.Context(), sqliteHook("quiet", "wh_quiet"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateWebhook(t.Context(), sqliteHook("tenant 0", "wh_0"), 0); err != nil {
		t.Fatal(err)
	}
	exec(`INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
		SELECT 1000 + i, 'wh_' || i, 'tenant ' || i %% %[3]d, 'n', url, '', events, headers, secrets, true, true, timeout, 3, '', 0, created_at, updated_at, 1
		FROM %[1]s.webhook_webhooks, generate_series(1, %[2]d) i WHERE id = 'wh_0'`, schema, hooks, hooks/10)
	exec(`INSERT INTO %[1]s.webhook_events (ekey, time, created_at, tenant, id, type, data)
		SELECT 1000000 + i, 1, 1, 'tenant 0', 'e' || i, 'a', '{}' FROM generate_series(1, 12) i`, schema)
	exec(`ANALYZE %s.webhook_webhooks`, schema)
	costsOfMany(t, "pages", func(from, to int) webhook.Store {
		exec(`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, type, name)
			SELECT 1000000 + e, 1001 + i, 1, 1 + i, 'a', 'n' FROM generate_series(%[2]d, %[3]d) i, generate_series(1, 12) e`, schema, from, to-1)
		// A new process finds all webhooks by its sweeps.
		return pgStore(t, db.DB, pgstore.Config{Schema: schema})
	}, func() (n int) {
		n, _ = db.pages(t)
		return n
	})
}

// The same in SQLite. The unit is rows read and statements run.
func TestD9_SQLiteClaimAmongManyWebhooks(t *testing.T) {
	hooks, _ := manyHooks()
	counted := &countingDriver{Driver: &sqlite3.SQLiteDriver{}}
	name := fmt.Sprintf("counting %p", counted)
	sql.Register(name, counted)
	s, db := sqliteStore(t, name, sqlitestore.Config{Relaxed: true})
	for _, w := range []webhook.WebhookRecord{sqliteHook("quiet", "wh_quiet"), sqliteHook("tenant 0", "wh_0")} {
		if err := s.CreateWebhook(t.Context(), w, 0); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := db.Exec(q, args...); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	const series = `WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2) `
	exec(`INSERT INTO webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at) `+series+`
		SELECT 1000 + i, 'wh_' || i, 'tenant ' || i % ?3, 'n', url, '', events, headers, secrets, 1, 1, timeout, 3, '', 0, created_at, updated_at
		FROM n CROSS JOIN webhook_webhooks WHERE id = 'wh_0'`, 1, hooks, hooks/10)
	exec(`INSERT INTO webhook_lanes (wkey, version, last_triggered, last_success, failing_since, tkey) `+series+`
		SELECT 1000 + i, 1, 0, 0, 0, 1000 + i % ?3 FROM n`, 1, hooks, hooks/10)
	for i := range 12 {
		exec(`INSERT INTO webhook_events (seq, tenant, id, type, time, published, data) VALUES (?, 'tenant 0', ?, 'a', 1, 1, x'7b7d')`, i+100, fmt.Sprint("e", i))
	}
	exec(`UPDATE webhook_counters SET seq = 1000`)
	costsOfMany(t, "rows and statements", func(from, to int) webhook.Store {
		exec(`INSERT INTO webhook_deliveries (wkey, seq, created, type, name) `+series+`, e(k) AS (SELECT 100 UNION ALL SELECT k + 1 FROM e WHERE k < 111)
			SELECT 1001 + i, k, 1 + i, 'a', 'n' FROM n CROSS JOIN e`, from, to-1)
		exec(`UPDATE webhook_lanes SET ready = 1, head = 0, tail = 111 WHERE wkey >= 1001 + ? AND wkey <= 1001 + ?`, from, to-1)
		return s
	}, func() int { return int(counted.n.Swap(0)) })
}

// countingDriver counts statements run and rows read.
type countingDriver struct {
	driver.Driver
	n atomic.Int64
}

func (d *countingDriver) Open(name string) (driver.Conn, error) {
	c, err := d.Driver.Open(name)
	return &countingConn{c, d}, err
}

type countingConn struct {
	driver.Conn
	d *countingDriver
}

// ExecContext does not count statements that are not prepared.
func (c *countingConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, args)
}

func (c *countingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *countingConn) Prepare(q string) (driver.Stmt, error) {
	st, err := c.Conn.Prepare(q)
	return &countingStmt{st, c.d}, err
}

func (c *countingConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	st, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, q)
	return &countingStmt{st, c.d}, err
}

type countingStmt struct {
	driver.Stmt
	d *countingDriver
}

func (s *countingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.d.n.Add(1)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *countingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.d.n.Add(1)
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	return &countingRows{rows, s.d}, err
}

type countingRows struct {
	driver.Rows
	d *countingDriver
}

func (r *countingRows) Next(row []driver.Value) error {
	r.d.n.Add(1)
	return r.Rows.Next(row)
}
