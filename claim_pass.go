package webhook

import "time"

// A claim names the webhooks that it must not take as much of as of any other. They
// are those that this process holds something of, which are bounded, and those that
// it must not claim for yet, which are not: the store is told once how long to pass
// each of these over when there are many. Lanes that are neither, though their
// webhooks may have any backlog, are not named. So what a claim costs does not depend
// on how many webhooks wait.

// mostNamed is how many lanes that hold nothing a claim names.
const mostNamed = 256

// fullTenants returns the tenants that hold so much that the claim passes them over,
// or the store would go on to offer webhooks of theirs that nothing is held of yet
// until nothing is free. It is more than what ends claims for those that something is
// held of: a webhook that is new waits neither for other tenants' nor for its own
// tenant's that hang. Caller holds mu.
func (e *engine) fullTenants() (full []string) {
	clear(e.passed)
	for tenant := range e.holding {
		if e.full(tenant) {
			e.passed[tenant] = true
			full = append(full, tenant)
		}
	}
	return full
}

// full reports whether a tenant holds so much that it is passed over. Caller holds mu.
func (e *engine) full(tenant string) bool { return e.holding[tenant] >= 7*(e.cfg.MaxClaimed-e.held) }

// roomForPassed reports whether a tenant that the last claim passed over may be
// claimed for again. Caller holds mu.
func (e *engine) roomForPassed() bool {
	for tenant := range e.passed {
		if !e.full(tenant) {
			return true
		}
	}
	return false
}

// restsUntil returns until when nothing may be claimed for a lane, and false when
// something may. Caller holds mu.
func (l *lane) restsUntil(now time.Time) (time.Time, bool) {
	until := l.rest
	if l.pace.limited() {
		if at := l.pace.due.Add(-l.pace.slack - paceAhead); at.After(until) {
			until = at
		}
	}
	return until, until.After(now)
}

// tidy drops lanes from those that a claim has to look at once nothing sets them
// apart from unknown ones, or, where many hold nothing, little does. It returns for
// how long the store is to pass webhooks over that are not named because they are
// so many, and whether many of those that hold nothing have a rate limit. Now and
// then it forgets lanes that have had no work for a while. Caller holds mu.
func (e *engine) tidy(now time.Time) (rest map[string]time.Duration, paced bool) {
	idle, limited := 0, 0
	for l := range e.active {
		if l.held > 0 {
			continue
		}
		if !l.more && now.After(l.rest) && !l.pace.resting(now) {
			delete(e.active, l)
			continue
		}
		idle++
		if l.pace.limited() {
			limited++
		}
	}
	rest = make(map[string]time.Duration, len(e.unrest))
	for id := range e.unrest {
		rest[id] = 0
	}
	if idle > mostNamed && !e.once { // DeliverDue has to see what it leaves
		for l := range e.active {
			until, rests := l.restsUntil(now)
			switch {
			case l.held > 0:
			case rests:
				rest[l.id] = until.Sub(now)
			default:
				delete(e.active, l)
			}
		}
	}
	paced = limited+len(e.resting) > mostNamed
	if now.Sub(e.swept) < forgetAfter/2 {
		return rest, paced
	}
	e.swept = now
	for id, until := range e.resting {
		if until.Before(now) {
			delete(e.resting, id)
		}
	}
	for id, l := range e.lanes {
		if l.held == 0 && l.state == laneIdle && now.Sub(l.active) > forgetAfter && !l.pace.resting(now) && !l.unsent.lasts(now) {
			delete(e.lanes, id)
		}
	}
	return rest, paced
}

// rested notes that the store has been told which webhooks to pass over. Caller
// holds mu.
func (e *engine) rested(req *ClaimRequest, now time.Time) {
	for id, d := range req.Rest {
		l := e.lanes[id]
		switch {
		case d == 0:
			delete(e.unrest, id)
			delete(e.resting, id)
		case l != nil && l.held == 0:
			e.resting[id] = now.Add(d)
			delete(e.active, l)
		}
	}
}

// endRest has the next claim end the rest of a lane that was changed. Caller holds mu.
func (e *engine) endRest(l *lane) {
	if _, rests := e.resting[l.id]; rests {
		e.unrest[l.id] = true
		e.signalClaim()
	}
}

// bound returns how many deliveries a claim may take for a lane, and whether it says
// so by naming it or its tenant. Caller holds mu.
func (e *engine) bound(req *ClaimRequest, l *lane) (room int, named bool) {
	if e.passed[l.tenant] {
		return 0, true
	}
	room, named = req.Limits[l.id]
	if !named {
		_, named = req.Rest[l.id] // a rest of 0 ends one: it is not bound by it
		named = named && req.Rest[l.id] > 0
	}
	return room, named
}
