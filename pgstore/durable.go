package pgstore

import (
	"context"
	"database/sql"
	"fmt"
)

// Durable returns nil if a commit on this server is on its disk before it is
// acknowledged, so that published events survive a crash of the server and the loss
// of power. Otherwise it returns an error that names the setting:
// synchronous_commit=off for the Store's sessions, which all calls refuse anyway,
// or fsync=off or full_page_writes=off for the whole server. The latter two are a
// decision of the operator for a server that may be lost, and are not refused. Call
// Durable when the program starts. It blocks for one query.
func (s *Store) Durable(ctx context.Context) error {
	var off string
	var rows *sql.Rows
	err := s.ensure(ctx)
	if err == nil {
		rows, err = s.db.QueryContext(ctx, `SELECT name FROM pg_settings WHERE setting = 'off'
			AND name IN ('synchronous_commit', 'fsync', 'full_page_writes') ORDER BY name DESC LIMIT 1`)
		err = each(rows, err, func() error { return rows.Scan(&off) })
	}
	if err == nil && off != "" {
		err = fmt.Errorf("the server runs with %s=off: when the machine loses power, acknowledged events are lost, or the server's files are damaged; "+
			"turn it on in postgresql.conf, or accept that", off)
	}
	return wrap(ctx, "durable", err)
}
