package pgstore

import (
	"context"
	"errors"
)

// What PublishTx has to know of the tables it asks on the caller's transaction:
// a second connection may not be free before that transaction ends. A Tx only
// says how many rows a statement had, so the answers are numbers of rows. None
// of the three can fail and thereby abort the transaction.
const (
	// mayAskSQL has no row when there are no tables, one when the role may not read
	// their version, and two when it may.
	mayAskSQL = `SELECT 1 FROM generate_series(1, CASE WHEN to_regclass($1::text) IS NULL THEN 0
		WHEN has_table_privilege(to_regclass($1::text), 'SELECT') THEN 2 ELSE 1 END)`
	// versionRowsSQL has as many rows as the number of the tables' version.
	versionRowsSQL = `SELECT 1 FROM generate_series(1, (SELECT coalesce(max(version), 0)::integer FROM {schema_version}))`
	// notDurableSQL has a row when sessions like this one do not wait for the disk
	// unless a transaction asks for it.
	notDurableSQL = `SELECT 1 FROM pg_settings WHERE name = 'synchronous_commit' AND reset_val = 'off'`
)

// ensureTx is ensure for a transaction of the caller's. A role that may not read
// the version is believed: where the tables do not fit, the statement says so.
func (s *Store) ensureTx(ctx context.Context, tx Tx) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ready.Load() || s.readyTx.Load() {
		return nil
	}
	may, err := affected(tx.ExecContext(ctx, mayAskSQL, s.sql("{schema_version}")))
	if err != nil {
		return err
	}
	if may == 0 {
		return s.misfit(0)
	}
	if may > 1 {
		have, err := affected(tx.ExecContext(ctx, s.sql(versionRowsSQL)))
		if err != nil {
			return err
		}
		if have != schemaVersion {
			return s.misfit(have)
		}
	}
	off, err := affected(tx.ExecContext(ctx, notDurableSQL))
	if err != nil {
		return err
	}
	if off > 0 {
		return errNotDurable
	}
	s.readyTx.Store(true)
	return nil
}

// errNotDurable refuses sessions whose commits do not wait for the disk.
var errNotDurable = errors.New(`synchronous_commit is off: what Publish acknowledged could be lost in a crash; ` +
	`turn it on for this role: ALTER ROLE … SET synchronous_commit = on`)
