package webhook

import (
	"context"
	"runtime"
	"slices"
	"time"
)

const (
	// maxOnceFailures is how many failures of the store in a row end DeliverDue.
	maxOnceFailures = 5
	// maxClaim is the most deliveries taken in one claim.
	maxClaim = 500
	// storeRetryMin and storeRetryMax bound the wait after a store's error.
	storeRetryMin = 100 * time.Millisecond
	storeRetryMax = 5 * time.Second
	// claimPause is the least time between claims that are for little.
	claimPause = 5 * time.Millisecond
	// maxPause is the longest that nothing is claimed for a webhook that does
	// not get on.
	maxPause = 8 * time.Second
	// suspectCrashes is how many crashes make a delivery a suspect, see admit.
	// What cannot be tried yet is given back for suspectDelay.
	suspectCrashes = 2
	suspectDelay   = time.Second
)

// claimLoop claims until ctx ends, or, with once, until nothing is due.
func (e *engine) claimLoop(ctx context.Context) {
	var failures int
	for ctx.Err() == nil {
		e.mu.Lock()
		e.reconsider()
		e.mu.Unlock()
		e.shed(ctx)
		if e.overslept() {
			e.renew(ctx) // or what is held here would be claimed here again
		}
		req, ok := e.claimRequest()
		if !ok { // no room: something has to end first, or grow old
			e.sleep(ctx, e.untilRoom())
			continue
		}
		res, err := e.claim(ctx, req)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			failures++
			if e.once && failures > maxOnceFailures {
				e.fault = err
				break
			}
			e.d.log.Warn("webhook: claim failed, will retry", "error", err, "failures", failures)
			e.pause(ctx, failures)
			continue
		}
		failures = 0
		if e.accept(ctx, res, req) {
			continue // there is more: look again as soon as there is room
		}
		if e.once && len(res.Deliveries) == 0 && e.quiet {
			break
		}
		wait := e.cfg.PollInterval
		if !res.NextDue.IsZero() {
			wait = min(wait, max(res.NextDue.Sub(e.d.cfg.Now()), 0)+time.Microsecond)
		}
		if e.once {
			wait = 0 // only what is held can bring more
		}
		if d, starved := e.starved(); starved && (wait == 0 || wait > d) {
			wait = d // what had to be passed over may have room by then
		}
		e.sleep(ctx, wait)
	}
	e.forgetUnknown(context.WithoutCancel(ctx))
}

// claimRequest says what there is room for, and whether there is any.
func (e *engine) claimRequest() (ClaimRequest, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	free := e.cfg.MaxClaimed - e.held
	// Small claims cost as much as large ones: wait until a few fit, but not for
	// long, as what fits may be for somebody who has nothing yet.
	e.hungry = free < 1 || e.held > 0 && free < min(e.cfg.MaxClaimed/8, maxClaim) && time.Since(e.claimed.mono) < claimPause
	if e.hungry {
		return ClaimRequest{}, false
	}
	req := ClaimRequest{
		Token: newToken(),
		Now:   e.d.now(),
		Lease: e.cfg.Lease,
		// Some room is always left, and little taken for a webhook of which
		// nothing is known, so that those that hang cannot fill all of it.
		Limit:      min(max(free/2, 1), maxClaim),
		PerWebhook: min(max(free/8, 1), initialWindow),
		Limits:     make(map[string]int, len(e.active)),
	}
	e.quiet = e.held == 0
	now := time.Now()
	req.PassTenants = e.fullTenants()
	var paced bool
	if req.Rest, paced = e.tidy(now); paced {
		req.PerWebhook = 1 // what a rate limit lets through at the least: the rest would be given back
	}
	for l := range e.active {
		l.narrow(now)
		room := e.room(l, now)
		if _, named := e.bound(&req, l); room != req.PerWebhook && !named {
			req.Limits[l.id] = room
		}
		if room == 0 && !(l.pace.limited() && l.pace.within(paceAhead, now) == 0) {
			e.quiet = false
		}
	}
	if len(e.passed) > 0 {
		e.quiet = false
	}
	return req, true
}

// untilRoom returns how long to wait when there was no room, or little.
func (e *engine) untilRoom() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held >= e.cfg.MaxClaimed {
		return staleAfter
	}
	return max(claimPause-time.Since(e.claimed.mono), 0) + time.Microsecond
}

