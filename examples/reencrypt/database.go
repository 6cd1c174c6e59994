package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// database is the store of -store, with its connection and the statements that
// scrub it.
type database struct {
	store   webhook.Store
	db      *sql.DB
	closes  io.Closer // the store, if it has to be closed
	rewrite []string  // statements that remove overwritten rows from the files
}

// open opens the store of -store. It does not create a store: a mistyped name
// is an error and not an empty database.
func open(ctx context.Context, o options) (*database, error) {
	prefix := o.prefix
	if prefix == "" {
		prefix = "webhook_"
	}
	if file, ok := strings.CutPrefix(o.store, "sqlite:"); ok {
		if _, err := os.Stat(file); err != nil {
			return nil, err
		}
		db, err := sql.Open("sqlite", file)
		if err != nil {
			return nil, err
		}
		s, err := sqlitestore.New(db, sqlitestore.Config{TablePrefix: o.prefix})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return &database{store: s, db: db, closes: s, rewrite: []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"}}, nil
	}
	if !strings.HasPrefix(o.store, "postgres://") && !strings.HasPrefix(o.store, "postgresql://") {
		return nil, errors.New("-store must be sqlite:FILE or postgres://…")
	}
	db, err := sql.Open("pgx", o.store)
	if err != nil {
		return nil, err
	}
	s, err := pgstore.New(db, pgstore.Config{Schema: o.schema, TablePrefix: o.prefix})
	if err == nil {
		err = db.PingContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	table := prefix + "webhooks"
	if o.schema != "" {
		table = o.schema + "." + table
	}
	return &database{store: s, db: db, rewrite: []string{"VACUUM FULL " + table, "CHECKPOINT"}}, nil
}

func (d *database) Close() error {
	var err error
	if d.closes != nil {
		err = d.closes.Close()
	}
	return errors.Join(err, d.db.Close())
}

// scrub rewrites the table of webhooks. It does not reach journals and backups.
func (d *database) scrub(ctx context.Context) error {
	for _, q := range d.rewrite {
		if _, err := d.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}
