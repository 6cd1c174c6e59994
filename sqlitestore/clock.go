package sqlitestore

import (
	"database/sql/driver"
	"math"
	"time"

	"github.com/seed68722ecd/webhook/internal/machineclock"
)

// The processes that use a file share a machine and therefore its wall clock, which
// may be set by hours while they run. That must neither end leases nor extend them
// by hours, and a waiting delivery must wait for as long as intended. So the queue
// has its own time: the wall clock without its jumps. In every transaction, each
// process compares the wall clock with the monotonic clock. The first process to
// see a jump adds it to counters.shift for all. Due times and the ends of leases
// are stored in the queue's time; all other times are wall clock times.

// leastJump is the smallest difference that counts as a jump. A smaller one may
// come from a process that was suspended between its readings of the two clocks,
// and does little harm.
const leastJump = 500 * time.Millisecond

// moment is one reading of the clocks.
type moment struct {
	known bool          // false: the clocks were not read yet
	wall  int64         // microseconds
	mono  time.Duration // goes on while the machine sleeps, if the system supports that
	shift int64         // microseconds, from counters.shift
}

// moment reads both clocks.
func (s *Store) moment() moment {
	return moment{known: true, wall: machineclock.Now().UnixMicro(), mono: machineclock.Elapsed()}
}

// jumped returns by how much the wall clock was set between two moments, in
// microseconds.
func jumped(from, to moment) int64 {
	if !from.known {
		return 0
	}
	jump := to.wall - from.wall - (to.mono - from.mono).Microseconds()
	if -leastJump.Microseconds() < jump && jump < leastJump.Microseconds() {
		return 0
	}
	return jump
}

// tick reads the clocks at the start of a transaction, and stores a jump unless
// another process already has. The caller holds s.mu; the result becomes s.last
// when the transaction is committed.
func (s *Store) tick(r runner) error {
	if s.cfg.PassedClock {
		return nil
	}
	at := s.moment()
	if err := readShift(r, &at.shift); err != nil {
		return err
	}
	if jump := jumped(s.last, at); jump != 0 {
		rest := jump - (at.shift - s.last.shift) // the part that other processes have not stored
		if rest <= -leastJump.Microseconds() || rest >= leastJump.Microseconds() {
			if _, err := r.exec(`UPDATE {counters} SET shift = shift + ? WHERE id = 1`, rest); err != nil {
				return err
			}
			at.shift += rest
		}
	}
	s.now = at
	return nil
}

func readShift(r runner, into *int64) error {
	return r.query(`SELECT shift FROM {counters} WHERE id = 1`, nil, func(v []driver.Value) error {
		*into = integer(v[0])
		return nil
	})
}

// queueTime returns the queue's time of the current transaction, and wallTime the
// time of the wall clock. With Config.PassedClock both return the passed time.
func (s *Store) queueTime(passed time.Time) int64 { return s.wallTime(passed) - s.now.shift }

func (s *Store) wallTime(passed time.Time) int64 {
	if s.cfg.PassedClock {
		return passed.UnixMicro()
	}
	return s.now.wall
}

// maxAhead is how far the time of a publication may be ahead of the machine's
// clock. Clocks that are maintained never differ by that much.
const maxAhead = 24 * time.Hour

// future returns the time from which on a stored time must come from a wrong clock.
func (s *Store) future() int64 {
	if s.cfg.PassedClock {
		return math.MaxInt64
	}
	return machineclock.Now().Add(maxAhead).UnixMicro()
}
