package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// sqliteExec runs statements on a connection of the test's own.
func sqliteExec(t testing.TB, conn *sql.Conn, statements ...string) {
	t.Helper()
	for _, q := range statements {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

func sqliteConn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sqlitePublish publishes one event.
func sqlitePublish(s *sqlitestore.Store, tenant, id string, size int) error {
	_, err := s.Publish(context.Background(), time.Now(), []webhook.PublishRequest{sqliteRequest(tenant, id, size)})
	return err
}

// sqliteIntact fails unless the file is sound.
func sqliteIntact(t testing.TB, db *sql.DB) {
	t.Helper()
	var got string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&got); err != nil || got != "ok" {
		t.Fatalf("integrity_check: %q, %v", got, err)
	}
}

func sqliteCount(t testing.TB, db *sql.DB, query string) int {
	t.Helper()
	var n int
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// A lock held for less than BusyTimeout only delays a call. A lock held for longer
// is an error that says so, the event is not stored, and the next call succeeds.
// Readers go on.
func TestL1_SQLiteLockHeldElsewhere(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		const patience = 400 * time.Millisecond
		s, db := sqliteStore(t, driver, sqlitestore.Config{BusyTimeout: patience})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		other := sqliteConn(t, db)
		for i, held := range []time.Duration{patience / 2, patience, 3 * patience} {
			sqliteExec(t, other, "BEGIN IMMEDIATE")
			freed := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				<-time.After(held)
				sqliteExec(t, other, "COMMIT")
				close(freed)
			})
			begun := time.Now()
			err := sqlitePublish(s, "t", fmt.Sprintf("held%d", i), 100)
			took := time.Since(begun)
			if held < patience && err != nil {
				t.Errorf("lock held for %v: %v", held, err)
			}
			if held > 2*patience {
				if !errors.Is(err, sqlitestore.ErrBusy) {
					t.Errorf("lock held for %v: got %v, want ErrBusy", held, err)
				}
				if took >= held {
					t.Errorf("the error came after %v, want about %v", took, patience)
				}
				if _, err := s.GetEvent(t.Context(), "t", fmt.Sprintf("held%d", i)); !errors.Is(err, webhook.ErrNotFound) {
					t.Errorf("reading while the lock is held: %v, want ErrNotFound", err)
				}
			}
			<-freed
			wg.Wait()
			if err != nil {
				if err := sqlitePublish(s, "t", fmt.Sprintf("held%d", i), 100); err != nil {
					t.Errorf("after the lock was free: %v", err)
				}
			}
			if _, err := s.GetEvent(t.Context(), "t", fmt.Sprintf("held%d", i)); err != nil {
				t.Errorf("the event is lost: %v", err)
			}
		}
		// A caller's deadline ends the wait before the Store's own does.
		sqliteExec(t, other, "BEGIN IMMEDIATE")
		ctx, cancel := context.WithTimeout(t.Context(), patience/8)
		defer cancel()
		_, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{sqliteRequest("t", "deadline", 10)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want one that wraps DeadlineExceeded", err)
		}
		sqliteExec(t, other, "COMMIT")
	})
}

// Reads never wait for a writer, also if the DSN makes the host's transactions
// begin with the write lock, as the documentation says it should.
func TestL1_D25_SQLiteReadsTakeNoWriteLock(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		db := sqliteOpen(t, driver, "file:"+filepath.Join(t.TempDir(), "webhook.db")+"?_txlock=immediate")
		s := sqliteStoreOn(t, db, sqlitestore.Config{BusyTimeout: time.Minute})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		other := sqliteConn(t, db)
		sqliteExec(t, other, "BEGIN IMMEDIATE")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.GetWebhook(ctx, "t", "wh"); err != nil {
			t.Errorf("reading while another connection holds the write lock: %v", err)
		}
		sqliteExec(t, other, "ROLLBACK")
	})
}

