package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// sqliteSynchronous has the option for PRAGMA synchronous in each driver's DSN, and
// sqliteDSN the options that the documentation shows.
var (
	sqliteSynchronous = map[string]string{"sqlite": "_pragma=synchronous(%s)", "sqlite3": "_synchronous=%s"}
	sqliteDSN         = map[string]string{
		"sqlite":  "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)",
		"sqlite3": "?_txlock=immediate&_busy_timeout=10000&_synchronous=FULL",
	}
)

// The documentation shows the DSNs that these tests use.
func TestDocumentedDSNs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, dsn := range sqliteDSN {
		if !strings.Contains(string(raw), `"`+name+`"`+"` | `file:app.db"+dsn+"`") {
			t.Errorf("docs/stores.md does not show the DSN of %q that is tested: %s", name, dsn)
		}
	}
}

// A transaction of the host's that commits without waiting for the disk cannot
// publish: its acknowledged events could be lost with the power.
func TestPublishTxIsRefusedWhereCommitsDoNotWaitForTheDisk(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		for _, tt := range []struct {
			level   string // empty: the driver's default
			relaxed bool
			refused string
		}{
			{"OFF", false, "synchronous=OFF"},
			{"NORMAL", false, "synchronous=NORMAL"},
			{"FULL", false, ""},
			{"EXTRA", false, ""},
			{"OFF", true, ""},
			{"NORMAL", true, ""},
			{"", false, map[string]string{"sqlite3": "synchronous=NORMAL"}[driver]},
		} {
			path := "file:" + filepath.Join(t.TempDir(), "webhook.db") + "?_txlock=immediate"
			if tt.level != "" {
				path += "&" + fmt.Sprintf(sqliteSynchronous[driver], tt.level)
			}
			db := sqliteOpen(t, driver, path)
			s := sqliteStoreOn(t, db, sqlitestore.Config{Relaxed: tt.relaxed})
			if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
				t.Fatal(err)
			}
			s.Close()
			db.SetMaxIdleConns(0) // the connection that Migrate used is not the next
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			n, err := s.PublishTx(t.Context(), tx, sqliteRequest("t", "a", 10))
			if tt.refused == "" {
				if err != nil || n != 1 {
					t.Errorf("%+v: PublishTx = %d, %v", tt, n, err)
				}
			} else if !errors.Is(err, sqlitestore.ErrNotDurable) || !strings.Contains(err.Error(), tt.refused) ||
				!strings.Contains(err.Error(), fmt.Sprintf(sqliteSynchronous[driver], "FULL")) || !strings.Contains(err.Error(), "Config.Relaxed") {
				t.Errorf("%+v: PublishTx = %d, %v; want ErrNotDurable, the setting and what to add to the DSN", tt, n, err)
			}
			if err := tx.Commit(); err != nil {
				t.Errorf("%+v: the transaction could not go on: %v", tt, err)
			}
			if _, err := s.GetEvent(t.Context(), "t", "a"); errors.Is(err, webhook.ErrNotFound) != (tt.refused != "") {
				t.Errorf("%+v: after the commit the event: %v", tt, err)
			}
		}
	})
}

// With the documented DSN each transaction that published is on the disk before its
// commit returns.
func TestPublishTxSyncsWithTheDocumentedDSN(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("strace counts the fsyncs of this test: install the package strace (%v)", err)
	}
	const publishes = 20
	sqliteEach(t, func(t *testing.T, driver string) {
		path := "file:" + filepath.Join(t.TempDir(), "webhook.db") + sqliteDSN[driver]
		s := sqliteStoreOn(t, sqliteOpen(t, driver, path), sqlitestore.Config{})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(t.TempDir(), "strace.log")
		cmd := sqliteChild(t, "publishtx", driver, path, publishes, strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", log)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if acks, syncs := len(sqliteSaid(string(out), "ack")), syncsIn(t, log); acks != publishes || syncs < acks {
			t.Errorf("%d transactions were committed, %d expected, with %d fsyncs", acks, publishes, syncs)
		}
	})
}

