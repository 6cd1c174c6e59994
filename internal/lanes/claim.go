package lanes

import "time"

// # How much is claimed for a lane
//
// Jobs held in advance keep a fast endpoint busy between claims; jobs held for an
// endpoint that hangs take up the room of others. Five fields of a lane settle how
// much it holds:
//
//   - window is how many jobs it may hold. Landed doubles it when the lane ran dry
//     (ranDry); PlanClaim and Shed halve it when jobs grow old in the queue.
//   - more says that the store seems to have more: the last claim filled the room
//     that it gave the lane, or was to pass the lane over, or the caller gave back
//     surplus. Taken sets it. Without it no claim is made for the lane's sake.
//   - dry says that the lane has run out of queued jobs since its last claim although
//     the store had more, and so that window has been doubled for this claim. Taken
//     resets it when a claim brings the lane jobs. More without dry means that the
//     lane still works on its last claim; more with dry, that it waits for the next.
//     Without more, dry has no meaning.
//   - rest is the time before which no job is claimed for it. Shed sets it for a lane
//     that does not get on with its jobs, PutOff for a lane that cannot be sent to. A
//     success ends it, and so does Rested.
//   - pause is how long Shed last made the lane rest. It doubles from oldAfter to
//     maxPause until a success sets it to 0.
//
// # Which lanes a claim names
//
// A claim names the webhooks that it must not take as much of as of any other. They
// are the webhooks that jobs are held of, whose number is bounded, and the webhooks
// that must not be claimed for yet, whose number is not: when there are many, the
// store is told once how long to pass each of them over. Other lanes are not named,
// though their webhooks may have any backlog. So the cost of a claim does not depend
// on how many webhooks wait.

const (
	// maxClaim is the most deliveries taken in one claim.
	maxClaim = 500
	// claimPause is the least time between claims that have little room.
	claimPause = 5 * time.Millisecond
	// maxPause is the longest that Shed lets a lane rest.
	maxPause = 8 * time.Second
	// maxNamed is how many lanes without jobs a claim names.
	maxNamed = 256
)

// A Claim says how much the caller may claim.
type Claim struct {
	Limit       int            // deliveries in all
	PerLane     int            // deliveries of each webhook that is not in Limits
	Limits      map[string]int // deliveries by webhook ID
	PassTenants []string       // tenants to take no deliveries of

	// Rest are the webhooks to pass over in this claim and all that follow, until
	// the time given has passed. A time of 0 ends such a rest.
	Rest map[string]time.Duration

	Idle      bool     // no job is held, and no lane passed over for lack of room
	Forgotten []string // webhooks whose lanes have just been forgotten
}

// PlanClaim returns how much may be claimed, or nil when there is too little room for
// a claim: wait for UntilRoom then. Last is when the last claim was made.
func (s *Scheduler) PlanClaim(last, now time.Time) *Claim {
	free := s.cfg.MaxHeld - s.held
	// Small claims cost as much as large ones: wait until a few jobs fit, but not for
	// long, as the next jobs may be for a webhook without any.
	s.hungry = free < 1 || s.held > 0 && free < min(s.cfg.MaxHeld/8, maxClaim) && now.Sub(last) < claimPause
	if s.hungry {
		return nil
	}
	c := &Claim{
		// Some room is always left, and little taken for an unknown webhook, so that webhooks that hang cannot fill all of it.
		Limit:       min(max(free/2, 1), maxClaim),
		PerLane:     min(max(free/8, 1), initialWindow),
		Limits:      make(map[string]int, len(s.active)),
		PassTenants: s.fullTenants(),
	}
	limited := s.tidy(c, now)
	if limited > maxNamed {
		c.PerLane = 1 // the least that a rate limit lets begin: more would be given back
	}
	c.Idle = s.held == 0 && len(s.passed) == 0
	for l := range s.active {
		l.narrow(now)
		room := s.room(l, now)
		if _, named := c.room(l); room != c.PerLane && !named {
			c.Limits[l.id] = room
		}
		if room == 0 && !(l.rate.limited() && l.rate.within(rateAhead, now) == 0) {
			c.Idle = false
		}
	}
	return c
}

// UntilRoom returns how long to wait when there was no room for a claim.
func (s *Scheduler) UntilRoom(last, now time.Time) time.Duration {
	if s.held >= s.cfg.MaxHeld {
		return oldAfter
	}
	return max(claimPause-now.Sub(last), 0) + time.Microsecond
}

