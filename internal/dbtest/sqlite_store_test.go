package dbtest

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
	"github.com/seed68722ecd/webhook/storetest"

	_ "github.com/mattn/go-sqlite3"
	_ "modernc.org/sqlite"
)

// sqliteDrivers are the names under which the drivers register.
var sqliteDrivers = []string{"sqlite", "sqlite3"} // modernc, mattn

// sqliteOpen opens a file like a host that does not know the Store's needs.
func sqliteOpen(t testing.TB, driver, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing %s: %v", path, err)
		}
	})
	return db
}

// sqliteStore returns a Store on a new file.
func sqliteStore(t testing.TB, driver string, cfg sqlitestore.Config) (*sqlitestore.Store, *sql.DB) {
	t.Helper()
	db := sqliteOpen(t, driver, filepath.Join(t.TempDir(), "webhook.db"))
	return sqliteStoreOn(t, db, cfg), db
}

func sqliteStoreOn(t testing.TB, db *sql.DB, cfg sqlitestore.Config) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.New(db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sqliteEach runs a test with every driver.
func sqliteEach(t *testing.T, test func(t *testing.T, driver string)) {
	for _, driver := range sqliteDrivers {
		t.Run(driver, func(t *testing.T) { test(t, driver) })
	}
}

// The conformance suite, with every driver.
func TestD33_SQLiteConformance(t *testing.T) {
	t.Parallel()
	sqliteEach(t, func(t *testing.T, driver string) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) webhook.Store {
			s, _ := sqliteStore(t, driver, sqlitestore.Config{Relaxed: true, PassedClock: true})
			return s
		})
	})
}

// The same with a pool of one connection, which writer and readers share.
func TestD22_SQLiteOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) webhook.Store {
		// With the faster driver: the pool makes the difference.
		db := sqliteOpen(t, "sqlite3", filepath.Join(t.TempDir(), "webhook.db"))
		db.SetMaxOpenConns(1)
		return sqliteStoreOn(t, db, sqlitestore.Config{TablePrefix: "w_", Relaxed: true, PassedClock: true})
	})
}
