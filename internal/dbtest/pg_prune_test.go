package dbtest

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// pruneEra is the age of the rows that the tests below delete.
const pruneEra = 10 * time.Hour

// pgEra fills a store with old events, one a millisecond, each with a delivery that
// was finished then or is still pending.
func pgEra(t *testing.T, exec func(q string, args ...any), schema string, rows int, finished bool) {
	t.Helper()
	from := time.Now().Add(-pruneEra).UnixMilli()
	exec(`INSERT INTO %[1]s.webhook_events (ekey, time, created_at, tenant, id, type, data)
		SELECT (%[2]d + i) << 21, 1, (%[2]d + i) * 1000, '%[4]s', 'ev-' || i, 'a.b', '{}' FROM generate_series(1, %[3]d) i`, schema, from, rows, tenant)
	if finished {
		exec(`INSERT INTO %[1]s.webhook_deliveries (ekey, wkey, created_at, finished_at, token, ord, state, attempts, tries, crashes, last_status, type, name)
			SELECT (%[2]d + i) << 21, 1, (%[2]d + i) * 1000, (%[2]d + i) * 1000 + 10, i, i, 2, 1, 1, 0, 200, 'a.b', 'n' FROM generate_series(1, %[3]d) i`,
			schema, from, rows)
	} else {
		exec(`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, waiting, type, name)
			SELECT (%[2]d + i) << 21, 1, (%[2]d + i) * 1000, 4000000000000000, true, 'a.b', 'n' FROM generate_series(1, %[3]d) i`, schema, from, rows)
	}
}

// Each step of a pruning goes on where the previous step ended, also if each asks
// for a different time, and although deleted rows cannot be removed because a
// transaction elsewhere may still need them.
func TestD20_PruningReadsEachRowOnce(t *testing.T) {
	rows := max(backlogRows()/10, 10_000)
	const step = 500
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	exec := pgExecutor(t, plain)
	pgEra(t, exec, schema, rows, true)
	exec(`ANALYZE %s.webhook_deliveries`, schema)
	defer pgHeld(t, plain, schema)()

	db := pgOpen(t, "pgx", "application_name="+schema)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	total, steps := 0, 0
	for at := time.Now().Add(-time.Hour); ; at = at.Add(time.Second) { // as a clock advances
		n, err := s.Prune(t.Context(), at, step)
		if err != nil {
			t.Fatal(err)
		}
		steps++
		if total += n; n < step {
			break
		}
	}
	if total != 2*rows {
		t.Errorf("deleted %d, want %d deliveries and as many events", total, rows)
	}
	read := pgEntriesRead(t, db, plain, schema)
	t.Logf("%d index entries for %d deliveries and events in %d steps", read, rows, steps)
	if read > 8*rows {
		t.Errorf("%d index entries were read for %d deliveries and as many events", read, rows)
	}
}

