package dbtest

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// A bun.Tx has the methods of pgstore.Tx, but formats queries itself. The error
// says what to pass instead, and that works.
func TestPublishTxNeedsTheTxInsideABunTx(t *testing.T) {
	t.Parallel()
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db := pgOpen(t, driver, "")
			s := pgStore(t, db, pgstore.Config{})
			pgHook(t, s, "wh_1", "*")
			tx, err := bun.NewDB(db, pgdialect.New()).BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := s.PublishTx(t.Context(), tx, pgEvent("e1")); err == nil || n != 0 || !strings.Contains(err.Error(), "tx.Tx") {
				t.Errorf("PublishTx of a bun.Tx = %d, %v; want an error that says tx.Tx", n, err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			if tx, err = bun.NewDB(db, pgdialect.New()).BeginTx(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if n, err := s.PublishTx(t.Context(), tx.Tx, pgEvent("e1")); err != nil || n != 1 {
				t.Errorf("PublishTx of its tx.Tx = %d, %v", n, err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Durable tells a server that acknowledges commits before they are on the disk from
// one that does not. The server of these tests runs without fsync.
func TestDurableTellsServersApart(t *testing.T) {
	t.Parallel()
	s := pgStore(t, pgOpen(t, "pgx", ""), pgstore.Config{})
	err := s.Durable(t.Context())
	var fsync string
	if e := pgOpen(t, "pgx", "").QueryRow("SHOW fsync").Scan(&fsync); e != nil {
		t.Fatal(e)
	}
	if fsync == "off" != (err != nil && strings.Contains(err.Error(), "fsync=off")) {
		t.Errorf("with fsync=%s: Durable = %v", fsync, err)
	}
}

// Behind pgpool-II, which sends reads to a standby that lags, a repeated publish is
// still recognised, since its conflict was found on the primary. Other reads are
// current if pgpool sends the database's reads to the primary, as the documentation
// says.
func TestBehindPgpoolWithAStandbyThatLags(t *testing.T) {
	primary, err := StartPostgres("max_connections=200", "wal_level=replica", "max_wal_senders=4", "hot_standby=on")
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Stop()
	standby, err := primary.Standby(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres sslmode=disable gssencmode=disable", primary.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Stop()
	open := func(dsn string) *sql.DB {
		t.Helper()
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	direct, replica := open(primary.DSN()), open(standby.DSN())
	s := pgStore(t, direct, pgstore.Config{Schema: "pool"})
	pgHook(t, s, "wh_1", "*")
	eventually(t, "the standby to have the tables", func() bool {
		var n int
		return replica.QueryRow(`SELECT count(*) FROM pool.webhook_webhooks`).Scan(&n) == nil && n == 1
	})
	if _, err := replica.Exec(`SELECT pg_wal_replay_pause()`); err != nil {
		t.Fatal(err)
	}
	defer replica.Exec(`SELECT pg_wal_replay_resume()`)

	for settings, follows := range map[string]bool{"": false, "database_redirect_preference_list = 'postgres:primary'": true} {
		pool, err := StartPool(primary, standby, settings)
		if err != nil {
			t.Fatal(err)
		}
		s, err := pgstore.New(open(pool.DSN()), pgstore.Config{Schema: "pool"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			req := pgEvent(fmt.Sprintf("e-%v-%d", follows, i))
			for again := range 2 {
				res, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{req})
				if err != nil || res[0].Conflict || res[0].Duplicate != (again > 0) {
					t.Errorf("%q, publish %d of the same event: %+v, %v", settings, again+1, res, err)
				}
			}
		}
		id := fmt.Sprintf("wh_new_%v", follows)
		pgHook(t, s, id, "other")
		_, err = s.GetWebhook(t.Context(), tenant, id)
		if follows && err != nil {
			t.Errorf("%q: a read of the event just stored: %v", settings, err)
		}
		if !follows && !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("a read went to the primary without the setting: %v; so the test of the standby proves nothing", err)
		}
	}
}
