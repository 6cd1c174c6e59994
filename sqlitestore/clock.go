package sqlitestore

import (
	"database/sql/driver"
	"math"
	"time"

	"github.com/seed68722ecd/webhook/internal/machineclock"
)

// The processes that use a file share a machine, and so its wall clock, which
// may be set by hours while they run. Leases must not end then, nor last for
// hours, and what waits for a time must go on waiting for as long as it was to.
// So the queue has a time of its own: that of the wall clock, less what it has
// jumped. Each process compares the clock with one that nobody sets in every
// transaction, and the first to see a jump writes it down for all, in
// counters.shift. What is due, waits, or is leased is stored in the queue's
// time; all other times are those of the wall clock.

// leastJump is what counts as one. Less may be a process that was not let run
// between the readings of two clocks, and does little harm.
const leastJump = 500 * time.Millisecond

// moment is what a process knows of the clock at one time.
type moment struct {
	known bool          // false: nothing yet
	wall  int64         // microseconds
	mono  time.Duration // goes on while the machine sleeps, if it can tell
	shift int64         // microseconds, as the tables have it
}

// moment reads both clocks.
func (s *Store) moment() moment {
	return moment{known: true, wall: machineclock.Now().UnixMicro(), mono: machineclock.Elapsed()}
}

// jumped is by how much the wall clock has been set between two moments, in
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

// tick reads the clocks at the beginning of a transaction, and writes a jump
// down unless another process already has. s.mu is held; what it finds becomes
// s.last when the transaction is committed.
func (s *Store) tick(r runner) error {
	if s.cfg.PassedClock {
		return nil
	}
	at := s.moment()
	if err := readShift(r, &at.shift); err != nil {
		return err
	}
	if jump := jumped(s.last, at); jump != 0 {
		rest := jump - (at.shift - s.last.shift) // what others have not written down
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

// queueTime is the queue's time in the transaction under way, and wallTime the
// same by the wall clock. Both are the time that was passed where that is what
// counts.
func (s *Store) queueTime(passed time.Time) int64 { return s.wallTime(passed) - s.now.shift }

func (s *Store) wallTime(passed time.Time) int64 {
	if s.cfg.PassedClock {
		return passed.UnixMicro()
	}
	return s.now.wall
}

// maxAhead is how far the time of a publication may be ahead of the machine's
// clock: further than clocks differ that anybody keeps.
const maxAhead = 24 * time.Hour

// future is from when on a stored time cannot be right: what a clock that was
// wrong has left.
func (s *Store) future() int64 {
	if s.cfg.PassedClock {
		return math.MaxInt64
	}
	return machineclock.Now().Add(maxAhead).UnixMicro()
}
