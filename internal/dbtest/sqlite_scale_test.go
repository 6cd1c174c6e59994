package dbtest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// sqliteClaimTime returns the median time of claims of ten deliveries beside one
// webhook with a backlog, which is passed over.
func sqliteClaimTime(t *testing.T, s *sqlitestore.Store, prefix string) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range 31 {
		var reqs []webhook.PublishRequest
		for k := range 10 {
			reqs = append(reqs, sqliteRequest("healthy", fmt.Sprintf("%s-%d-%d", prefix, i, k), 100))
		}
		if _, err := s.Publish(t.Context(), time.Now(), reqs); err != nil {
			t.Fatal(err)
		}
		token := rand.Int64N(1<<62) + 1
		begun := time.Now()
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{
			Token: token, Now: begun, Lease: time.Minute, Limit: 10, PerWebhook: 10, Limits: map[string]int{"dead": 0},
		})
		took = append(took, time.Since(begun))
		if err != nil || len(res.Deliveries) != 10 {
			t.Fatalf("claimed %d deliveries, %v; want 10", len(res.Deliveries), err)
		}
		var results []webhook.Result
		for _, d := range res.Deliveries {
			results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded})
		}
		if _, err := s.Complete(t.Context(), time.Now(), results); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// The cost of a claim depends on the deliveries it returns, not on those of a dead