// The writing connection has the Store's settings, whatever the host set.
// Afterwards the host's connections have their own again.
func TestD25_SQLiteSettingsOfConnections(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		db := sqliteOpen(t, driver, filepath.Join(t.TempDir(), "webhook.db"))
		db.SetMaxOpenConns(1)
		conn := sqliteConn(t, db)
		sqliteExec(t, conn, "PRAGMA synchronous = OFF", "PRAGMA busy_timeout = 1234")
		conn.Close()
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		if err := sqlitePublish(s, "t", "e", 10); err != nil {
			t.Fatal(err)
		}
		if mode := sqliteCount(t, db, "PRAGMA synchronous"); mode != 0 {
			t.Errorf("synchronous is %d afterwards, want the host's 0", mode)
		}
		if ms := sqliteCount(t, db, "PRAGMA busy_timeout"); ms != 1234 {
			t.Errorf("busy_timeout is %d afterwards, want the host's 1234", ms)
		}
		var mode string
		if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("journal_mode is %q, %v", mode, err)
		}
	})
}

// Disk full: Publish fails, its event is not there, and once there is space the
// same call succeeds on the same Store.
func TestD27_L3_SQLiteDiskFull(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		db := sqliteOpen(t, driver, filepath.Join(t.TempDir(), "webhook.db"))
		db.SetMaxOpenConns(1) // so that the limit is set on the connection that writes
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", sqliteCount(t, db, "PRAGMA page_count")+40)); err != nil {
			t.Fatal(err)
		}
		stored := 0
		var full error
		for ; stored < 1000; stored++ {
			if full = sqlitePublish(s, "t", fmt.Sprintf("e%d", stored), 4000); full != nil {
				break
			}
		}
		if full == nil || !strings.Contains(full.Error(), "disk is full") {
			t.Fatalf("after %d events: got %v, want an error that says the disk is full", stored, full)
		}
		if n := sqliteCount(t, db, "SELECT count(*) FROM webhook_events"); n != stored {
			t.Errorf("%d events are stored, %d were acknowledged", n, stored)
		}
		if n := sqliteCount(t, db, "SELECT count(*) FROM webhook_deliveries"); n != stored {
			t.Errorf("%d deliveries are stored, %d events were acknowledged", n, stored)
		}
		if _, err := db.Exec("PRAGMA max_page_count = 1000000"); err != nil {
			t.Fatal(err)
		}
		if err := sqlitePublish(s, "t", fmt.Sprintf("e%d", stored), 4000); err != nil {
			t.Errorf("after there was room: %v", err)
		}
		sqliteIntact(t, db)
	})
}

// Power loss: the database and its WAL are copied at any moment under load, and the
// WAL is cut, or its end overwritten. The copy opens, is sound, and has a prefix of
// the committed transactions: no event is missing that was committed before one
// that survived.
func TestD26_L4_SQLiteWALCutAnywhere(t *testing.T) {
	cuts := 50
	sqliteEach(t, func(t *testing.T, driver string) {
		dir := t.TempDir()
		db := sqliteOpen(t, driver, filepath.Join(dir, "webhook.db"))
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		// One event after another, each acknowledged before the next, without a
		// checkpoint, for which the WAL is too short.
		const events = 300
		acked := make([]int64, events) // size of the WAL when the event was acknowledged
		for i := range events {
			if err := sqlitePublish(s, "t", fmt.Sprintf("e%06d", i), 200); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, "webhook.db-wal"))
			if err != nil {
				t.Fatal(err)
			}
			acked[i] = info.Size()
		}
		wal, err := os.ReadFile(filepath.Join(dir, "webhook.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		main, err := os.ReadFile(filepath.Join(dir, "webhook.db"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range cuts {
			at := rand.IntN(len(wal))
			image := append([]byte(nil), wal[:at]...)
			if i%3 == 1 { // the end was never written
				from := max(0, at-4096)
				clear(image[from:])
				at = from
			} else if i%3 == 2 && at > 0 { // or was written wrongly
				at = max(0, at-1-rand.IntN(min(at, 4096)))
				image[at] ^= 1 << rand.IntN(8)
			}
			sqliteRecovered(t, driver, main, image, acked, int64(at))
		}
	})
}

