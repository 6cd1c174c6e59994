package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Migrate creates the tables, or brings them to this package's version. Call it
// when the program starts, or from a deployment job with a role that may create
// tables. Any number of processes may call it at once: one migrates while the
// others wait. Tables of a newer version are left alone if they work with this
// program, and are otherwise an error wrapping [ErrSchema]. There are no
// downgrades.
//
// On tables that are up to date Migrate only reads, takes no lock that another
// transaction could wait for, and needs no right to create objects. It also
// advances sequences that are behind their tables, as they are after a logical
// replication.
//
// Otherwise each step is a transaction. If the process is killed, the step is done
// completely or not at all, and the next call goes on from there. Programs can
// publish and deliver meanwhile. A step that changes a table needs its lock for a
// moment, and every later statement would queue behind that request. So Migrate
// waits for a lock that another transaction (a pg_dump, for example) holds for a
// fifth of a second at a time, with pauses in which other transactions proceed, for
// ten minutes or until ctx is done.
//
// Indexes on existing tables are built without blocking writers (CREATE INDEX
// CONCURRENTLY), on a second connection, once all transactions that were open
// before have ended. In a pool of one connection that is impossible, and writes to
// the table wait until the index is there.
func (s *Store) Migrate(ctx context.Context) error {
	steps, err := sqlstore.Migrations(migrationFiles, s.names)
	if err == nil {
		m := migration{s: s, steps: steps}
		err = m.run(ctx)
	}
	return wrap(ctx, "migrate", err)
}

const (
	// lockTurn is how long a migration waits for a lock at a time, and at most how
	// long it holds up statements queued behind it. lockPause is the time between.
	lockTurn  = 200 * time.Millisecond
	lockPause = time.Second
	// lockTurns bounds the waiting: ten minutes.
	lockTurns = int(10 * time.Minute / (lockTurn + lockPause))
	// guardPoll is how often a migration checks whether another one has ended.
	guardPoll = 50 * time.Millisecond
)

// migrationSettings are the settings of a step, with a short lock_timeout.
var migrationSettings = fmt.Sprintf(`SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = 0;
	SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = %d`, lockTurn.Milliseconds())

// migration is one call of Migrate.
type migration struct {
	s     *Store
	steps []sqlstore.Migration
	turns int // attempts that failed to get a lock
}

// run takes steps until the tables are up to date.
func (m *migration) run(ctx context.Context) error {
	for {
		done, err := m.upToDate(ctx)
		if err != nil || done {
			return err
		}
		took, err := m.step(ctx)
		switch {
		case err == nil && took:
			continue
		case err == nil: // another process migrates
			err = pause(ctx, guardPoll+rand.N(guardPoll)) //nolint:gosec // a pause, not a secret
		case sqlState(err) == "55P03" && m.turns < lockTurns, lostToOther(err) && m.turns < lockTurns:
			m.turns++
			err = pause(ctx, lockPause/2+rand.N(lockPause)) //nolint:gosec // as above
		}
		if err != nil {
			return err
		}
	}
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return nil
	}
}

// upToDate reports whether no step is left.
func (m *migration) upToDate(ctx context.Context) (done bool, err error) {
	s := m.s
	err = s.onConn(ctx, func(l *lent) error {
		f, err := s.look(ctx, l)
		switch {
		case err != nil:
			return err
		case f.encodes() != nil:
			return f.encodes()
		case f.serves():
			done = true
			return s.advance(ctx, l.conn)
		case f.version > schemaVersion:
			return s.misfit(f.version)
		}
		return nil
	})
	return done, err
}

// guard returns the number of the advisory lock that one migration at a time holds.
func (s *Store) guard() int64 {
	h := fnv.New64a()
	h.Write([]byte(s.sql("pgstore {schema_version}")))
	return int64(h.Sum64())
}

