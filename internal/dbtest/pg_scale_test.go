package dbtest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// explained is a pool whose server explains every statement.
type explained struct {
	*sql.DB
	mu    sync.Mutex
	plans []string
}

func pgExplained(t testing.TB) *explained {
	t.Helper()
	cfg, err := pgx.ParseConfig(postgres(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on",
		"auto_explain.log_buffers": "on", "auto_explain.log_timing": "off", "auto_explain.log_level": "notice",
	} {
		cfg.RuntimeParams[k] = v
	}
	e := &explained{}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.plans = append(e.plans, n.Message)
	}
	e.DB = stdlib.OpenDB(*cfg)
	t.Cleanup(func() { e.Close() })
	return e
}

// pages returns how many pages the statements since the last call touched.
func (e *explained) pages(t testing.TB) (total int, plans string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.plans {
		total += planPages(p)
	}
	plans = strings.Join(e.plans, "\n")
	e.plans = nil
	return total, plans
}

// most returns the statement that touched the most pages since the last call of
// pages.
func (e *explained) most(t testing.TB) (pages int, plan string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.plans {
		if n := planPages(p); n > pages {
			pages, plan = n, p
		}
	}
	return pages, plan
}

// planPages returns how many pages an explained statement touched.
func planPages(plan string) (total int) {
	_, rest, _ := strings.Cut(plan, " Buffers: ") // of the whole plan, which comes first
	line, _, _ := strings.Cut(rest, "\n")
	for f := range strings.FieldsSeq(line) {
		kind, n, ok := strings.Cut(f, "=")
		if pages, err := strconv.Atoi(strings.TrimSuffix(n, ",")); ok && err == nil && (kind == "hit" || kind == "read") {
			total += pages
		}
	}
	return total
}