// sqliteRecovered opens a copy with a WAL of which good bytes are valid.
func sqliteRecovered(t *testing.T, driver string, main, wal []byte, acked []int64, good int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	for name, data := range map[string][]byte{path: main, path + "-wal": wal} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open(driver, path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sqliteIntact(t, db)
	if sqliteCount(t, db, "SELECT count(*) FROM sqlite_master") == 0 {
		if good >= acked[0] {
			t.Fatalf("WAL good for %d bytes: there are no tables", good)
		}
		return
	}
	if sqliteCount(t, db, "SELECT count(*) FROM sqlite_master WHERE name = 'webhook_events'") == 0 {
		t.Fatalf("WAL good for %d bytes: the migration was applied in part", good)
	}
	n := sqliteCount(t, db, "SELECT count(*) FROM webhook_events")
	want := 0
	for want < len(acked) && acked[want] <= good {
		want++
	}
	// A flipped bit may be in padding outside the checksum: more events than
	// expected are not a loss.
	if n < want {
		t.Fatalf("WAL good for %d bytes: %d events, %d were acknowledged by then", good, n, want)
	}
	if last := sqliteCount(t, db, "SELECT coalesce(max(CAST(substr(id, 2) AS INTEGER)), -1) FROM webhook_events"); last != n-1 {
		t.Fatalf("WAL good for %d bytes: the last of %d events is number %d: not a prefix", good, n, last)
	}
	if d := sqliteCount(t, db, "SELECT count(*) FROM webhook_deliveries"); d != n {
		t.Fatalf("WAL good for %d bytes: %d deliveries of %d events", good, d, n)
	}
}

// A file that is not a database, one that cannot be written and one in memory are
// refused with an error that names the fault.
func TestL5_SQLiteBadFilesAreRefused(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		noise := filepath.Join(t.TempDir(), "noise.db")
		if err := os.WriteFile(noise, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		good, db := sqliteStore(t, driver, sqlitestore.Config{})
		if err := sqlitePublish(good, "t", "e", 10); err != nil {
			t.Fatal(err)
		}
		var path string
		if err := db.QueryRow("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ name, dsn, want string }{
			{"noise", noise, "not an SQLite database"},
			{"memory", ":memory:", "in-memory database cannot be used"},
			{"missing folder", filepath.Join(t.TempDir(), "none", "x.db"), "cannot be opened"},
		} {
			bad := sqliteOpen(t, driver, c.dsn)
			s, err := sqlitestore.New(bad, sqlitestore.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: Migrate returned %v, want an error with %q", c.name, err, c.want)
			}
			s.Close()
		}
		bad := sqliteOpen(t, driver, "file:"+path+"?mode=ro")
		s, err := sqlitestore.New(bad, sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.GetEvent(t.Context(), "t", "e"); err != nil {
			t.Errorf("reading a file that cannot be written: %v", err)
		}
		if err := sqlitePublish(s, "t", "no", 10); err == nil || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("publishing to a file that cannot be written: got %v", err)
		}
	})
}

