package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

func TestD2_PublishTxCommitAndRollback(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			db := pgOpen(t, name, "")
			s := pgStore(t, db, pgstore.Config{})
			pgHook(t, s, "wh_1", "*")
			inTx(t, db, false, func(tx *sql.Tx) error {
				_, err := s.PublishTx(t.Context(), tx, pgEvent("rolled-back"))
				return err
			})
			inTx(t, db, true, func(tx *sql.Tx) error {
				n, err := s.PublishTx(t.Context(), tx, pgEvent("one"), pgEvent("two"))
				if n != 2 {
					t.Errorf("stored %d events, want 2", n)
				}
				if got := claimed(t, s); len(got) != 0 {
					t.Errorf("claimed %q before the commit", got)
				}
				if _, err := s.GetEvent(t.Context(), tenant, "one"); !errors.Is(err, webhook.ErrNotFound) {
					t.Errorf("the event is visible before the commit: %v", err)
				}
				return err
			})
			got := claimed(t, s)
			slices.Sort(got)
			if !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("claimed %q, want one and two", got)
			}
			if _, err := s.GetEvent(t.Context(), tenant, "rolled-back"); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("an event of a transaction that was rolled back: %v", err)
			}
		})
	}
}

// pgxTx is the adapter in the documentation of pgstore.Tx.
type pgxTx struct{ pgx.Tx }

func (t pgxTx) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	tag, err := t.Exec(ctx, q, args...)
	return driver.RowsAffected(tag.RowsAffected()), err
}

func TestD2_PublishTxOfPgx(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	s := pgStore(t, db, pgstore.Config{})
	pgHook(t, s, "wh_1", "*")
	conn, err := pgx.Connect(t.Context(), postgres(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, commit := range []bool{false, true} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.PublishTx(t.Context(), pgxTx{tx}, pgEvent("e1")); err != nil || n != 1 {
			t.Fatalf("stored %d, %v", n, err)
		}
		end, want := tx.Rollback, 0
		if commit {
			end, want = tx.Commit, 1
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := claimed(t, s); len(got) != want {
			t.Errorf("commit %v: claimed %q, want %d", commit, got, want)
		}
	}
}

func TestD30_PublishTxRepeatedStoresOneEvent(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			db := pgOpen(t, name, "")
			s := pgStore(t, db, pgstore.Config{})
			pgHook(t, s, "wh_1", "*")
			mustPublish(t, s, pgEvent("e1"))
			inTx(t, db, true, func(tx *sql.Tx) error {
				n, err := s.PublishTx(t.Context(), tx, pgEvent("e1"), pgEvent("e2"))
				if n != 1 {
					t.Errorf("stored %d, want only e2", n)
				}
				if err != nil {
					return err
				}
				other := pgEvent("e2")
				other.Event.Data = []byte(`{"other":1}`)
				if _, err := s.PublishTx(t.Context(), tx, other); !errors.Is(err, webhook.ErrEventConflict) {
					t.Errorf("other content under one ID: got %v, want ErrEventConflict", err)
				}
				_, err = s.PublishTx(t.Context(), tx, pgEvent("e3")) // the transaction goes on
				return err
			})
			got := claimed(t, s)
			slices.Sort(got)
			if !slices.Equal(got, []string{"e1", "e2", "e3"}) {
				t.Errorf("claimed %q", got)
			}
		})
	}
}

// 64 transactions of one tenant publish and stay open: none waits for another, and
// other events are delivered meanwhile.
func TestPublishTxTransactionsDoNotWait(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	db.SetMaxOpenConns(80)
	s := pgStore(t, db, pgstore.Config{})
	pgHook(t, s, "wh_1", "*")
	ctx := within(t, time.Minute)
	var open []*sql.Tx
	for i := range 64 {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback() })
		open = append(open, tx)
		if _, err := s.PublishTx(ctx, tx, pgEvent(eventID(i))); err != nil {
			t.Fatalf("transaction %d, with %d open: %v", i, i, err)
		}
	}
	var waiting int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil || waiting != 0 {
		t.Errorf("%d locks are waited for, %v", waiting, err)
	}
	mustPublish(t, s, pgEvent("besides"))
	if got := claimed(t, s); !slices.Equal(got, []string{"besides"}) {
		t.Errorf("claimed %q while 64 transactions are open", got)
	}
	for i := len(open) - 1; i >= 0; i-- {
		if err := open[i].Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if got := claimed(t, s); len(got) != 64 {
		t.Errorf("claimed %d after the commits, want 64", len(got))
	}
}
