package pgstore

import (
	"context"
	"errors"
)

// PublishTx checks the tables on the caller's transaction, since a second
// connection may not be free before that transaction ends. A Tx only returns the
// number of rows of a statement, so the answers are numbers of rows. These
// statements cannot fail and thereby abort the transaction.
const (
	// mayAskSQL has no row if there are no tables, one if the role may not read
	// their version, and two if it may.
	mayAskSQL = `SELECT 1 FROM generate_series(1, CASE WHEN to_regclass($1::text) IS NULL THEN 0
		WHEN has_table_privilege(to_regclass($1::text), 'SELECT') THEN 2 ELSE 1 END)`
	// versionRowsSQL has as many rows as the version of the tables, or as this
	// program's version, $1, if newer tables work with it.
	versionRowsSQL = `SELECT 1 FROM generate_series(1, coalesce((
		SELECT CASE WHEN version > $1::integer AND works BETWEEN 1 AND $1::integer THEN $1::integer ELSE version END
		FROM (SELECT version, (to_jsonb(v) ->> 'works_with')::integer AS works FROM {schema_version} v ORDER BY version DESC LIMIT 1) v), 0))`
	// unfitRowsSQL has rows if a setting must be changed: two for the database's
	// encoding, three for the session's, and one if sessions of this kind do not
	// wait for the disk by default.
	unfitRowsSQL = `SELECT 1 FROM generate_series(1, CASE
		WHEN current_setting('server_encoding') <> 'UTF8' THEN 2 WHEN current_setting('client_encoding') <> 'UTF8' THEN 3
		ELSE (SELECT count(*)::integer FROM pg_settings WHERE name = 'synchronous_commit' AND reset_val = 'off') END)`
)

// ensureTx is ensure for a caller's transaction. If the role may not read the
// version, ensureTx assumes that it fits; otherwise the statement itself will fail.
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
var errNotDurable = errors.New(`synchronous_commit is off: acknowledged events could be lost in a crash; ` +
	`turn it on for this role: ALTER ROLE … SET synchronous_commit = on`)
