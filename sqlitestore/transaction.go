package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// op is one call that writes. Calls of one kind are served together: publishAll and
// completeAll handle many at once.
type op struct {
	weight int  // rows, roughly
	lease  bool // it only takes or extends leases

	publish  *publishing
	complete *completion
	claim    *claiming
	// other does any other work. It runs in a savepoint, and returns refused errors
	// to undo only this call.
	other func(r runner) error

	err   error  // the call's own refusal; its changes were undone
	after func() // runs after the commit
}

// refusal is an error that ends one call and does not affect the others of its
// group.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refused(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// serve runs a group of calls in one transaction. When it returns, the transaction
// is committed and on the disk.
func (s *Store) serve(ctx context.Context, ops []*op) ([]struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		s.used = time.Now()
		if s.db.Stats().MaxOpenConnections == 1 {
			s.giveBack()
		}
	}()
	broken := true // also if a driver panics
	defer func() {
		if broken {
			x.discard()
			s.writer = nil
		}
	}()
	var stuck error
	err = x.use(func() error {
		if s.nothingDue(x, ops) {
			return nil
		}
		// A lease that is lost with the power has only ended early, like the lease
		// of a crashed process, so a group of leases need not wait for the disk. A
		// later commit that waits also brings these to the disk.
		if err := x.relax(!slices.ContainsFunc(ops, func(o *op) bool { return !o.lease })); err != nil {
			return err
		}
		if err := s.patiently(ctx, func() error { _, err := x.exec("BEGIN IMMEDIATE"); return err }); err != nil {
			return err
		}
		err := s.transact(ctx, x, ops)
		if err == nil {
			_, err = x.exec("COMMIT")
		}
		if err == nil {
			s.last = s.now
		}
		if err != nil {
			// SQLite may have rolled back already. A connection that has no
			// transaction, or cannot end it, is discarded.
			_, stuck = x.exec("ROLLBACK")
		}
		return err
	})
	if broken = stuck != nil || useless(err); err != nil {
		return nil, err
	}
	for _, o := range ops {
		if o.after != nil && o.err == nil {
			o.after()
		}
	}
	return make([]struct{}, len(ops)), nil
}

// transact does the work of a group.
func (s *Store) transact(ctx context.Context, x *session, ops []*op) error {
	var pubs []*publishing
	var dones []*completion
	var claims []*claiming
	for _, o := range ops {
		o.err = nil
		switch {
		case o.publish != nil:
			pubs = append(pubs, o.publish)
		case o.complete != nil:
			dones = append(dones, o.complete)
		case o.claim != nil:
			claims = append(claims, o.claim)
		}
	}
	if err := s.tick(x); err != nil {
		return err
	}
	if len(pubs) > 0 {
		if err := s.publishAll(x, pubs); err != nil {
			return err
		}
	}
	if len(dones) > 0 {
		if err := s.completeAll(x, dones); err != nil {
			return err
		}
	}
	for _, o := range ops {
		if o.other == nil {
			continue
		}
		if err := s.apart(x, o); err != nil {
			return err
		}
	}
	for _, c := range claims {
		if err := s.claimOne(x, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// apart runs a call in a savepoint, so that a refusal undoes only this call.
func (s *Store) apart(x *session, o *op) error {
	if _, err := x.exec("SAVEPOINT one"); err != nil {
		return err
	}
	if err := o.other(x); err != nil {
		if _, ok := errors.AsType[refusal](err); !ok {
			return err
		}
		o.err = err
		if _, err := x.exec("ROLLBACK TO one"); err != nil {
			return err
		}
	}
	_, err := x.exec("RELEASE one")
	return err
}

// patiently repeats fn while the database is locked, for up to Config.BusyTimeout.
func (s *Store) patiently(ctx context.Context, fn func() error) error {
	var until time.Time
	for i := 1; ; i++ {
		err := fn()
		if err == nil || !busy(err) {
			return err
		}
		if until.IsZero() {
			until = time.Now().Add(s.cfg.BusyTimeout)
		}
		left := time.Until(until)
		if left <= 0 {
			return fmt.Errorf("%w for %v: nothing was stored: %w", ErrBusy, s.cfg.BusyTimeout, err)
		}
		wait := time.NewTimer(min(left, time.Duration(min(i, 10))*time.Millisecond+rand.N(time.Millisecond))) //nolint:gosec // a pause, not a secret
		select {
		case <-ctx.Done():
			wait.Stop()
			return fmt.Errorf("%w while another connection held the database's lock: nothing was stored", ctx.Err())
		case <-wait.C:
		}
	}
}

// connection borrows a connection from the pool. A driver that runs statements on a
// new connection may find the database locked.
func (s *Store) connection(ctx context.Context) (conn *sql.Conn, err error) {
	err = s.patiently(ctx, func() error {
		conn, err = s.db.Conn(ctx)
		return err
	})
	return conn, err
}