// webhook, waiting ones, or finished ones.
func TestD9_SQLiteClaimPassesABacklog(t *testing.T) {
	rows := backlogRows()
	s, db := sqliteStore(t, "sqlite3", sqlitestore.Config{Relaxed: true})
	for _, id := range []string{"dead", "later", "done", "healthy"} {
		if err := s.CreateWebhook(t.Context(), sqliteHook(id, id), 0); err != nil {
			t.Fatal(err)
		}
	}
	bare := sqliteClaimTime(t, s, "bare")
	future := time.Now().Add(time.Hour).UnixMicro()
	const series = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) `
	const wkey = `(SELECT wkey FROM webhook_webhooks WHERE id = '%s')`
	conn := sqliteConn(t, db)
	sqliteExec(t, conn, "BEGIN IMMEDIATE")
	base := sqliteOne(t, conn, "SELECT seq FROM webhook_counters")
	first := time.Now().UnixMicro() // one a microsecond
	for i, c := range []struct {
		id, state, due string
		lane           string
	}{
		{"dead", "1", "NULL", "tail = %d, ready = 1"},
		{"later", "1", fmt.Sprint(future), "tail = %d, head = %[1]d, next_due = " + fmt.Sprint(future)},
		{"done", "2", "NULL", "tail = %d, head = %[1]d"},
	} {
		hook, from := fmt.Sprintf(wkey, c.id), base+i*rows
		for _, q := range []string{
			`INSERT INTO webhook_deliveries (wkey, seq, created, state, due, type, name) SELECT ` + hook + fmt.Sprintf(`, %d + i, %d + i, %s, %s, 'a', 'n' FROM n`, from, first+int64(i*rows), c.state, c.due),
			`INSERT INTO webhook_events (seq, tenant, id, type, time, published, data) SELECT ` + fmt.Sprintf(`%d + i, '%s', 'x' || i, 'a', 1, %d + i, x'7b7d' FROM n`, from, c.id, first+int64(i*rows)),
		} {
			if _, err := conn.ExecContext(t.Context(), series+q, rows); err != nil {
				t.Fatal(err)
			}
		}
		sqliteExec(t, conn, fmt.Sprintf("UPDATE webhook_lanes SET "+c.lane+" WHERE wkey = ", from+rows)+hook)
	}
	sqliteExec(t, conn,
		fmt.Sprintf(`INSERT INTO webhook_waiting (wkey, due, seq) SELECT wkey, due, seq FROM webhook_deliveries WHERE due = %d`, future),
		fmt.Sprintf("UPDATE webhook_counters SET seq = %d, clock = max(clock, %d)", base+3*rows, first+int64(3*rows)), "COMMIT")

	full := sqliteClaimTime(t, s, "full")
	t.Logf("a claim of 10: median %v in an empty database, %v beside %d deliveries", bare, full, 3*rows)
	if full > 5*bare+2*time.Millisecond {
		t.Errorf("a claim takes %v beside %d deliveries that are not its own, %v without", full, 3*rows, bare)
	}
	begun := time.Now()
	b, err := s.Backlog(t.Context(), webhook.BacklogQuery{Now: begun, Limit: 10_000})
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("a look at the backlog took %v", took)
	} else {
		t.Logf("backlog, counted to 10,000: %v", took)
	}
	if err != nil || b.Due != 10_000 || b.Waiting != 10_000 || !b.AtLeast || b.OldestDue <= 0 {
		t.Errorf("backlog, counted to 10,000: %+v, %v", b, err)
	}
	// Lists start reading at the start of the page.
	for name, q := range map[string]webhook.DeliveryQuery{
		"of a webhook": {Tenant: "done", WebhookID: "done"},
		"by event":     {Tenant: "done", EventID: "x77"},
		"failed ones":  {Tenant: "done", State: webhook.StateFailed},
		"by time":      {Tenant: "done", Since: time.Now()},
	} {
		begun := time.Now()
		if _, err := s.ListDeliveries(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begun)
		t.Logf("list %s: %v", name, took)
		if took > 2*time.Second { // on a busy machine; the rows read are counted below
			t.Errorf("list %s took %v", name, took)
		}
	}
	sqliteListsAreBounded(t, s, conn, rows)
}

func sqliteOne(t *testing.T, conn *sql.Conn, q string) (n int) {
	t.Helper()
	if err := conn.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The statements of a claim walk indexes, and scan no table.
func TestD9_SQLiteClaimsWalkIndexes(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		s, db := sqliteStore(t, driver, sqlitestore.Config{})
		sqliteClaimPlans(t, db)
		// A host may run ANALYZE, usually while hardly any delivery is pending.
		pgHook(t, s, "wh_1", "a.b")
		for _, id := range []string{"a", "b"} {
			if _, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent(id)}); err != nil {
				t.Fatal(err)
			}
			pgClaim(t, s, time.Now(), 1)
			if _, err := db.Exec("ANALYZE"); err != nil {
				t.Fatal(err)
			}
			sqliteClaimPlans(t, db)
		}
	})
}

func sqliteClaimPlans(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, q := range []string{
		"SELECT wkey FROM webhook_lanes INDEXED BY webhook_lanes_ready WHERE ready = 1 AND tkey = 1 AND wkey > 1 AND wkey <= 9 ORDER BY wkey LIMIT 64",
		"SELECT tkey FROM webhook_lanes INDEXED BY webhook_lanes_ready WHERE ready = 1 AND tkey > 1 ORDER BY tkey LIMIT 1",
		"SELECT k FROM (SELECT (SELECT t.tkey FROM webhook_lanes t WHERE t.wkey = w.wkey) AS k FROM webhook_webhooks w WHERE w.tenant = 'a') WHERE k > 0 LIMIT 1",
		"SELECT min(next_due) FROM webhook_lanes INDEXED BY webhook_lanes_due WHERE ready = 0 AND next_due IS NOT NULL",
		"SELECT wkey FROM webhook_lanes INDEXED BY webhook_lanes_due WHERE ready = 0 AND next_due IS NOT NULL AND next_due <= 1 LIMIT 1000",
		"SELECT seq, name FROM webhook_deliveries WHERE wkey = 1 AND seq > 5 ORDER BY seq LIMIT 10",
		"SELECT due, seq FROM webhook_waiting WHERE wkey = 1 AND due <= 5 ORDER BY due, seq LIMIT 10",
		"SELECT token, items FROM webhook_claims WHERE expiry <= 5 ORDER BY expiry LIMIT 256",
		"UPDATE webhook_deliveries SET state = 2 WHERE wkey = 1 AND seq = 5",
		// The statements of a list: the end of the range, and its rows.
		"SELECT d.seq, d.created FROM webhook_deliveries d WHERE d.wkey = 1 AND d.seq >= 2 AND d.seq <= 9 ORDER BY d.seq DESC LIMIT 1 OFFSET 99",
		"SELECT d.seq, d.created FROM webhook_deliveries d INDEXED BY webhook_deliveries_failed WHERE d.wkey = 1 AND d.seq >= 2 AND d.seq <= 9 AND d.state > 2 ORDER BY d.seq DESC LIMIT 1 OFFSET 99",
		"SELECT d.created, (SELECT e.id FROM webhook_events e WHERE e.seq = coalesce(d.ekey, d.seq)) FROM webhook_deliveries d WHERE d.wkey = 1 AND d.seq >= 2 AND d.seq <= 9 AND d.state = 2 AND d.type = 'a'",
		"SELECT d.created, (SELECT e.id FROM webhook_events e WHERE e.seq = coalesce(d.ekey, d.seq)) FROM webhook_deliveries d INDEXED BY webhook_deliveries_failed WHERE d.wkey = 1 AND d.seq >= 2 AND d.seq <= 9 AND d.state > 2 AND d.state = 3",
		"SELECT s.hour, s.succeeded FROM webhook_webhooks w CROSS JOIN webhook_stats s ON s.wkey = w.wkey AND s.hour >= 1 AND s.hour < 9 WHERE w.tenant = 'a'",
	} {
		rows, err := db.Query("EXPLAIN QUERY PLAN " + q)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, none int
			var detail string
			if err := rows.Scan(&id, &parent, &none, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		rows.Close()
		all := strings.Join(plan, "; ")
		if !strings.Contains(all, "SEARCH") || strings.Contains(all, "SCAN") || strings.Contains(all, "TEMP B-TREE") {
			t.Errorf("%s\n    plan: %s", q, all)
		}
	}
}

// One event for 10,000 webhooks, as TestD29_FanOutIsOneStatement on PostgreSQL.
func TestD29_SQLiteFanOutTo10000Webhooks(t *testing.T) {
	t.Parallel()
	hooks := 10_000
	if testing.Short() {
		hooks = 1_000
	}
	s, db := sqliteStore(t, "sqlite3", sqlitestore.Config{})
	pgHook(t, s, "wh_first", "a.b")
	for _, q := range []string{
		`INSERT INTO webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at)
		WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT 1000 + i, 'wh_' || i, tenant, 'hook ' || i, url, '', events, headers, secrets, 1, 1, timeout, 3, '', 0, created_at, updated_at
		FROM webhook_webhooks, n`,
		`INSERT INTO webhook_lanes (wkey, version, last_triggered, last_success, failing_since)
		SELECT wkey, 1, 0, 0, 0 FROM webhook_webhooks WHERE wkey >= 1000 AND wkey <= 1000 + ?`,
		`INSERT INTO webhook_subscriptions (tenant, pattern, wkey, name)
		SELECT tenant, CASE WHEN wkey % 2 = 0 THEN 'a.b' ELSE '*' END, wkey, name FROM webhook_webhooks WHERE wkey >= 1000 AND wkey <= 1000 + ?`,
	} {
		if _, err := db.Exec(q, hooks); err != nil {
			t.Fatal(err)
		}
	}
	res, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent("e1")})
	if err != nil || res[0].Deliveries != hooks {
		t.Fatalf("got %+v, %v, want %d deliveries", res, err, hooks)
	}
	claimEachOnce(t, s, hooks)
}
