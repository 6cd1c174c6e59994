package sqlstore

import "sync"

// Audience identifies the events that go to the same webhooks.
type Audience struct{ Tenant, Type, Only string }

// Fanouts remembers how many webhooks the events of an audience went to, so that an
// event to many webhooks shares no transaction with events to few. The zero value
// is ready. It keeps the last several thousand audiences.
type Fanouts struct {
	mu       sync.Mutex
	new, old map[Audience]int
}

// fanoutsKept is half the number of audiences that are remembered.
const fanoutsKept = 4096

// Note records that an event of a went to n webhooks.
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

// Of returns how many webhooks the last event of a went to.
func (f *Fanouts) Of(a Audience) (n int, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n, known = f.new[a]; !known {
		n, known = f.old[a]
	}
	return n, known
}
