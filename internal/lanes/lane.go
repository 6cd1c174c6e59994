package lanes

import "time"

// A Lane is one webhook in the eyes of the Scheduler: the jobs held for it, how many
// attempts are in flight, and how many there may be.
type Lane struct {
	id     string
	tenant *tenant

	queue  []Job  // held and not begun; oldest first
	flying flying // attempts in flight, by the class that the lane had when each began
	held   int    // jobs in the queue, in flight, and ended but not yet released

	class  Class
	limit  int           // how many attempts may be in flight
	cut    time.Time     // when limit was last halved
	took   time.Duration // how long attempts take, averaged over the last few
	moved  time.Time     // when an attempt last landed, or the first of those in flight began
	rate   rate
	fails  failPace
	unsent unsentSpell
	timer  Timer // ends throttled; nil until the lane was first throttled

	// How much is claimed for the lane: see the comment in claim.go.
	window  int
	more    bool
	dry     bool
	rest    time.Time
	pause   time.Duration
	claimed int  // jobs held since the last call of Scheduler.Taken
	surplus bool // some of these were more than the rate limit lets begin soon

	state      state     // which line the lane is in; set by Scheduler.move
	line       *line     // nil when the lane is in no line
	prev, next *Lane     // its neighbours in the line, of the same tenant
	active     time.Time // when the lane last came to hold a job or released one
}

// ID returns the webhook's ID.
func (l *Lane) ID() string { return l.id }

// A tenant is the owner of lanes. It is known for as long as one of its lanes is.
type tenant struct {
	name   string
	lanes  int
	flying flying // attempts in flight of all its lanes
	held   int    // jobs held of all its lanes
	passed bool   // the last claim was to pass over all its webhooks, see fullTenants
	turns  [lines]turn
}

// A Class says how a webhook does, as far as is known.
type Class uint8

// The classes of a lane.
const (
	ClassNew     Class = iota // no attempt is known
	ClassWell                 // the last attempt succeeded
	ClassFailing              // the last attempt failed
	classes
)

// lines is how many lines a Scheduler has: ready, and parked and waiting of each class.
const lines = 1 + 2*int(classes)

// A Landing says how an attempt has ended, as far as it tells of the endpoint.
type Landing uint8

// The ways to land.
const (
	LandedUnused Landing = iota // no attempt was made, or it was cut short
	LandedWell                  // the endpoint took the delivery, or wants no more
	LandedBadly                 // the attempt failed
)

// flying counts attempts in flight: all, those begun when the lane's class was not
// ClassWell, and of these those begun when it was ClassFailing.
type flying struct{ all, poor, failing int }

// count adds n attempts that began when their lane was of class c.
func (f *flying) count(c Class, n int) {
	f.all += n
	if c != ClassWell {
		f.poor += n
	}
	if c == ClassFailing {
		f.failing += n
	}
}

// A state says in which line a lane is.
type state uint8

const (
	idle      state = iota // in no line: its queue is empty, or its own limit is reached
	ready                  // in Scheduler.ready: an attempt may begin
	parked                 // in Scheduler.parked: one more attempt would leave too few slots for others
	waiting                // in Scheduler.waiting: the same, and the lane has no attempt in flight
	throttled              // in no line: its rate limit or failPace lets no attempt begin before its timer fires
)

const (
	// initialLimit and initialWindow are the limit and window of a new lane.
	initialLimit  = 16
	initialWindow = 32
	// slowAfter is how long the attempts of a slow lane take.
	slowAfter = time.Second
	// oldAfter is how long a job may wait in a queue until its lane is said to
	// hold too much.
	oldAfter = time.Second
	// forgetAfter is how long a lane without jobs is remembered.
	forgetAfter = time.Minute
	// tookOver is over how many attempts, more or less, their duration is averaged:
	// few, so that an endpoint that is quick again soon counts as quick.
	tookOver = 4
)

// slow reports whether the lane's attempts take a second or more, on average or
// since the last one ended.
func (l *Lane) slow(now time.Time) bool {
	return l.took >= slowAfter || l.flying.all > 0 && now.Sub(l.moved) >= slowAfter
}

// spaced reports whether the lane waits for its rate limit.
func (l *Lane) spaced() bool { return l.state == throttled && l.rate.limited() }

// grownOld reports whether the first job in the queue has waited for too long.
func (l *Lane) grownOld(now time.Time) bool {
	return len(l.queue) > 0 && now.Sub(l.queue[0].slot().since) > oldAfter
}

// A Job is a delivery of the caller's. Embed a Slot to make one.
type Job interface{ slot() *Slot }

// A Slot is the part of a Job that belongs to the Scheduler. The zero value is a job
// that is not held.
type Slot struct {
	lane  *Lane     // set by Hold
	since time.Time // when Hold was called; zero once the job is released
	place place
	class Class // of the lane when the attempt began
}

func (s *Slot) slot() *Slot { return s }

// A place says where a job is.
type place uint8

const (
	nowhere place = iota // not begun and in no queue, or landed
	queued               // in its lane's queue
	begun                // its attempt is in flight
)
