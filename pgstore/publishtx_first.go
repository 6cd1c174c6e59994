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
	// versionRowsSQL has as many rows as the number of the tables' version, or as
	// that of this program's, $1, when newer tables work with it.
	versionRowsSQL = `SELECT 1 FROM generate_series(1, coalesce((
		SELECT CASE WHEN version > $1::integer AND works BETWEEN 1 AND $1::integer THEN $1::integer ELSE version END
		FROM (SELECT version, (to_jsonb(v) ->> 'works_with')::integer AS works FROM {schema_version} v ORDER BY version DESC LIMIT 1) v), 0))`
	// unfitRowsSQL has rows when something has to be changed: two for the database's
	// encoding, three for the session's, and one when sessions like this one do not
	// wait for the disk unless a transaction asks for it.
	unfitRowsSQL = `SELECT 1 FROM generate_series(1, CASE
		WHEN current_setting('server_encoding') <> 'UTF8' THEN 2 WHEN current_setting('client_encoding') <> 'UTF8' THEN 3
		ELSE (SELECT count(*)::integer FROM pg_settings WHERE name = 'synchronous_commit' AND reset_val = 'off') END)`
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
		have, err := affected(tx.ExecContext(ctx, s.sql(versionRowsSQL), schemaVersion))
		if err != nil {
			return err
		}
		if have != schemaVersion {
			return s.misfit(have)
		}
	}
	unfit, err := affected(tx.ExecContext(ctx, unfitRowsSQL))
	if err != nil {
		return err
	}
	switch unfit {
	case 1:
		return errNotDurable
	case 2:
		return found{encoding: "another one", client: "UTF8"}.encodes()
	case 3:
		return found{encoding: "UTF8", client: "another one"}.encodes()
	}
	s.readyTx.Store(true)
	return nil
}

// errNotDurable refuses sessions whose commits do not wait for the disk.
var errNotDurable = errors.New(`synchronous_commit is off: what Publish acknowledged could be lost in a crash; ` +
	`turn it on for this role: ALTER ROLE … SET synchronous_commit = on`)
