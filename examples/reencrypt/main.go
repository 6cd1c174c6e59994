// Reencrypt encrypts the secrets and header values that a store of webhooks
// holds with the first of the keys in WEBHOOK_KEYS, if they are stored plain or
// encrypted with another key. It can run beside dispatchers, and can be
// interrupted and run again. From the root of the repository:
//
//	export WEBHOOK_KEYS="2026-05:$(openssl rand -base64 32) 2025-11:…"   # the first encrypts
//	go run ./examples/reencrypt -store postgres://user:password@localhost:5432/dbname
//	go run ./examples/reencrypt -store sqlite:webhooks.db -scrub
//
// Give every dispatcher the first key beforehand: deliveries wait while their
// webhook cannot be read. The program exits with 0 only if no value is left
// that needs another key.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/seed68722ecd/webhook"
)

func main() {
	var o options
	flag.StringVar(&o.store, "store", "", "sqlite:`FILE` or postgres://…")
	flag.StringVar(&o.schema, "schema", "", "PostgreSQL: `schema` of the tables; empty: the first of the search path")
	flag.StringVar(&o.prefix, "prefix", "", "`prefix` of the tables; empty: webhook_")
	flag.StringVar(&o.tenant, "tenant", "", "only the webhooks of this `tenant`; empty: of all")
	flag.StringVar(&o.cursor, "cursor", "", "go on behind this `cursor`, as an interrupted run printed it")
	flag.IntVar(&o.batch, "batch", 100, "webhooks per step, 1–500")
	flag.BoolVar(&o.scrub, "scrub", false, "rewrite the table afterwards, so that its file holds no overwritten values (locks it meanwhile)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, o, os.Getenv("WEBHOOK_KEYS"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reencrypt:", err)
		os.Exit(1)
	}
}

type options struct {
	store, schema, prefix, tenant, cursor string
	batch                                 int
	scrub                                 bool
}

// errLeft ends a run that has left unreadable values.
var errLeft = errors.New("some webhooks hold values that no key decrypts: supply the key, or replace their secrets and headers")

func run(ctx context.Context, out io.Writer, o options, keyText string) (err error) {
	keys, err := webhook.ParseKeyring(keyText)
	if err != nil {
		return fmt.Errorf("WEBHOOK_KEYS: %w", err)
	}
	db, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	d, err := webhook.New(db.store, webhook.Config{Keys: keys})
	if err != nil {
		return err
	}

	req := webhook.ReencryptRequest{Tenant: o.tenant, Cursor: o.cursor, Limit: o.batch}
	var looked, changed, left int
	for {
		res, err := d.ReencryptSecrets(ctx, req)
		if err != nil {
			return fmt.Errorf("%w\n  go on with -cursor %q", err, req.Cursor)
		}
		looked, changed, left = looked+res.Webhooks, changed+res.Changed, left+len(res.Unreadable)
		for _, u := range res.Unreadable {
			fmt.Fprintf(out, "left: tenant %q, webhook %s: %v\n", u.Tenant, u.ID, u.Err)
		}
		fmt.Fprintf(out, "%d webhooks, %d written, %d left\n", looked, changed, left)
		if req.Cursor = res.Next; req.Cursor == "" {
			break
		}
	}
	if o.scrub {
		if err := db.scrub(ctx); err != nil {
			return fmt.Errorf("scrub: %w", err)
		}
		fmt.Fprintln(out, "scrubbed")
	}
	if left > 0 {
		return errLeft
	}
	return nil
}
