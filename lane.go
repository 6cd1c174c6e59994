package webhook

import (
	"math"
	"time"
)

// A lane is what this process knows of one webhook: the deliveries it has
// claimed for it, how many attempts are in flight, and how many there may be.
// All fields are guarded by engine.mu.
//
// # Fairness
//
// It is adaptive concurrency, and no circuit breaker: an endpoint that does badly
// gets fewer attempts at a time, down to one, and never none. That one is the
// probe by which a breaker would find out that it may close again, so there is no
// state to get stuck in, no time-out to choose, and the first good answer counts
// at once. What waits goes on being tried and neither expires nor starves.
// Four rules each bound what one webhook can take from the others, whatever it
// does:
//
//  1. Tenants take turns, one attempt each, and so do the lanes of each tenant.
//  2. A lane has at most as many attempts in flight as there are slots free (the
//     "dynamic threshold" of switch buffers), and a tenant three times as many. A
//     quarter of all slots does not count as free for a lane that is slow: that
//     takes a second and more, on average or since its last answer, so that one
//     which begins to hang is known for it long before its timeout.
//  3. Lanes that are not known to do well share three quarters of the slots by a
//     stricter rule of the same kind among tenants, and begin with one or a few
//     each; those that are known to fail have no more than half of the slots, so
//     that a webhook that is new does not wait for those that hang.
//  4. A lane's own limit halves when attempts fail in a row and grows by one with
//     each success, between 1 and MaxInFlightPerWebhook: a dead endpoint is tried
//     one request at a time, and one that is well again has its share back
//     after that many answers. Nor does one that fails at once go on as fast as
//     that: see probe.go.
//
// A bound that none of this can pass: a webhook that hangs keeps the slot of its
// first attempt until its timeout, as nobody can know before. When more webhooks
// than there are slots begin to hang in the same moment, all wait for that, once;
// after it they are known. When a tenant makes more new ones that hang than its
// share, its own new ones wait for each other. Those of others, and all that have
// done well before, do not.
//
// The deliveries a lane may hold in advance (window) follow the same idea: it
// doubles when the lane runs dry while more is waiting in the store, and
// halves when what it holds grows old. What its rate limit puts off waits in the
// store, see ratePace.
type lane struct {
	id     string
	tenant string
	target *target // the webhook as last seen; nil until then
	seen   time.Time
	health health

	queue    []*job // claimed, not begun; oldest first
	inFlight int
	held     int // queue, in flight, and results not yet recorded

	limit  int           // attempts in flight at most
	cut    time.Time     // when limit was halved last
	window int           // deliveries to hold at most
	more   bool          // the last claim filled the window: the store has more
	dry    bool          // ran out of deliveries since the last claim
	rest   time.Time     // nothing is claimed for it until then
	pause  time.Duration // how long rest was last
	class  class         // how it does
	took   time.Duration // by its attempts, on average over the last few
	moved  time.Time     // when an attempt landed last, or the first of those in flight began
	pace   ratePace      // its rate limit
	probe  probePace     // while it only fails
	timer  *time.Timer   // ends laneHeld; nil until it was first needed

	state  laneState
	listed bool      // is in one of engine.parked, perhaps since an earlier time
	active time.Time // last time it held anything
	spell  spell     // how long it has only failed

	unreadUntil time.Time // it could not be read, and its deliveries wait: see putOff
	unsent      unsentSpell
}

// class says how a webhook does, as far as is known.
type class uint8

const (
	classNew     class = iota // nothing is known of it
	classWell                 // its last attempt succeeded
	classFailing              // its last attempt failed
	classes
)

// flying counts attempts in flight: all, those begun for lanes that were not
// known to do well, and of these those that were known to fail.
type flying struct{ all, poor, failing int }

// count adds n to what an attempt for a lane of class c is counted in.
func (f *flying) count(c class, n int) {
	f.all += n
	if c != classWell {
		f.poor += n
	}
	if c == classFailing {
		f.failing += n
	}
}

// landing says how an attempt has ended, as far as it tells of the endpoint.
type landing uint8

const (
	landedUnused landing = iota // no attempt was made, or it was cut short
	landedWell
	landedBadly
)

// laneState says where the scheduler keeps a lane.
type laneState uint8

const (
	laneIdle    laneState = iota // nothing to begin, or its own limit is reached
	laneReady                    // in engine.ready
	laneParked                   // has as many attempts in flight as leaves enough for others
	laneWaiting                  // in one of engine.waiting: has none in flight, and there was no slot at all
	laneHeld                     // its rate limit, or probePace, lets nothing begin until its timer fires
)

