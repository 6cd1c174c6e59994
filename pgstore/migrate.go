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
// tables. Any number of processes may call it at once: one does the work while
// the others wait. Tables of a newer version are left as they are, if they work
// with this program, and are otherwise an error wrapping [ErrSchema]: there is no
// way back.
//
// On tables that are up to date it only reads, takes no lock that another could
// wait for, and needs no right to create anything. It also sets sequences that
// are behind their tables, as they are after a logical replication.
//
// Otherwise each step is a transaction: killed at any moment it has done the
// step or nothing of it, and the next call goes on from there. Programs that
// publish and deliver meanwhile go on. A step that changes a table needs its lock
// for a moment, and everything that comes after would wait behind it; so Migrate
// waits for a lock that another transaction holds, a pg_dump's say, for a fifth
// of a second at a time, with pauses in which the others get on, for ten minutes
// or until ctx is done. Indexes on tables that exist are built without blocking
// anyone (CREATE INDEX CONCURRENTLY), on a second connection, once the
// transactions have ended that were open before; in a pool of one connection that
// cannot be, and writes to the table wait until the index is there.
func (s *Store) Migrate(ctx context.Context) error {
	steps, err := sqlstore.Migrations(migrationFiles, s.names)
	if err == nil {
		m := migration{s: s, steps: steps}
		err = m.run(ctx)
	}
	return wrap(ctx, "migrate", err)
}

const (
	// lockTurn is how long a migration waits for a lock at a time, and whatever
	// comes behind it at most. lockPause is the time between.
	lockTurn  = 200 * time.Millisecond
	lockPause = time.Second
	// lockTurns bounds the waiting: ten minutes.
	lockTurns = int(10 * time.Minute / (lockTurn + lockPause))
	// guardPoll is how often a migration looks whether another has ended.
	guardPoll = 50 * time.Millisecond
)

// migrationSettings are those of a step. The lock is waited for in turns.
var migrationSettings = fmt.Sprintf(`SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = 0;
	SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = %d`, lockTurn.Milliseconds())

// migration is one call of Migrate.
type migration struct {
	s     *Store
	steps []sqlstore.Migration
	turns int // in which a lock was not free
}

// run takes steps until there are none left.
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
		case err == nil: // another migrates
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

// upToDate reports whether there is nothing to do.
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

// guard is the number of the advisory lock that only one migration holds.
func (s *Store) guard() int64 {
	h := fnv.New64a()
	h.Write([]byte(s.sql("pgstore {schema_version}")))
	return int64(h.Sum64())
}

// step takes the next step, unless another migration is at work: all of them at
// once where there are no tables yet. The others do not wait for the advisory
// lock but ask for it: an index that is built concurrently would wait for them.
func (m *migration) step(ctx context.Context) (took bool, err error) {
	s := m.s
	err = s.once(ctx, migrationSettings, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT pg_try_advisory_xact_lock($1::bigint)`, s.guard())
		if err = each(rows, err, func() error { return rows.Scan(&took) }); err != nil || !took {
			return err
		}
		// This session may remember from its last look that there are no tables. What
		// another has committed since is heard of when a table is read.
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
		// Not IF NOT EXISTS, which needs the right to create also where it exists.
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
	// The last query's portal keeps its snapshot until another statement comes, and
	// an index that is built concurrently would wait for the end of that.
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

// index is a statement of a migration that makes an index.
type index struct{ statement, unique, name, rest, table string }

var indexStatement = regexp.MustCompile(`(?m)^CREATE (UNIQUE )?INDEX ([a-z0-9_]+) (ON (\S+) [^;]*);`)

// indexesIn finds them.
func indexesIn(step string) (out []index) {
	for _, g := range indexStatement.FindAllStringSubmatch(step, -1) {
		out = append(out, index{statement: g[0], unique: g[1], name: g[2], rest: g[3], table: g[4]})
	}
	return out
}

// building ends the name of an index until the step is taken that it is of.
const building = "_new"

// build builds an index beside everything that reads and writes the table, and
// reports whether it did: not where its table or a column of it comes with the
// same step, nor in a pool of one connection, which is the migration's already.
// What a migration left behind that was ended is used when it is complete, and
// otherwise removed.
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

// sequences are the columns whose numbers sequences give. A number that is taken
// is an error; the order of attempts is only wrong when its sequence is behind,
// so that one is looked at, by reading the whole log, where another was behind.
var sequences = []struct{ table, column string }{{"webhooks", "wkey"}, {"claims", "id"}}

// advance sets sequences that are behind: logical replication copies rows and not
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
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
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
