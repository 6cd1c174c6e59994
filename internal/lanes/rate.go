package lanes

import "time"

// A rate spaces the attempts of a lane with a rate limit: each may begin no sooner
// than interval after the one before it, or slack sooner, so that timers that fire
// late cost no throughput. The zero value has no limit. The limit holds for this
// process.
type rate struct {
	interval time.Duration // between attempts; 0: no limit
	slack    time.Duration
	due      time.Time // when the next attempt would begin without any delay
}

// rateAhead is how long before its attempt may begin a delivery is claimed. With a
// longer wait it stays in the store, where it takes up no room.
const rateAhead = time.Second

// set changes the limit. Attempts made under the old limit count against the new
// one, but delay the next attempt by one new interval at most.
func (r *rate) set(perSecond float64, now time.Time) {
	if perSecond <= 0 {
		*r = rate{}
		return
	}
	r.interval = max(time.Duration(float64(time.Second)/perSecond), 1)
	r.slack = time.Duration(max(perSecond/100, 1)-1) * r.interval
	if latest := now.Add(r.interval); r.due.After(latest) {
		r.due = latest
	}
}

// wait returns how long it is until the next attempt may begin.
func (r *rate) wait(now time.Time) time.Duration {
	if r.interval == 0 || !r.due.After(now) {
		return 0
	}
	return max(r.due.Sub(now)-r.slack, 0)
}

// take notes that an attempt begins now.
func (r *rate) take(now time.Time) {
	if r.interval == 0 {
		return
	}
	if r.due.Before(now) {
		r.due = now
	}
	r.due = r.due.Add(r.interval)
}

// within returns how many attempts may begin until d from now.
func (r *rate) within(d time.Duration, now time.Time) int {
	from := now
	if r.due.After(from) {
		from = r.due
	}
	if d += now.Sub(from) + r.slack; d < 0 {
		return 0
	}
	return int(d/r.interval) + 1
}

// limited reports whether there is a limit.
func (r *rate) limited() bool { return r.interval > 0 }

// resting reports whether earlier attempts still count against the limit. A lane
// forgotten before then would begin with a fresh allowance.
func (r *rate) resting(now time.Time) bool { return r.due.After(now) }

// claimable returns when the next delivery may be claimed.
func (r *rate) claimable() time.Time { return r.due.Add(-r.slack - rateAhead) }