// pgEntriesRead returns how many index entries the sessions of db have read in a
// schema. It closes db, since the counters of a session are visible when it ends,
// at the latest.
func pgEntriesRead(t *testing.T, db, plain *sql.DB, schema string) (n int) {
	t.Helper()
	db.Close()
	for ended := false; !ended; { // see above
		if err := plain.QueryRow(`SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = $1)`, schema).Scan(&ended); err != nil {
			t.Fatal(err)
		}
	}
	if err := plain.QueryRow(`SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = $1`, schema).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Rows that cannot be deleted yet are read in transactions of bounded size too.
func TestD20_PruningReadsKeptRowsInBoundedSteps(t *testing.T) {
	rows := max(backlogRows()/4, 50_000)
	for name, finished := range map[string]bool{"pending": false, "finished later": true} {
		plain := pgOpen(t, "pgx", "")
		schema := pgSchema(t, plain)
		pgStore(t, plain, pgstore.Config{Schema: schema})
		exec := pgExecutor(t, plain)
		pgEra(t, exec, schema, rows, finished)
		if finished {
			exec(`UPDATE %s.webhook_deliveries SET finished_at = 4000000000000000`, schema)
		}
		exec(`ANALYZE %s.webhook_deliveries`, schema)
		db := pgExplained(t)
		s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
		db.pages(t)
		if n, err := s.Prune(t.Context(), time.Now().Add(-time.Hour), 1000); n != 0 || err != nil {
			t.Fatalf("%s: deleted %d, %v", name, n, err)
		}
		if n, plan := db.most(t); n > 120_000 {
			t.Errorf("%s: a statement of a pruning touches %d pages beside %d rows that stay:\n%s", name, n, rows, plan)
		} else {
			t.Logf("%s: %d pages at most in one statement, beside %d rows", name, n, rows)
		}
	}
}

// Statistics of any number of webhooks are deleted by one pruning, in transactions
// of bounded size, and kept hours are not read.
func TestD20_PruningKeepsUpWithStatistics(t *testing.T) {
	hooks := max(backlogRows()/20, 2_500)
	const old, young = 12, 20 // hours per webhook
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	exec := pgExecutor(t, plain)
	before := time.Now().Truncate(time.Hour)
	exec(`INSERT INTO %[1]s.webhook_stats (wkey, hour, succeeded, failed, duration)
		SELECT w, %[2]d + h * 3600000000::bigint, 1, 1, 1 FROM generate_series(1, %[3]d) w, generate_series(%[4]d, %[5]d) h`,
		schema, before.UnixMicro(), hooks, -old, young-1)
	exec(`ANALYZE %s.webhook_stats`, schema)
	db := pgExplained(t)
	s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
	db.pages(t)
	if _, err := s.Prune(t.Context(), before, 1000); err != nil {
		t.Fatal(err)
	}
	most, plan := db.most(t)
	total, _ := db.pages(t)
	t.Logf("%d pages for %d hours, %d at most in one statement", total, hooks*old, most)
	if most > 60_000 {
		t.Errorf("one statement touched %d pages:\n%s", most, plan)
	}
	if want := hooks * old * 12; total > want {
		t.Errorf("%d pages were touched for %d hours, want at most %d", total, hooks*old, want)
	}
	var left, wrong int
	if err := plain.QueryRow(fmt.Sprintf(`SELECT count(*), count(*) FILTER (WHERE hour < %d) FROM %s.webhook_stats`, before.UnixMicro(), schema)).Scan(&left, &wrong); err != nil {
		t.Fatal(err)
	}
	if left != hooks*young || wrong > 0 {
		t.Errorf("%d hours are left, %d of them too old, want %d", left, wrong, hooks*young)
	}
}

// The rows of deleted webhooks are removed when no delivery refers to them, however
// many were deleted at once and however many have to stay.
func TestD20_PruningRemovesDeletedWebhooks(t *testing.T) {
	hooks := max(backlogRows()/20, 2_500)
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	s := pgStore(t, plain, pgstore.Config{Schema: schema})
	exec := pgExecutor(t, plain)
	pgHook(t, s, "wh_1", "a.b")
	// Webhooks with an odd number have a younger delivery.
	exec(`INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at, version, deleted_at)
		SELECT 1000 + i, 'wh_d' || i, '%[3]s', '', '', '', '[]', '{}', '[]', false, true, 1, 3, '', 0, 1, 1, 1, 1 + i / 10 FROM generate_series(1, %[2]d) i;
		INSERT INTO %[1]s.webhook_health (wkey) SELECT 1000 + i FROM generate_series(1, %[2]d) i;
		INSERT INTO %[1]s.webhook_deliveries (ekey, wkey, created_at, finished_at, token, ord, state, attempts, tries, crashes, last_status, type, name)
		SELECT 4000000000000000000, 1000 + i, 1, 4000000000000000, i, i, 2, 1, 1, 0, 200, 'a.b', 'n' FROM generate_series(1, %[2]d, 2) i`, schema, hooks, tenant)
	if _, err := s.Prune(t.Context(), time.Now(), 1000); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"webhooks", "health"} {
		var n int
		if err := plain.QueryRow(`SELECT count(*) FROM ` + schema + `.webhook_` + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != hooks/2+1 {
			t.Errorf("%s: %d rows, want %d with deliveries and one not deleted", table, n, hooks/2)
		}
	}
	if _, err := s.GetWebhook(t.Context(), tenant, "wh_1"); err != nil {
		t.Error(err)
	}
}

// A later call with a later time also deletes rows that an earlier call, with an
// earlier time, kept.
func TestD20_PruningForALaterTime(t *testing.T) {
	const rows, step = 1000, 100
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	s := pgStore(t, plain, pgstore.Config{Schema: schema})
	exec := pgExecutor(t, plain)
	pgEra(t, exec, schema, rows, true)
	// Every second delivery was finished half an hour ago.
	exec(`UPDATE %s.webhook_deliveries SET finished_at = %d WHERE ord %% 2 = 0`, schema, time.Now().Add(-30*time.Minute).UnixMicro())
	total := 0
	prune := func(ago time.Duration) int {
		n, err := s.Prune(t.Context(), time.Now().Add(-ago), step)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		return n
	}
	prune(time.Hour) // some of the odd ones
	prune(time.Hour)
	for prune(time.Minute) >= step {
	}
	if total != 2*rows {
		t.Errorf("deleted %d, want %d deliveries and as many events", total, rows)
	}
	var page webhook.Page[webhook.Delivery]
	if page, _ = s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant}); len(page.Items) > 0 {
		t.Errorf("%d deliveries are left", len(page.Items))
	}
}