// fickle wraps the driver of modernc.org/sqlite. Its statements can be made to fail
// like those of failing drivers.
type fickle struct {
	driver.Driver
	fault atomic.Pointer[func(query string) error] // may panic
}

func (f *fickle) Open(name string) (driver.Conn, error) {
	c, err := f.Driver.Open(name)
	return &fickleConn{c, f}, err
}

type fickleConn struct {
	driver.Conn
	f *fickle
}

func (c *fickleConn) Prepare(query string) (driver.Stmt, error) {
	st, err := c.Conn.Prepare(query)
	return &fickleStmt{st, query, c.f}, err
}

type fickleStmt struct {
	driver.Stmt
	query string
	f     *fickle
}

func (s *fickleStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if fault := s.f.fault.Load(); fault != nil {
		if err := (*fault)(s.query); err != nil {
			return nil, err
		}
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *fickleStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if fault := s.f.fault.Load(); fault != nil {
		if err := (*fault)(s.query); err != nil {
			return nil, err
		}
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

var fickleDriver = sync.OnceValue(func() *fickle {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	f := &fickle{Driver: db.Driver()}
	sql.Register("fickle", f)
	return f
})

// If a driver panics, or gives a connection up, in the middle of a transaction, the
// calls of that transaction fail. The file is not left locked, and the next call
// gets another connection.
func TestWriterIsReplacedAfterItsDriverFailed(t *testing.T) {
	f := fickleDriver()
	for name, fail := range map[string]func() error{
		"panic":       func() error { panic("the driver has a fault") },
		"ErrBadConn":  func() error { return driver.ErrBadConn },
		"ErrConnDone": func() error { return sql.ErrConnDone },
	} {
		for _, at := range []string{"BEGIN IMMEDIATE", "INSERT INTO webhook_events", "COMMIT", "PRAGMA synchronous"} {
			t.Run(name+" at "+at, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "webhook.db")
				db := sqliteOpen(t, "fickle", path)
				s := sqliteStoreOn(t, db, sqlitestore.Config{BusyTimeout: 10 * time.Second})
				d, err := webhook.New(s, webhook.Config{AllowHTTP: true})
				if err != nil {
					t.Fatal(err)
				}
				hook := webhook.WebhookSpec{Name: "n", URL: "https://example.com/", Events: []string{"*"}}
				if _, _, err := d.CreateWebhook(t.Context(), "t", hook); err != nil {
					t.Fatal(err)
				}
				if at == "PRAGMA synchronous" { // runs when the writer is opened
					s.Close()
					if s, err = sqlitestore.New(db, sqlitestore.Config{}); err != nil {
						t.Fatal(err)
					}
					if d, err = webhook.New(s, webhook.Config{AllowHTTP: true}); err != nil {
						t.Fatal(err)
					}
				}
				var met atomic.Int64
				fault := func(query string) error {
					if strings.HasPrefix(strings.TrimSpace(query), at) && met.Add(1) == 1 {
						return fail()
					}
					return nil
				}
				f.fault.Store(&fault)
				defer f.fault.Store(nil)
				publish := func(id string) error {
					_, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", ID: id, Type: "a.b", Data: map[string]int{"n": 1}})
					return err
				}
				first := publish("first")
				if met.Load() == 0 {
					t.Fatal("the fault was never met")
				}
				if first == nil && name == "panic" {
					t.Error("the publish that met a panic succeeded")
				}
				for i := range 3 {
					if err := publish(fmt.Sprint("e", i)); err != nil {
						t.Errorf("publish %d afterwards: %v", i, err)
					}
				}
				// Another connection can write: the lock is free.
				other := sqliteOpen(t, "sqlite", path)
				if _, err := other.Exec("PRAGMA busy_timeout = 5000"); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := other.Exec("CREATE TABLE mine (a INTEGER)"); err != nil {
					t.Errorf("another connection: %v", err)
				}
				for i := range 3 {
					if _, err := d.Event(t.Context(), "t", fmt.Sprint("e", i)); err != nil {
						t.Errorf("event %d: %v", i, err)
					}
				}
				if open := db.Stats().InUse; open != 0 {
					t.Errorf("%d connections are still in use", open)
				}
			})
		}
	}
}
