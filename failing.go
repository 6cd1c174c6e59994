package webhook

import (
	"context"
	"time"
)

// A spell is how long a webhook has only failed, as far as this process has
// asked. Its fields are guarded by engine.mu.
type spell struct {
	since  time.Time // Webhook.FailingSince
	warned int       // the last step that was warned of
	next   time.Time // when the next step can be passed at the soonest
}

// failingSteps are the parts of DisableAfter at which the host is warned.
var failingSteps = [...]float64{0.25, 0.5, 0.75, 0.9}

// silenceCounts is the part of DisableAfter that a silence counts for at most.
// It is no more than lies between two of the first three steps: none of them is
// passed over, however little a webhook gets, and so nothing is disabled that
// was not warned of.
const silenceCounts = 0.25

// failingTime returns how long a webhook has failed at the last of its attempts:
// the time since the first, in which a silence counts for no more than its part of
// window. Two failures a week apart are two failures, and not a week of failing.
// hours are the statistics since the first. Those before kept may have been
// pruned: nothing is taken for silence there.
func failingTime(first, kept time.Time, hours []StatsBucket, last time.Time, window time.Duration) time.Duration {
	var sum time.Duration
	at := first // up to here it is known to have failed
	reach := func(from, to time.Time) {
		if from.After(at) {
			sum += countedGap(from.Sub(at), window)
			at = from
		}
		if to.After(at) {
			sum += to.Sub(at)
			at = to
		}
	}
	if kept.Before(last) {
		reach(first, kept)
	} else {
		reach(first, last)
	}
	for _, h := range hours {
		from, to := h.Hour, h.Hour.Add(time.Hour)
		if h.Failed == 0 || !from.Before(last) {
			continue
		}
		// Within an hour only their number is known. It cannot be more time than
		// that many silences of the longest kind.
		span := min(time.Hour, time.Duration(h.Failed)*countedGap(time.Hour, window))
		switch {
		case to.After(last):
			reach(maxTime(from, last.Add(-span)), last)
		case from.After(first):
			reach(from, from.Add(span))
		default:
			reach(first, minTime(first.Add(span), to))
		}
	}
	reach(last, last)
	return sum
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// countedGap returns what a silence counts for.
func countedGap(gap, window time.Duration) time.Duration {
	return min(max(gap, 0), time.Duration(silenceCounts*float64(window)))
}

// untilStep returns after how much failing a step is passed.
func untilStep(step int, window time.Duration) time.Duration {
	if step > len(failingSteps) {
		return window
	}
	return time.Duration(failingSteps[step-1] * float64(window))
}

// stepOf returns how many steps a spell of failing has passed; one more than
// there are steps when it has lasted for the whole window.
func stepOf(failing, window time.Duration) int {
	n := 0
	for n <= len(failingSteps) && failing >= untilStep(n+1, window) {
		n++
	}
	return n
}

// failingNow looks up how long a webhook has failed after an attempt at it has,
// and returns the step that this attempt has passed, 0 when it has passed none,
// and how long it is until it is disabled if all goes on like this.
func (e *engine) failingNow(j *job, at time.Time) (h health, step int, left time.Duration, err error) {
	window := e.cfg.DisableAfter
	e.mu.Lock()
	h = j.endpoint.health
	s := &j.endpoint.spell
	if !s.since.Equal(h.failingSince) {
		*s = spell{since: h.failingSince}
	}
	next := s.next
	e.mu.Unlock()
	// Silence can only make it later than this.
	if h.failingSince.IsZero() || at.Before(next) || stepOf(at.Sub(h.failingSince), window) == 0 {
		return h, 0, 0, nil
	}
	hours, err := timed(e.attemptCtx, e.d, "Stats", e.d.soon(), func(ctx context.Context) ([]StatsBucket, error) {
		return allStats(ctx, e.d.store, StatsQuery{
			Tenant: j.Delivery.Tenant, WebhookIDs: []string{j.Delivery.WebhookID}, Since: h.failingSince, Until: at,
		})
	})
	if err != nil {
		return h, 0, 0, err
	}
	kept := h.failingSince
	if e.cfg.Retention > 0 && at.Sub(kept) > e.cfg.Retention {
		kept = at.Add(-e.cfg.Retention)
	}
	before := failingTime(h.failingSince, kept, hours, h.lastTriggered, window)
	failing := before + countedGap(at.Sub(h.lastTriggered), window)
	step = stepOf(failing, window)

	e.mu.Lock()
	defer e.mu.Unlock()
	if step <= len(failingSteps) {
		s.next = at.Add(untilStep(step+1, window) - failing)
		if step == stepOf(before, window) || step <= s.warned {
			step = 0 // an earlier attempt passed it
		}
		s.warned = max(s.warned, step)
	}
	return h, step, window - failing, nil
}
