package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// runner runs SQL with the names of tables in braces. Rows come as the
// driver's own values: int64, string or []byte, and nil.
type runner interface {
	exec(q string, args ...any) (changed int64, err error)
	query(q string, args []any, row func(v []driver.Value) error) error
}

// session is the writing connection while the Store borrows it. Statements are
// prepared once and run through the driver's interfaces: conversions and locks of
// database/sql would cost as much as the statements themselves.
type session struct {
	s       *Store
	conn    *sql.Conn
	raw     driver.Conn // only within conn.Raw
	stmts   map[string]*statement
	restore []string // settings of the connection as they were
	lax     bool     // commits do not wait for the disk
	args    []driver.NamedValue
}

// statement is a prepared statement, with space for a row of its result.
type statement struct {
	driver.Stmt
	row []driver.Value
}

// settings are the settings of the writing connection. The former values are
// recorded and restored, since the connection belongs to the host.
var settings = []struct{ name, strict, relaxed string }{
	// The Store waits for other writers itself, so that the wait honours contexts.
	{"busy_timeout", "20", "20"},
	// A statement that returns its number of changes as a row is not finished after
	// the changes, and would block the commit.
	{"count_changes", "0", "0"},
	{"synchronous", "2", "1"},
	// Pages that are written repeatedly are copied to the database less often than
	// with the default of 1000; the WAL takes about 16 MiB.
	{"wal_autocheckpoint", "4000", "4000"},
}

// open borrows a connection and makes it the writing one.
func (s *Store) open(ctx context.Context) (*session, error) {
	conn, err := s.connection(ctx)
	if err != nil {
		return nil, err
	}
	x := &session{s: s, conn: conn, stmts: map[string]*statement{}}
	usable := false
	defer func() {
		if !usable { // also if the driver panicked
			x.discard()
		}
	}()
	err = x.use(func() error {
		for _, set := range settings {
			var was int64
			if err := x.query("PRAGMA "+set.name, nil, func(v []driver.Value) error { was = integer(v[0]); return nil }); err != nil {
				return err
			}
			value := set.strict
			if s.cfg.Relaxed {
				value = set.relaxed
			}
			x.restore = append(x.restore, fmt.Sprintf("PRAGMA %s = %d", set.name, was))
			if err := x.set("PRAGMA " + set.name + " = " + value); err != nil {
				return err
			}
		}
		return nil
	})
	usable = err == nil
	return x, err
}

// set runs a PRAGMA. It takes effect when it is prepared, so it cannot be kept
// prepared like other statements.
func (x *session) set(pragma string) error {
	err := x.query(pragma, nil, func([]driver.Value) error { return nil })
	if st := x.stmts[pragma]; st != nil {
		delete(x.stmts, pragma)
		err = errors.Join(err, st.Close())
	}
	return err
}

// relax chooses whether the next commits wait for the disk.
func (x *session) relax(lax bool) error {
	if x.s.cfg.Relaxed || x.lax == lax {
		return nil
	}
	value := "2"
	if lax {
		value = "1"
	}
	if err := x.set("PRAGMA synchronous = " + value); err != nil {
		return err
	}
	x.lax = lax
	return nil
}

// use runs f with the driver's connection in x.raw. If f panics, or the driver
// gives the connection up, database/sql closes it; use ends its transaction and
// statements before.
func (x *session) use(f func() error) error {
	return x.conn.Raw(func(c any) (err error) {
		raw, ok := c.(driver.Conn)
		if !ok {
			return fmt.Errorf("the driver's connection is a %T, not a driver.Conn", c)
		}
		x.raw = raw
		returned := false
		defer func() {
			if !returned || errors.Is(err, driver.ErrBadConn) {
				x.abandon()
			}
			x.raw = nil
		}()
		err = f()
		returned = true
		return err
	})
}

// abandon ends the transaction and every statement of a connection that is about to
// be closed. A driver that closes with sqlite3_close does not close a connection
// with open statements, and the file would stay locked for good.
func (x *session) abandon() {
	quietly := func(f func() error) {
		defer func() { _ = recover() }() // the driver has failed already
		_ = f()
	}
	quietly(func() error { _, err := x.exec("ROLLBACK"); return err })
	for _, st := range x.stmts {
		quietly(st.Close)
	}
	clear(x.stmts)
}

