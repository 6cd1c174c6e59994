// Command upgrade is a program with a durable store, like a backend: it publishes
// events, claims them and records that they have arrived. The test of versions that
// work side by side builds it twice, once with newer tables.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

func main() {
	driver := flag.String("driver", "pgx", "pgx or sqlite")
	dsn := flag.String("dsn", "", "of the database")
	name := flag.String("name", "", "begins the IDs of its events")
	migrate := flag.Bool("migrate", false, "call Migrate first")
	stay := flag.Bool("stay", false, "go on until the input ends")
	flag.Parse()
	if err := run(*driver, *dsn, *name, *migrate, *stay); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

type store interface {
	webhook.Store
	Migrate(ctx context.Context) error
}

func open(driver, dsn string) (store, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	if driver == "sqlite" {
		return sqlitestore.New(db, sqlitestore.Config{})
	}
	return pgstore.New(db, pgstore.Config{Schema: "upgrade"})
}

func run(driver, dsn, name string, migrate, stay bool) error {
	ctx := context.Background()
	s, err := open(driver, dsn)
	if err != nil {
		return err
	}
	if migrate {
		if err := s.Migrate(ctx); err != nil {
			return err
		}
	}
	hook := webhook.WebhookRecord{Webhook: webhook.Webhook{ID: "wh_1", Tenant: "t", Name: "n", URL: "https://example.com/", Events: []string{"*"},
		Active: true, VerifyTLS: true, Timeout: 30 * time.Second, Version: 1}}
	if err := s.CreateWebhook(ctx, hook, 0); err != nil && !errors.Is(err, webhook.ErrExists) {
		return err
	}
	ended := make(chan struct{})
	go func() {
		if stay {
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
		close(ended)
	}()
	for i := 0; ; i++ {
		if err := once(ctx, s, fmt.Sprintf("%s-%d", name, i)); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		fmt.Println("round", i)
		select {
		case <-ended:
			if i >= 9 {
				return nil
			}
		default:
		}
	}
}

// once publishes an event and records a due delivery as successful.
func once(ctx context.Context, s store, id string) error {
	now := time.Now()
	res, err := s.Publish(ctx, now, []webhook.PublishRequest{{
		Event: webhook.EventRecord{ID: id, Tenant: "t", Type: "a.b", Time: now, Data: []byte(`{}`)}, Patterns: []string{"*"},
	}})
	if err != nil {
		return err
	}
	if res[0].Deliveries != 1 {
		return fmt.Errorf("an event got %d deliveries", res[0].Deliveries)
	}
	token := rand.Int64N(1<<62) + 1 //nolint:gosec // a number, not a secret
	claim, err := s.Claim(ctx, webhook.ClaimRequest{Token: token, Now: now, Lease: time.Minute, Limit: 10, PerWebhook: 10})
	if err != nil {
		return err
	}
	var results []webhook.Result
	for _, d := range claim.Deliveries {
		results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded,
			Attempt: &webhook.Attempt{Number: 1, StartedAt: now, Status: 200}})
	}
	_, err = s.Complete(ctx, now, results)
	return err
}