// A schema that is missing or newer is refused with the call to make.
func TestD24_SQLiteOtherVersionsAreRefused(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "webhook.db")
		db := sqliteOpen(t, driver, path)
		s, err := sqlitestore.New(db, sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		err = sqlitePublish(s, "t", "e", 10)
		if !errors.Is(err, sqlitestore.ErrSchema) || !strings.Contains(err.Error(), "call Migrate") {
			t.Errorf("without tables: got %v", err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				own, err := sql.Open(driver, path)
				if err != nil {
					t.Error(err)
					return
				}
				defer own.Close()
				s, err := sqlitestore.New(own, sqlitestore.Config{})
				if err == nil {
					defer s.Close()
					err = s.Migrate(context.Background())
				}
				if err != nil {
					t.Errorf("one of eight that migrate at once: %v", err)
				}
			})
		}
		wg.Wait()
		if err := sqlitePublish(s, "t", "e", 10); err != nil {
			t.Error(err)
		}
		s.Close()
		if _, err := db.Exec("INSERT INTO webhook_schema_version (version) VALUES (999)"); err != nil {
			t.Fatal(err)
		}
		newer, err := sqlitestore.New(db, sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer newer.Close()
		for name, err := range map[string]error{"Publish": sqlitePublish(newer, "t", "e2", 10), "Migrate": newer.Migrate(t.Context())} {
			if !errors.Is(err, sqlitestore.ErrSchema) || !strings.Contains(err.Error(), "update the program") {
				t.Errorf("%s on newer tables: got %v", name, err)
			}
		}
		files, err := sqlitestore.Migrations(sqlitestore.Config{TablePrefix: "x_"})
		if err != nil {
			t.Fatal(err)
		}
		f, err := files.Open("0001_init.sql")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		text, err := io.ReadAll(f)
		if err != nil || strings.Contains(string(text), "{") || !strings.Contains(string(text), "CREATE TABLE x_events") {
			t.Errorf("the exported migration does not have its names: %v", err)
		}
	})
}

// Tables of version 1 keep their rows.
func TestD24_SQLiteUpgradeFromVersion1(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		db := sqliteOpen(t, driver, filepath.Join(t.TempDir(), "webhook.db"))
		files, err := sqlitestore.Migrations(sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		first, err := fs.ReadFile(files, "0001_init.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(first),
			`INSERT INTO webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active,
				verify_tls, timeout, max_retries, disabled_reason, disabled_at, created_at, updated_at)
			VALUES (1, 'wh_old', 't', 'n', 'https://example.com/', '', '["*"]', '{}', '[{"v":"s","c":1}]', 1, 1, 30000000, 3, '', 0, 1, 1)`,
			`INSERT INTO webhook_subscriptions (tenant, pattern, wkey, name) VALUES ('t', '*', 1, 'n')`,
			`INSERT INTO webhook_lanes (wkey, version, last_triggered, last_success, failing_since) VALUES (1, 1, 0, 0, 0)`} {
			if _, err := db.Exec(text); err != nil {
				t.Fatal(err)
			}
		}
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		wantUpgraded(t, s, "t", "wh_old")
		if err := s.Migrate(t.Context()); err != nil {
			t.Errorf("Migrate again: %v", err)
		}
	})
}

// A transaction of the host's: its events are visible with the commit, and never
// after a rollback.
func TestD2_SQLitePublishTxCommitAndRollback(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		db := sqliteOpen(t, driver, "file:"+filepath.Join(t.TempDir(), "webhook.db")+sqliteDSN[driver])
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		for _, commit := range []bool{false, true} {
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			reqs := []webhook.PublishRequest{sqliteRequest("t", "a", 10), sqliteRequest("t", "b", 10), sqliteRequest("t", "a", 10)}
			if n, err := s.PublishTx(t.Context(), tx, reqs...); err != nil || n != 2 {
				t.Fatalf("PublishTx stored %d, %v; want 2", n, err)
			}
			if _, err := s.GetEvent(t.Context(), "t", "a"); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("before the end of the transaction: %v, want ErrNotFound", err)
			}
			if commit {
				err = tx.Commit()
			} else {
				err = tx.Rollback()
			}
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: 1, Now: time.Now(), Lease: time.Minute, Limit: 10, PerWebhook: 10})
			if want := map[bool]int{true: 2}[commit]; err != nil || len(res.Deliveries) != want {
				t.Errorf("commit %t: %d deliveries, %v; want %d", commit, len(res.Deliveries), err, want)
			}
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		n, err := s.PublishTx(t.Context(), tx, sqliteRequest("t", "a", 11), sqliteRequest("t", "c", 10))
		if !errors.Is(err, webhook.ErrEventConflict) || n != 1 {
			t.Errorf("an ID that is taken: stored %d, %v; want 1 and ErrEventConflict", n, err)
		}
		if err := tx.Commit(); err != nil {
			t.Errorf("the transaction could not go on: %v", err)
		}
	})
}