// Deliveries of a dead webhook, due or waiting, and finished deliveries add no cost
// to a claim. The unit is pages touched, not time.
func TestD9_ClaimPassesABacklog(t *testing.T) {
	rows := backlogRows()
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	db := pgExplained(t)
	s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
	for i, typ := range []string{"dead.due", "dead.later", "done", "a.b"} {
		pgHook(t, s, fmt.Sprintf("wh_%d", i+1), typ)
	}
	claim := func(limit int) (int, int, string) {
		t.Helper()
		token := rand.Int64N(1<<62) + 1
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: time.Minute,
			Limit: limit, PerWebhook: limit, Limits: map[string]int{"wh_1": 0}})
		if err != nil {
			t.Fatal(err)
		}
		var results []webhook.Result
		for _, d := range res.Deliveries {
			if d.Delivery.WebhookID != "wh_4" {
				t.Fatalf("claimed a delivery to %s", d.Delivery.WebhookID)
			}
			results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded})
		}
		touched, plans := db.pages(t)
		if _, err := s.Complete(t.Context(), time.Now(), results); err != nil {
			t.Fatal(err)
		}
		db.pages(t)
		return len(res.Deliveries), touched, plans
	}
	measure := func(what string) int {
		t.Helper()
		most := 0
		for i := range 3 { // the first makes a sweep, the others look at new rows only
			mustPublish(t, s, pgEvent(fmt.Sprintf("%s-%d-a", what, i)), pgEvent(fmt.Sprintf("%s-%d-b", what, i)))
			db.pages(t)
			n, touched, plans := claim(10)
			if n != 2 {
				t.Fatalf("%s: claimed %d, want 2", what, n)
			}
			if most = max(most, touched); touched > 400 {
				t.Errorf("%s: a claim of 2 touched %d pages:\n%s", what, touched, plans)
			}
		}
		t.Logf("%s: at most %d pages for 2 deliveries", what, most)
		return most
	}
	alone := measure("alone")
	_ = alone
	fill := func(what, table, columns, values string) {
		t.Helper()
		began := time.Now()
		q := fmt.Sprintf(`INSERT INTO %s.webhook_%s (ekey, wkey, created_at, type, name, %s)
			SELECT 1000000 + i, %s FROM generate_series(1, %d) i`, schema, table, columns, values, rows)
		if _, err := plain.Exec(q); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rows %s in %v", rows, what, time.Since(began).Round(time.Second))
	}
	fill("due at a dead webhook", "queue", "due", "1, i, 'dead.due', 'n', i")
	fill("that wait", "queue", "due, waiting", "2, i, 'dead.later', 'n', 4000000000000000 + i, true")
	fill("finished", "deliveries", "finished_at, token, ord, state, attempts, tries, crashes, last_status",
		"3, i, 'done', 'n', i, 1, i, 2, 1, 1, 0, 200")
	if _, err := plain.Exec(fmt.Sprintf(`VACUUM %[1]s.webhook_queue; `, schema)); err != nil {
		t.Fatal(err)
	}
	if full := measure("behind"); full > alone+200 {
		t.Errorf("a claim of 2 touched %d pages alone and %d behind three times %d rows", alone, full, rows)
	}
	// A look at the backlog reads about as many rows as its limit.
	b, err := s.Backlog(t.Context(), webhook.BacklogQuery{Now: time.Now(), Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if b.Due != 1000 || b.Waiting != 1000 || !b.AtLeast || b.OldestDue <= 0 {
		t.Errorf("backlog, counted to 1000: %+v", b)
	}
	if n, plans := db.pages(t); n > 3000 {
		t.Errorf("a look at the backlog touched %d pages:\n%s", n, plans)
	} else {
		t.Logf("backlog, counted to 1000: %d pages", n)
	}
	// A page in the middle of the log is as cheap as the first. A search for a rare
	// type costs as much as q.Scan allows.
	for what, q := range map[string]webhook.DeliveryQuery{
		"first page":  {Tenant: tenant},
		"one webhook": {Tenant: tenant, WebhookID: "wh_3"},
		"failed":      {Tenant: tenant, State: webhook.StateFailed},
		"pending":     {Tenant: tenant, State: webhook.StatePending, WebhookID: "wh_2"},
		"since":       {Tenant: tenant, Since: time.Now().Add(-time.Hour)},
		"one event":   {Tenant: tenant, EventID: "alone-1-a"},
	} {
		if _, err := s.ListDeliveries(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if n, plans := db.pages(t); n > 1500 {
			t.Errorf("list %s touched %d pages:\n%s", what, n, plans)
		} else {
			t.Logf("list %s: %d pages", what, n)
		}
	}
	pgListsAreBounded(t, s, db, schema, rows)
}

// One event for 10,000 webhooks is one statement.
func TestD29_FanOutIsOneStatement(t *testing.T) {
	hooks := 10_000
	if testing.Short() {
		hooks = 1_000
	}
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	pgHook(t, s, "wh_first", "a.b")
	if _, err := db.Exec(fmt.Sprintf(`
		INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
			max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
		SELECT 1000 + i, 'wh_' || i, tenant, 'hook ' || i, url, '', events, headers, secrets, true, true, timeout, 3, '', 0, created_at, updated_at, 1
		FROM %[1]s.webhook_webhooks, generate_series(2, %[2]d) i;
		INSERT INTO %[1]s.webhook_subscriptions SELECT tenant, CASE WHEN wkey %% 2 = 0 THEN 'a.b' ELSE '*' END, wkey, name
		FROM %[1]s.webhook_webhooks WHERE wkey >= 1000`, schema, hooks)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	res, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent("e1")})
	if err != nil || res[0].Deliveries != hooks {
		t.Fatalf("got %+v, %v, want %d deliveries", res, err, hooks)
	}
	t.Logf("one event to %d webhooks in %v", hooks, time.Since(began).Round(time.Millisecond))
	claimEachOnce(t, s, hooks)
}

// The queue of a system that keeps up is empty whenever it is vacuumed, so that the
// server believes it to be empty for a while after it fills. No call may scan the
// tables then.
func TestD9_NoScansWithStatisticsOfAnEmptyQueue(t *testing.T) {
	rows := 100_000
	if testing.Short() {
		rows = 30_000
	}
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	pgStore(t, plain, pgstore.Config{Schema: schema})
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := plain.Exec(fmt.Sprintf(q, args...)); err != nil {
			t.Fatal(err)
		}
	}
	fill := func() {
		t.Helper()
		exec(`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, type, name, due)
			SELECT 1000000 + i, 1, i, 'dead.due', 'n', i FROM generate_series(1, %[2]d) i`, schema, rows)
	}
	// Vacuum counts empty pages, and the statistics are not corrected during the
	// test.
	for _, table := range []string{"queue", "claims", "deliveries", "events", "attempts", "health", "stats"} {
		exec(`ALTER TABLE %s.webhook_%s SET (autovacuum_enabled = false)`, schema, table)
	}
	fill()
	exec(`DELETE FROM %s.webhook_queue`, schema)
	exec(`ANALYZE %s.webhook_queue`, schema)
	db := pgExplained(t)
	s := pgStore(t, db.DB, pgstore.Config{Schema: schema})
	pgHook(t, s, "wh_1", "dead.due")
	pgHook(t, s, "wh_2", "a.b")
	fill()

	bounded := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n, plans := db.pages(t); n > 300 {
			t.Errorf("%s touched %d pages beside %d rows of others:\n%s", what, n, rows, plans)
		} else {
			t.Logf("%s: %d pages", what, n)
		}
	}
	// More rounds than the server makes custom plans before it keeps a generic one.
	for i := range 8 {
		now := time.Now()
		mustPublish(t, s, pgEvent(fmt.Sprintf("%d-a", i)), pgEvent(fmt.Sprintf("%d-b", i)), pgEvent(fmt.Sprintf("%d-c", i)))
		db.pages(t)
		token := rand.Int64N(1<<62) + 1
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: now, Lease: time.Minute,
			Limit: 3, PerWebhook: 3, Limits: map[string]int{"wh_1": 0}})
		bounded("claim", err)
		if len(res.Deliveries) != 3 {
			t.Fatalf("claimed %d, want 3", len(res.Deliveries))
		}
		lease := func(i int) webhook.Lease {
			return webhook.Lease{DeliveryID: res.Deliveries[i].Delivery.ID, Token: token}
		}
		lost, err := s.Extend(t.Context(), now, []webhook.Lease{lease(0), lease(1), lease(2)}, time.Minute)
		bounded("extend", err)
		if len(lost) > 0 {
			t.Errorf("lost %v", lost)
		}
		bounded("release", s.Release(t.Context(), now, []webhook.Lease{lease(2)}, time.Hour))
		attempt := func(i, status int) *webhook.Attempt {
			return &webhook.Attempt{DeliveryID: lease(i).DeliveryID, Number: 1, StartedAt: now, Duration: time.Millisecond, Status: status}
		}
		outcomes, err := s.Complete(t.Context(), now, []webhook.Result{
			{DeliveryID: lease(0).DeliveryID, Token: token, State: webhook.StateSucceeded, Attempt: attempt(0, 200)},
			{DeliveryID: lease(1).DeliveryID, Token: token, State: webhook.StatePending, Delay: time.Hour, Attempt: attempt(1, 500)},
		})
		bounded("complete", err)
		if outcomes[0] != webhook.OutcomeApplied || outcomes[1] != webhook.OutcomeApplied {
			t.Errorf("outcomes %v", outcomes)
		}
		_, err = s.Resend(t.Context(), now, tenant, lease(0).DeliveryID)
		bounded("resend", err)
		_, err = s.GetDelivery(t.Context(), tenant, lease(1).DeliveryID)
		bounded("delivery", err)
		_, err = s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant, WebhookID: "wh_2", State: webhook.StatePending})
		bounded("list", err)
		_, err = s.Backlog(t.Context(), webhook.BacklogQuery{Now: now, Limit: 100})
		bounded("backlog", err)
		_, err = s.Prune(t.Context(), now.Add(time.Hour), 2)
		bounded("prune", err)
		bounded("release all", s.Release(t.Context(), now, []webhook.Lease{{Token: token}}, time.Hour))
	}
}
