package pgstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// lent is a connection of the pool while the Store uses it. The Store borrows
// connections explicitly, because only the borrower of a connection can make the
// pool discard it.
type lent struct {
	s    *Store
	conn *sql.Conn
	watched
}

// onConn lends fn a connection. It discards the connection afterwards if its server
// cannot take writes: the name in the DSN may lead to another server by now, which
// the pool only finds by connecting anew. It also discards a connection on which a
// call passed its deadline.
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
// writes: a standby, which a primary becomes in a failover, or a server that is
// starting. Every statement on such a server fails until the connection ends, and a
// standby never ends it.
func unfit(err error) bool {
	switch sqlState(err) {
	case "25006", "57P03": // read_only_sql_transaction, cannot_connect_now
		return true
	}
	return errors.Is(err, errReadOnly)
}

// QueryContext runs a query on the connection, or on another connection if the
// server had ended the first before the query was sent.
func (l *lent) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = l.first(ctx, unsent, func() error {
		rows, err = l.conn.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's duty
		return err
	})
	return rows, err
}

// begin begins a transaction in the same way: if BEGIN fails no work is lost,
// whether it was sent or not. Some drivers ask for a read-write transaction at
// once, which a standby refuses with feature_not_supported (0A000).
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

// unsent reports whether a driver says that the statement was not sent.
func unsent(err error) bool { return errors.Is(err, driver.ErrBadConn) }

// first runs fn, and repeats it on another connection while ended says that the
// connection had ended before. A restart of the server may have ended all open
// connections, so it tries as many as are open, and one new connection.
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
