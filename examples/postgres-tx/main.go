// Postgres-tx is a small backend that publishes in its own transactions: a
// customer is told that an order was paid if and only if the database says so,
// because the row and the event are written in one transaction. From the root
// of the repository:
//
//	go run ./examples/postgres-tx -db postgres://user:password@localhost:5432/dbname
//
// Without -db it starts a PostgreSQL of its own, if its programs are installed,
// and removes it again. On a given database it works in a schema of its own,
// and drops the schema at the end. It exits with 0 only if the run went as
// described.
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver is the backend's choice

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

func main() {
	dsn := flag.String("db", "", "connection string of a PostgreSQL `database`; empty: start a throw-away server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *dsn)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "postgres-tx:", err)
		os.Exit(1)
	}
}

// tenant is the customer who owns the orders.
const tenant = "acme"

// errDeclined fails a payment after its event was published.
var errDeclined = errors.New("the card was declined")

// shop is the backend, with its own database and the webhooks beside it.
type shop struct {
	db     *sql.DB
	orders string // the table, with its schema
	store  *pgstore.Store
	d      *webhook.Dispatcher
}

// pay marks an order as paid and publishes the event, in one transaction.
// charge may still fail after both are written.
func (s *shop) pay(ctx context.Context, order int64, charge func() error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // no effect after a commit

	var cents int64
	err = tx.QueryRowContext(ctx, `UPDATE `+s.orders+` SET state = 'paid' WHERE id = $1 AND state = 'open' RETURNING cents`, order).Scan(&cents)
	if err != nil {
		return fmt.Errorf("order %d: %w", order, err)
	}
	req, err := s.d.Prepare(webhook.Event{
		Tenant: tenant, Type: "order.paid", Key: fmt.Sprintf("order-%d-paid", order),
		Data: map[string]any{"order": order, "cents": cents},
	})
	if err != nil {
		return err
	}
	if _, err := s.store.PublishTx(ctx, tx, req); err != nil {
		return err
	}
	if err := charge(); err != nil {
		return fmt.Errorf("order %d: %w", order, err)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.d.Wake() // deliver now instead of at the next poll, up to 200 ms later
	return nil
}

// open connects, and creates the tables of the backend and of the webhooks.
func open(ctx context.Context, db *sql.DB, schema string) (*shop, error) {
	store, err := pgstore.New(db, pgstore.Config{Schema: schema})
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil { // creates the schema too
		return nil, err
	}
	s := &shop{db: db, orders: schema + ".orders", store: store}
	for _, q := range []string{
		`CREATE TABLE ` + s.orders + ` (id bigint PRIMARY KEY, cents bigint NOT NULL, state text NOT NULL)`,
		`INSERT INTO ` + s.orders + ` VALUES (1, 1990, 'open'), (2, 4999, 'open'), (3, 250, 'open')`,
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return nil, err
		}
	}
	// The receiver of this example runs on this machine; in production leave
	// AllowLoopback out: then only https URLs at public addresses are allowed.
	s.d, err = webhook.New(store, webhooktest.AllowLoopback(webhook.Config{}))
	return s, err
}

func run(ctx context.Context, out io.Writer, dsn string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	if dsn == "" {
		server, err := startServer(ctx)
		if err != nil {
			return err
		}
		defer server.stop()
		dsn = server.dsn()
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	schema := "postgres_tx_" + strings.ToLower(rand.Text()[:8])
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, dropErr := db.ExecContext(cleanup, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`)
		err = errors.Join(err, dropErr)
	}()
	s, err := open(ctx, db, schema)
	if err != nil {
		return err
	}

	customer, err := newCustomer(ctx)
	if err != nil {
		return err
	}
	defer customer.server.Close()
	_, secret, err := s.d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "bookkeeping", URL: customer.url, Events: []string{"order.*"}})
	if err != nil {
		return err
	}
	if err := customer.trust(secret.Reveal()); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.d.Run(running) }()

	// The first and the third payment work. The second fails after its row and
	// its event have been written.
	accepted := func() error { return nil }
	declined := func() error { return errDeclined }
	if err := s.pay(ctx, 1, accepted); err != nil {
		return err
	}
	if err := s.pay(ctx, 2, declined); !errors.Is(err, errDeclined) {
		return errors.Join(errors.New("order 2 should have been declined, and was not"), err)
	}
	if err := s.pay(ctx, 3, accepted); err != nil {
		return err
	}
	// Before the end the receiver gets the events of orders 1 and 3, in any
	// order.
	if err := customer.wait(ctx, 2); err != nil {
		return err
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return s.report(ctx, out, customer)
}
