package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/pgstore"
)

// freshStore returns the store of a process that has just started; another process
// migrated.
func freshStore(t testing.TB, db *sql.DB, schema string) *pgstore.Store {
	t.Helper()
	s, err := pgstore.New(db, pgstore.Config{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A process whose first call is PublishTx needs no connection besides those of its
// transactions; the pool may have no more.
func TestPublishTxFirstNeedsNoConnection(t *testing.T) {
	for _, name := range pgDrivers {
		for _, conns := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s, %d", name, conns), func(t *testing.T) {
				wide := pgOpen(t, name, "")
				schema := pgSchema(t, wide)
				migrated := pgStore(t, wide, pgstore.Config{Schema: schema})
				pgHook(t, migrated, "wh_1", "*")

				db := pgOpen(t, name, "")
				db.SetMaxOpenConns(conns)
				s := freshStore(t, db, schema)
				ctx := within(t, time.Minute)
				var open []*sql.Tx
				for range conns {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = tx.Rollback() })
					open = append(open, tx)
				}
				var all sync.WaitGroup
				for i, tx := range open {
					all.Go(func() {
						if n, err := s.PublishTx(ctx, tx, pgEvent(eventID(i))); n != 1 || err != nil {
							t.Errorf("transaction %d of %d: stored %d, %v", i+1, conns, n, err)
						}
						if n, err := s.PublishTx(ctx, tx, pgEvent(eventID(i))); n != 0 || err != nil {
							t.Errorf("transaction %d of %d, again: stored %d, %v", i+1, conns, n, err)
						}
					})
				}
				all.Wait()
				for _, tx := range open {
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
				if got := claimed(t, migrated); len(got) != conns {
					t.Errorf("%d events are due, want %d", len(got), conns)
				}
			})
		}
	}
}

// Tables that do not fit are refused without harm to the caller's transaction.
func TestPublishTxFirstRefusesTablesThatDoNotFit(t *testing.T) {
	for _, name := range pgDrivers {
		for _, c := range []struct{ what, change, says string }{
			{"none", `DROP SCHEMA %s CASCADE; CREATE SCHEMA %[1]s`, "call Migrate first"},
			{"older", `UPDATE %s.webhook_schema_version SET version = version - 1000`, "call Migrate"},
			{"newer", `INSERT INTO %s.webhook_schema_version (version) VALUES (1000)`, "update the program"},
		} {
			t.Run(name+", "+c.what, func(t *testing.T) {
				db := pgOpen(t, name, "")
				schema := pgSchema(t, db)
				pgStore(t, db, pgstore.Config{Schema: schema})
				if _, err := db.Exec(fmt.Sprintf(c.change, schema)); err != nil {
					t.Fatal(err)
				}
				s := freshStore(t, db, schema)
				inTx(t, db, true, func(tx *sql.Tx) error {
					n, err := s.PublishTx(t.Context(), tx, pgEvent("e1"))
					if n != 0 || !errors.Is(err, pgstore.ErrSchema) || !strings.Contains(err.Error(), c.says) {
						t.Errorf("stored %d, %v; want ErrSchema and %q", n, err, c.says)
					}
					var one int
					return tx.QueryRow(`SELECT 1`).Scan(&one) // the transaction goes on
				})
			})
		}
	}
}

// A process whose sessions do not wait for the disk is refused in the transaction
// too. A transaction that sets this itself is the caller's choice.
func TestPublishTxFirstRefusesSessionsThatAreNotDurable(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			db := pgOpen(t, name, "")
			schema := pgSchema(t, db)
			pgStore(t, db, pgstore.Config{Schema: schema})
			unsafe := pgOpen(t, name, "synchronous_commit=off")
			inTx(t, unsafe, true, func(tx *sql.Tx) error {
				_, err := freshStore(t, unsafe, schema).PublishTx(t.Context(), tx, pgEvent("e1"))
				if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
					t.Errorf("got %v, want an error about synchronous_commit", err)
				}
				var one int
				return tx.QueryRow(`SELECT 1`).Scan(&one)
			})
			inTx(t, db, true, func(tx *sql.Tx) error {
				if _, err := tx.Exec(`SET LOCAL synchronous_commit = off`); err != nil {
					return err
				}
				_, err := freshStore(t, db, schema).PublishTx(t.Context(), tx, pgEvent("e2"))
				return err
			})
		})
	}
}

// roleGrants are the grants in docs/stores.md for a role that may only publish.
const roleGrants = `
GRANT USAGE ON SCHEMA %[1]s TO %[2]s;
GRANT SELECT, INSERT ON %[1]s.webhook_events TO %[2]s;
GRANT INSERT ON %[1]s.webhook_queue TO %[2]s;
GRANT SELECT ON %[1]s.webhook_subscriptions, %[1]s.webhook_schema_version TO %[2]s;
GRANT SELECT (wkey, id, tenant, name, active, deleted_at) ON %[1]s.webhook_webhooks TO %[2]s;
GRANT USAGE ON SEQUENCE %[1]s.webhook_event_seq TO %[2]s;`

// A role that may only publish can do so in transactions and outside, without a
// right to read secrets, and in transactions even without a right to read the
// version of the tables.
func TestPublishByARoleThatMayOnlyPublish(t *testing.T) {
	for _, name := range pgDrivers {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, may read the version %v", name, reads), func(t *testing.T) {
				db := pgOpen(t, name, "")
				schema := pgSchema(t, db)
				owner := pgStore(t, db, pgstore.Config{Schema: schema})
				pgHook(t, owner, "wh_1", "*")
				role := schema + "_publisher"
				if _, err := db.Exec(fmt.Sprintf(`CREATE ROLE %[2]s LOGIN;`+roleGrants, schema, role)); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if _, err := db.Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role); err != nil {
						t.Error(err)
					}
				})
				if !reads {
					if _, err := db.Exec(fmt.Sprintf(`REVOKE SELECT ON %s.webhook_schema_version FROM %s`, schema, role)); err != nil {
						t.Fatal(err)
					}
				}
				publisher, err := sql.Open(name, postgres(t).DSN()+" user="+role)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { publisher.Close() })
				publisher.SetMaxOpenConns(1)
				s := freshStore(t, publisher, schema)
				only := pgEvent("for-one")
				only.WebhookID = "wh_1"
				inTx(t, publisher, true, func(tx *sql.Tx) error {
					for range 2 { // twice
						if _, err := s.PublishTx(t.Context(), tx, pgEvent("in-tx"), only); err != nil {
							return err
						}
					}
					return nil
				})
				want := 2
				if reads {
					want = 3
					mustPublish(t, s, pgEvent("alone"))
				}
				if got := claimed(t, owner); len(got) != want {
					t.Errorf("claimed %q, want %d", got, want)
				}
				var secret string
				err = publisher.QueryRowContext(context.Background(), `SELECT secrets FROM `+schema+`.webhook_webhooks`).Scan(&secret)
				if err == nil || !strings.Contains(err.Error(), "permission denied") {
					t.Errorf("reading secrets: %v, want that it is not permitted", err)
				}
			})
		}
	}
}
