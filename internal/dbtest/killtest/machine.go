package killtest

import (
	"sync"
	"time"
)

// watchMachine measures for how long this machine leaves a process waiting
// that has something to do: no claim about times can be narrower than that.
func (r *run) watchMachine() {
	const step = 50 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-r.ticker:
			return
		case <-tick.C:
			now := time.Now()
			r.machine.note(span{last.Add(step), now})
			last = now
		}
	}
}

// span is a part of time.
type span struct{ from, to time.Time }

// within is how much of it lies between two moments.
func (s span) within(from, to time.Time) time.Duration {
	if s.from.Before(from) {
		s.from = from
	}
	if s.to.After(to) {
		s.to = to
	}
	return max(s.to.Sub(s.from), 0)
}

// machine is when this machine did not let the driver run, which wanted to.
type machine struct {
	mu    sync.Mutex
	waits []span
}

// leastWait is the shortest wait that is noted.
const leastWait = 20 * time.Millisecond

func (m *machine) note(s span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.to.Sub(s.from) > leastWait {
		m.waits = append(m.waits, s)
	}
}

// longest is its longest wait.
func (m *machine) longest() (d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.waits {
		d = max(d, s.to.Sub(s.from))
	}
	return d
}

// within is how long it waited between two moments.
func (m *machine) within(from, to time.Time) (d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return within(m.waits, from, to)
}

func within(all []span, from, to time.Time) (d time.Duration) {
	for _, s := range all {
		d += s.within(from, to)
	}
	return d
}
