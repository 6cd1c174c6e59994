package sqlstore

import "sync"

// Audience is what events have in common that go to the same webhooks.
type Audience struct{ Tenant, Type, Only string }

// Fanouts remembers to how many webhooks the events of an audience went, so that
// an event to many shares no transaction with events to few. The zero value is
// ready. It keeps the last several thousand audiences.
type Fanouts struct {
	mu       sync.Mutex
	new, old map[Audience]int
}

// fanoutsKept is half of how many audiences are remembered.
const fanoutsKept = 4096

// Note remembers that an event of a went to n webhooks.
func (f *Fanouts) Note(a Audience, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if have, ok := f.new[a]; ok && have == n {
		return
	}
	if f.new == nil || len(f.new) >= fanoutsKept {
		f.new, f.old = make(map[Audience]int), f.new
	}
	f.new[a] = n
}

// Of returns what is remembered of a.
func (f *Fanouts) Of(a Audience) (n int, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, known = f.new[a]; !known {
		n, known = f.old[a]
	}
	return n, known
}
