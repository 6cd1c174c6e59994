// Package lanes decides whose attempt may begin next and how many deliveries are
// worth claiming. It knows no HTTP and no store: its caller claims deliveries,
// makes the attempts and tells the [Scheduler] how they ended.
//
// The way of a job, which is a claimed delivery, through a Scheduler:
//
//	PlanClaim → Hold → Enqueue → Next → Landed → Release
//
// # Fairness
//
// The Scheduler limits concurrency adaptively. It is not a circuit breaker: an
// endpoint that does badly gets fewer attempts at a time, down to one, but always
// one. That attempt does the work of a breaker's probe, so there is no state to
// get stuck in and no time-out to choose, and the first good answer counts at once.
// Deliveries go on being tried, and do not expire or starve. Four rules bound how
// much one webhook can take from the others, whatever it does:
//
//  1. Tenants take turns, one attempt each, and so do the lanes of each tenant.
//  2. A lane has at most as many attempts in flight as there are slots free (the
//     "dynamic threshold" of switch buffers), and a tenant three times as many. For
//     a slow lane a quarter of all slots counts as taken. A lane is slow when its
//     attempts take a second or more on average, or when no attempt has ended for
//     a second: the latter shows an endpoint that starts to hang, long before its
//     timeout.
//  3. Lanes that are not known to do well share three quarters of the slots by a
//     stricter rule of the same kind among tenants, and begin with one or a few
//     slots each. Lanes that are known to fail have no more than half of the slots,
//     so that a new webhook does not wait for webhooks that hang.
//  4. A lane's own limit halves when attempts fail in a row and grows by one with
//     each success, between 1 and Config.MaxPerLane: a dead endpoint is tried one
//     request at a time, and has its share back after that many good answers. A
//     lane that fails immediately is slowed down as well: see failPace.
//
// Limitation: the first attempt at a hanging endpoint occupies its slot until the
// timeout. If more webhooks than there are slots start to hang at the same moment,
// every webhook waits for one timeout, once; from then on the hanging ones are
// ClassFailing. If a tenant adds more new webhooks that hang than its share, its own
// new ones wait for each other. New webhooks of other tenants, and all that have
// done well before, do not.
//
// The number of jobs a lane may hold in advance adapts in the same way: see claim.go.
package lanes

import (
	"math"
	"slices"
	"time"
)

// A Scheduler holds claimed deliveries in one lane for each webhook and decides
// which attempt begins next. It is not safe for concurrent use: its caller's mutex
// guards it, and the functions of Config are called with that mutex held.
//
// Every method is told the time, which has to be of the monotonic clock.
type Scheduler struct {
	cfg     Config
	lanes   map[string]*Lane   // by webhook ID
	tenants map[string]*tenant // of these lanes, by name

	// A lane's state says in which of these lines it is, if any: see move. A lane that
	// is parked or waiting stays in the line of the class that it had when it came.
	ready   line
	parked  [classes]line
	waiting [classes]line
	unparks int // calls of unpark: every eighth serves failing lanes first, so that they do not starve

	// The counters below are sums over lanes: changed by count and fly alone.
	flying  flying
	held    int
	holding map[*tenant]struct{} // tenants with jobs held

	active   map[*Lane]struct{}   // lanes that a claim has to look at
	claimed  []*Lane              // lanes with jobs held since the last call of Taken
	passed   []*tenant            // tenants that the last claim was to pass over
	resting  map[string]time.Time // webhooks that the store was told to pass over, and until when
	waking   map[string]struct{}  // webhooks among these that the next claim tells it to serve again
	rates    map[string]time.Time // when the rate limits of earlier runs are due, of webhooks without a lane
	hungry   bool                 // there was no room when a claim was last planned
	swept    time.Time            // when lanes were last forgotten
	draining bool
}

// A Config is the settings of a Scheduler. All fields but Rates are required.
type Config struct {
	MaxInFlight int  // attempts in flight
	MaxPerLane  int  // attempts in flight of each lane
	MaxHeld     int  // jobs held
	Once        bool // the run ends when no delivery is due, and so does not wait for a failPace

	// Rates is the result of Stop of the Scheduler before, so that a new run begins
	// without a fresh allowance. The Scheduler owns it from then on.
	Rates map[string]time.Time

	Start func(lanes int) // has so many workers call Next, if that many are idle
	Wake  func()          // has the caller plan a claim soon
	// After calls f, with the mutex held, once d has passed.
	After func(d time.Duration, f func()) Timer
}

// A Timer is a [time.Timer] or behaves like one.
type Timer interface {
	// Reset has the function called once d has passed, and at no other time.
	Reset(d time.Duration) bool
	// Stop has the function not called any more.
	Stop() bool
}

