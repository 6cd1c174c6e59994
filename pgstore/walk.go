package pgstore

import (
	"sync"
	"time"
)

// walk is this process's memory of the webhooks that have ready deliveries, so that
// a claim looks only at webhooks where it will find some, and begins where the last
// claim ended. Everything in it is a hint: the rows decide.
//
// A webhook gets into it in three ways. A look at the events published since the
// last look costs as much as there are new events. Retries and expired leases are
// made ready by this process. A sweep is a skip scan over the index of ready
// deliveries, with one probe per webhook. The sweep finds all ready deliveries,
// also those of a transaction that took long to commit, but it has to step over
// index entries of finished deliveries that are not vacuumed yet, and a long
// transaction elsewhere keeps all of those. So its frequency depends on its cost:
// it may take a twentieth of the time. It is not part of a claim (see sweep.go).
type walk struct {
	mu    sync.Mutex
	turns turns           // webhooks with ready deliveries; the next to be served first
	found []int64         // more webhooks, which have no place in turns yet; see lineUp
	known map[int64]ready // both

	tenantOf map[int64]string // of webhooks in known, and of others
	resting  resting          // webhooks that are passed over for a while

	discover int64     // event key from which the next look at published events starts; 0: by age
	rate     float64   // deliveries claimed per second, smoothed
	counted  time.Time // when rate was updated

	swept      time.Time     // end of the last sweep
	sweepTook  time.Duration // how long it took
	sweepFrom  int64         // webhook after which the next sweep goes on
	unfinished bool          // the last sweep did not reach the end
	parts      bool          // the next sweep goes on in parts
	sweeping   sync.Mutex    // held during a sweep; guards narrow
	narrow     *narrow       // nil: the next sweep looks at everything at once

	// By the database's clock, in microseconds.
	ahead          int64 // database's clock minus caller's clock
	waiting, check int64 // when the earliest waiting delivery is due, and when the earliest claim must be checked; 0: never
	promoted       int64 // deliveries due by then have been made ready
	reaped         int64 // claims to be checked by then have been checked
}

// ready is the state of a webhook in the walk.
type ready struct {
	since int64 // it has no delivery left to claim that is due before
	news  int   // counts calls of add, so that one during a claim is noticed
	out   bool  // it rests: it is not in turns and not in found
}

func newWalk() *walk { return &walk{known: map[int64]ready{}, tenantOf: map[int64]string{}} }

// add puts a webhook into the walk, to be looked at from a due time on.
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

// next returns up to n webhooks whose turn it is. Webhooks with a limit of 0, and
// webhooks of tenants that are passed over, keep their place.
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
	if len(rest) > 0 { // endRests puts them back
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

// served records the result of a claim. If the claim was full, the webhooks after
// the last one that gave deliveries were not looked at and stay first in line.
// settled is a due time: all deliveries due before it are committed, so the next
// look at a webhook may start there.
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

// taken is how much a claim took of a webhook.
type taken struct {
	n   int
	due int64 // of the last one
}

// noteWaiting records that a delivery waits until due.
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
