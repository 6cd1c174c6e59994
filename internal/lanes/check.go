package lanes

import (
	"errors"
	"fmt"
)

// Check returns an error for every rule that the Scheduler's state breaks. Tests call
// it after each step.
func (s *Scheduler) Check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	var all tenant
	sums := make(map[*tenant]tenant)
	lined := 0
	for id, l := range s.lanes {
		if l.id != id || s.tenants[l.tenant.name] != l.tenant {
			wrong("lane %s of tenant %s is known as %s, and its tenant is another or none", l.id, l.tenant.name, id)
		}
		t := sums[l.tenant]
		for _, sum := range []*tenant{&all, &t} {
			sum.lanes++
			sum.held += l.held
			sum.flying.all += l.flying.all
			sum.flying.poor += l.flying.poor
			sum.flying.failing += l.flying.failing
		}
		sums[l.tenant] = t
		if l.line != nil {
			lined++
		}
		for _, err := range s.checkLane(l) {
			wrong("lane %s: %w", id, err)
		}
	}
	if all.held != s.held || all.flying != s.flying {
		wrong("the lanes hold %d jobs, %+v in flight; counted are %d, %+v", all.held, all.flying, s.held, s.flying)
	}
	if f, most := s.flying, s.cfg.MaxInFlight; f.all > most || f.poor > max(most*3/4, 1) || f.failing > max(most/2, 1) {
		wrong("%+v attempts are in flight, of at most %d", f, most)
	}
	holding := 0
	for name, t := range s.tenants {
		if sum := sums[t]; t.name != name || sum.lanes != t.lanes || sum.held != t.held || sum.flying != t.flying {
			wrong("tenant %s: the lanes hold %d jobs, %+v in flight; counted are %d, %+v", name, sum.held, sum.flying, t.held, t.flying)
		}
		_, listed := s.holding[t]
		if listed != (t.held > 0) {
			wrong("tenant %s holds %d jobs, and is listed among the tenants with jobs: %t", name, t.held, listed)
		}
		if listed {
			holding++
		}
	}
	if len(sums) != len(s.tenants) || holding != len(s.holding) {
		wrong("%d of %d tenants have lanes, %d of %d have jobs", len(sums), len(s.tenants), holding, len(s.holding))
	}
	for l := range s.active {
		if s.lanes[l.id] != l {
			wrong("lane %s is looked at by claims and not known", l.id)
		}
	}
	errs = append(errs, s.checkLines(lined)...)
	return errors.Join(errs...)
}

// checkLane looks at a lane by itself.
func (s *Scheduler) checkLane(l *Lane) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, j := range l.queue {
		if slot := j.slot(); slot.lane != l || slot.place != queued || slot.since.IsZero() {
			wrong("a job in its queue is elsewhere or not held: %+v", *slot)
		}
	}
	if f := l.flying; f.failing < 0 || f.poor < f.failing || f.all < f.poor || f.all > s.cfg.MaxPerLane {
		wrong("%+v in flight, of at most %d", f, s.cfg.MaxPerLane)
	}
	if l.held < len(l.queue) {
		wrong("%d jobs held, %d in the queue", l.held, len(l.queue))
	}
	if l.limit < 1 || l.limit > s.cfg.MaxPerLane || l.window < 1 {
		wrong("limit %d of at most %d, window %d", l.limit, s.cfg.MaxPerLane, l.window)
	}
	if _, active := s.active[l]; l.held > 0 && !active {
		wrong("%d jobs held, and no claim looks at it", l.held)
	}
	startable := len(l.queue) > 0 && l.flying.all < l.limit
	switch {
	case l.state == idle && startable:
		wrong("it is in no line with %d jobs queued and %d of %d attempts in flight", len(l.queue), l.flying.all, l.limit)
	case l.state != idle && len(l.queue) == 0:
		wrong("it is in state %d without a job", l.state)
	case l.state == parked && l.flying.all == 0, l.state == waiting && l.flying.all > 0:
		wrong("it is in state %d with %d attempts in flight", l.state, l.flying.all)
	case l.state == throttled && l.timer == nil:
		wrong("no timer ends its state")
	}
	if (l.line != nil) != (l.state == ready || l.state == parked || l.state == waiting) {
		wrong("it is in state %d, and in a line: %t", l.state, l.line != nil)
	}
	return errs
}

// checkLines walks all lines, in which as many lanes have to be as say so.
func (s *Scheduler) checkLines(lined int) (errs []error) {
	found := 0
	walk := func(q *line, of state) {
		lanes := 0
		var before *turn
		for t := q.first; t != nil; before, t = t, t.next {
			if t.prev != before || t.first == nil {
				errs = append(errs, fmt.Errorf("a turn of line %d is linked wrongly or empty", q.index))
			}
			var last *Lane
			for l := t.first; l != nil; last, l = l, l.next {
				lanes++
				if l.line != q || l.state != of || l.prev != last || &l.tenant.turns[q.index] != t || s.lanes[l.id] != l {
					errs = append(errs, fmt.Errorf("lane %s is in line %d, but its state is %d, its links or its tenant are others, or it is forgotten", l.id, q.index, l.state))
				}
			}
			if t.last != last {
				errs = append(errs, fmt.Errorf("a turn of line %d ends wrongly", q.index))
			}
		}
		if q.last != before || q.lanes != lanes {
			errs = append(errs, fmt.Errorf("line %d has %d lanes, counted as %d, or ends wrongly", q.index, lanes, q.lanes))
		}
		found += lanes
	}
	walk(&s.ready, ready)
	for c := range classes {
		walk(&s.parked[c], parked)
		walk(&s.waiting[c], waiting)
	}
	if found != lined {
		errs = append(errs, fmt.Errorf("%d lanes are in lines, %d say so", found, lined))
	}
	return errs
}
