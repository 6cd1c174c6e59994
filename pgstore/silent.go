package pgstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

// A connection whose peer has vanished without closing it, as in a failover that
// drops packets, stays silent for ever. The Store's calls end with their context in
// any case. Drivers differ: pgx closes the connection and returns; lib/pq keeps
// waiting, both for answers and while it connects.

const (
	// driverGrace is how long a driver has to return after the context is done.
	driverGrace = time.Second
	// lookAfter is how long the other idle connections have to answer if one did
	// not, and lookPause the least time between two such checks.
	lookAfter = 2 * time.Second
	lookPause = 5 * time.Second
)

// borrow takes a connection from the pool, or opens one.
func (s *Store) borrow(ctx context.Context) (*sql.Conn, error) {
	if ctx.Done() == nil {
		return s.db.Conn(ctx)
	}
	type answer struct {
		conn *sql.Conn
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		conn, err := s.db.Conn(ctx)
		got <- answer{conn, err}
	}()
	select {
	case a := <-got:
		return a.conn, a.err
	case <-ctx.Done():
	}
	go func() {
		if a := <-got; a.conn != nil {
			a.conn.Close()
		}
	}()
	return nil, ctx.Err()
}

// watched closes the connection under a driver that does not return after its
// context is done.
type watched struct {
	mu     sync.Mutex
	raw    driver.Conn // the driver's connection; nil: it cannot be closed
	timer  *time.Timer
	over   bool // the call has returned
	closed bool // the connection was closed
}

// watch starts watching. The returned function stops that and reports whether the
// connection was closed.
func (w *watched) watch(ctx context.Context) (stop func() (closed bool)) {
	if ctx.Done() == nil {
		return func() bool { return false }
	}
	end := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.timer = time.AfterFunc(driverGrace, w.cut)
		}
	})
	return func() bool {
		end()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over = true
		if w.timer != nil {
			w.timer.Stop()
		}
		return w.closed
	}
}

// hold sets the connection that is in use.
func (w *watched) hold(conn *sql.Conn) {
	var raw driver.Conn
	_ = conn.Raw(func(c any) error {
		raw, _ = c.(driver.Conn)
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raw = raw
}

// cut closes the driver's connection, which ends the driver's wait.
func (w *watched) cut() {
	w.mu.Lock()
	raw := w.raw
	if w.over || raw == nil {
		w.mu.Unlock()
		return
	}
	w.closed = true
	w.mu.Unlock()
	_ = raw.Close()
}

// lookAtOthers pings the idle connections after a call has passed its deadline:
// they lead to the same server as that call's connection, and would cost a deadline
// each. Connections that do not answer are discarded.
func (s *Store) lookAtOthers() {
	s.looks.Lock()
	defer s.looks.Unlock()
	if time.Since(s.looked) < lookPause {
		return
	}
	s.looked = time.Now()
	for range s.db.Stats().Idle {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), lookAfter)
			defer cancel()
			_ = s.onConn(ctx, func(l *lent) error { return l.conn.PingContext(ctx) })
		}()
	}
}

// silent reports whether a call failed because of its deadline.
func silent(ctx context.Context, err error) bool {
	return err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded)
}
