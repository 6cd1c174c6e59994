package pgstore

import (
	"context"
	"database/sql"
	"fmt"
)

// schemaVersion is the version of the tables that this package needs: the number of
// the last migration. Migrations are never edited once released.
const schemaVersion = 6

// querier is implemented by *sql.DB, *sql.Tx and *sql.Conn.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// found holds the facts that the Store must know about a database and its
// connections.
type found struct {
	version   int    // of the tables; 0: there are no tables
	worksWith int    // the oldest version of programs that these tables work with; 0: only their own version
	encoding  string // of the database
	client    string // of texts on the connection
	commit    string // synchronous_commit
}

// look reads these facts. The column works_with is read as part of the row, since
// tables before version 6 lack it.
func (s *Store) look(ctx context.Context, q querier) (f found, err error) {
	var exists bool
	rows, err := q.QueryContext(ctx, `SELECT to_regclass($1::text) IS NOT NULL, current_setting('server_encoding'),
		current_setting('client_encoding'), current_setting('synchronous_commit')`, s.sql("{schema_version}"))
	err = each(rows, err, func() error { return rows.Scan(&exists, &f.encoding, &f.client, &f.commit) })
	if err != nil || !exists {
		return f, err
	}
	rows, err = q.QueryContext(ctx, s.sql(`SELECT version::bigint, coalesce((to_jsonb(v) ->> 'works_with')::bigint, 0)
		FROM {schema_version} v ORDER BY version DESC LIMIT 1`))
	err = each(rows, err, func() error { return rows.Scan(&f.version, &f.worksWith) })
	return f, err
}

// encodes refuses a database that cannot store every character, and a connection
// that would misinterpret text. Responses of receivers go into the log: with a
// character that the database lacks, the result of an attempt could not be
// recorded, and the attempt would be made again and again.
func (f found) encodes() error {
	switch {
	case f.encoding != "UTF8":
		return fmt.Errorf("%w: the database's encoding is %s, and UTF8 is needed: create one with "+
			"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 and keep the tables there", ErrEncoding, f.encoding)
	case f.client != "UTF8":
		return fmt.Errorf("%w: client_encoding is %s, and UTF8 is needed: add client_encoding=UTF8 to the DSN, "+
			"or ALTER ROLE … SET client_encoding = 'UTF8'", ErrEncoding, f.client)
	}
	return nil
}

// serves reports whether this program works with the tables.
func (f found) serves() bool {
	return f.version == schemaVersion || f.version > schemaVersion && f.worksWith > 0 && f.worksWith <= schemaVersion
}

// fits refuses a database that this program cannot work with.
func (s *Store) fits(f found) error {
	if err := f.encodes(); err != nil {
		return err
	}
	if !f.serves() {
		return s.misfit(f.version)
	}
	if f.commit == "off" {
		return errNotDurable
	}
	return nil
}

// misfit returns the error for tables of another version, with advice.
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

// ensure refuses a database that does not fit, before any call uses it. After the
// first success it asks no more.
func (s *Store) ensure(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ready.Load() {
		return nil
	}
	err := s.onConn(ctx, func(l *lent) error {
		f, err := s.look(ctx, l)
		if err == nil {
			err = s.fits(f)
		}
		return err
	})
	if err == nil {
		s.ready.Store(true)
	}
	return err
}
