package main

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/examples/internal/program"
)

// The output, with and without a given database.
var lines = []string{
	`ORDER +TRANSACTION +ROW +WEBHOOKS RECEIVED`,
	`1 +committed +paid +1`,
	`2 +rolled back +open +0`,
	`3 +committed +paid +1`,
	`2 orders are paid, and the queue holds 2 deliveries, all told\.`,
}

func checkLines(t *testing.T, out string) {
	t.Helper()
	for _, line := range lines {
		if n := len(regexp.MustCompile(`(?m)^`+line+`$`).FindAllString(out, -1)); n != 1 {
			t.Errorf("%d lines like %q, want 1:\n%s", n, line, out)
		}
	}
}

// Without a database it starts its own, and removes it again.
func TestPostgresTx(t *testing.T) {
	tmp := t.TempDir()
	for _, dir := range []string{tmp, filepath.Dir(tmp)} { // the server runs as another user when this is root
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program.Build(t, "."))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	p := program.Start(t, cmd)
	if code := p.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.Output())
	}
	checkLines(t, p.Output())
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// On a given database it drops the schema that it made. It works without prepared
// statements, which PgBouncer may not have.
func TestPostgresTxOnAGivenDatabase(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := startServer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	p := program.Start(t, exec.CommandContext(ctx, program.Build(t, "."), "-db", s.dsn()+" default_query_exec_mode=exec"))
	if code := p.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.Output())
	}
	checkLines(t, p.Output())

	db, err := sql.Open("pgx", s.dsn())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var left int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('public', 'information_schema')
		OR nspname LIKE 'postgres_tx_%'`).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d schemas are left behind, %v", left, err)
	}
}

// For a database that does not answer it returns an error, and does not hang.
func TestPostgresTxWithoutADatabase(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), &out, "host="+t.TempDir()+" user=nobody dbname=none")
	if err == nil || !strings.Contains(err.Error(), "failed to connect") {
		t.Errorf("got %v, want that it failed to connect", err)
	}
	if out.Len() > 0 {
		t.Errorf("it printed a result: %s", out.String())
	}
}

// testDatabase starts a server for a test and opens its database.
func testDatabase(t *testing.T) (context.Context, *server, *sql.DB) {
	t.Helper()
	// The test's own context would end before the server is stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	t.Cleanup(cancel)
	srv, err := startServer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.stop)
	db, err := sql.Open("pgx", srv.dsn())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return ctx, srv, db
}

// The report is an error as soon as table, queue and customer differ.
func TestPostgresTxReportHasTeeth(t *testing.T) {
	ctx, _, db := testDatabase(t)
	s, err := open(ctx, db, "teeth")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int64{1, 3} {
		if err := s.pay(ctx, id, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	// No webhook exists, so the queue is empty; and the customer got the event
	// of an order that was rolled back.
	err = s.report(ctx, new(strings.Builder), &customer{heard: map[int64]int{1: 1, 2: 1, 3: 1}})
	for _, want := range []string{"order 2 is open, and the customer heard of it 1 times", "2 orders are paid and 0 deliveries exist"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
