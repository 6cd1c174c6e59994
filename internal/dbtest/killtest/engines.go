package killtest

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers under test
	_ "github.com/lib/pq"
	_ "github.com/mattn/go-sqlite3"
	_ "modernc.org/sqlite"
)

// database is an open durable store.
type database struct {
	store     webhook.Store
	db        *sql.DB
	publishTx func(ctx context.Context, tx *sql.Tx, reqs ...webhook.PublishRequest) (int, error)
	migrate   func(ctx context.Context) error
	extra     func() error // closes what there is besides db; may be nil
}

func (d *database) close() {
	if d.extra != nil {
		_ = d.extra()
	}
	_ = d.db.Close()
}

// engines opens a store by the name of its engine and driver.
var engines = map[string]func(s *spec) (*database, error){
	"postgres/pgx": func(s *spec) (*database, error) { return openPostgres("pgx", s) },
	"postgres/pq":  func(s *spec) (*database, error) { return openPostgres("postgres", s) },
	// The host's own transactions begin by taking the write lock, and wait for it.
	"sqlite/modernc": func(s *spec) (*database, error) {
		return openSQLite("sqlite", "file:"+s.DSN+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)", s)
	},
	"sqlite/mattn": func(s *spec) (*database, error) {
		return openSQLite("sqlite3", "file:"+s.DSN+"?_txlock=immediate&_busy_timeout=10000&_synchronous=FULL", s)
	},
}

func openDatabase(s *spec) (*database, error) {
	open := engines[s.Engine]
	if open == nil {
		return nil, fmt.Errorf("no engine %q", s.Engine)
	}
	return open(s)
}

func openPostgres(driver string, s *spec) (*database, error) {
	db, err := s.openDB(driver, s.DSN)
	if err != nil {
		return nil, err
	}
	size := s.PoolSize
	if size == 0 {
		size = 12
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	store, err := pgstore.New(db, pgstore.Config{Schema: s.Schema})
	if err != nil {
		return nil, err
	}
	return &database{
		store: store, db: db, migrate: store.Migrate,
		publishTx: func(ctx context.Context, tx *sql.Tx, reqs ...webhook.PublishRequest) (int, error) {
			return store.PublishTx(ctx, tx, reqs...)
		},
	}, nil
}

func openSQLite(driver, dsn string, s *spec) (*database, error) {
	db, err := s.openDB(driver, dsn)
	if err != nil {
		return nil, err
	}
	if s.PoolSize > 0 {
		db.SetMaxOpenConns(s.PoolSize)
	}
	store, err := sqlitestore.New(db, sqlitestore.Config{BusyTimeout: sqliteBusy})
	if err != nil {
		return nil, err
	}
	return &database{
		store: store, db: db, migrate: store.Migrate,
		publishTx: func(ctx context.Context, tx *sql.Tx, reqs ...webhook.PublishRequest) (int, error) {
			return store.PublishTx(ctx, tx, reqs...)
		},
		extra: store.Close,
	}, nil
}