const (
	// initialLimit and initialWindow are what an unknown webhook starts with.
	initialLimit  = 16
	initialWindow = 32
	// staleAfter is how old a webhook's settings may be when an attempt begins:
	// older ones are read again. It bounds how long a change made by another
	// process goes unnoticed.
	staleAfter = time.Second
	// forgetAfter is how long the limits of a webhook without work are remembered.
	forgetAfter = time.Minute
)

// lane returns the lane of a webhook, made when there is none. Caller holds mu.
func (e *engine) lane(d *Delivery) *lane {
	id := d.WebhookID
	l := e.lanes[id]
	if l == nil {
		l = &lane{
			id:     id,
			tenant: d.Tenant,
			limit:  min(initialLimit, e.cfg.MaxInFlightPerWebhook),
			window: min(initialWindow, e.cfg.MaxClaimed),
			pace:   ratePace{due: e.paces[id]},
		}
		delete(e.paces, id)
		e.lanes[id] = l
	}
	l.active = time.Now()
	e.active[l] = true
	delete(e.resting, id)
	return l
}

// enqueue adds a claimed delivery to its lane. Caller holds mu.
func (e *engine) enqueue(j *job) {
	l := j.lane
	l.queue = append(l.queue, j)
	e.offer(l)
}

// offer puts a lane in line if it has something to begin. Caller holds mu.
func (e *engine) offer(l *lane) {
	if l.state == laneIdle && len(l.queue) > 0 && l.inFlight < l.limit {
		l.state = laneReady
		e.ready.push(l)
	}
}

// next takes the next delivery whose attempt may begin, or nil. Caller holds mu.
func (e *engine) next() *job {
	for {
		l := e.ready.pop()
		if l == nil {
			return nil
		}
		l.state = laneIdle
		if len(l.queue) == 0 || l.inFlight >= l.limit {
			continue
		}
		if e.hold(l) {
			continue
		}
		switch {
		case e.hasSlot(l):
			if l.pace.limited() {
				l.pace.take(time.Now())
			}
			if l.probe.hopeless() {
				l.probe.last = time.Now()
			}
		case l.inFlight == 0:
			l.state = laneWaiting
			e.waiting[l.class].push(l)
			continue
		default:
			l.state = laneParked
			if !l.listed {
				l.listed = true
				e.parked[l.class].push(l)
			}
			continue
		}
		j := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		if len(l.queue) == 0 {
			l.queue = nil
		}
		if l.inFlight++; l.inFlight == 1 {
			l.moved = time.Now()
		}
		j.class = l.class
		t := e.tenants[l.tenant]
		t.count(j.class, 1)
		e.flying.count(j.class, 1)
		e.tenants[l.tenant] = t
		e.offer(l)
		return j
	}
}

// hasSlot reports whether one more attempt of a lane leaves enough for the
// others. Caller holds mu.
func (e *engine) hasSlot(l *lane) bool {
	most := e.cfg.MaxInFlight
	free := most - e.flying.all
	t := e.tenants[l.tenant]
	if t.all >= 3*free {
		return false
	}
	if l.class == classWell {
		if l.inFlight > 0 && l.slow() {
			free -= most / 4
		}
		return l.inFlight < free
	}
	left := max(most*3/4, 1) - e.flying.poor - t.poor
	if l.class == classFailing {
		left = min(left, max(most/2, 1)-e.flying.failing-t.failing)
	}
	return left > 0 && l.inFlight < max(left/16, 1)
}

// slow reports whether the attempts of a lane take a second and more, on average
// or since the last one ended.
func (l *lane) slow() bool {
	return l.took >= slowAfter || l.inFlight > 0 && time.Since(l.moved) >= slowAfter
}

// slowAfter is how long attempts take to an endpoint that is slow.
const slowAfter = time.Second

// resume puts a lane that had to wait in line again. Caller holds mu.
func (e *engine) resume(l *lane) {
	l.state = laneIdle
	e.offer(l)
}

// unparkTries bounds how many lanes of each list are looked at when a slot
// becomes free.
const unparkTries = 8

