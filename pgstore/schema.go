package pgstore

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// schemaVersion is the version that this package works with: the number of the
// last migration. Migrations are never edited once released.
const schemaVersion = 5

// Migrate creates the tables, or brings them to this package's version. Call it
// when the program starts, or from a deployment job with a role that may create
// tables. It is one transaction: killed at any moment it has either done
// everything or nothing. Any number of processes may call it at once: one does
// the work while the others wait. On tables that are up to date it changes
// nothing. Tables of a newer version are an error wrapping [ErrSchema]: there
// is no way back.
func (s *Store) Migrate(ctx context.Context) error {
	steps, err := sqlstore.Migrations(migrationFiles, s.names)
	if err != nil {
		return wrap(ctx, "migrate", err)
	}
	err = retried(ctx, func() error { return s.migrate(ctx, steps) })
	if err == nil {
		s.ready.Store(true)
	}
	return wrap(ctx, "migrate", err)
}

func (s *Store) migrate(ctx context.Context, steps []sqlstore.Migration) error {
	return s.once(ctx, `SET LOCAL client_min_messages = warning`, func(tx *sql.Tx) error {
		h := fnv.New64a()
		h.Write([]byte(s.sql("pgstore {schema_version}")))
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, int64(h.Sum64())); err != nil {
			return err
		}
		if s.cfg.Schema != "" {
			if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS "`+s.cfg.Schema+`"`); err != nil {
				return err
			}
		}
		have, err := s.version(ctx, tx)
		if err != nil {
			return err
		}
		if have > schemaVersion {
			return s.misfit(have)
		}
		for _, m := range steps {
			if m.Version <= have {
				continue
			}
			if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
				return fmt.Errorf("to version %d: %w", m.Version, err)
			}
		}
		return nil
	})
}

// querier is what *sql.DB, *sql.Tx and *sql.Conn have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// version returns the version of the tables; 0 when there are none.
func (s *Store) version(ctx context.Context, q querier) (int, error) {
	var exists bool
	rows, err := q.QueryContext(ctx, `SELECT to_regclass($1::text) IS NOT NULL`, s.sql("{schema_version}"))
	if err := each(rows, err, func() error { return rows.Scan(&exists) }); err != nil || !exists {
		return 0, err
	}
	var v int
	rows, err = q.QueryContext(ctx, s.sql(`SELECT coalesce(max(version), 0)::bigint FROM {schema_version}`))
	err = each(rows, err, func() error { return rows.Scan(&v) })
	return v, err
}

// misfit says what to do about tables of another version.
func (s *Store) misfit(have int) error {
	switch {
	case have == 0:
		return fmt.Errorf("%w: there are no tables %s: call Migrate first", ErrSchema, s.sql("{prefix}*"))
	case have < schemaVersion:
		return fmt.Errorf("%w: the tables have version %d, this program needs %d: call Migrate", ErrSchema, have, schemaVersion)
	default:
		return fmt.Errorf("%w: the tables have version %d, this program knows %d: update the program", ErrSchema, have, schemaVersion)
	}
}

// ensure refuses tables that do not fit, before anything is done to them. It
// asks once.
func (s *Store) ensure(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ready.Load() {
		return nil
	}
	have, err := s.version(ctx, s.db)
	if err != nil {
		return err
	}
	if have != schemaVersion {
		return s.misfit(have)
	}
	level, err := s.durability(ctx)
	if err != nil {
		return err
	}
	if level == "off" {
		return errNotDurable
	}
	s.ready.Store(true)
	return nil
}

// durability returns the setting that decides whether a commit is on the disk
// when it is acknowledged.
func (s *Store) durability(ctx context.Context) (string, error) {
	var level string
	rows, err := s.db.QueryContext(ctx, `SELECT current_setting('synchronous_commit')`)
	err = each(rows, err, func() error { return rows.Scan(&level) })
	return level, err
}