// New returns a Scheduler without lanes.
func New(cfg Config, now time.Time) *Scheduler {
	s := &Scheduler{
		cfg:     cfg,
		lanes:   make(map[string]*Lane),
		tenants: make(map[string]*tenant),
		holding: make(map[*tenant]struct{}),
		active:  make(map[*Lane]struct{}),
		resting: make(map[string]time.Time),
		waking:  make(map[string]struct{}),
		rates:   cfg.Rates,
		swept:   now,
	}
	for c := range classes {
		s.parked[c].index, s.waiting[c].index = 1+int(c), 1+int(classes)+int(c)
	}
	return s
}

// Lane returns the lane of a webhook, made if need be. It stays known for
// as long as it holds jobs and some time longer: Claim.Forgotten says when it ends.
func (s *Scheduler) Lane(webhook, owner string, now time.Time) *Lane {
	if l := s.lanes[webhook]; l != nil {
		return l
	}
	t := s.tenants[owner]
	if t == nil {
		t = &tenant{name: owner}
		s.tenants[owner] = t
	}
	t.lanes++
	l := &Lane{
		id:     webhook,
		tenant: t,
		limit:  min(initialLimit, s.cfg.MaxPerLane),
		window: min(initialWindow, s.cfg.MaxHeld),
		rate:   rate{due: s.rates[webhook]},
		active: now,
	}
	delete(s.rates, webhook)
	s.lanes[webhook] = l
	return l
}

// forget is the end of a lane without jobs.
func (s *Scheduler) forget(l *Lane) {
	delete(s.lanes, l.id)
	if l.tenant.lanes--; l.tenant.lanes == 0 {
		delete(s.tenants, l.tenant.name)
	}
}

// Known sets how a webhook did before its lane was made.
func (s *Scheduler) Known(l *Lane, c Class) { l.class = c }

// Changed notes that a webhook has new settings, and sets the lane's rate limit, with
// 0 for no limit. They are in force at once; the pauses that the settings before have led to end.
func (s *Scheduler) Changed(l *Lane, perSecond float64, now time.Time) {
	if _, rests := s.resting[l.id]; rests {
		s.waking[l.id] = struct{}{}
		s.cfg.Wake()
	}
	l.fails = failPace{} // the change may have mended the endpoint
	before := l.rate
	if l.rate.set(perSecond, now); l.rate != before || l.state == throttled {
		s.unthrottle(l) // Next throttles it anew if need be
		s.cfg.Wake()
	}
}

// Rested ends the time for which PutOff has the lane claim no more.
func (s *Scheduler) Rested(l *Lane) { l.rest = time.Time{} }

// Hold takes charge of a job: it counts as held until it is released.
func (s *Scheduler) Hold(l *Lane, j Job, now time.Time) {
	slot := j.slot()
	slot.lane, slot.since = l, now
	s.count(l, 1)
	l.active = now
	s.active[l] = struct{}{}
	delete(s.resting, l.id)
	if l.claimed++; l.claimed == 1 {
		s.claimed = append(s.claimed, l)
	}
}

// Release ends the charge of a job, whose result is recorded or whose lease was
// given back or lost. A job that has not begun does not begin any more; one in
// flight has yet to land. HasRoom and Wanting say whether to claim for the room that
// this makes; ask them once all jobs of a batch are released.
func (s *Scheduler) Release(j Job, now time.Time) {
	slot := j.slot()
	if slot.since.IsZero() {
		return
	}
	l := slot.lane
	if slot.place == queued {
		s.drop(l, j)
	}
	slot.since = time.Time{}
	s.count(l, -1)
	l.active = now
}

// count adds n to every counter of held jobs that one of the lane's is counted in.
func (s *Scheduler) count(l *Lane, n int) {
	s.held += n
	l.held += n
	l.tenant.held += n
	switch l.tenant.held {
	case 0:
		delete(s.holding, l.tenant)
	case n:
		s.holding[l.tenant] = struct{}{} // the first
	}
}

// fly adds n to every counter of attempts in flight that one of the lane's, begun
// when the lane was of class c, is counted in.
func (s *Scheduler) fly(l *Lane, c Class, n int) {
	s.flying.count(c, n)
	l.flying.count(c, n)
	l.tenant.flying.count(c, n)
}

// move puts a lane into a state, and into the line that goes with it. No other
// function changes either, but for pop, which takes a lane out of its line first.
func (s *Scheduler) move(l *Lane, to state) {
	if l.line != nil {
		l.line.remove(l)
	}
	l.state = to
	switch to {
	case ready:
		s.ready.push(l)
	case parked:
		s.parked[l.class].push(l)
	case waiting:
		s.waiting[l.class].push(l)
	case idle, throttled:
	}
}