// claim asks the store. After an error it notes the token, since the claim may
// have succeeded and only its answer been lost.
func (e *engine) claim(ctx context.Context, req ClaimRequest) (ClaimResult, error) {
	e.forgetUnknown(ctx)
	e.claimed = thisMoment() // a store may have counted from here on
	res, err := timed(ctx, e.d, "Claim", e.cfg.StoreTimeout, func(ctx context.Context) (ClaimResult, error) { return e.d.store.Claim(ctx, req) })
	if seen := e.cfg.Observer.Claimed; seen != nil {
		took := time.Since(e.claimed.mono)
		e.d.observed("Claimed", func() { seen(len(res.Deliveries), took, err) })
	}
	if err != nil && len(e.unknown) < 16 {
		e.unknown = append(e.unknown, req.Token)
	}
	return res, err
}

// forgetUnknown gives back what claims of unknown outcome may have leased.
func (e *engine) forgetUnknown(ctx context.Context) {
	if len(e.unknown) == 0 {
		return
	}
	leases := make([]Lease, len(e.unknown))
	for i, token := range e.unknown {
		leases[i].Token = token
	}
	if timedRun(ctx, e.d, "Release", e.d.soon(), func(ctx context.Context) error {
		return e.d.store.Release(ctx, e.d.now(), leases, 0)
	}) == nil {
		e.unknown = nil
	}
}

// accept takes claimed deliveries in and starts workers for them. It reports
// whether the store seems to have more.
func (e *engine) accept(ctx context.Context, res ClaimResult, req ClaimRequest) bool {
	if len(res.Deliveries) == 0 {
		e.mu.Lock()
		for l := range e.active {
			room, named := e.bound(&req, l)
			l.more = named && room == 0
		}
		e.rested(&req, e.claimed.mono)
		e.mu.Unlock()
		return false
	}
	now, expires := e.claimed.mono, e.claimed.add(req.Lease)
	jobs := make([]job, len(res.Deliveries))
	var back, over, spare []*job
	got := make(map[string]int)
	more := len(jobs) >= req.Limit

	e.mu.Lock()
	e.rested(&req, e.claimed.mono)
	for i := range jobs {
		j := &jobs[i]
		j.ClaimedDelivery = &res.Deliveries[i]
		if have := e.jobs[j.Delivery.ID]; have != nil && have.claimedAgain(&j.Delivery) {
			// Its lease ran out here and came back here, as renewals failed but
			// this claim did not: what is under way goes on under the new lease.
			have.token, have.expires, have.lost = req.Token, expires, false
			continue
		} else if have != nil {
			// What is held here was recorded, and only the answer to that was
			// lost: this is the next attempt. Should what is held here not have begun,
			// it does not.
			have.lost = true
			e.release(have)
		}
		j.token, j.claimed, j.expires = req.Token, now, expires
		j.lane = e.lane(&j.Delivery)
		j.lane.held++
		e.held++
		e.holding[j.lane.tenant]++
		e.jobs[j.Delivery.ID] = j
		if j.Err == nil {
			e.adopt(j.lane, j.Webhook, now)
		}
		got[j.lane.id]++
		switch {
		case e.verdictWithoutAttempt(j):
			over = append(over, j)
		case j.lane.pace.limited() && len(j.lane.queue) >= j.lane.pace.within(paceAhead, now):
			spare = append(spare, j) // its webhook's limit was not known when it was claimed
		case j.Delivery.Crashes < suspectCrashes:
			e.enqueue(j)
		case e.admit(j):
		default:
			back = append(back, j)
		}
	}
	for l := range e.active {
		// What was passed over may have more: nobody has looked.
		if room, named := e.bound(&req, l); named && room == 0 {
			l.more = true
		}
	}
	for id, n := range got {
		room, limited := req.Limits[id]
		if !limited {
			room = req.PerWebhook
		}
		l := e.lanes[id]
		l.more, l.dry = n >= room, false
		more = more || e.wanting(l, now)
	}
	for _, j := range spare {
		j.lane.more = true
	}
	e.mu.Unlock()

	for _, j := range over {
		e.d.log.Error("webhook: a delivery is set aside: it cannot be read, or has crashed its process too often",
			"delivery", j.Delivery.ID, "crashes", j.Delivery.Crashes, "error", j.Err)
	}
	// Before a suspect begins, those not on trial are safe from what it may do.
	if len(back) > 0 {
		if err := e.giveBack(ctx, back, suspectDelay); err != nil {
			e.d.log.Warn("webhook: deliveries that crashed before could not be given back", "count", len(back), "error", err)
		}
	}
	e.results.add(over...)
	e.mu.Lock()
	for i := range jobs {
		if jobs[i].suspect {
			e.enqueue(&jobs[i])
		}
	}
	e.startWorkers(len(jobs))
	e.mu.Unlock()
	if len(spare) > 0 {
		if err := e.giveBack(ctx, spare, 0); err != nil && ctx.Err() == nil {
			e.d.log.Warn("webhook: deliveries over a rate limit could not be given back and wait for their lease to expire", "count", len(spare), "error", err)
		}
	}
	return more
}

