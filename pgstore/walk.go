package pgstore

import (
	"sync"
	"time"
)

// walk is this process's memory of which webhooks have deliveries that are
// ready, so that a claim looks only where it will find something, and begins
// there where the last one ended. Everything in it is a hint: the rows decide.
//
// A webhook gets into it in three ways: a look at the events published since
// the last look (its cost is that of what arrived), retries and expired leases
// that this process made ready, and a sweep: a skip scan over the index of
// ready deliveries, one probe per webhook. The sweep finds all there is, such
// as what a transaction brought that took long to commit, but it has to step
// over index entries of deliveries that are done and not yet vacuumed, and a
// long transaction elsewhere keeps all of those. So it is made as often as it
// is cheap: it may take a twentieth of the time. It is no part of a claim (see
// sweep.go).
type walk struct {
	mu    sync.Mutex
	turns turns           // webhooks with ready deliveries; the next to be served first
	found []int64         // more of them, which have no place in turns yet, see lineUp
	known map[int64]ready // all of them

	tenantOf map[int64]string // of those, and of others
	resting  resting          // those that are to be passed over for a while

	discover int64     // event key from which the next look at what was published starts; 0: by age
	rate     float64   // deliveries claimed per second, smoothed
	counted  time.Time // when that was last brought up to date

	swept      time.Time     // end of the last sweep
	sweepTook  time.Duration // how long it took
	sweepFrom  int64         // webhook after which it goes on
	unfinished bool          // it was not all
	parts      bool          // the next one goes on in parts
	sweeping   sync.Mutex    // held while one is made; guards narrow
	narrow     *narrow       // nil: the next one looks at everything at once

	// By the database's clock, in microseconds.
	ahead          int64 // how far it is ahead of the caller's
	waiting, check int64 // when the earliest delivery that waits is due, and the earliest claim to be checked; 0: none
	promoted       int64 // all that was due by then has been made ready
	reaped         int64 // all claims to be checked by then have been
}

// ready is what is known of a webhook in the ring.
type ready struct {
	since int64 // the due time below which it has none left to claim
	news  int   // counts what was heard of it, so that news during a claim is not lost
	out   bool  // it is neither in turns nor in found, as it rests
}

func newWalk() *walk { return &walk{known: map[int64]ready{}, tenantOf: map[int64]string{}} }

// add puts a webhook into the ring, to be looked at from a due time on.
func (w *walk) add(hook, since int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.known[hook]
	if !ok {
		w.found = append(w.found, hook)
		r.since = since
	}
	w.known[hook] = ready{min(since, r.since), r.news + 1, r.out}
}

// candidate is a webhook to be looked at.
type candidate struct {
	hook, since int64
	news, cap   int
}

// next returns the webhooks whose turn it is, at most n. Those with a cap of 0, and
// those of tenants that are passed over, keep their place.
func (w *walk) next(n int, callerNow time.Time, pass func(tenant string) bool, limit func(hook int64) int) []candidate {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := callerNow.UnixMicro() + w.ahead
	w.endRests(now)
	var caps []int
	var rest []int64
	hooks := w.turns.first(n, pass, func(h int64) bool {
		if w.resting.spans[h].has(now) {
			rest = append(rest, h)
			return false
		}
		c := limit(h)
		if c > 0 {
			caps = append(caps, c)
		}
		return c > 0
	})
	if len(rest) > 0 { // they get their place again when it is over
		for _, h := range rest {
			r := w.known[h]
			r.out = true
			w.known[h] = r
		}
		w.turns.done(w.tenantOf, rest, nil)
	}
	out := make([]candidate, len(hooks))
	for i, h := range hooks {
		r := w.known[h]
		out[i] = candidate{h, r.since, r.news, caps[i]}
	}
	return out
}

// served notes what a claim found. When it was full, the webhooks after the
// last one that got any were not looked at and stay first in line. What is due
// before settled will not be joined by anything earlier that is still being
// committed, so the next look need not go over it again.
func (w *walk) served(cands []candidate, got map[int64]taken, full bool, settled int64) {
	last := len(cands) - 1
	for full && last >= 0 && got[cands[last].hook].n == 0 {
		last--
	}
	if last < 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var done, again []int64
	for i, c := range cands[:last+1] {
		r, ok := w.known[c.hook]
		if !ok || r.out {
			continue
		}
		done = append(done, c.hook)
		t := got[c.hook]
		more := t.n >= c.cap || full && i == last
		switch {
		case more && r.news == c.news:
			r.since = max(c.since, min(t.due, settled))
			w.known[c.hook] = r
			again = append(again, c.hook)
		case more || r.news != c.news:
			again = append(again, c.hook)
		default:
			delete(w.known, c.hook)
		}
	}
	w.turns.done(w.tenantOf, done, again)
}

// taken is how much of a webhook a claim took.
type taken struct {
	n   int
	due int64 // of the last one
}

// noteWaiting notes that a delivery waits until due.
func (w *walk) noteWaiting(due int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == 0 || due < w.waiting {
		w.waiting = due
	}
}

func (w *walk) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.known)
}
