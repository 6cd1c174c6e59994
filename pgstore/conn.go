package pgstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// lent is a connection of the pool while the Store uses it. The Store borrows
// connections instead of leaving that to the pool, since only the borrower of a
// connection can say that the pool must not keep it.
type lent struct {
	s    *Store
	conn *sql.Conn
	watched
}

// onConn lends fn a connection. One that leads to a server which cannot take
// writes is thrown away afterwards: the name in the DSN may lead to another
// server by now, which the pool only finds by connecting anew. So is one on which
// a call passed its deadline.
func (s *Store) onConn(ctx context.Context, fn func(l *lent) error) error {
	conn, err := s.borrow(ctx)
	if err != nil {
		if silent(ctx, err) {
			s.lookAtOthers()
		}
		return err
	}
	l := &lent{s: s, conn: conn}
	l.hold(conn)
	stop := l.watch(ctx)
	defer func() { l.conn.Close() }()
	err = fn(l)
	late := silent(ctx, err)
	if closed := stop(); closed || late || unfit(err) {
		discard(l.conn)
	}
	if late {
		s.lookAtOthers()
	}
	return err
}

// discard makes the pool throw a connection away.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }

// unfit reports whether err says that the server behind a connection takes no
// writes: a standby, which a primary becomes in a failover, or one that is
// starting. Every statement of such a server's fails until the connection ends,
// and a standby never ends it.
func unfit(err error) bool {
	switch sqlState(err) {
	case "25006", "57P03": // read_only_sql_transaction, cannot_connect_now
		return true
	}
	return errors.Is(err, errReadOnly)
}

// QueryContext runs a query on the connection, or on another one when the
// server had ended that connection before the query was sent.
func (l *lent) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = l.first(ctx, unsent, func() error {
		rows, err = l.conn.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's duty
		return err
	})
	return rows, err
}

// begin begins a transaction likewise: nothing was done if that fails, whether
// it was sent or not. Drivers may set the transaction to writing at once, which
// a standby refuses as something that it has not got.
func (l *lent) begin(ctx context.Context) (tx *sql.Tx, err error) {
	lost := func(err error) bool { return unsent(err) || sqlState(err) == "" && ctx.Err() == nil }
	err = l.first(ctx, lost, func() error {
		tx, err = l.conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		return err
	})
	if sqlState(err) == "0A000" {
		err = fmt.Errorf("%w: %w", errReadOnly, err)
	}
	return tx, err
}

// errReadOnly marks errors of servers that take no writes.
var errReadOnly = errors.New("no transaction that writes can begin")

// unsent reports whether a driver says that nothing was sent to the server.
func unsent(err error) bool { return errors.Is(err, driver.ErrBadConn) }

// first repeats fn on another connection while the first one proves to have
// ended before: on as many as are open, all of which a restart of the server may
// have ended, and a new one.
func (l *lent) first(ctx context.Context, ended func(error) bool, fn func() error) error {
	for left := l.s.db.Stats().OpenConnections; ; left-- {
		err := fn()
		if err == nil || left <= 0 || !ended(err) {
			return err
		}
		discard(l.conn)
		l.conn.Close()
		conn, connErr := l.s.borrow(ctx)
		if connErr != nil {
			return connErr
		}
		l.conn = conn
		l.hold(conn)
	}
}
