package webhook

import "time"

// hold puts a lane aside until its rate limit lets the next attempt begin, and
// the pace of one that only fails, and reports whether it had to. Caller holds mu.
func (e *engine) hold(l *lane) bool {
	if !l.pace.limited() && !l.probe.hopeless() {
		return false
	}
	now := time.Now()
	wait := l.pace.wait(now)
	if !e.once { // DeliverDue has to end, and does not wait for the hopeless
		wait = max(wait, l.probe.wait(now))
	}
	if wait == 0 {
		return false
	}
	l.state = laneHeld
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.unhold(l)
		})
	} else {
		l.timer.Reset(wait)
	}
	return true
}

// unhold puts a lane that was put aside in line again. Caller holds mu.
func (e *engine) unhold(l *lane) {
	if l.state != laneHeld {
		return
	}
	e.resume(l)
	if !e.draining {
		e.startWorkers(1)
	}
}
