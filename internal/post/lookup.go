package post

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"
)

// dialing returns a context for the dials of the attempt, by which a Guard tells when
// it looks up the host name.
func (f *flight) dialing(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { f.lookups.begin() },
		DNSDone:  func(info httptrace.DNSDoneInfo) { f.lookups.end(info.Err == nil) },
	})
}

// lookupTime measures the look-ups of an attempt. Several dials may look up the host
// name at the same time.
type lookupTime struct {
	mu      sync.Mutex
	running int
	since   time.Time     // the start of the first that is running
	longest time.Duration // the longest that has ended
	silent  bool          // the last ended without an answer
}

func (l *lookupTime) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running++; l.running == 1 {
		l.since = time.Now()
	}
}

func (l *lookupTime) end(answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	l.silent = !answered
	l.longest = max(l.longest, time.Since(l.since))
}

// took returns how long, and whether they were answered.
func (l *lookupTime) took() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running > 0 {
		return time.Since(l.since), false
	}
	return l.longest, !l.silent
}

// lookupText explains an attempt whose time ran out because of the look-up. It is
// empty when that was not the reason.
func (f *flight) lookupText() string {
	took, answered := f.lookups.took()
	if f.connected.Load() || 2*took < f.timeout {
		return ""
	}
	if !answered {
		return fmt.Sprintf("the look-up of the host name timed out after %s: its name server does not answer", f.elapsed())
	}
	return fmt.Sprintf("timed out after %s while connecting: the look-up of the host name took %s of it, its name server answers late",
		f.elapsed(), took.Round(time.Millisecond))
}
