package dbtest

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

func TestD24_ProcessesMigrateAtOnce(t *testing.T) {
	schema := pgSchema(t, pgOpen(t, "pgx", ""))
	var racers sync.WaitGroup
	for i := range 8 {
		db := pgOpen(t, pgDrivers[i%2], "") // one pool each, as processes have
		s, err := pgstore.New(db, pgstore.Config{Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		racers.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Errorf("Migrate by racer %d: %v", i, err)
				return
			}
			if _, err := s.Publish(t.Context(), time.Now(), nil); err != nil {
				t.Errorf("Publish by racer %d: %v", i, err)
			}
		})
	}
	racers.Wait()
	var n int
	if err := pgOpen(t, "pgx", "").QueryRow(`SELECT count(*) FROM ` + schema + `.webhook_schema_version`).Scan(&n); err != nil || n != pgVersion(t) {
		t.Errorf("%d versions recorded, want %d: %v", n, pgVersion(t), err)
	}
}

// pgVersion is the version of the tables: the number of migrations.
func pgVersion(t *testing.T) int {
	t.Helper()
	files, err := pgstore.Migrations(pgstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// firstMigration returns the text of the first migration.
func firstMigration(t *testing.T, cfg pgstore.Config) string {
	t.Helper()
	files, err := pgstore.Migrations(cfg)
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(files, "0001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A process that dies in the middle of a migration does not disturb the next one.
func TestD24_MigrateAfterKill(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	cfg := pgstore.Config{Schema: schema}
	text := firstMigration(t, cfg)
	half := text[:strings.LastIndex(text[:len(text)/2], ";")+1]
	if _, err := db.Exec(`CREATE SCHEMA ` + schema); err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := tx.QueryRow(`SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(half); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`SELECT pg_terminate_backend($1)`, pid); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	s := pgStore(t, db, cfg)
	pgHook(t, s, "wh_1", "*")
}

func TestD24_OtherVersionsAreRefused(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	cfg := pgstore.Config{Schema: schema}
	fresh := func() *pgstore.Store {
		s, err := pgstore.New(db, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	refused := func(what, advice string) {
		t.Helper()
		_, err := fresh().GetEvent(t.Context(), tenant, "e1")
		if !errors.Is(err, pgstore.ErrSchema) || !strings.Contains(err.Error(), advice) {
			t.Errorf("%s: got error %v, want ErrSchema that says %q", what, err, advice)
		}
	}
	refused("no tables", "call Migrate")
	if err := fresh().Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	set := func(version int) {
		t.Helper()
		if _, err := db.Exec(fmt.Sprintf(`DELETE FROM %[1]s.webhook_schema_version; INSERT INTO %[1]s.webhook_schema_version (version) VALUES (%[2]d)`,
			schema, version)); err != nil {
			t.Fatal(err)
		}
	}
	set(1000)
	refused("newer tables", "update the program")
	if err := fresh().Migrate(t.Context()); !errors.Is(err, pgstore.ErrSchema) {
		t.Errorf("Migrate of newer tables: got %v, want ErrSchema", err)
	}
	set(1)
	refused("older tables", "call Migrate")
}

// Tables of version 1 keep their rows, and still serve running programs that were
// built for them.
func TestD24_UpgradeFromVersion1(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	cfg := pgstore.Config{Schema: schema}
	first := firstMigration(t, cfg)
	insert := func(id string) string {
		return `INSERT INTO ` + schema + `.webhook_webhooks (id, tenant, name, url, description, events, headers, secrets, active,
			verify_tls, timeout, max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
			VALUES ('` + id + `', '` + tenant + `', 'n', 'https://example.com/', '', '["*"]', '{}', '[{"v":"s","c":1}]', true,
				true, 30000000, 3, '', 0, 1, 1, 1)`
	}
	for _, text := range []string{`CREATE SCHEMA ` + schema, first, insert("wh_old"),
		`INSERT INTO ` + schema + `.webhook_subscriptions (tenant, pattern, wkey, name) SELECT tenant, '*', wkey, name FROM ` + schema + `.webhook_webhooks`} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	s := pgStore(t, db, cfg)
	if _, err := db.Exec(insert("wh_by_old_program")); err != nil {
		t.Errorf("a program of version 1 cannot write any more: %v", err)
	}
	wantUpgraded(t, s, tenant, "wh_old", "wh_by_old_program")
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("Migrate again: %v", err)
	}
}

// wantUpgraded checks that webhooks in tables of version 1 are unchanged, have no
// rate limit, and can be given one.
func wantUpgraded(t *testing.T, s webhook.Store, tenant string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		w, err := s.GetWebhook(t.Context(), tenant, id)
		if err != nil || w.RateLimit != 0 || w.Timeout != 30*time.Second || w.MaxRetries != 3 || len(w.Secrets) != 1 {
			t.Errorf("after the upgrade: %+v, %v", w, err)
		}
		w.RateLimit = 0.5
		if err := s.UpdateWebhook(t.Context(), w); err != nil {
			t.Error(err)
		}
		if w, err := s.GetWebhook(t.Context(), tenant, id); err != nil || w.RateLimit != 0.5 {
			t.Errorf("RateLimit is %v after it was set, %v", w.RateLimit, err)
		}
	}
}

func TestPostgresTwoPrefixesInOneSchema(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	a := pgStore(t, db, pgstore.Config{Schema: schema, TablePrefix: "a_"})
	b := pgStore(t, db, pgstore.Config{Schema: schema, TablePrefix: "b_"})
	pgHook(t, a, "wh_1", "*")
	pgHook(t, b, "wh_1", "*")
	mustPublish(t, a, pgEvent("e1"))
	if got := claimed(t, b); len(got) != 0 {
		t.Errorf("one store claimed %q of the other", got)
	}
	if got := claimed(t, a); len(got) != 1 {
		t.Errorf("claimed %q, want e1", got)
	}
}
