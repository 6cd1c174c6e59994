// Package failspell measures how long a webhook has been failing, and says at which
// parts of the time allowed for it the host is warned.
//
// The window is the time after which a webhook that fails is disabled. A gap without
// attempts counts in part only: two failures a week apart are two failures, and not a
// week of failing.
package failspell

import (
	"iter"
	"time"
)

// Steps is the number of warnings before a webhook is disabled.
const Steps = len(steps)

// steps are the parts of the window at which the host is warned.
var steps = [...]float64{0.25, 0.5, 0.75, 0.9}

// silenceCounts is the part of the window that a gap without attempts counts for at
// most. It is no larger than the distance between two of the first three steps, so
// that every webhook that is disabled was warned of, however few events it gets.
const silenceCounts = 0.25

// Time returns how long a webhook has failed at its last attempt: the time since the
// first failure, with gaps as [Gap] counts them. hours yields, in order, the hours
// since then in which attempts failed, and how many did. Statistics older than kept
// may have been pruned, so that period counts in full.
func Time(first, kept time.Time, hours iter.Seq2[time.Time, int64], last time.Time, window time.Duration) time.Duration {
	var sum time.Duration
	at := first // the webhook is known to have failed up to here
	reach := func(from, to time.Time) {
		if from.After(at) {
			sum += Gap(from.Sub(at), window)
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
	for from, failed := range hours {
		to := from.Add(time.Hour)
		if !from.Before(last) {
			continue
		}
		// Statistics hold the number of failures in an hour and not their times. They
		// cannot span more time than as many gaps of the greatest length.
		span := min(time.Hour, time.Duration(failed)*Gap(time.Hour, window))
		switch {
		case to.After(last):
			reach(later(from, last.Add(-span)), last)
		case from.After(first):
			reach(from, from.Add(span))
		default:
			reach(first, earlier(first.Add(span), to))
		}
	}
	reach(last, last)
	return sum
}

// Gap returns how much of a gap without attempts counts as failing.
func Gap(gap, window time.Duration) time.Duration {
	return min(max(gap, 0), time.Duration(silenceCounts*float64(window)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Until returns the time of failing at which a step is reached, counted from 1. The
// step after the last one is the whole window.
func Until(step int, window time.Duration) time.Duration {
	if step > len(steps) {
		return window
	}
	return time.Duration(steps[step-1] * float64(window))
}

// Step returns the number of steps that a time of failing has reached: Steps+1 when it
// has lasted for the whole window.
func Step(failing, window time.Duration) int {
	n := 0
	for n <= len(steps) && failing >= Until(n+1, window) {
		n++
	}
	return n
}
