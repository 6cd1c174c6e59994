package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync/atomic"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/dbtest"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers of the stores
	_ "modernc.org/sqlite"
)

// env holds the parts that all rows share.
type env struct {
	opt  *options
	sink *sink
	dir  string
	pg   *dbtest.Postgres // started by the first row that needs it
	made atomic.Int64     // numbers unique names
}

func newEnv(ctx context.Context, o *options) (*env, error) {
	e := &env{opt: o}
	var err error
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o750); err != nil {
			return nil, err
		}
	}
	if e.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	if e.sink, err = startSink(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(e.dir))
	}
	return e, nil
}

// profile starts a CPU profile, if profiles are enabled, and returns the
// function that ends it. Files are numbered, one for each window of each run.
func (e *env) profile(name string) (end func() error, err error) {
	if e.opt.profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(e.opt.profile, fmt.Sprintf("%s-%d.pprof", name, e.made.Add(1))))
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, err
}

func (e *env) close() error {
	err := e.sink.stop()
	if e.pg != nil {
		err = errors.Join(err, e.pg.Stop())
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// postgres returns the server: durable as delivered, with more memory and less
// frequent checkpoints than the defaults, which are for the smallest machines.
func (e *env) postgres() (*dbtest.Postgres, error) {
	var err error
	if e.pg == nil {
		e.pg, err = dbtest.StartPostgres("shared_buffers=512MB", "max_wal_size=4GB")
	}
	return e.pg, err
}

// storeNames are the stores in the order of the table.
var storeNames = []string{"memory", "sqlite", "postgres"}

// opened is an empty store.
type opened struct {
	webhook.Store
	db     *sql.DB // nil: in memory
	schema string  // in PostgreSQL
	dead   string  // the webhook of the backlog
	close  func() error
}

// open creates an empty store.
func (e *env) open(ctx context.Context, name string) (*opened, error) {
	n := e.made.Add(1)
	switch name {
	case "memory":
		store := memstore.New(memstore.Config{MaxPending: 3_000_000, MaxBytes: 4 << 30})
		return &opened{Store: store, close: func() error { return nil }}, nil
	case "sqlite":
		return e.openSQLite(ctx, n)
	case "postgres":
		return e.openPostgres(ctx, fmt.Sprintf("bench_%d", n))
	default:
		return nil, fmt.Errorf("no store is called %q", name)
	}
}

func (e *env) openSQLite(ctx context.Context, n int64) (*opened, error) {
	file := filepath.Join(e.dir, fmt.Sprintf("bench%d.db", n))
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	store, err := sqlitestore.New(db, sqlitestore.Config{})
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &opened{Store: store, db: db, close: func() error {
		err := errors.Join(store.Close(), db.Close())
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if e := os.Remove(file + suffix); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		return err
	}}, nil
}

func (e *env) openPostgres(ctx context.Context, schema string) (*opened, error) {
	server, err := e.postgres()
	if err != nil {
		return nil, err
	}
	o, err := openSchema(server.DSN(), schema)
	if err != nil {
		return nil, err
	}
	if err := o.Store.(*pgstore.Store).Migrate(ctx); err != nil {
		return nil, errors.Join(err, o.db.Close())
	}
	o.close = func() error {
		_, err := o.db.ExecContext(context.WithoutCancel(ctx), "DROP SCHEMA "+schema+" CASCADE")
		return errors.Join(err, o.db.Close())
	}
	return o, nil
}

// openSchema opens a schema, which need not exist yet.
func openSchema(dsn, schema string) (*opened, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	store, err := pgstore.New(db, pgstore.Config{Schema: schema})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &opened{Store: store, db: db, schema: schema, close: db.Close}, nil
}
