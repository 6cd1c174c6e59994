package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/pgstore"
)

// oldTables creates the tables of an earlier version, and returns their schema.
func oldTables(t *testing.T, db *sql.DB, version int) string {
	t.Helper()
	schema := pgSchema(t, db)
	files, err := pgstore.Migrations(pgstore.Config{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{`CREATE SCHEMA ` + schema}
	for _, name := range names[:version] {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	for _, text := range texts {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	return schema
}

// publishers writes the same rows as any publishing program, from several
// connections, until it is stopped. A write that waits for a lock for more than a
// second fails.
type publishers struct {
	done    atomic.Int64
	failed  atomic.Pointer[error]
	stopped context.CancelFunc
	running sync.WaitGroup
}

func publishInto(t *testing.T, driver, schema string) *publishers {
	t.Helper()
	db := pgOpen(t, driver, "lock_timeout=1000")
	ctx, stop := context.WithCancel(t.Context())
	p := &publishers{stopped: stop}
	text := `WITH e AS (INSERT INTO ` + schema + `.webhook_events (ekey, time, created_at, tenant, id, type, data)
			VALUES ($1::bigint, 1, 1, 't', 'e' || $1::bigint, 'a.b', '{}')),
		w AS (SELECT name FROM ` + schema + `.webhook_webhooks WHERE id = 'none'),
		d AS (INSERT INTO ` + schema + `.webhook_deliveries (ekey, wkey, created_at, finished_at, token, ord, state, attempts, tries, crashes, last_status, type, name)
			VALUES ($1::bigint, 2, 1, 1, 1, 1, 2, 1, 1, 0, 200, 'a.b', 'n'))
		INSERT INTO ` + schema + `.webhook_queue (ekey, wkey, due, created_at, type, name) SELECT $1::bigint, 1, 1, 1, 'a.b', count(*)::text FROM w`
	for i := range 4 {
		p.running.Go(func() {
			for k := int64(i + 1); ctx.Err() == nil; k += 4 {
				if _, err := db.ExecContext(ctx, text, k); err != nil && ctx.Err() == nil {
					p.failed.CompareAndSwap(nil, &err)
					return
				}
				p.done.Add(1)
			}
		})
	}
	return p
}

// more waits until n more publishes have succeeded.
func (p *publishers) more(t *testing.T, n int64) {
	t.Helper()
	until := p.done.Load() + n
	eventually(t, "publishers go on", func() bool {
		if err := p.failed.Load(); err != nil {
			t.Fatalf("a publisher failed: %v", *err)
		}
		return p.done.Load() >= until
	})
}

func (p *publishers) stop(t *testing.T) {
	t.Helper()
	p.stopped()
	p.running.Wait()
	if err := p.failed.Load(); err != nil {
		t.Errorf("after %d publishes one failed: %v", p.done.Load(), *err)
	}
}

// A reader that keeps a lock on every table, as pg_dump does for hours, only holds
// up Migrate: running programs go on publishing. When the reader ends, Migrate goes
// on.
func TestD24_MigrateBesideALongReader(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db := pgOpen(t, driver, "")
			schema := oldTables(t, db, 1)
			p := publishInto(t, driver, schema)
			p.more(t, 100)
			reader, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Rollback()
			for _, table := range append([]string{"schema_version"}, pgTables...) {
				if _, err := reader.Exec(`SELECT FROM ` + schema + `.webhook_` + table); err != nil {
					t.Fatal(err)
				}
			}
			s, err := pgstore.New(db, pgstore.Config{Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			migrated := make(chan error, 1)
			go func() { migrated <- s.Migrate(t.Context()) }()
			waits := func() bool { // for the reader's snapshot, or in a pause
				var n int
				err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND query LIKE '%' || $1::text || '.%' AND wait_event = 'virtualxid'`, `"`+schema+`"`).Scan(&n)
				return err == nil && n > 0
			}
			eventually(t, "Migrate waits for the reader", waits)
			p.more(t, 500)
			select {
			case err := <-migrated:
				t.Fatalf("Migrate returned beside the reader: %v", err)
			default:
			}
			holdUp(t, db, schema, func() {
				if err := reader.Rollback(); err != nil {
					t.Fatal(err)
				}
			})
			if err := <-migrated; err != nil {
				t.Fatal(err)
			}
			p.more(t, 100)
			p.stop(t)
			t.Logf("%d publishes", p.done.Load())
			var invalid, left int
			err = db.QueryRow(`SELECT count(*) FILTER (WHERE NOT indisvalid), count(*) FILTER (WHERE relname LIKE '%\_new')
				FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = $1::regnamespace`, schema).Scan(&invalid, &left)
			if err != nil || invalid != 0 || left != 0 {
				t.Errorf("%d indexes are invalid, %d have the name of one that is being built, %v", invalid, left, err)
			}
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			_, err = s.Publish(t.Context(), time.Now(), nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// holdUp makes a reader lock the tables that steps change until a step has been
// held up, after begin.
func holdUp(t *testing.T, db *sql.DB, schema string, begin func()) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SET LOCAL lock_timeout = 0; LOCK TABLE ` + schema + `.webhook_webhooks, ` + schema + `.webhook_events IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	begin()
	eventually(t, "a step waits for the lock of a table", func() bool {
		var n int
		err := db.QueryRow(`SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
			WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relnamespace = $1::regnamespace`, schema).Scan(&n)
		return err == nil && n > 0
	})
}

// An index left behind by a migration that was interrupted is removed, also if the
// pool has one connection and the index is built in the other way.
func TestD24_MigrateAfterAnIndexThatWasNotFinished(t *testing.T) {
	for _, conns := range []int{1, 10} {
		t.Run(fmt.Sprint(conns), func(t *testing.T) {
			db := pgOpen(t, "pgx", "")
			schema := oldTables(t, db, 1)
			reader, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Rollback()
			if _, err := reader.Exec(`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ` + schema + `.webhook_deliveries`); err != nil {
				t.Fatal(err)
			}
			pool := pgOpen(t, "pgx", "")
			s, err := pgstore.New(pool, pgstore.Config{Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Migrate(ctx) }()
			eventually(t, "an index is begun", func() bool {
				var n int
				err := db.QueryRow(`SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
					WHERE NOT indisvalid AND relnamespace = $1::regnamespace`, schema).Scan(&n)
				return err == nil && n == 1
			})
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatalf("Migrate that was canceled: %v", err)
			}
			if err := reader.Rollback(); err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(conns)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := db.QueryRow(`SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
				WHERE (NOT indisvalid OR relname LIKE '%\_new') AND relnamespace = $1::regnamespace`, schema).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d indexes are left, %v", n, err)
			}
		})
	}
}

// On tables that are up to date Migrate needs no right to create objects, waits for
// no lock, and makes no other transaction wait.
func TestD24_MigrateOfTablesThatAreUpToDate(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			pgHook(t, pgStore(t, db, pgstore.Config{Schema: schema}), "wh_1", "*")
			role := "plain_" + driver
			if _, err := db.Exec(`CREATE ROLE ` + role + ` LOGIN; GRANT USAGE ON SCHEMA ` + schema + ` TO ` + role + `;
				GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ` + schema + ` TO ` + role + `;
				GRANT USAGE ON ALL SEQUENCES IN SCHEMA ` + schema + ` TO ` + role); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if _, err := db.Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role); err != nil {
					t.Error(err)
				}
			})
			holder, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Rollback()
			for _, table := range append([]string{"schema_version"}, pgTables...) {
				if _, err := holder.Exec(`LOCK TABLE ` + schema + `.webhook_` + table + ` IN EXCLUSIVE MODE`); err != nil {
					t.Fatal(err)
				}
			}
			plain := pgOpen(t, driver, "lock_timeout=500 user="+role)
			s, err := pgstore.New(plain, pgstore.Config{Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// After Migrate, the Store still checks whether commits wait for the disk.
func TestD24_MigrateKeepsTheCheckOfDurability(t *testing.T) {
	db := pgOpen(t, "pgx", "synchronous_commit=off")
	s := pgStore(t, db, pgstore.Config{})
	if _, err := s.GetEvent(t.Context(), tenant, "e1"); err == nil || !strings.Contains(err.Error(), "synchronous_commit is off") {
		t.Errorf("the first call after Migrate: %v", err)
	}
}
