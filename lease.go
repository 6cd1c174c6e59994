package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/seed68722ecd/webhook/internal/machineclock"
)

// renewLoop extends the leases of all held deliveries until ctx ends. A lease is
// renewed when a third of it has passed, so that two renewals can fail before it
// is lost.
func (e *engine) renewLoop(ctx context.Context) {
	ticker := time.NewTicker(e.cfg.Lease / 6)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			e.renew(ctx)
		}
	}
}

// renew extends the leases of which a third has passed.
func (e *engine) renew(ctx context.Context) {
	now := thisMoment()
	var due []*job
	e.mu.Lock()
	for _, j := range e.jobs {
		if !j.lost && j.expires.until(now) <= e.cfg.Lease*2/3 {
			due = append(due, j)
		}
	}
	e.mu.Unlock()
	for len(due) > 0 {
		n := min(len(due), maxRecord)
		if err := e.extend(ctx, due[:n]); err != nil {
			if ctx.Err() == nil {
				e.d.log.Warn("webhook: leases could not be renewed, will retry", "count", len(due), "error", err)
			}
			return
		}
		due = due[n:]
	}
}

func (e *engine) extend(ctx context.Context, jobs []*job) error {
	asked := thisMoment()
	lost, err := timed(ctx, e.d, "Extend", min(e.cfg.Lease/3, e.cfg.StoreTimeout), func(ctx context.Context) ([]string, error) {
		return e.d.store.Extend(ctx, e.d.now(), e.leasesOf(jobs), e.cfg.Lease)
	})
	if err != nil {
		return err
	}
	gone := make(map[string]bool, len(lost))
	for _, id := range lost {
		gone[id] = true
	}
	lostHere := 0
	e.mu.Lock()
	for _, j := range jobs {
		// A delivery that was recorded or given back while Extend ran is reported
		// lost, rightly.
		if e.jobs[j.Delivery.ID] != j {
			continue
		}
		if gone[j.Delivery.ID] {
			j.lost = true
			lostHere++
		} else {
			j.expires = asked.add(e.cfg.Lease)
		}
	}
	e.mu.Unlock()
	if lostHere > 0 {
		e.d.log.Warn("webhook: leases were lost; results of attempts that go on change nothing", "count", lostHere)
	}
	return nil
}

// giveBack returns leases unused, and forgets them.
func (e *engine) giveBack(ctx context.Context, jobs []*job, delay time.Duration) error {
	defer func() {
		e.mu.Lock()
		e.release(jobs...)
		e.mu.Unlock()
	}()
	var first error
	for rest := jobs; len(rest) > 0; {
		n := min(len(rest), maxRecord)
		if err := e.storeRelease(ctx, e.leasesOf(rest[:n]), delay); err != nil && first == nil {
			first = err
		}
		if errors.Is(first, errStoreSilent) {
			break // the rest would wait as long, each
		}
		rest = rest[n:]
	}
	return first
}

func (e *engine) storeRelease(ctx context.Context, leases []Lease, delay time.Duration) error {
	return timedRun(ctx, e.d, "Release", e.cfg.StoreTimeout, func(ctx context.Context) error {
		return e.d.store.Release(ctx, e.d.now(), leases, delay)
	})
}

func (e *engine) leasesOf(jobs []*job) []Lease {
	e.mu.Lock()
	defer e.mu.Unlock()
	leases := make([]Lease, len(jobs))
	for i, j := range jobs {
		leases[i] = Lease{DeliveryID: j.Delivery.ID, Token: j.token}
	}
	return leases
}

// moment is a point in time by both clocks of this process. The wall clock can be
// set. The monotonic clock cannot, but on most systems it stands still while the
// machine sleeps, and leases go on meanwhile.
type moment struct{ mono, wall time.Time }

func thisMoment() moment { return moment{time.Now(), machineclock.Now().Round(0)} }

func (i moment) add(d time.Duration) moment { return moment{i.mono.Add(d), i.wall.Add(d)} }

// until returns how long after now i is by the clock that says less.
func (i moment) until(now moment) time.Duration {
	return min(i.mono.Sub(now.mono), i.wall.Sub(now.wall))
}

// sleptAtLeast is how far the wall clock has to get ahead of the monotonic clock
// between two claims to be taken for a sleep of the machine.
const sleptAtLeast = time.Second

// overslept reports whether the machine seems to have slept since the last call.
// Used by claimLoop only.
func (e *engine) overslept() bool {
	last, now := e.looked, thisMoment()
	e.looked = now
	return now.wall.Sub(last.wall)-now.mono.Sub(last.mono) >= sleptAtLeast
}

// confirm asks the store about all leases that are over by the wall clock alone.
// Either the machine slept, and another process may have claimed the deliveries,
// or the clock was set. confirm reports whether j's attempt may begin.
func (e *engine) confirm(j *job) bool {
	e.confirming.Lock()
	defer e.confirming.Unlock()
	if e.holds(j) {
		return true // another worker asked
	}
	e.renew(e.attemptCtx)
	if e.holds(j) {
		return true
	}
	// The store did not answer. No worker asks again for a delivery not yet begun.
	now := thisMoment()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range e.jobs {
		if j.began.IsZero() && j.expires.until(now) <= 0 {
			j.lost = true
		}
	}
	return false
}

// holds reports whether a lease lasts: it is not lost and has not run out.
func (e *engine) holds(j *job) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !j.lost && j.expires.until(thisMoment()) > 0
}

// claimedAgain reports whether d is j's delivery, claimed again because its lease
// ran out, and without a result in the store. A lease that ran out has counted a
// crash and an attempt; a stored result whose answer was lost only an attempt. A
// result without an attempt changes no counter: see untold. Caller holds mu.
func (j *job) claimedAgain(d *Delivery) bool {
	h := &j.Delivery
	return !j.untold && d.Tries == h.Tries && d.Crashes > h.Crashes && d.Attempts-d.Crashes == h.Attempts-h.Crashes
}

// strays returns the leases of deliveries whose result came too late under one
// token while this process had claimed them again under another. Caller holds mu.
func (e *engine) strays(batch []*job, results []Result) (leases []Lease) {
	for i, j := range batch {
		if j.outcome == OutcomeLate && j.token != results[i].Token && e.jobs[j.Delivery.ID] == j {
			leases = append(leases, Lease{DeliveryID: j.Delivery.ID, Token: j.token})
		}
	}
	return leases
}

// giveBackStrays makes strays due again, so that they are attempted under a lease.
func (e *engine) giveBackStrays(ctx context.Context, leases []Lease) {
	if len(leases) == 0 {
		return
	}
	if err := e.storeRelease(ctx, leases, 0); err != nil {
		e.d.log.Warn("webhook: deliveries whose results came too late wait for their lease to expire", "count", len(leases), "error", err)
	}
}