// landed notes that an attempt has ended and adapts the lane's limit: how it
// ended, and when it was begun. Caller holds mu.
func (e *engine) landed(j *job, how landing, began time.Time) {
	l, now := j.lane, time.Now()
	l.inFlight--
	l.moved = now
	e.flying.count(j.class, -1)
	t := e.tenants[l.tenant]
	t.count(j.class, -1)
	if e.tenants[l.tenant] = t; t.all == 0 {
		delete(e.tenants, l.tenant)
	}
	if how != landedUnused {
		l.took += (now.Sub(began) - l.took) / tookOver
		l.unsent = unsentSpell{}
	}
	switch {
	case how == landedWell:
		l.class = classWell
		l.limit = min(l.limit+1, e.cfg.MaxInFlightPerWebhook)
		l.rest, l.pause = time.Time{}, 0
		l.probe = probePace{}
	case how == landedBadly && l.class != classWell && began.After(l.cut):
		// Not at the first failure after a success. And attempts that were in
		// flight together fail together; they count once.
		l.limit = max(l.limit/2, 1)
		l.cut = now
		l.probe.rounds++
		fallthrough
	case how == landedBadly:
		l.class = classFailing
	}
	e.unpark(unparkTries, 1)
	switch {
	case l.state != laneParked:
	case e.hasSlot(l):
		e.resume(l)
	case l.inFlight == 0: // none of its own will land
		l.state = laneWaiting
		e.waiting[l.class].push(l)
	}
	e.offer(l)
	if l.more && !l.dry && len(l.queue) == 0 {
		l.dry = true
		l.window = min(2*l.window, max(e.cfg.MaxClaimed/2, 1))
	}
	if len(l.queue) <= l.window/4 && e.wanting(l, now) {
		e.signalClaim()
	}
}

// tookOver is over how many of its attempts, more or less, a lane's duration is
// averaged: few, so that an endpoint that is quick again soon counts as such.
const tookOver = 4

// unpark puts lanes in line again for which there is a slot by now: of each list
// up to some, looking at no more than tries. Those that do well come first, and
// those that have nothing in flight before those that have. Caller holds mu.
func (e *engine) unpark(tries, some int) {
	order := [classes]class{classWell, classNew, classFailing}
	if e.turn++; e.turn%8 == 0 {
		order = [classes]class{classFailing, classNew, classWell} // nor do the others starve
	}
	// Lanes without a slot go back when all have been looked at: put back at once,
	// the only lane of a tenant would come again before all lanes of another had.
	var room [unparkTries]*lane
	for _, c := range order {
		list, back := &e.waiting[c], room[:0]
		for n, woken := min(tries, list.len()), 0; n > 0 && woken < some; n-- {
			if l := list.pop(); e.hasSlot(l) {
				e.resume(l)
				woken++
			} else {
				back = append(back, l)
			}
		}
		for _, l := range back {
			e.waiting[l.class].push(l)
		}
	}
	for _, c := range order {
		list, back := &e.parked[c], room[:0]
		for n, woken := min(tries, list.len()), 0; n > 0 && woken < some; n-- {
			l := list.pop()
			l.listed = false
			switch {
			case l.state != laneParked:
			case e.hasSlot(l):
				e.resume(l)
				woken++
			default:
				l.listed = true
				back = append(back, l)
			}
		}
		for _, l := range back {
			e.parked[l.class].push(l)
		}
	}
}

// reconsider looks at every lane that waits for a slot. A landing looks at a few
// of them; where little lands and much waits, this sees to it that none waits for
// a slot that is free. Caller holds mu.
func (e *engine) reconsider() {
	free := e.cfg.MaxInFlight - e.flying.all
	if free < 1 || !e.blocked() {
		return
	}
	e.unpark(math.MaxInt, free)
	e.startWorkers(e.ready.len())
}

// blocked reports whether lanes wait for a slot. Caller holds mu.
func (e *engine) blocked() bool {
	n := 0
	for c := range classes {
		n += e.waiting[c].len() + e.parked[c].len()
	}
	return n > 0
}

// wanting reports whether the store seems to have more for a lane than is held,
// and it may be claimed. Claims are not free: none is made for a lane that has
// enough in hand. Caller holds mu.
func (e *engine) wanting(l *lane, now time.Time) bool { return l.more && e.room(l, now) > 0 }

// narrow halves what may be held for a lane in whose hands it grows old. Caller
// holds mu.
func (l *lane) narrow(now time.Time) {
	if len(l.queue) > 0 && !l.spaced() && now.Sub(l.queue[0].claimed) > staleAfter {
		l.window = max(l.window/2, l.limit)
	}
}

// room returns how many deliveries may be claimed for a lane. Caller holds mu.
func (e *engine) room(l *lane, now time.Time) int {
	if now.Before(l.rest) {
		return 0
	}
	free := e.cfg.MaxClaimed - e.held
	if e.holding[l.tenant] >= 3*free {
		return 0 // as with slots
	}
	window, worth := l.window, l.window/4
	switch {
	case l.probe.hopeless() && !e.once:
		free -= e.cfg.MaxClaimed / 2 // it holds back what waits for its pace
		window, worth = l.probeWindow()
	case l.held > 0:
		free -= e.cfg.MaxClaimed / 4 // that is for those that hold nothing
	}
	room := min(window, max(free, 1)) - l.held
	if l.pace.limited() {
		room = min(room, l.pace.within(paceAhead, now)-len(l.queue))
		worth = min(worth, int(paceAhead/l.pace.interval)/4)
	}
	if l.held > 0 && room < worth {
		return 0 // not worth a claim yet
	}
	return max(room, 0)
}