// room returns how many deliveries the claim may take of a lane's webhook, and whether
// the claim says so by naming it or its tenant.
func (c *Claim) room(l *Lane) (room int, named bool) {
	if l.tenant.passed {
		return 0, true
	}
	if room, named = c.Limits[l.id]; named {
		return room, true
	}
	return 0, c.Rest[l.id] > 0 // a rest of 0 ends one
}

// fullTenants returns the tenants that hold so much that the claim passes them over,
// or the store would go on to offer their webhooks without jobs until no room is
// free. It takes more to be passed over than for claims to leave out lanes with
// jobs: a new webhook does not wait for other webhooks that hang, its own tenant's among
// them.
func (s *Scheduler) fullTenants() (full []string) {
	for _, t := range s.passed {
		t.passed = false
	}
	s.passed = s.passed[:0]
	for t := range s.holding {
		if s.full(t) {
			t.passed = true
			s.passed = append(s.passed, t)
			full = append(full, t.name)
		}
	}
	return full
}

// full reports whether a tenant holds so much that claims pass it over.
func (s *Scheduler) full(t *tenant) bool { return t.held >= 7*(s.cfg.MaxHeld-s.held) }

// roomForPassed reports whether a tenant that the last claim passed over may be
// claimed for again.
func (s *Scheduler) roomForPassed() bool {
	for _, t := range s.passed {
		if !s.full(t) {
			return true
		}
	}
	return false
}

// tidy has a claim look no more at lanes that need no mention any longer, or, where
// there are many without jobs, little. It puts the rests into the claim, forgets
// lanes now and then, and returns how many lanes without jobs have a rate limit.
func (s *Scheduler) tidy(c *Claim, now time.Time) (limited int) {
	unheld := 0
	for l := range s.active {
		if l.held > 0 {
			continue
		}
		if !l.more && now.After(l.rest) && !l.rate.resting(now) {
			delete(s.active, l)
			continue
		}
		unheld++
		if l.rate.limited() {
			limited++
		}
	}
	limited += len(s.resting)
	c.Rest = make(map[string]time.Duration, len(s.waking))
	for id := range s.waking {
		c.Rest[id] = 0
	}
	if unheld > maxNamed && !s.cfg.Once { // DeliverDue has to see the lanes it leaves
		for l := range s.active {
			until := l.restsUntil()
			switch {
			case l.held > 0:
			case until.After(now):
				c.Rest[l.id] = until.Sub(now)
			default:
				delete(s.active, l)
			}
		}
	}
	if now.Sub(s.swept) >= forgetAfter/2 {
		s.swept = now
		c.Forgotten = s.sweep(now)
	}
	return limited
}

// restsUntil returns when the lane may next be claimed for.
func (l *Lane) restsUntil() time.Time {
	if !l.rate.limited() || l.rate.claimable().Before(l.rest) {
		return l.rest
	}
	return l.rate.claimable()
}

// sweep forgets lanes that have had no jobs for a while, and returns their webhooks.
func (s *Scheduler) sweep(now time.Time) (forgotten []string) {
	for id, until := range s.resting {
		if until.Before(now) {
			delete(s.resting, id)
		}
	}
	for id, l := range s.lanes {
		_, active := s.active[l]
		busy := active || l.held > 0 || l.flying.all > 0
		if !busy && now.Sub(l.active) > forgetAfter && !l.rate.resting(now) && !l.unsent.lasts(now) {
			s.forget(l)
			forgotten = append(forgotten, id)
		}
	}
	return forgotten
}

// Told notes that the store has heard of the claim's rests, at now.
func (s *Scheduler) Told(c *Claim, now time.Time) {
	for id, d := range c.Rest {
		l := s.lanes[id]
		switch {
		case d == 0:
			delete(s.waking, id)
			delete(s.resting, id)
		case l != nil && l.held == 0:
			s.resting[id] = now.Add(d)
			delete(s.active, l)
		}
	}
}

// Taken notes that a claim is over, in which the store gave n deliveries and the
// caller held the new ones among them. It reports whether the store seems to have
// more.
func (s *Scheduler) Taken(c *Claim, n int, now time.Time) (more bool) {
	for l := range s.active {
		room, named := c.room(l)
		passed := named && room == 0 // it may have more: the store has not looked
		// A claim that came back empty has seen all other lanes. Another claim may
		// have ended before it came to them.
		l.more = passed || l.more && n > 0
	}
	more = n >= c.Limit
	for _, l := range s.claimed {
		room, limited := c.Limits[l.id]
		if !limited {
			room = c.PerLane
		}
		l.more, l.dry = l.claimed >= room, false
		more = more || s.wanting(l, now)
		l.more = l.more || l.surplus
		l.claimed, l.surplus = 0, false
	}
	clear(s.claimed)
	s.claimed = s.claimed[:0]
	return more
}

