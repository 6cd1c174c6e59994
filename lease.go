package webhook

import (
	"context"
	"errors"
	"time"
)

// renewLoop extends the leases of everything that is held until ctx ends. A
// lease is renewed when a third of it has passed, so that two renewals can fail
// before it is lost; deliveries that are done sooner cost no renewal.
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

// renew extends what has lost a third of its lease.
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

// extend renews a batch of leases and marks those that are lost.
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
		// What was recorded or given back while Extend ran is no longer held
		// and so reported lost: that is as it should be.
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
