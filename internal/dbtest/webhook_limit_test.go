package dbtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// racingCreators creates webhooks of two tenants through several Stores of the same
// tables at once, and expects exactly as many as the limit allows.
func racingCreators(t *testing.T, stores ...webhook.Store) {
	t.Helper()
	const limit, racers = 7, 10
	tenants := []string{"a", "b"}
	var mu sync.Mutex
	var racing sync.WaitGroup
	made := map[string]int{}
	gate := make(chan struct{})
	for i := range racers * len(stores) * len(tenants) {
		w := sqliteHook(tenants[i%2], fmt.Sprintf("wh_%d", i))
		racing.Go(func() {
			<-gate
			err := stores[i/2%len(stores)].CreateWebhook(t.Context(), w, limit)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made[w.Tenant]++
			} else if !errors.Is(err, webhook.ErrTooManyWebhooks) {
				t.Errorf("creating %s: %v", w.ID, err)
			}
		})
	}
	close(gate)
	racing.Wait()
	for _, tenant := range tenants {
		page, err := stores[0].ListWebhooks(t.Context(), webhook.WebhookQuery{Tenant: tenant, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) != limit || made[tenant] != limit {
			t.Errorf("tenant %s has %d webhooks, %d of them reported, with a limit of %d", tenant, len(page.Items), made[tenant], limit)
		}
	}
}

func TestMaxWebhooksHoldsAcrossProcesses(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		for _, options := range []string{"", "default_transaction_isolation=serializable"} {
			t.Run(options, func(t *testing.T) {
				db := pgOpen(t, "pgx", options)
				cfg := pgstore.Config{Schema: pgSchema(t, db)}
				racingCreators(t, pgStore(t, db, cfg), pgStore(t, pgOpen(t, "pgx", options), cfg))
			})
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		sqliteEach(t, func(t *testing.T, driver string) {
			s, db := sqliteStore(t, driver, sqlitestore.Config{})
			other, err := sqlitestore.New(db, sqlitestore.Config{})
			if err != nil {
				t.Fatal(err)
			}
			racingCreators(t, s, other)
		})
	})
}

// Publishing never waits for calls that create webhooks, of the same tenant or
// another.
func TestPublishingWaitsForNoCreator(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	pgHook(t, s, "wh_1", "a.b")
	// A creator that holds its locks and is stuck, as it waits for this
	// transaction.
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec(`LOCK TABLE ` + schema + `.webhook_health IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.CreateWebhook(ctx, sqliteHook(tenant, "wh_2"), 10) }()
	eventually(t, "a creator that waits", func() bool {
		var n int
		err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '` + schema + `.webhook_health'::regclass`).Scan(&n)
		return err == nil && n == 1
	})
	res, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent("e1")})
	if err != nil || res[0].Deliveries != 1 {
		t.Errorf("a publish beside it: %+v, %v", res, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
