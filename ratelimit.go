package webhook

import "time"

// A ratePace spaces the attempts to a webhook with a rate limit: the n-th may begin
// no sooner than interval after the one before it, or slack sooner, so that
// timers that fire late cost nothing. The zero value knows no limit. It holds
// for this process; its fields are guarded by engine.mu.
type ratePace struct {
	interval time.Duration // between attempts; 0: no limit
	slack    time.Duration
	due      time.Time // when the next one would begin if none ever came late
}

// paceAhead is how long before it may begin a delivery is claimed: what waits
// for longer waits in the store, where it costs nothing.
const paceAhead = time.Second

// set changes the limit. What has been used of the old one counts against the
// new one, but not for longer than it would have taken at the new one.
func (p *ratePace) set(perSecond float64, now time.Time) {
	if perSecond <= 0 {
		*p = ratePace{}
		return
	}
	p.interval = max(time.Duration(float64(time.Second)/perSecond), 1)
	p.slack = time.Duration(max(perSecond/100, 1)-1) * p.interval
	if latest := now.Add(p.interval); p.due.After(latest) {
		p.due = latest
	}
}

// wait returns how long it is until the next attempt may begin.
func (p *ratePace) wait(now time.Time) time.Duration {
	if p.interval == 0 || !p.due.After(now) {
		return 0
	}
	return max(p.due.Sub(now)-p.slack, 0)
}

// take notes that an attempt begins now.
func (p *ratePace) take(now time.Time) {
	if p.interval == 0 {
		return
	}
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.interval)
}

// within returns how many attempts may begin until d from now.
func (p *ratePace) within(d time.Duration, now time.Time) int {
	from := now
	if p.due.After(from) {
		from = p.due
	}
	if d += now.Sub(from) + p.slack; d < 0 {
		return 0
	}
	return int(d/p.interval) + 1
}

// limited reports whether there is a limit.
func (p *ratePace) limited() bool { return p.interval > 0 }

// spaced reports whether a lane waits for its rate limit.
func (l *lane) spaced() bool { return l.state == laneHeld && l.pace.limited() }

// resting reports whether what has been used still counts: forgotten, the limit
// would be passed.
func (p *ratePace) resting(now time.Time) bool { return p.due.After(now) }

// adopt takes a webhook as read from the store, see lane.adopt, and its rate
// limit with it. Caller holds mu.
func (e *engine) adopt(l *lane, rec *WebhookRecord, now time.Time) {
	before := l.target
	l.adopt(rec, now)
	if l.target == before {
		return
	}
	perSecond := 0.0
	if rec := l.target.rec; rec != nil && rec.Active {
		// What is to be canceled needs no pace.
		perSecond = rec.RateLimit
	}
	e.endRest(l)
	was := l.pace
	// Whatever was changed may have mended it.
	l.probe = probePace{}
	if l.pace.set(perSecond, now); l.pace != was || l.state == laneHeld {
		e.unhold(l) // it may begin sooner now, or has to be put aside anew
		e.signalClaim()
	}
}

// keepPaces returns what this run and those before it have used of rate limits,
// so that the next run does not begin as if nothing had been.
func (e *engine) keepPaces() map[string]time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	kept := e.paces
	for id, due := range kept {
		if !due.After(now) {
			delete(kept, id)
		}
	}
	for id, l := range e.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
		if l.pace.resting(now) {
			if kept == nil {
				kept = make(map[string]time.Time)
			}
			kept[id] = l.pace.due
		}
	}
	return kept
}
