package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
	"github.com/seed68722ecd/webhook/storetest"
)

// sqlitePragmas are pragmas of a host's connections, or of its file, that change
// the meaning of statements. docs/stores.md has the same list.
var sqlitePragmas = []struct{ name, value string }{
	{"auto_vacuum", "full"}, {"automatic_index", "off"}, {"case_sensitive_like", "on"}, {"cell_size_check", "on"}, {"checkpoint_fullfsync", "on"},
	{"count_changes", "on"}, {"defer_foreign_keys", "on"}, {"empty_result_callbacks", "on"}, {"encoding", "'UTF-16'"}, {"foreign_keys", "off"},
	{"foreign_keys", "on"}, {"full_column_names", "on"}, {"ignore_check_constraints", "on"}, {"legacy_alter_table", "on"}, {"locking_mode", "normal"},
	{"page_size", "512"}, {"read_uncommitted", "on"}, {"recursive_triggers", "on"}, {"reverse_unordered_selects", "on"}, {"secure_delete", "on"},
	{"short_column_names", "off"}, {"synchronous", "off"}, {"temp_store", "memory"}, {"trusted_schema", "off"}, {"wal_autocheckpoint", "0"},
}

// sqlitePragmaDB opens connections with these pragmas.
func sqlitePragmaDB(t *testing.T, name string, pragmas ...struct{ name, value string }) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webhook.db")
	if name == "sqlite" {
		q := url.Values{}
		for _, p := range pragmas {
			q.Add("_pragma", p.name+"("+p.value+")")
		}
		return sqliteOpen(t, name, "file:"+path+"?"+q.Encode())
	}
	db := sql.OpenDB(mattnConnector{&sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		for _, p := range pragmas {
			if _, err := c.Exec("PRAGMA "+p.name+" = "+p.value, nil); err != nil {
				return err
			}
		}
		return nil
	}}, path})
	t.Cleanup(func() { db.Close() })
	return db
}

// The pragmas of a host's connections do not change the data that the Store keeps:
// one pragma at a time, and the contract with all of them at once.
func TestPragmasOfAHostChangeNoData(t *testing.T) {
	for _, p := range sqlitePragmas {
		t.Run(p.name+" "+strings.Trim(p.value, "'"), func(t *testing.T) {
			sqliteEach(t, func(t *testing.T, driver string) {
				t.Parallel()
				durable := struct{ name, value string }{"synchronous", "full"} // required for the host's transactions
				db := sqlitePragmaDB(t, driver, durable, p)
				s := sqliteStoreOn(t, db, sqlitestore.Config{})
				rounds(t, s)
				if p.name == "synchronous" || p.name == "count_changes" {
					return // a transaction that is not durable is refused, and mattn's driver counts wrongly
				}
				inTx(t, db, true, func(tx *sql.Tx) error {
					_, err := s.PublishTx(t.Context(), tx, pgEvent("tx"), pgEvent("tx2"))
					return err
				})
				if got := claimed(t, s); len(got) != 4 {
					t.Errorf("published in a transaction: claimed %v", got)
				}
			})
		})
	}
	t.Run("all", func(t *testing.T) { // with the faster driver: the statements are the same
		t.Parallel()
		storetest.Run(t, func(t *testing.T) webhook.Store {
			db := sqlitePragmaDB(t, "sqlite3", sqlitePragmas...)
			return sqliteStoreOn(t, db, sqlitestore.Config{Relaxed: true, PassedClock: true})
		})
	})
}

// The page about stores lists each pragma as harmless.
func TestPragmasAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range sqlitePragmas {
		if !strings.Contains(string(page), "`"+p.name+"`") {
			t.Errorf("docs/stores.md does not name the pragma %s", p.name)
		}
	}
}

// mattnConnector opens connections of a driver with its own hook.
type mattnConnector struct {
	d    *sqlite3.SQLiteDriver
	path string
}

func (c mattnConnector) Connect(context.Context) (driver.Conn, error) { return c.d.Open(c.path) }
func (c mattnConnector) Driver() driver.Driver                        { return c.d }
