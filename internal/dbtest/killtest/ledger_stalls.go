package killtest

import (
	"slices"
	"time"
)

// nothingStuck is claim C: what was claimed at a kill is attempted again within
// the lease, the interval of the reaper, one poll and a second, and no longer
// than what stallLimit finds to have held it up. What has crashed with poison
// around is put off on purpose.
func (l *ledger) nothingStuck() {
	all, held := 0, map[string]int{}
	for p, holds := range l.ev.holds {
		for i, h := range holds {
			k := l.killOf(h)
			if k == nil || h.begun {
				continue
			}
			next, ok := l.next(p, k.at, holds[i+1:])
			if !ok {
				continue // it was recorded, or A says that it is lost
			}
			stall := next.Sub(k.at)
			l.row.Stall = max(l.row.Stall, stall)
			if all++; l.r.poison {
				continue
			}
			limit := l.stallLimit(*k, next)
			for _, by := range l.delays(*k, p, holds[:i+1], holds[i+1:], next) {
				if stall > limit && by.time > 0 {
					limit += by.time
					held[by.what]++
				}
			}
			if stall > limit {
				l.fault("C", "%s waited for %v after the kill of %s, %v allowed:%s", l.name(p), stall, h.by, limit, l.history(p))
			}
		}
		l.noTheft(p, holds)
	}
	if all > 0 {
		l.r.t.Logf("C: of %d deliveries that were claimed at a kill so many were held up by: %v", all, held)
	}
}

// killOf returns what ended a hold by force: the end of its process, or another
// that took it over while its process was stopped.
func (l *ledger) killOf(h hold) *kill {
	for i := range l.r.kills {
		k := &l.r.kills[i]
		if k.name == h.by && (h.cut && !k.stopped || h.taken && k.stopped && !k.at.Before(h.from) && !k.at.After(h.to)) {
			return k
		}
	}
	return nil
}

// noTheft checks that nothing was claimed by another while its lease held. A
// lease is at least as long as from its beginning; an outage may forget it.
func (l *ledger) noTheft(p pair, holds []hold) {
	for i, h := range holds[:len(holds)-1] {
		next := holds[i+1]
		if h.taken && h.slow {
			l.row.LeasesLost++
		}
		if h.begun || !h.taken && !h.cut {
			continue
		}
		early := h.asked.Add(l.r.base.Lease).Sub(next.from)
		outage := slices.ContainsFunc(l.r.outages, func(o outage) bool { return o.from.Before(next.from) && h.from.Before(o.to.Add(storePause)) })
		if early > 300*time.Millisecond+l.row.Machine && !outage {
			l.fault("lease", "%s was claimed by %s %v before the lease of %s could have ended: %s", l.name(p), next.by, early, h.by, l.history(p))
		}
	}
}

// next returns when a pair was attempted again, by the sender's log where its
// clock is right and otherwise by the receiver's; or was claimed again by a
// dispatcher that was killed, too, or that says that it could not renew its
// lease in time: that is a wait of its own.
func (l *ledger) next(p pair, after time.Time, holds []hold) (time.Time, bool) {
	var at time.Time
	for _, q := range l.ev.requests[p] {
		if q.at.After(after) && (at.IsZero() || q.at.Before(at)) {
			at = q.at
		}
	}
	for _, a := range l.ev.stored[p].attempts {
		if !l.r.skewed && a.StartedAt.After(after) && (at.IsZero() || a.StartedAt.Before(at)) {
			at = a.StartedAt
		}
	}
	for _, h := range holds {
		if (h.cut || h.taken && h.slow) && (at.IsZero() || h.from.Before(at)) {
			at = h.from
		}
	}
	return at, !at.IsZero()
}

// storePause is how long a dispatcher waits at most after an error of the store.
const storePause = 5 * time.Second

// stallLimit is how long a delivery may wait that was claimed at a kill: until
// its lease has ended, or until a dispatcher could claim it again, or until the
// store is there again; then the interval of the reaper, one poll and a second.
func (l *ledger) stallLimit(k kill, next time.Time) time.Duration {
	from, extra := l.claimable(k, next)
	return from.Sub(k.at) + reapInterval + pollTime + time.Second + extra + l.r.opt.Slack
}