// Surplus reports whether a job that is held and not enqueued is more than the lane's
// rate limit lets begin soon. The caller gives it back.
func (s *Scheduler) Surplus(j Job, now time.Time) bool {
	l := j.slot().lane
	if !l.rate.limited() || len(l.queue) < l.rate.within(rateAhead, now) {
		return false
	}
	l.surplus = true
	return true
}

// ranDry widens the window of a lane that has run out of queued jobs since its last
// claim although the store has more.
func (l *Lane) ranDry(maxHeld int) {
	if l.more && !l.dry && len(l.queue) == 0 {
		l.dry = true
		l.window = min(2*l.window, max(maxHeld/2, 1))
	}
}

// narrow halves the window of a lane in whose queue jobs grow old.
func (l *Lane) narrow(now time.Time) {
	if l.grownOld(now) && !l.spaced() {
		l.window = max(l.window/2, l.limit)
	}
}

// HasRoom reports whether a claim has room that it waited for.
func (s *Scheduler) HasRoom() bool { return s.hungry || s.cfg.Once || s.roomForPassed() }

// Wanting reports whether a claim is worth it for the lane of a job.
func (s *Scheduler) Wanting(j Job, now time.Time) bool { return s.wanting(j.slot().lane, now) }

// wanting reports whether the store seems to have more for a lane, and there is room
// for it. Claims are not free: a lane that has enough in hand asks for no claim.
func (s *Scheduler) wanting(l *Lane, now time.Time) bool { return l.more && s.room(l, now) > 0 }

// room returns how many deliveries may be claimed for a lane.
func (s *Scheduler) room(l *Lane, now time.Time) int {
	if now.Before(l.rest) {
		return 0
	}
	free := s.cfg.MaxHeld - s.held
	if l.tenant.held >= 3*free {
		return 0 // as with slots
	}
	window, worth := l.window, l.window/4
	switch {
	case l.fails.hopeless() && !s.cfg.Once:
		free -= s.cfg.MaxHeld / 2 // it holds back the jobs that wait for its pace
		window, worth = l.failWindow()
	case l.held > 0:
		free -= s.cfg.MaxHeld / 4 // for lanes without jobs
	}
	room := min(window, max(free, 1)) - l.held
	if l.rate.limited() {
		room = min(room, l.rate.within(rateAhead, now)-len(l.queue))
		worth = min(worth, int(rateAhead/l.rate.interval)/4)
	}
	if l.held > 0 && room < worth {
		return 0 // not worth a claim yet
	}
	return max(room, 0)
}

// Shed takes jobs out of the queues of lanes that do not get on with them, once room
// is scarce. The caller gives them back; they are claimed again when there is use for
// them.
func (s *Scheduler) Shed(now time.Time) (back []Job) {
	free := s.cfg.MaxHeld - s.held
	if free >= s.cfg.MaxHeld/2 {
		return nil
	}
	for l := range s.active {
		if !l.grownOld(now) {
			continue
		}
		keep := 0
		switch {
		case free < s.cfg.MaxHeld/4:
		case l.spaced():
			continue // they are few, and begin soon
		case l.failsFast():
			keep = min(maxFailing, len(l.queue))
		default:
			keep = min(l.limit, len(l.queue))
		}
		spaced := l.spaced()
		back = append(back, s.cut(l, keep)...)
		switch {
		case spaced:
			l.rest = now.Add(l.rate.wait(now))
		case l.failsFast(): // its jobs were claimed before it was known to fail
		default:
			l.window = max(l.window/2, l.limit)
			// Longer each time, until it shows a success: deliveries claimed for a
			// webhook that hangs are written in vain.
			l.pause = min(max(2*l.pause, oldAfter), maxPause)
			l.rest = now.Add(l.pause)
		}
	}
	return back
}

// Starved reports whether the store may have deliveries of webhooks that there was no
// room for, or lanes wait for a slot, and how long to wait until the next look.
func (s *Scheduler) Starved(now time.Time) (wait time.Duration, yes bool) {
	if s.blocked() {
		return oldAfter, true
	}
	for l := range s.active {
		if !l.more {
			continue
		}
		d := oldAfter
		if l.rate.limited() {
			d = max(d, l.rate.wait(now)-rateAhead)
		}
		if !yes || d < wait {
			wait, yes = d, true
		}
	}
	return wait, yes
}