// verdictWithoutAttempt ends deliveries that cannot be attempted or have
// crashed too often. Caller holds mu.
func (e *engine) verdictWithoutAttempt(j *job) bool {
	if j.Err == nil && j.Event != nil && j.Delivery.Crashes < e.cfg.QuarantineAfter {
		return false
	}
	j.end(StateFailed, ReasonQuarantined)
	j.untold = true
	return true
}

// admit puts a delivery that has crashed before on trial beside those that are,
// if that is not too many: alone when one more crash would set it aside, eight
// with one crash less, sixty-four before that. So one that kills its process is
// found among the many that only were there. Who has run for suspectDelay
// without harm is acquitted. Caller holds mu.
func (e *engine) admit(j *job) bool {
	e.suspects = slices.DeleteFunc(e.suspects, func(s *job) bool {
		return !s.began.IsZero() && time.Since(s.began) > suspectDelay
	})
	most := func(j *job) int { return 1 << (3 * min(max(e.cfg.QuarantineAfter-1-j.Delivery.Crashes, 0), 2)) }
	limit := most(j)
	for _, s := range e.suspects {
		limit = min(limit, most(s))
	}
	if len(e.suspects) >= limit {
		return false
	}
	j.suspect = true
	e.suspects = append(e.suspects, j)
	return true
}

// acquit ends a delivery's trial, if it is on one. Caller holds mu.
func (e *engine) acquit(j *job) {
	if j.suspect {
		e.suspects = slices.DeleteFunc(e.suspects, func(s *job) bool { return s == j })
	}
}

// shed gives back deliveries of webhooks that do not get on with what is held
// for them, once room is scarce. They are claimed again when there is use for
// them.
func (e *engine) shed(ctx context.Context) {
	e.mu.Lock()
	free := e.cfg.MaxClaimed - e.held
	var back []*job
	if free < e.cfg.MaxClaimed/2 {
		for l := range e.active {
			if len(l.queue) == 0 || time.Since(l.queue[0].claimed) <= staleAfter {
				continue
			}
			keep := 0
			switch {
			case free < e.cfg.MaxClaimed/4:
			case l.spaced():
				continue // they are few, and begin soon
			case l.probing():
				keep = min(mostProbed, len(l.queue))
			default:
				keep = min(l.limit, len(l.queue))
			}
			back = append(back, l.queue[keep:]...)
			clear(l.queue[keep:])
			l.queue = l.queue[:keep]
			if l.spaced() {
				l.rest = time.Now().Add(l.pace.wait(time.Now()))
				continue
			}
			if l.probing() {
				continue // what was claimed before it was known to fail
			}
			l.window = max(l.window/2, l.limit)
			// Longer each time, until it shows a success: what is claimed for a
			// webhook that hangs is written for nothing.
			l.pause = min(max(2*l.pause, staleAfter), maxPause)
			l.rest = time.Now().Add(l.pause)
		}
	}
	e.mu.Unlock()
	if len(back) == 0 {
		return
	}
	if err := e.giveBack(ctx, back, 0); err != nil && ctx.Err() == nil {
		e.d.log.Warn("webhook: deliveries could not be given back and wait for their lease to expire", "count", len(back), "error", err)
	}
}

// starved reports whether the store may have deliveries of webhooks that there
// was no room for, or lanes wait for a slot, and when to look again.
func (e *engine) starved() (wait time.Duration, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.blocked() {
		return staleAfter, true
	}
	now := time.Now()
	for l := range e.active {
		if !l.more {
			continue
		}
		d := staleAfter
		if l.pace.limited() {
			d = max(d, l.pace.wait(now)-paceAhead)
		}
		if !yes || d < wait {
			wait, yes = d, true
		}
	}
	return wait, yes
}

// sleep waits until there may be something to claim, d has passed (0: however
// long it takes), or ctx ends.
func (e *engine) sleep(ctx context.Context, d time.Duration) {
	var timer <-chan time.Time
	if d > 0 {
		e.mu.Lock()
		e.asleep = time.Now().Add(d)
		e.mu.Unlock()
		defer func() {
			e.mu.Lock()
			e.asleep = time.Time{}
			e.mu.Unlock()
		}()
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-e.d.wake:
	case <-e.claimWake:
	case <-timer:
	}
	// Whoever can run now, a publisher or an attempt that has ended, comes along
	// with what is claimed next.
	runtime.Gosched()
}

// pause waits after the n-th failure in a row.
func (e *engine) pause(ctx context.Context, n int) {
	t := time.NewTimer(storeRetry(n))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// storeRetry is how long to wait after the n-th failure of the store in a row.
func storeRetry(n int) time.Duration { return min(storeRetryMin<<min(n-1, 10), storeRetryMax) }
