package main

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// The SQL of docs/stores.md runs on the current tables, and the migrations can
// be written out and applied by hand as described there.
func TestSQLInTheDocumentationRuns(t *testing.T) {
	ctx, server, db := testDatabase(t)
	db.SetMaxOpenConns(1) // so that the search_path below holds

	fsys, err := pgstore.Migrations(pgstore.Config{Schema: "webhooks"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "migrations")
	if err := os.CopyFS(dir, fsys); err != nil {
		t.Fatal(err)
	}
	steps, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(steps) == 0 {
		t.Fatalf("migrations: %v, %v", steps, err)
	}
	exec := func(q string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Errorf("%v in:\n%s", err, q)
		}
	}
	exec(`CREATE SCHEMA webhooks`)
	for _, step := range steps {
		text, err := os.ReadFile(step)
		if err != nil {
			t.Fatal(err)
		}
		exec(string(text))
	}
	store, err := pgstore.New(db, pgstore.Config{Schema: "webhooks"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		t.Errorf("Migrate after the files: %v", err)
	}

	exec(`SET search_path = webhooks`)
	for name, least := range map[string]int{"stores": 10, "operating": 2, "receiving": 5} {
		text, err := os.ReadFile("../../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			for _, q := range strings.SplitAfter(regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(block[1], ""), ";") {
				q = strings.TrimSpace(q)
				if strings.Contains(q, "$1") { // only planned
					q = "PREPARE q AS " + q + " DEALLOCATE q"
				}
				if q != "" {
					exec(q)
					n++
				}
			}
		}
		if n < least {
			t.Errorf("%d statements found in %s.md: the test looks in the wrong place", n, name)
		}
	}

	// The queries that docs/scaling.md sends to a replica, on a connection that
	// is as read-only.
	replica, err := sql.Open("pgx", server.dsn()+" default_transaction_read_only=on")
	if err != nil {
		t.Fatal(err)
	}
	defer replica.Close()
	reader, err := pgstore.New(replica, pgstore.Config{Schema: "webhooks"})
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := reader.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, Limit: 50})
	_, err2 := reader.ListWebhooks(ctx, webhook.WebhookQuery{Tenant: tenant, Limit: 50})
	_, err3 := reader.Stats(ctx, webhook.StatsQuery{Tenant: tenant})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Errorf("reading the log on a replica: %v", err)
	}
	_, err1 = reader.GetEvent(ctx, tenant, "evt_1")
	_, err2 = reader.GetDelivery(ctx, tenant, "1_1")
	_, err3 = reader.ListAttempts(ctx, tenant, "1_1")
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
	if err := reader.CreateWebhook(ctx, webhook.WebhookRecord{Webhook: webhook.Webhook{ID: "wh_1", Tenant: tenant}}, 0); err == nil ||
		!strings.Contains(err.Error(), "read-only") {
		t.Errorf("writing to a replica: got %v, want that the server is read-only", err)
	}
}