// claimable is when a delivery could be claimed again at the earliest, and how
// long a dispatcher may be pausing then.
func (l *ledger) claimable(k kill, next time.Time) (from time.Time, pause time.Duration) {
	from = k.at.Add(l.r.base.Lease)
	if k.until.After(from) {
		from = k.until
	}
	for _, o := range l.r.outages {
		if o.from.Before(next) && o.to.After(k.at) {
			pause = storePause
			if o.to.After(from) {
				from = o.to
			}
		}
	}
	return from, pause
}

// delay is what has held up a delivery, for how long.
type delay struct {
	what string
	time time.Duration
}

// delays are what held up a delivery after it could be claimed again. Nothing is
// added for what might have, only what has, as measured.
func (l *ledger) delays(k kill, p pair, before, after []hold, next time.Time) []delay {
	from, _ := l.claimable(k, next)
	return []delay{
		{"attempts at its webhook that hung", l.hung(p.key, from, next)},                // a webhook that does not get on waits for itself (D9)
		{"a machine that ran nobody", l.r.machine.within(k.at, next)},                   // not even the driver
		{"its dispatcher, which was not let run or busy", l.working(after, from, next)}, // as on a machine that is too slow for the load
		{"trials, or a dispatcher short of room", givenBack(before, after, next)},       // D5, D9
	}
}

// working is for how long the dispatcher that claimed a delivery again was kept
// from it: by the machine, which did not let it run, from the time at which it
// should have claimed it; by the claim itself; and then by others that it began
// without a pause of its own, and not more of them than it can have held before
// (Config.MaxClaimed). A machine that is too slow for the load makes everybody
// wait.
func (l *ledger) working(after []hold, from, next time.Time) (d time.Duration) {
	if l.starts == nil {
		l.starts = map[string][]time.Time{}
		for p, holds := range l.ev.holds {
			for _, h := range holds {
				for _, a := range l.ev.stored[p].attempts {
					if !a.StartedAt.Before(h.from) && !a.StartedAt.After(h.to) {
						l.starts[h.by] = append(l.starts[h.by], a.StartedAt)
					}
				}
			}
		}
		for _, starts := range l.starts {
			slices.SortFunc(starts, time.Time.Compare)
		}
	}
	i := slices.IndexFunc(after, func(h hold) bool { return !h.from.After(next) && !h.to.Before(next) })
	if i < 0 {
		return 0
	}
	h, others := after[i], 0
	last, waits := h.from, l.ev.waits[h.by]
	for _, at := range l.starts[h.by] {
		if at.Before(h.from) || at.After(next) {
			continue
		}
		if gap := at.Sub(last); gap-within(waits, last, at) < time.Second {
			d += gap
		}
		last = at
		others++
	}
	if others > maxInFlight*4 {
		d = 0
	}
	return d + h.from.Sub(h.asked) + within(waits, from, h.asked)
}

// hung is for how long attempts at a webhook ran that ended with its timeout.
func (l *ledger) hung(key string, from, to time.Time) (d time.Duration) {
	if l.hangs == nil {
		l.hangs = map[string][]span{}
		for p, rec := range l.ev.stored {
			for _, a := range rec.attempts {
				if a.Status == 0 && a.Duration >= hookTimeout {
					l.hangs[p.key] = append(l.hangs[p.key], span{a.StartedAt, a.StartedAt.Add(a.Duration)})
				}
			}
		}
		for _, hangs := range l.hangs {
			slices.SortFunc(hangs, func(a, b span) int { return a.from.Compare(b.from) })
		}
	}
	for _, s := range l.hangs[key] {
		d += s.within(from, to)
		if s.to.After(from) {
			from = s.to // of two at a time one counts
		}
	}
	return d
}

// givenBack is the time since a delivery was claimed again and given back. One
// that was claimed at two kills in a row is on trial: it is attempted beside few
// others, and given back while there are too many (D5). Others are given back
// by a dispatcher that is short of room while their webhook does not get on, and
// that claims nothing for it for maxPause at most (D9).
func givenBack(before, after []hold, next time.Time) time.Duration {
	if len(after) == 0 {
		return 0
	}
	h := after[0]
	if h.begun || h.cut || h.taken || !h.to.Before(next) {
		return 0
	}
	crashes := 0
	for _, h := range before {
		if h.cut || h.taken {
			crashes++
		}
	}
	if crashes >= suspectCrashes {
		return next.Sub(h.from)
	}
	return min(next.Sub(h.from), maxPause)
}

// What the library has of the same name.
const (
	suspectCrashes = 2
	maxPause       = 8 * time.Second
)
