package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// publishMany publishes events, each with a call and goroutine of its own, and
// returns the errors of the calls that failed.
func publishMany(ctx context.Context, s webhook.Store, reqs []webhook.PublishRequest) (failed []error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, req := range reqs {
		all.Go(func() {
			if _, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{req}); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	all.Wait()
	return failed
}

// A transaction of the host's has taken IDs and stays open. Only calls that publish
// one of these IDs wait for it, however many they are, and learn its outcome.
func TestAnIDTakenByAnOpenTransactionBlocksOnlyItsPublishers(t *testing.T) {
	for _, name := range pgDrivers {
		for _, c := range []struct{ keys, repeats, conns int }{{1, 2, 20}, {40, 3, 20}, {5, 5, 2}} {
			t.Run(fmt.Sprintf("%s, %d keys, %d connections", name, c.keys, c.conns), func(t *testing.T) {
				db := pgOpen(t, name, "")
				s := pgStore(t, db, pgstore.Config{})
				pgHook(t, s, "wh_1", "*")
				host := pgOpen(t, name, "")
				tx, err := host.Begin()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = tx.Rollback() })
				var taken []webhook.PublishRequest
				for i := range c.keys {
					taken = append(taken, pgEvent(fmt.Sprintf("taken-%d", i)))
				}
				if _, err := s.PublishTx(t.Context(), tx, taken...); err != nil {
					t.Fatal(err)
				}
				db.SetMaxOpenConns(c.conns)

				ctx := within(t, time.Minute)
				var waiting sync.WaitGroup
				var duplicates, others atomic.Int64
				for _, req := range taken {
					for range c.repeats {
						waiting.Go(func() {
							res, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{req})
							if err == nil && res[0].Duplicate {
								duplicates.Add(1)
							} else {
								others.Add(1)
								t.Errorf("a repeated key: %+v, %v; want a duplicate", res, err)
							}
						})
					}
				}
				for round := range 10 {
					var reqs []webhook.PublishRequest
					for i := range 20 {
						reqs = append(reqs, pgEvent(fmt.Sprintf("free-%d-%d", round, i)))
					}
					if failed := publishMany(ctx, s, reqs); len(failed) > 0 {
						t.Fatalf("%d of 20 other publishes failed: %v", len(failed), failed[0])
					}
				}
				if n := duplicates.Load() + others.Load(); n > 0 {
					t.Errorf("%d repeated keys were answered before the transaction ended", n)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				waiting.Wait()
				if n := duplicates.Load(); n != int64(c.keys*c.repeats) {
					t.Errorf("%d duplicates, want %d", n, c.keys*c.repeats)
				}
			})
		}
	}
}

// A call that waits for an ID gives up at the Store's or the caller's time limit,
// and its event was not stored; after a rollback the ID is free.
func TestWaitingForATakenIDEnds(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	s := pgStore(t, db, pgstore.Config{PublishTimeout: 300 * time.Millisecond})
	pgHook(t, s, "wh_1", "*")
	inTx(t, db, false, func(tx *sql.Tx) error {
		if _, err := s.PublishTx(t.Context(), tx, pgEvent("key")); err != nil {
			return err
		}
		_, err := s.Publish(context.Background(), time.Now(), []webhook.PublishRequest{pgEvent("key")})
		if err == nil || !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("got %v, want an error that says that nothing was stored", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err = s.Publish(ctx, time.Now(), []webhook.PublishRequest{pgEvent("key")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		return nil
	})
	mustPublish(t, s, pgEvent("key"))
}

// One tenant has so many webhooks that its events run into the server's time limit.
// Only its events fail.
func TestAWideTenantFailsAlone(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			owner := pgOpen(t, name, "")
			schema := pgSchema(t, owner)
			pgStore(t, owner, pgstore.Config{Schema: schema})
			// On any machine, more than a thousand deliveries take longer than the
			// limit, and a few do not.
			if _, err := owner.Exec(fmt.Sprintf(`
				INSERT INTO %[1]s.webhook_subscriptions (tenant, pattern, wkey, name) SELECT 'wide', 'a.b', i, 'n' FROM generate_series(1, 2000) i;
				CREATE FUNCTION %[1]s.slow() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					IF (SELECT count(*) FROM made) > 1000 THEN PERFORM pg_sleep(60); END IF;
					RETURN NULL;
				END $$;
				CREATE TRIGGER slow AFTER INSERT ON %[1]s.webhook_queue REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION %[1]s.slow()`,
				schema)); err != nil {
				t.Fatal(err)
			}
			s := freshStore(t, pgOpen(t, name, "statement_timeout=3000"), schema)
			ctx, stop := context.WithCancel(t.Context())
			var wide, all sync.WaitGroup
			var wideFailed atomic.Int64
			for n := range 4 {
				wide.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						req := pgEvent(fmt.Sprintf("wide-%d-%d", n, i))
						req.Event.Tenant = "wide"
						if _, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{req}); err != nil && ctx.Err() == nil {
							wideFailed.Add(1)
						}
					}
				})
			}
			for n := range 20 {
				all.Go(func() {
					for i := range 30 {
						req := pgEvent(fmt.Sprintf("few-%d-%d", n, i))
						req.Event.Tenant = fmt.Sprintf("tenant-%d", n)
						if _, err := s.Publish(within(t, time.Minute), time.Now(), []webhook.PublishRequest{req}); err != nil {
							t.Errorf("event %d of %s: %v", i, req.Event.Tenant, err)
							return
						}
					}
				})
			}
			all.Wait()
			eventually(t, "an event of the wide tenant fails", func() bool { return wideFailed.Load() > 0 })
			stop()
			wide.Wait()
		})
	}
}
