package webhook

import "time"

// A probePace spaces the attempts to a webhook that does nothing but fail. One
// that fails at once (nobody listens, the name is gone, every answer is a 500)
// would be tried thousands of times a second even one at a time, as long as
// anything waits for it, and each costs a connection and a record, which others
// pay for. The zero value spaces nothing. Its fields are guarded by engine.mu.
type probePace struct {
	rounds int       // of failures since the last success; attempts that were in flight together are one
	last   time.Time // when the last attempt began, once it was hopeless
}

const (
	// hopelessAfter is after how many rounds of failures attempts are spaced. A
	// receiver that refuses nine of ten has so many now and then, and loses 2 ms.
	hopelessAfter = 16
	// probeGap lies between the beginnings of two attempts to a hopeless webhook.
	// It must not be long: what is published for a dead webhook all the time has
	// to run out of retries as fast as it comes, or its backlog grows until it is
	// disabled. Nor does what waits for its turn here take the place of others'
	// deliveries for long.
	probeGap = 2 * time.Millisecond
	// mostProbed is how many deliveries a hopeless webhook that fails at once may
	// hold: few enough to be tried in a moment, and enough for few claims.
	mostProbed = initialWindow
)

// hopeless reports whether the attempts are spaced.
func (p *probePace) hopeless() bool { return p.rounds >= hopelessAfter }

// wait returns how long it is until the next attempt may begin.
func (p *probePace) wait(now time.Time) time.Duration {
	if !p.hopeless() {
		return 0
	}
	return max(p.last.Add(probeGap).Sub(now), 0)
}

// probing reports whether a lane is hopeless, and fails so fast that it is its
// pace and not its endpoint that what it holds waits for.
func (l *lane) probing() bool {
	return l.probe.hopeless() && l.took < staleAfter/mostProbed/2
}

// probeWindow returns what a hopeless lane may hold at most, and how much is worth
// a claim: there is no hurry.
func (l *lane) probeWindow() (most, worth int) {
	if l.probing() {
		return mostProbed, mostProbed * 3 / 4
	}
	return l.window, l.window / 4
}