// Enqueue puts a held job into its lane's queue: its attempt may begin.
func (s *Scheduler) Enqueue(j Job) {
	slot := j.slot()
	slot.place = queued
	slot.lane.queue = append(slot.lane.queue, j)
	s.offer(slot.lane)
}

// offer puts an idle lane in line if it has an attempt to begin.
func (s *Scheduler) offer(l *Lane) {
	if l.state == idle && len(l.queue) > 0 && l.flying.all < l.limit {
		s.move(l, ready)
	}
}

// resume puts a lane that had to wait in line again.
func (s *Scheduler) resume(l *Lane) {
	s.move(l, idle)
	s.offer(l)
}

// cut takes all but the first keep jobs out of a lane's queue.
func (s *Scheduler) cut(l *Lane, keep int) []Job {
	back := slices.Clone(l.queue[keep:])
	for _, j := range back {
		j.slot().place = nowhere
	}
	clear(l.queue[keep:])
	l.queue = l.queue[:keep]
	s.emptied(l)
	return back
}

// drop takes one job out of a lane's queue.
func (s *Scheduler) drop(l *Lane, j Job) {
	j.slot().place = nowhere
	l.queue = slices.DeleteFunc(l.queue, func(q Job) bool { return q == j })
	s.emptied(l)
}

// emptied takes a lane with an empty queue out of its line.
func (s *Scheduler) emptied(l *Lane) {
	if len(l.queue) == 0 {
		l.queue = nil
		s.move(l, idle)
	}
}

// Ready returns how many lanes are in line.
func (s *Scheduler) Ready() int { return s.ready.lanes }

// Next returns the next job whose attempt begins now, or nil when no attempt may begin. The
// attempt is in flight until it has Landed.
func (s *Scheduler) Next(now time.Time) Job {
	for {
		l := s.ready.pop()
		if l == nil {
			return nil
		}
		s.move(l, idle)
		if l.flying.all >= l.limit || s.throttle(l, now) {
			continue
		}
		if !s.hasSlot(l, now) {
			s.park(l)
			continue
		}
		return s.begin(l, now)
	}
}

// begin takes the first job of a lane's queue.
func (s *Scheduler) begin(l *Lane, now time.Time) Job {
	l.rate.take(now)
	if l.fails.hopeless() {
		l.fails.last = now
	}
	j := l.queue[0]
	l.queue[0] = nil
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = nil
	}
	slot := j.slot()
	slot.place, slot.class = begun, l.class
	s.fly(l, slot.class, 1)
	if l.flying.all == 1 {
		l.moved = now
	}
	s.offer(l)
	return j
}

// park puts aside a lane for which there is no slot.
func (s *Scheduler) park(l *Lane) {
	if l.flying.all == 0 {
		s.move(l, waiting) // no landing of its own will look at it
	} else {
		s.move(l, parked)
	}
}

// throttle puts a lane aside until its rate limit and its failPace let the next
// attempt begin, and reports whether it had to.
func (s *Scheduler) throttle(l *Lane, now time.Time) bool {
	wait := l.rate.wait(now)
	if !s.cfg.Once {
		wait = max(wait, l.fails.wait(now))
	}
	if wait == 0 {
		return false
	}
	s.move(l, throttled)
	if l.timer != nil {
		l.timer.Reset(wait)
		return true
	}
	l.timer = s.cfg.After(wait, func() { s.unthrottle(l) })
	return true
}

// unthrottle puts a throttled lane in line again.
func (s *Scheduler) unthrottle(l *Lane) {
	if l.state != throttled {
		return
	}
	s.resume(l)
	if !s.draining {
		s.cfg.Start(1)
	}
}

// hasSlot reports whether one more attempt of a lane leaves enough slots for others:
// rules 2 and 3 of the package's comment.
func (s *Scheduler) hasSlot(l *Lane, now time.Time) bool {
	most := s.cfg.MaxInFlight
	free := most - s.flying.all
	t := &l.tenant.flying
	if t.all >= 3*free {
		return false
	}
	if l.class == ClassWell {
		if l.flying.all > 0 && l.slow(now) {
			free -= most / 4
		}
		return l.flying.all < free
	}
	left := max(most*3/4, 1) - s.flying.poor - t.poor
	if l.class == ClassFailing {
		left = min(left, max(most/2, 1)-s.flying.failing-t.failing)
	}
	return left > 0 && l.flying.all < max(left/16, 1)
}

