package dbtest

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// The suite on two pools of one file, as two processes have them.
func TestSuite_SQLite(t *testing.T) {
	for driver, options := range map[string]string{
		"sqlite": "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)", "sqlite3": "?_txlock=immediate&_busy_timeout=10000&_synchronous=FULL",
	} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			dsn := "file:" + filepath.Join(t.TempDir(), "webhook.db") + options
			db := sqliteOpen(t, driver, dsn)
			stores := [2]*sqlitestore.Store{sqliteStoreOn(t, db, sqlitestore.Config{}), sqliteStoreOn(t, sqliteOpen(t, driver, dsn), sqlitestore.Config{})}
			suiteOf(t, db, stores, func(s *sqlitestore.Store, tx *sql.Tx, req webhook.PublishRequest) error {
				_, err := s.PublishTx(t.Context(), tx, req)
				return err
			})
		})
	}
}