// step takes the next step, or all steps at once if there are no tables yet. If
// another migration is at work, it does not wait for the advisory lock and returns
// false: waiting would hold a snapshot, which a concurrent index build waits for.
func (m *migration) step(ctx context.Context) (took bool, err error) {
	s := m.s
	err = s.once(ctx, migrationSettings, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT pg_try_advisory_xact_lock($1::bigint)`, s.guard())
		if err = each(rows, err, func() error { return rows.Scan(&took) }); err != nil || !took {
			return err
		}
		// This session may have cached that there are no tables. Reading a table
		// makes it process invalidations from migrations that have committed since.
		if _, err := tx.ExecContext(ctx, `SELECT 1 FROM pg_catalog.pg_class LIMIT 1`); err != nil {
			return err
		}
		f, err := s.look(ctx, tx)
		if err != nil || f.version >= schemaVersion {
			return err // another migration was quicker
		}
		if f.version == 0 {
			return m.create(ctx, tx)
		}
		return m.upgrade(ctx, tx, m.steps[f.version])
	})
	return took, err
}

// create makes all tables.
func (m *migration) create(ctx context.Context, tx *sql.Tx) error {
	if name := m.s.cfg.Schema; name != "" {
		// Not IF NOT EXISTS: that needs the right to create even if the schema
		// exists.
		exists := false
		rows, err := tx.QueryContext(ctx, `SELECT true FROM pg_namespace WHERE nspname = $1::text`, name)
		if err := each(rows, err, func() error { return rows.Scan(&exists) }); err != nil {
			return err
		}
		if !exists {
			if _, err := tx.ExecContext(ctx, `CREATE SCHEMA "`+name+`"`); err != nil {
				return err
			}
		}
	}
	for _, step := range m.steps {
		if _, err := tx.ExecContext(ctx, step.SQL); err != nil {
			return fmt.Errorf("to version %d: %w", step.Version, err)
		}
	}
	return nil
}

// upgrade takes one step on tables that are in use.
func (m *migration) upgrade(ctx context.Context, tx *sql.Tx, step sqlstore.Migration) error {
	// The last query's portal keeps its snapshot until the next statement, and a
	// concurrent index build would wait for the end of that snapshot.
	if _, err := tx.ExecContext(ctx, migrationSettings); err != nil {
		return err
	}
	text := step.SQL
	for _, x := range indexesIn(step.SQL) {
		built, err := m.s.build(ctx, x)
		if err != nil {
			return fmt.Errorf("to version %d: index %s: %w", step.Version, x.name, err)
		}
		beside := m.s.cfg.qualified(x.name + building)
		instead := `ALTER INDEX ` + beside + ` RENAME TO "` + x.name + `";`
		if !built {
			instead = `DROP INDEX IF EXISTS ` + beside + `; ` + x.statement
		}
		text = strings.Replace(text, x.statement, instead, 1)
	}
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return fmt.Errorf("to version %d: %w", step.Version, err)
	}
	return nil
}

// index is a statement of a migration that creates an index.
type index struct{ statement, unique, name, rest, table string }

var indexStatement = regexp.MustCompile(`(?m)^CREATE (UNIQUE )?INDEX ([a-z0-9_]+) (ON (\S+) [^;]*);`)

// indexesIn finds the indexes that a step creates.
func indexesIn(step string) (out []index) {
	for _, g := range indexStatement.FindAllStringSubmatch(step, -1) {
		out = append(out, index{statement: g[0], unique: g[1], name: g[2], rest: g[3], table: g[4]})
	}
	return out
}

// building is the suffix of an index's name until its step is complete.
const building = "_new"

// build builds an index concurrently under a temporary name and reports whether it
// did. It cannot if the table, or a column of the index, comes with the same step,
// or in a pool of one connection, which the migration itself uses. An index left
// behind by an interrupted migration is used if it is valid and removed otherwise.
func (s *Store) build(ctx context.Context, x index) (built bool, err error) {
	if s.db.Stats().MaxOpenConnections == 1 {
		return false, nil
	}
	name := s.cfg.qualified(x.name + building)
	err = s.onConn(ctx, func(l *lent) error {
		var table, left, valid bool
		rows, err := l.QueryContext(ctx, `SELECT to_regclass($1::text) IS NOT NULL, to_regclass($2::text) IS NOT NULL,
			coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($2::text)), false)`, x.table, name)
		if err := each(rows, err, func() error { return rows.Scan(&table, &left, &valid) }); err != nil || !table {
			return err
		}
		if valid {
			built = true
			return nil
		}
		if left {
			if _, err := l.conn.ExecContext(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+name); err != nil {
				return err
			}
		}
		_, err = l.conn.ExecContext(ctx, `CREATE `+x.unique+`INDEX CONCURRENTLY "`+x.name+building+`" `+x.rest)
		if sqlState(err) == "42703" { // undefined_column
			return nil
		}
		built = err == nil
		return err
	})
	return built, err
}

// sequences are the columns filled from sequences. A sequence that is behind makes
// inserts fail. record_seq is not listed: if it is behind, only the order of
// attempts is wrong, and finding out reads the whole log. It is checked only if one
// of these was behind.
var sequences = []struct{ table, column string }{{"webhooks", "wkey"}, {"claims", "id"}}

// advance sets sequences that are behind: logical replication copies rows but not
// sequences.
func (s *Store) advance(ctx context.Context, conn *sql.Conn) error {
	behind := false
	for _, q := range sequences {
		rows, err := conn.QueryContext(ctx, s.sql(fmt.Sprintf(`
			SELECT coalesce((SELECT max(%[2]s) FROM {%[1]s}), 0) >
				coalesce(pg_sequence_last_value(pg_get_serial_sequence($1::text, '%[2]s')::regclass), 0)`, q.table, q.column)),
			s.sql("{"+q.table+"}"))
		var is bool
		if err := each(rows, err, func() error { return rows.Scan(&is) }); err != nil {
			return err
		}
		behind = behind || is
	}
	if !behind {
		return nil
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // has no effect after a commit
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, s.guard()); err != nil {
		return err
	}
	for _, q := range sequences {
		_, err := tx.ExecContext(ctx, s.sql(fmt.Sprintf(`
			SELECT setval(q.name, m.n) FROM (SELECT pg_get_serial_sequence($1::text, '%[2]s')::regclass AS name) q,
				(SELECT max(%[2]s) AS n FROM {%[1]s}) m
			WHERE m.n > coalesce(pg_sequence_last_value(q.name), 0)`, q.table, q.column)), s.sql("{"+q.table+"}"))
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, s.sql(`
		SELECT setval('{record_seq}', m.n)
		FROM (SELECT greatest((SELECT max(ord) FROM {deliveries}), (SELECT max(ord) FROM {attempts})) AS n) m
		WHERE m.n > coalesce(pg_sequence_last_value('{record_seq}'), 0)`))
	return errors.Join(err, tx.Commit())
}
