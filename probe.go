package webhook

import "time"

// A probePace spaces the attempts to a webhook that only fails. One that fails at
// once (nobody listens, the name is gone, every answer is a 500) would be tried
// thousands of times a second even one at a time, as long as anything waits for
// it: each costs a claim, a connection and a record, which others pay for.
// The zero value spaces nothing. Its fields are guarded by engine.mu.
type probePace struct {
	rounds int       // of failures since the last success; attempts that were in flight together are one
	last   time.Time // when the last attempt began, once it was hopeless
}

const (
	// hopelessAfter is after how many rounds of failures attempts are spaced: so
	// many that a receiver that refuses every other event, or nine of ten, is
	// hardly ever taken for one that is dead.
	hopelessAfter = 16
	// All hopeless webhooks of this process together are tried once in probeShare,
	// so that what they cost does not grow with their number; but none more often
	// than once in probeMin, and none less often than once in probeMax, which is
	// how long one that is well again waits at most until that is seen.
	probeShare = 2500 * time.Microsecond
	probeMin   = 10 * time.Millisecond
	probeMax   = time.Second
)

// hopeless reports whether the attempts are spaced.
func (p *probePace) hopeless() bool { return p.rounds >= hopelessAfter }

// probeWait returns how long it is until the next attempt to a hopeless webhook
// may begin. DeliverDue, which has to end, does not wait. Caller holds mu.
func (e *engine) probeWait(l *lane, now time.Time) time.Duration {
	if !l.probe.hopeless() || e.once {
		return 0
	}
	return max(l.probe.last.Add(e.probeGap()).Sub(now), 0)
}

// probeGap is how long lies between two attempts to a hopeless webhook, at least.
// Caller holds mu.
func (e *engine) probeGap() time.Duration {
	return min(max(time.Duration(e.hopeless)*probeShare, probeMin), probeMax)
}

// probesAhead returns how many deliveries a hopeless webhook may hold: as many as
// it is tried with before they have grown half as old as they may. Caller holds mu.
func (e *engine) probesAhead(l *lane) int {
	return max(int(staleAfter/2/max(e.probeGap(), l.took)), 1)
}

// failed notes one more round of failures. Caller holds mu.
func (e *engine) failed(l *lane) {
	if l.probe.rounds++; l.probe.rounds == hopelessAfter {
		e.hopeless++
	}
}

// hope forgets the failures of a lane, and reports whether it was hopeless.
// Caller holds mu.
func (e *engine) hope(l *lane) bool {
	was := l.probe.hopeless()
	if was {
		e.hopeless--
	}
	l.probe = probePace{}
	return was
}
