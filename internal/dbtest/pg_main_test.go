package dbtest

import (
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed68722ecd/webhook/pgstore"

	_ "github.com/lib/pq"
)

// server is the PostgreSQL server of this test process, started by the first test
// that needs it.
var server struct {
	once sync.Once
	pg   *Postgres
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, pg := range []*Postgres{server.pg, newest.pg} {
		if pg == nil {
			continue
		}
		if err := pg.Stop(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// postgres returns the server.
func postgres(t testing.TB) *Postgres {
	t.Helper()
	server.once.Do(func() {
		// These tests do not cut the power. killtest does, with servers that wait
		// for the disk.
		server.pg, server.err = StartPostgres("shared_buffers=512MB", "max_wal_size=4GB", "fsync=off")
	})
	if server.err != nil {
		t.Fatal(server.err)
	}
	return server.pg
}

// pgDrivers are the database/sql drivers of all tests.
var pgDrivers = []string{"pgx", "postgres"}

// pgOpen opens a pool.
func pgOpen(t testing.TB, driver, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, postgres(t).DSN()+" "+options)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { db.Close() })
	return db
}

var schemas atomic.Int64

// pgSchema returns the name of a schema that is dropped when the test ends.
func pgSchema(t testing.TB, db *sql.DB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", schemas.Add(1))
	t.Cleanup(func() {
		if _, err := db.Exec(`SET client_min_messages = warning; DROP SCHEMA IF EXISTS ` + name + ` CASCADE`); err != nil {
			t.Errorf("dropping schema %s: %v", name, err)
		}
	})
	return name
}

// pgStore returns a migrated store in a schema of its own.
func pgStore(t testing.TB, db *sql.DB, cfg pgstore.Config) *pgstore.Store {
	t.Helper()
	if cfg.Schema == "" {
		cfg.Schema = pgSchema(t, db)
	}
	s, err := pgstore.New(db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
