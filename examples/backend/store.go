package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers are the backend's choice
	_ "modernc.org/sqlite"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// openStore opens the store that the flag -store names, and creates it if
// needed. closeStore closes the store and its database.
func openStore(ctx context.Context, name string) (store webhook.Store, closeStore func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	file, isFile := strings.CutPrefix(name, "sqlite:")
	switch {
	case name == "memory":
		return memstore.New(memstore.Config{}), func() error { return nil }, nil
	case isFile && file != "":
		db, err := sql.Open("sqlite", file)
		if err != nil {
			return nil, nil, fmt.Errorf("open %s: %w", file, err)
		}
		s, err := sqlitestore.New(db, sqlitestore.Config{})
		if err != nil {
			return nil, nil, err
		}
		if err := s.Migrate(ctx); err != nil {
			return nil, nil, err
		}
		return s, func() error { s.Close(); return db.Close() }, nil
	case strings.HasPrefix(name, "postgres://"), strings.HasPrefix(name, "postgresql://"):
		db, err := sql.Open("pgx", name)
		if err != nil {
			return nil, nil, fmt.Errorf("open %s: %w", storeName(name), err)
		}
		db.SetMaxOpenConns(20)
		db.SetMaxIdleConns(20)
		s, err := pgstore.New(db, pgstore.Config{})
		if err != nil {
			return nil, nil, err
		}
		if err := s.Migrate(ctx); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", storeName(name), err)
		}
		return s, db.Close, nil
	}
	return nil, nil, fmt.Errorf("-store %q: give memory, sqlite:FILE or postgres://user:password@host/database", storeName(name))
}

// storeName is the name of a store without its password.
func storeName(name string) string {
	scheme, _, isURL := strings.Cut(name, "://")
	if !isURL {
		return name
	}
	u, err := url.Parse(name)
	if err != nil {
		return scheme + "://…"
	}
	u.RawQuery = ""
	return u.Redacted()
}
