package dbtest

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// newest is the newest PostgreSQL, started by the first test that needs it.
var newest struct {
	once sync.Once
	pg   *Postgres
	err  error
}

func newestPostgres(t testing.TB) *Postgres {
	t.Helper()
	newest.once.Do(func() { newest.pg, newest.err = StartNewestPostgres(".", "fsync=off") })
	if newest.err != nil {
		t.Fatal(newest.err)
	}
	return newest.pg
}

// openDSN opens a pool on any server.
func openDSN(t testing.TB, driver, dsn string, size int) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	t.Cleanup(func() { db.Close() })
	return db
}

// pgSuite runs the suite on two pools of one database.
func pgSuite(t *testing.T, driver, dsn string) {
	db := openDSN(t, driver, dsn, 12)
	cfg := pgstore.Config{Schema: pgSchema(t, db)}
	stores := [2]*pgstore.Store{pgStore(t, db, cfg), pgStore(t, openDSN(t, driver, dsn, 12), cfg)}
	suiteOf(t, db, stores, func(s *pgstore.Store, tx *sql.Tx, req webhook.PublishRequest) error {
		_, err := s.PublishTx(t.Context(), tx, req)
		return err
	})
}

func TestSuite_Postgres(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			pgSuite(t, driver, postgres(t).DSN())
		})
	}
}

// The newest PostgreSQL: the Store keeps the contract, and a host gets the same
// results as with the system's.
func TestNewestPostgresKeepsTheContract(t *testing.T) {
	db := openDSN(t, "pgx", newestPostgres(t).DSN(), 12)
	var version, system string
	if err := db.QueryRow(`SHOW server_version`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	if err := pgOpen(t, "pgx", "").QueryRow(`SHOW server_version`).Scan(&system); err != nil {
		t.Fatal(err)
	}
	t.Logf("the newest is %s, the system's is %s", version, system)
	if major, _, _ := strings.Cut(version, "."); major < "18" {
		t.Errorf("the newest PostgreSQL here is %s", version)
	}
	t.Run("Contract", func(t *testing.T) { t.Parallel(); pgConformance(t, db) })
	for _, driver := range pgDrivers {
		t.Run("Suite/"+driver, func(t *testing.T) { t.Parallel(); pgSuite(t, driver, newestPostgres(t).DSN()) })
	}
}

// Behind PgBouncer in transaction mode, each transaction may get another session of
// the server, without the settings of the previous one. The pool is smaller than
// that of the clients.
func TestD23_PG12_PgBouncerInTransactionMode(t *testing.T) {
	b, err := StartBouncer(postgres(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, way := range map[string]struct{ driver, options string }{
		"pgx/exec":            {"pgx", "default_query_exec_mode=exec"},
		"pgx/simple_protocol": {"pgx", "default_query_exec_mode=simple_protocol"},
		"lib-pq":              {"postgres", "binary_parameters=yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pgSuite(t, way.driver, b.DSN(way.options))
		})
	}
	t.Run("Contract", func(t *testing.T) {
		t.Parallel()
		pgConformance(t, openDSN(t, "pgx", b.DSN("default_query_exec_mode=exec"), 12))
	})
	// PgBouncer does answer, and it does change sessions: a statement prepared in
	// one transaction is sometimes unknown in the next.
	t.Run("HasTeeth", func(t *testing.T) {
		db := openDSN(t, "pgx", b.DSN("default_query_exec_mode=cache_statement"), 12)
		var failed sync.Map
		var callers sync.WaitGroup
		for range 12 {
			callers.Go(func() {
				for range 30 {
					var one int
					if err := db.QueryRow(`SELECT 1 + $1::integer`, 0).Scan(&one); err != nil {
						failed.Store(err.Error(), true)
					}
				}
			})
		}
		callers.Wait()
		found := false
		failed.Range(func(err, _ any) bool {
			found = found || strings.Contains(err.(string), "prepared statement")
			return true
		})
		if !found {
			t.Error("statements prepared in one transaction were there in every other: this is no test of transaction mode")
		}
	})
}
