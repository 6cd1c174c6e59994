package lanes

import "time"

// A failPace spaces the attempts of a lane that only fails. An endpoint that fails
// immediately (connection refused, unknown host, always 500) would be tried
// thousands of times a second even with one attempt at a time. Every try costs a
// connection and a write that other webhooks need. The zero value spaces no attempt.
type failPace struct {
	rounds int       // of failures since the last success; attempts in flight together are one round
	last   time.Time // when the last attempt began, once attempts are spaced
}

const (
	// hopelessAfter is how many rounds of failures it takes until attempts are
	// spaced. A receiver that refuses nine of ten deliveries has as many rounds now
	// and then, and loses 2 ms.
	hopelessAfter = 16
	// failGap is the time between the beginnings of two attempts of a hopeless lane.
	// Keep it short: events for a dead webhook must use up their retries as fast as
	// they are published, or its backlog grows until it is disabled; and deliveries
	// that wait here occupy room that other webhooks could use.
	failGap = 2 * time.Millisecond
	// maxFailing is how many deliveries a hopeless lane that fails immediately may
	// hold: few enough to be tried in a moment, and enough for few claims.
	maxFailing = initialWindow
)

// hopeless reports whether attempts are spaced.
func (p *failPace) hopeless() bool { return p.rounds >= hopelessAfter }

// wait returns how long it is until the next attempt may begin.
func (p *failPace) wait(now time.Time) time.Duration {
	if !p.hopeless() {
		return 0
	}
	return max(p.last.Add(failGap).Sub(now), 0)
}

// failsFast reports whether a lane is hopeless and fails so fast that its
// deliveries wait for failGap and not for the endpoint.
func (l *Lane) failsFast() bool {
	return l.fails.hopeless() && l.took < oldAfter/maxFailing/2
}

// failWindow returns how many deliveries a hopeless lane may hold, and how many of
// them are worth a claim: a large part, as they are in no hurry.
func (l *Lane) failWindow() (window, worth int) {
	if l.failsFast() {
		return maxFailing, maxFailing * 3 / 4
	}
	return l.window, l.window / 4
}

// The waits after an attempt that could not be sent.
const (
	// unsentMin and MaxUnsentWait bound how long a delivery waits that the caller could
	// not send for a fault of its own. The wait doubles with every such round.
	unsentMin     = time.Second
	MaxUnsentWait = time.Minute
)

// An unsentSpell counts the rounds in a row in which the caller could not send.
// Attempts in flight together are one round.
type unsentSpell struct {
	rounds int
	last   time.Time // when the last round was counted
}

// next counts a fault of an attempt that began at a time, and returns how long to
// wait.
func (u *unsentSpell) next(began, now time.Time) time.Duration {
	if !began.Before(u.last) || u.rounds == 0 {
		u.rounds++
		u.last = now
	}
	return min(unsentMin<<min(u.rounds-1, 10), MaxUnsentWait)
}

// lasts reports whether the deliveries that were put off may not have been tried
// again yet.
func (u *unsentSpell) lasts(now time.Time) bool {
	return u.rounds > 0 && now.Sub(u.last) < 2*MaxUnsentWait
}

// Unsent notes that the caller, for a fault of its own, could not send a job whose
// attempt began at began, and returns how long the job is to wait. From the second
// round on the lane's other jobs wait too: they are returned, to be given back for
// as long, and one job at a time goes on being tried, which costs other lanes
// little. The attempt still has to land, as unused.
func (s *Scheduler) Unsent(j Job, began, now time.Time) (wait time.Duration, back []Job) {
	l := j.slot().lane
	wait = l.unsent.next(began, now)
	if l.unsent.rounds > 1 {
		l.limit, l.window = 1, 1
		back = s.PutOff(l, now.Add(wait))
	}
	return wait, back
}

// PutOff takes the jobs out of a lane's queue, for the caller to give back, and has
// no more claimed for it until a time. A run that ends when no delivery is due needs
// no such rest: the deliveries given back are not due.
func (s *Scheduler) PutOff(l *Lane, until time.Time) []Job {
	back := s.cut(l, 0)
	if !s.cfg.Once {
		l.rest = until
	}
	return back
}
