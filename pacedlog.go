package webhook

import (
	"sync"
	"time"
)

// logPace is how often one kind of warning is written that many attempts may
// give at once, such as when the store is away.
const logPace = 10 * time.Second

// pace lets one warning of a kind pass per logPace and counts the others. The
// zero value is ready.
type pace struct {
	mu    sync.Mutex
	next  time.Time
	muted int
}

// pass reports whether to write a warning now, and how many were left out since
// the last one.
func (p *pace) pass() (muted int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		p.muted++
		return 0, false
	}
	muted, p.muted, p.next = p.muted, 0, now.Add(logPace)
	return muted, true
}
