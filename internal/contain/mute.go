package contain

import (
	"sync"
	"time"
)

// MuteInterval is how often a [Mute] lets its warning pass.
const MuteInterval = 10 * time.Second

// Mute lets one warning of a kind pass per [MuteInterval] and counts the others:
// many attempts may give the same warning at once, for example when the store
// does not answer. The zero value is ready. It is safe for concurrent use.
type Mute struct {
	mu    sync.Mutex
	next  time.Time
	muted int
}

// Pass reports whether to write a warning now, and how many were left out since
// the last one.
func (m *Mute) Pass() (muted int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Before(m.next) {
		m.muted++
		return 0, false
	}
	muted, m.muted, m.next = m.muted, 0, now.Add(MuteInterval)
	return muted, true
}