// Landed notes that the attempt of a job, which began at began, has ended, and adapts
// the lane's limit.
func (s *Scheduler) Landed(j Job, how Landing, began, now time.Time) {
	slot := j.slot()
	l := slot.lane
	slot.place = nowhere
	s.fly(l, slot.class, -1)
	l.moved = now
	l.learn(how, began, now, s.cfg.MaxPerLane)
	s.unpark(unparkTries, 1, now)
	switch {
	case l.state != parked:
		s.offer(l)
	case s.hasSlot(l, now):
		s.resume(l)
	case l.flying.all == 0:
		s.park(l)
	}
	l.ranDry(s.cfg.MaxHeld)
	if len(l.queue) <= l.window/4 && s.wanting(l, now) {
		s.cfg.Wake()
	}
}

// learn adapts the lane to the end of an attempt: rule 4 of the package's comment.
func (l *Lane) learn(how Landing, began, now time.Time, maxLimit int) {
	if how == LandedUnused {
		return
	}
	l.took += (now.Sub(began) - l.took) / tookOver
	l.unsent = unsentSpell{}
	if how == LandedWell {
		l.class = ClassWell
		l.limit = min(l.limit+1, maxLimit)
		l.rest, l.pause = time.Time{}, 0
		l.fails = failPace{}
		return
	}
	// The first failure after a success changes no limit. Attempts that were in flight
	// together fail together, and count once.
	if l.class != ClassWell && began.After(l.cut) {
		l.limit = max(l.limit/2, 1)
		l.cut = now
		l.fails.rounds++
	}
	l.class = ClassFailing
}

// unparkTries bounds how many lanes of each line are looked at when a slot becomes
// free.
const unparkTries = 8

// unpark puts lanes in line again for which there is a slot by now: up to some of
// each line, after a look at no more than tries. Lanes that do well come first, and
// lanes without an attempt in flight before lanes with one.
func (s *Scheduler) unpark(tries, some int, now time.Time) {
	order := [classes]Class{ClassWell, ClassNew, ClassFailing}
	if s.unparks++; s.unparks%8 == 0 {
		slices.Reverse(order[:])
	}
	for _, c := range order {
		s.resumeSome(&s.waiting[c], tries, some, now)
	}
	for _, c := range order {
		s.resumeSome(&s.parked[c], tries, some, now)
	}
}

func (s *Scheduler) resumeSome(q *line, tries, some int, now time.Time) {
	// Lanes without a slot go back when all have been looked at: put back at once,
	// the only lane of a tenant would come again before all lanes of another had.
	var room [unparkTries]*Lane
	back := room[:0]
	for n := min(tries, q.lanes); n > 0 && some > 0; n-- {
		if l := q.pop(); s.hasSlot(l, now) {
			s.resume(l)
			some--
		} else {
			back = append(back, l)
		}
	}
	for _, l := range back {
		s.move(l, l.state)
	}
}

// Reconsider looks at every lane that waits for a slot. A landing looks at a few of
// them; call it now and then, so that no lane waits for a slot that is free where
// little lands and much waits.
func (s *Scheduler) Reconsider(now time.Time) {
	free := s.cfg.MaxInFlight - s.flying.all
	if free < 1 || !s.blocked() {
		return
	}
	s.unpark(math.MaxInt, free, now)
	s.cfg.Start(s.ready.lanes)
}

// blocked reports whether lanes wait for a slot.
func (s *Scheduler) blocked() bool {
	for c := range classes {
		if s.parked[c].lanes+s.waiting[c].lanes > 0 {
			return true
		}
	}
	return false
}

// Drain takes all jobs that have not begun out of the queues. No attempt begins any
// more.
func (s *Scheduler) Drain() (back []Job) {
	s.draining = true
	for _, l := range s.lanes {
		back = append(back, s.cut(l, 0)...)
	}
	return back
}

// Stop stops the timers and returns how far the rate limits are used up, for
// Config.Rates of the next run.
func (s *Scheduler) Stop(now time.Time) map[string]time.Time {
	kept := s.rates
	for id, due := range kept {
		if !due.After(now) {
			delete(kept, id)
		}
	}
	for id, l := range s.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
		if l.rate.resting(now) {
			if kept == nil {
				kept = make(map[string]time.Time)
			}
			kept[id] = l.rate.due
		}
	}
	return kept
}

// Stats is a moment's view of a Scheduler.
type Stats struct {
	InFlight int // attempts
	Held     int // jobs, those in flight included
	Holding  int // lanes that hold jobs
	Lanes    int // lanes that are known
	Active   int // lanes that a claim looks at
}

// Stats looks at every lane.
func (s *Scheduler) Stats() Stats {
	st := Stats{InFlight: s.flying.all, Held: s.held, Lanes: len(s.lanes), Active: len(s.active)}
	for _, l := range s.lanes {
		if l.held > 0 {
			st.Holding++
		}
	}
	return st
}
