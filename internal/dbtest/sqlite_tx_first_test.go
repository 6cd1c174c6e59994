package dbtest

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/sqlitestore"
)

// A process whose first call is PublishTx needs no connection besides that of its
// transaction, which may be the pool's only one; tables that do not fit are
// refused.
func TestSQLitePublishTxFirstNeedsNoConnection(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		path := "file:" + filepath.Join(t.TempDir(), "webhook.db") + sqliteDSN[driver]
		migrated := sqliteStoreOn(t, sqliteOpen(t, driver, path), sqlitestore.Config{})
		pgHook(t, migrated, "wh_1", "*")
		db := sqliteOpen(t, driver, path)
		db.SetMaxOpenConns(1)
		publish := func(id string) (int, error) {
			s, err := sqlitestore.New(db, sqlitestore.Config{}) // of a process that has just started
			if err != nil {
				t.Fatal(err)
			}
			tx, err := db.BeginTx(within(t, time.Minute), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			n, err := s.PublishTx(within(t, time.Minute), tx, pgEvent(id))
			if err == nil {
				err = tx.Commit()
			}
			return n, err
		}
		if n, err := publish("one"); n != 1 || err != nil {
			t.Fatalf("stored %d, %v", n, err)
		}
		if got := claimed(t, migrated); len(got) != 1 {
			t.Errorf("claimed %q, want one", got)
		}
		newer := func(do string) {
			if _, err := db.Exec(do); err != nil {
				t.Fatal(err)
			}
		}
		newer(`INSERT INTO webhook_schema_version (version) VALUES (1000)`)
		if n, err := publish("two"); n != 0 || !errors.Is(err, sqlitestore.ErrSchema) || !strings.Contains(err.Error(), "update the program") {
			t.Errorf("on newer tables: stored %d, %v; want ErrSchema", n, err)
		}
		newer(`DELETE FROM webhook_schema_version WHERE version = 1000`)
		var events int
		if err := db.QueryRow(`SELECT count(*) FROM webhook_events`).Scan(&events); err != nil || events != 1 {
			t.Errorf("%d events, %v; want the published one", events, err)
		}
	})
}