// close restores the connection's settings and returns it to the pool. It may run
// on a timer's goroutine, so it must recover a panic of the driver itself.
func (x *session) close() {
	defer func() {
		if recover() != nil {
			x.discard()
		}
	}()
	err := x.use(func() error {
		var errs []error
		for _, q := range x.restore {
			errs = append(errs, x.set(q))
		}
		for _, st := range x.stmts {
			errs = append(errs, st.Close())
		}
		return errors.Join(errs...)
	})
	if err != nil {
		x.discard()
		return
	}
	x.conn.Close()
}

// discard makes the pool discard the connection.
func (x *session) discard() {
	_ = x.use(func() error { return driver.ErrBadConn })
	x.conn.Close()
}

func (x *session) prepare(q string) (*statement, error) {
	if st := x.stmts[q]; st != nil {
		return st, nil
	}
	var st driver.Stmt
	var err error
	text := x.s.sql(q)
	if p, ok := x.raw.(driver.ConnPrepareContext); ok {
		st, err = p.PrepareContext(context.Background(), text)
	} else {
		st, err = x.raw.Prepare(text)
	}
	if err != nil {
		return nil, err
	}
	x.stmts[q] = &statement{Stmt: st}
	return x.stmts[q], nil
}

// bind returns args in the session's buffer.
func (x *session) bind(args []any) []driver.NamedValue {
	x.args = x.args[:0]
	for i, a := range args {
		x.args = append(x.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return x.args
}

// values converts arguments for drivers that implement only the older interfaces.
func values(nv []driver.NamedValue) []driver.Value {
	out := make([]driver.Value, len(nv))
	for i := range nv {
		out[i] = nv[i].Value
	}
	return out
}

// Statements run without a context: each is short, and for every context that can
// be cancelled drivers start a goroutine.

func (x *session) exec(q string, args ...any) (int64, error) {
	st, err := x.prepare(q)
	if err != nil {
		return 0, err
	}
	nv := x.bind(args)
	var res driver.Result
	if c, ok := st.Stmt.(driver.StmtExecContext); ok {
		res, err = c.ExecContext(context.Background(), nv)
	} else {
		res, err = st.Exec(values(nv))
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (x *session) query(q string, args []any, row func(v []driver.Value) error) error {
	st, err := x.prepare(q)
	if err != nil {
		return err
	}
	nv := x.bind(args)
	var rows driver.Rows
	if c, ok := st.Stmt.(driver.StmtQueryContext); ok {
		rows, err = c.QueryContext(context.Background(), nv)
	} else {
		rows, err = st.Query(values(nv))
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	// Columns must be called for every result, as database/sql does: some drivers
	// count the columns only then.
	if n := len(rows.Columns()); len(st.row) != n {
		st.row = make([]driver.Value, n)
	}
	for {
		switch err := rows.Next(st.row); {
		case errors.Is(err, io.EOF):
			return rows.Close()
		case err != nil:
			return err
		}
		if err := row(st.row); err != nil {
			return err
		}
	}
}

// plain is a runner on database/sql, for reads and for the host's transactions.
type plain struct {
	ctx context.Context
	s   *Store
	tx  Tx
}

func (p plain) exec(q string, args ...any) (int64, error) {
	res, err := p.tx.ExecContext(p.ctx, p.s.sql(q), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (p plain) query(q string, args []any, row func(v []driver.Value) error) error {
	rows, err := p.tx.QueryContext(p.ctx, p.s.sql(q), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	v, cells, into := make([]driver.Value, len(names)), make([]any, len(names)), make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i := range cells {
			v[i] = cells[i]
		}
		if err := row(v); err != nil {
			return err
		}
	}
	return rows.Err()
}

// integer, text and blob read a column; NULL is the zero value.
func integer(v driver.Value) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case bool:
		if v {
			return 1
		}
	}
	return 0
}

// float64Of reads a REAL, which some drivers return as an integer.
func float64Of(v driver.Value) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	return float64(integer(v))
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// blob returns a copy.
func blob(v driver.Value) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return append([]byte(nil), v...)
	}
	return nil
}

// orNull returns null for the zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
