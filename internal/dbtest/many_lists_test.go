package dbtest

import (
	"cmp"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// Each of the tenant's webhooks has a delivery of three events. The one in the
// middle has more deliveries of its own, after those: the newest, the oldest, and
// one between have the type "needle".
const ownOfBusy = 700

// listHooks returns the number of the tenant's webhooks: 10,000 with -rows 1000000.
func listHooks() int { return max(3_000, backlogRows()/100) }

// listsOfMany reads all pages of a tenant with very many webhooks. Every page must
// be full, whatever q.Scan is, and each delivery must be found once. count returns
// the cost of a call, bound the most it may cost.
func listsOfMany(t *testing.T, s webhook.Store, unit string, count func() int, bound func(scan int) int) {
	t.Helper()
	hooks := listHooks()
	walk := func(what string, q webhook.DeliveryQuery, want, calls int) {
		t.Helper()
		full := q.EventType == "" && q.State == ""
		q.Tenant = tenant
		seen, n, most := map[string]bool{}, 0, 0
		var last webhook.Delivery
		for {
			count()
			p, err := s.ListDeliveries(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			cost := count()
			if most = max(most, cost); cost == 0 || cost > bound(cmp.Or(q.Scan, webhook.MaxScan)) {
				t.Fatalf("%s: page %d cost %d %s, at most %d are allowed", what, n, cost, unit, bound(cmp.Or(q.Scan, webhook.MaxScan)))
			}
			if n++; full && p.Next != "" && (len(p.Items) != q.Limit || !p.Reached.IsZero()) {
				t.Fatalf("%s: page %d has %d deliveries and another page, want %d", what, n, len(p.Items), q.Limit)
			}
			for _, d := range p.Items {
				if c := cmp.Or(last.CreatedAt.Compare(d.CreatedAt), cmp.Compare(last.ID, d.ID)); last.ID != "" && c <= 0 {
					t.Fatalf("%s: delivery %s of %v comes after %s of %v", what, d.ID, d.CreatedAt, last.ID, last.CreatedAt)
				}
				seen[d.ID], last = true, d
			}
			if q.Cursor = p.Next; q.Cursor == "" || n > calls {
				break
			}
		}
		t.Logf("%s: %d deliveries in %d pages, at most %d %s a page", what, len(seen), n, most, unit)
		if len(seen) != want || n > calls {
			t.Errorf("%s: found %d deliveries in %d pages, want %d in at most %d", what, len(seen), n, want, calls)
		}
	}
	all := 3*hooks + ownOfBusy
	walk("all of it", webhook.DeliveryQuery{Limit: 500}, all, all/500+1)
	walk("those of one webhook", webhook.DeliveryQuery{Limit: 50, WebhookID: fmt.Sprintf("wh_%d", hooks/2)}, ownOfBusy+3, ownOfBusy/50+1)
	walk("the least that is looked at", webhook.DeliveryQuery{Limit: 300, Scan: 20 * 300, Since: time.UnixMicro(3)}, hooks+ownOfBusy, (hooks+ownOfBusy)/300+1)
	walk("pending deliveries", webhook.DeliveryQuery{Limit: 500, State: webhook.StatePending}, 2*hooks+ownOfBusy, all/500+1)
	walk("failed deliveries", webhook.DeliveryQuery{Limit: 50, State: webhook.StateFailed}, 0, 1)
	walk("rare deliveries", webhook.DeliveryQuery{Limit: 50, EventType: "needle"}, 3, 1+3*all/(webhook.MaxScan/10))
}

// statsHours is the number of hours for which each webhook has statistics.
const statsHours = 12

var scannedStats = regexp.MustCompile(`Scan[^\n]* on webhook_stats\b[^\n]*actual rows=([0-9.]+) loops=(\d+)\)`)

// statsOfMany reads the statistics of a tenant with very many webhooks: each bucket
// once and in order, in answers that read no more rows than they return, and the
// webhooks.
func statsOfMany(t *testing.T, s webhook.Store, unit string, count func() int, bound func(limit int) int) {
	t.Helper()
	hooks := listHooks()
	for _, limit := range []int{0, 999} {
		q, n, most := webhook.StatsQuery{Tenant: tenant, Limit: limit}, 0, 0
		limit = cmp.Or(limit, webhook.MaxStats)
		for pages := 1; ; pages++ {
			count()
			page, err := s.Stats(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			cost := count()
			if most = max(most, cost); len(page) > 0 && cost < len(page) || cost > bound(limit) {
				t.Fatalf("%d hours cost %d %s, at most %d are allowed", len(page), cost, unit, bound(limit))
			}
			for _, b := range page {
				if c := cmp.Or(cmp.Compare(q.After.WebhookID, b.WebhookID), q.After.Hour.Compare(b.Hour)); c >= 0 {
					t.Fatalf("hour %v of %s comes after %v of %s", b.Hour, b.WebhookID, q.After.Hour, q.After.WebhookID)
				}
				q.After = b
			}
			if n += len(page); len(page) < limit {
				break
			}
			if pages > statsHours*hooks/limit {
				t.Fatal("the walk does not end")
			}
		}
		t.Logf("statistics in answers of %d: %d hours, at most %d %s each", limit, n, most, unit)
		if n != statsHours*hooks {
			t.Errorf("%d hours, want %d", n, statsHours*hooks)
		}
	}
}

// A page of a tenant with very many webhooks is full, and costs one look at each of
// them besides the rows that q.Scan allows.
func TestD9_ListsOfManyWebhooks(t *testing.T) {
	hooks := listHooks()
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	db := pgExplained(t)
	s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
	if err := s.CreateWebhook(t.Context(), sqliteHook(tenant, "wh_0"), 0); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
		SELECT 1000 + i, 'wh_' || i, tenant, 'n', url, '', events, headers, secrets, true, true, timeout, 3, '', 0, created_at, updated_at, 1
		FROM %[1]s.webhook_webhooks, generate_series(1, %[2]d) i WHERE id = 'wh_0'`,
		`INSERT INTO %[1]s.webhook_events (ekey, time, created_at, tenant, id, type, data)
		SELECT 1000000 + i, i, i, '` + tenant + `', 'e' || i, 'a', '{}' FROM generate_series(1, 3 + %[3]d) i`,
		`INSERT INTO %[1]s.webhook_deliveries (ekey, wkey, created_at, type, name, finished_at, token, ord, state, attempts, tries, crashes, last_status)
		SELECT 1000002, 1000 + i, 2, 'a', 'n', 3, 1, i, 2, 1, 1, 0, 200 FROM generate_series(1, %[2]d) i`,
		`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, type, name)
		SELECT 1000000 + e, 1000 + i, e, e, 'a', 'n' FROM generate_series(1, %[2]d) i, generate_series(1, 3, 2) e`,
		`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, type, name)
		SELECT 1000003 + e, 1000 + %[2]d / 2, 3 + e, e, CASE WHEN e IN (1, 100, %[3]d) THEN 'needle' ELSE 'a' END, 'n' FROM generate_series(1, %[3]d) e`,
	} {
		if _, err := plain.Exec(fmt.Sprintf(q, schema, hooks, ownOfBusy)); err != nil {
			t.Fatal(q, err)
		}
	}
	if _, err := plain.Exec(fmt.Sprintf(`INSERT INTO %[1]s.webhook_stats (wkey, hour, succeeded, failed, duration)
		SELECT 1000 + i, h * 3600000000::bigint, 1, 2, 3 FROM generate_series(1, %[2]d) i, generate_series(1, %[3]d) h`, schema, hooks, statsHours)); err != nil {
		t.Fatal(err)
	}
	statsOfMany(t, s, "rows of statistics", func() (n int) {
		_, plans := db.pages(t)
		for _, m := range scannedStats.FindAllStringSubmatch(plans, -1) {
			rows, err1 := strconv.ParseFloat(m[1], 64)
			loops, err2 := strconv.Atoi(m[2])
			if err1 != nil || err2 != nil {
				t.Fatal(m[0])
			}
			n += int(rows * float64(loops))
		}
		return n
	}, func(limit int) int { return limit + 50*statsHours })
	listsOfMany(t, s, "rows", func() int {
		_, plans := db.pages(t)
		return scans(t, plans) + 1 // a call without a result reads no rows
	}, func(scan int) int { return scan + 2*hooks + 1 })
}

// The same in SQLite. The unit is rows returned by its statements, and statements.
// Each webhook is a row in two of them.
func TestD9_SQLiteListsOfManyWebhooks(t *testing.T) {
	hooks := listHooks()
	counted := &countingDriver{Driver: &sqlite3.SQLiteDriver{}}
	name := fmt.Sprintf("counting %p", counted)
	sql.Register(name, counted)
	s, db := sqliteStore(t, name, sqlitestore.Config{Relaxed: true})
	if err := s.CreateWebhook(t.Context(), sqliteHook(tenant, "wh_0"), 0); err != nil {
		t.Fatal(err)
	}
	const series = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) `
	for _, q := range []string{
		`INSERT INTO webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at) ` + series + `
		SELECT 1000 + i, 'wh_' || i, tenant, 'n', url, '', events, headers, secrets, 1, 1, timeout, 3, '', 0, created_at, updated_at
		FROM n CROSS JOIN webhook_webhooks WHERE id = 'wh_0' AND ?2 > 0`,
		`INSERT INTO webhook_events (seq, tenant, id, type, time, published, data)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3 + ?2) SELECT 100 + i, '` + tenant + `', 'e' || i, 'a', i, i, x'7b7d' FROM n WHERE ?1 > 0`,
		`INSERT INTO webhook_deliveries (wkey, seq, created, type, name, state) ` + series + `
		SELECT 1000 + i, 100 + e.value, e.value, 'a', 'n', 1 + (e.value = 2) FROM n CROSS JOIN json_each('[1, 2, 3]') e WHERE ?2 > 0`,
		`INSERT INTO webhook_deliveries (wkey, seq, created, type, name)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
		SELECT 1000 + ?1 / 2, 103 + i, 3 + i, CASE WHEN i IN (1, 100, ?2) THEN 'needle' ELSE 'a' END, 'n' FROM n`,
		`UPDATE webhook_counters SET seq = 1000 + ?2 WHERE ?1 > 0`,
	} {
		if _, err := db.Exec(q, hooks, ownOfBusy); err != nil {
			t.Fatal(q, err)
		}
	}
	if _, err := db.Exec(`INSERT INTO webhook_stats (wkey, hour, succeeded, failed, duration)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1), h(h) AS (SELECT 1 UNION ALL SELECT h + 1 FROM h WHERE h < ?2)
		SELECT 1000 + i, h * 3600000000, 1, 2, 3 FROM n CROSS JOIN h`, hooks, statsHours); err != nil {
		t.Fatal(err)
	}
	statsOfMany(t, s, "rows and statements", func() int { return int(counted.n.Swap(0)) },
		func(limit int) int { return hooks + limit + 2*(limit/statsHours) + 50 })
	listsOfMany(t, s, "rows and statements", func() int { return int(counted.n.Swap(0)) },
		func(scan int) int { return 2*hooks + 3*scan + 50 })
}
