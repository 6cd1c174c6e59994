package pgstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

// A connection whose other side has vanished without a word, as in a failover
// that drops packets, is silent for ever. Calls end with their context all the
// same, whatever the driver makes of that: pgx closes the connection and returns;
// lib/pq goes on waiting, both for answers and while it connects.

const (
	// driverGrace is how long a driver has to return after the context is done.
	driverGrace = time.Second
	// lookAfter is how long the other idle connections have to answer when one has
	// not, and lookPause the least time between two such looks.
	lookAfter = 2 * time.Second
	lookPause = 5 * time.Second
)

// borrow takes a connection from the pool, or makes one.
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

// watched is a connection that is closed under a driver which does not notice
// that the call is over.
type watched struct {
	mu     sync.Mutex
	raw    driver.Conn // the driver's connection; nil: it cannot be closed
	timer  *time.Timer
	over   bool // the call has returned
	closed bool // its connection was closed
}

// watch begins to watch; the function that it returns ends that, and reports
// whether the connection was closed.
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

// hold notes which connection it is that is used.
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

// cut closes the driver's connection, which ends what the driver waits for.
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

// lookAtOthers asks the connections that are idle whether they answer, after a
// call has passed its deadline: they lead where that call's connection led, and
// would cost a deadline each. Those that do not answer are thrown away.
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

// silent reports whether a call failed as its time was over.
func silent(ctx context.Context, err error) bool {
	return err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded)
}
