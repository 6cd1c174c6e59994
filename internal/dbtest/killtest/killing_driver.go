package killtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync/atomic"
	"time"
)

// Points of a process at its statements, the first is number 1: before the
// statement is sent, or a random moment after its beginning.
const (
	pointStatement       = "statement:before"
	pointInsideStatement = "statement:inside"
)

// openDB opens a database. A process that is to die at one of its statements
// gets a driver that counts them: Migrate has no other steps that could be told
// from outside.
func (s *spec) openDB(name, dsn string) (*sql.DB, error) {
	db, err := sql.Open(name, dsn)
	if err != nil || !strings.HasPrefix(s.Point, "statement:") {
		return db, err
	}
	defer db.Close()
	return sql.OpenDB(&killing{driver: db.Driver(), dsn: dsn, spec: s}), nil
}

type killing struct {
	driver     driver.Driver
	dsn        string
	spec       *spec
	statements atomic.Int64
}

// statement is called before each statement.
func (k *killing) statement() {
	if k.statements.Add(1) != int64(k.spec.PointAt) {
		return
	}
	if k.spec.Point == pointStatement {
		die()
	}
	time.AfterFunc(k.spec.moment(uint64(k.spec.PointAt)), die)
}

// Connect implements [driver.Connector].
func (k *killing) Connect(context.Context) (driver.Conn, error) {
	c, err := k.driver.Open(k.dsn)
	return &killingConn{c, k}, err
}

// Driver implements [driver.Connector].
func (k *killing) Driver() driver.Driver { return k.driver }

// killingConn passes everything on to a connection of a driver that has the
// modern interfaces, as all that are tested here do.
type killingConn struct {
	driver.Conn
	k *killing
}

func (c *killingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.k.statement()
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return killingTx{tx, c.k}, err
}

func (c *killingConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	c.k.statement()
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, args)
}

func (c *killingConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	c.k.statement()
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, q, args)
}

func (c *killingConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, q)
}

type killingTx struct {
	driver.Tx
	k *killing
}

func (t killingTx) Commit() error {
	t.k.statement()
	return t.Tx.Commit()
}
