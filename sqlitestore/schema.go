package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// schemaVersion is the version of the tables that this package needs: the number of
// migrations.
const schemaVersion = 7

// oldest is the first SQLite in which a checkpoint concurrent with a writer that
// restarts the WAL can no longer lose committed transactions.
var oldest = [3]int{3, 51, 3}

// Migrate switches the database to WAL, and creates the tables or brings them to
// this package's version. Call it when the program starts. It is one transaction:
// if the process is killed, the tables are as before or complete. Any number of
// processes may call it at once: one migrates while the others wait. On tables that
// are up to date it only reads. Tables of a newer version are left alone if they
// work with this program, and are otherwise an error wrapping [ErrSchema]. There
// are no downgrades.
func (s *Store) Migrate(ctx context.Context) error {
	err := s.migrate(ctx)
	if err == nil {
		s.ready.Store(true)
	}
	return wrap(ctx, "migrate", err)
}

func (s *Store) migrate(ctx context.Context) error {
	steps, err := sqlstore.Migrations(migrationFiles, s.names)
	if err != nil {
		return err
	}
	conn, err := s.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Checked first: on the following statements, an old library or another
	// database that speaks like SQLite would fail with an error of its own.
	if err := s.patiently(ctx, func() error { return s.library(ctx, conn) }); err != nil {
		return err
	}
	if err := s.patiently(ctx, func() error {
		_, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL")
		return err
	}); err != nil {
		return err
	}
	if err := s.patiently(ctx, func() error { return s.fits(ctx, conn) }); err != nil {
		return err
	}
	if err := s.patiently(ctx, func() error {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err
	}); err != nil {
		return err
	}
	err = s.apply(ctx, conn, steps)
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	if _, e := conn.ExecContext(context.WithoutCancel(ctx), end); e != nil {
		discard(conn) // other users of the pool must not get it
		return errors.Join(err, e)
	}
	return err
}

func (s *Store) apply(ctx context.Context, conn *sql.Conn, steps []sqlstore.Migration) error {
	have, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	if have > schemaVersion {
		return s.misfit(have)
	}
	for _, m := range steps[have:] {
		if _, err := conn.ExecContext(ctx, m.SQL); err != nil {
			return fmt.Errorf("to version %d: %w", m.Version, err)
		}
	}
	return nil
}

// version returns the version of the tables, or 0 if they do not exist. For newer
// tables that work with this program it returns this program's version.
func (s *Store) version(ctx context.Context, tx Tx) (int, error) {
	r := plain{ctx, s, tx}
	have := int64(0)
	err := r.query("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", []any{s.sql("{schema_version}")},
		func(v []driver.Value) error { have = integer(v[0]); return nil })
	if err != nil || have == 0 {
		return 0, err
	}
	if err := r.query("SELECT max(version) FROM {schema_version}", nil, func(v []driver.Value) error { have = integer(v[0]); return nil }); err != nil {
		return 0, err
	}
	if have > schemaVersion {
		err = r.query("SELECT works_with FROM {schema_version} WHERE version = ?", []any{have}, func(v []driver.Value) error {
			if works := integer(v[0]); works > 0 && works <= schemaVersion {
				have = schemaVersion
			}
			return nil
		})
	}
	return int(have), err
}

// misfit returns the error for tables of another version, with advice.
func (s *Store) misfit(have int) error {
	switch {
	case have == 0:
		return fmt.Errorf("%w: there are no tables %s*: call Migrate first", ErrSchema, s.cfg.TablePrefix)
	case have < schemaVersion:
		return fmt.Errorf("%w: the tables have version %d, this program needs %d: call Migrate", ErrSchema, have, schemaVersion)
	default:
		return fmt.Errorf("%w: the tables have version %d, this program knows %d: update the program", ErrSchema, have, schemaVersion)
	}
}

// library refuses an SQLite that is too old.
func (s *Store) library(ctx context.Context, tx Tx) error {
	var library string
	if err := (plain{ctx, s, tx}).query("SELECT sqlite_version()", nil, func(v []driver.Value) error { library = text(v[0]); return nil }); err != nil {
		return err
	}
	if older(library) {
		return fmt.Errorf("the driver carries SQLite %s, which can lose committed transactions in WAL mode: update it, or take one, with SQLite %d.%d.%d or newer",
			library, oldest[0], oldest[1], oldest[2])
	}
	return nil
}

// fits refuses a database without a WAL.
func (s *Store) fits(ctx context.Context, tx Tx) error {
	r := plain{ctx, s, tx}
	var mode string
	if err := r.query("PRAGMA journal_mode", nil, func(v []driver.Value) error { mode = text(v[0]); return nil }); err != nil {
		return err
	}
	if mode != "wal" {
		if mode == "memory" {
			return errors.New("an in-memory database cannot be used: open a file (package memstore is the store for tests)")
		}
		return fmt.Errorf("the database's journal_mode is %q, and WAL is needed: call Migrate, which switches it on", mode)
	}
	return nil
}

// older reports whether a version of SQLite is below the oldest that is accepted.
func older(library string) bool {
	for i, part := range strings.SplitN(library, ".", 4) {
		n, err := strconv.Atoi(part)
		if err != nil || i >= len(oldest) {
			return false
		}
		if n != oldest[i] {
			return n < oldest[i]
		}
	}
	return false
}

// ensure refuses a database that does not fit, before any call uses it. After the
// first success it asks no more.
func (s *Store) ensure(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ready.Load() {
		return nil
	}
	conn, err := s.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = s.patiently(ctx, func() error {
		if err := s.library(ctx, conn); err != nil {
			return err
		}
		have, err := s.version(ctx, conn)
		if err != nil {
			return err
		}
		if have != schemaVersion {
			return s.misfit(have)
		}
		return s.fits(ctx, conn)
	})
	if err == nil {
		s.ready.Store(true)
	} else if useless(err) {
		discard(conn)
	}
	return err
}
