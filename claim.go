package webhook

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook/internal/id"
	"github.com/seed68722ecd/webhook/internal/lanes"
)

const (
	// maxOnceFailures is how many failures of the store in a row end DeliverDue.
	maxOnceFailures = 5
	// storeRetryMin and storeRetryMax bound the wait after a store's error.
	storeRetryMin = 100 * time.Millisecond
	storeRetryMax = 5 * time.Second
	// suspectCrashes is how many crashes make a delivery a suspect, see admit. A
	// suspect that has to wait is given back for suspectDelay.
	suspectCrashes = 2
	suspectDelay   = time.Second
)

// claimLoop claims until ctx ends, or, with once, until no delivery is due.
func (e *engine) claimLoop(ctx context.Context) {
	var failures int
	for ctx.Err() == nil {
		e.mu.Lock()
		e.sched.Reconsider(time.Now())
		e.mu.Unlock()
		e.shed(ctx)
		if e.overslept() {
			e.renew(ctx) // or this process would claim its own deliveries again
		}
		plan, wait := e.plan()
		if plan == nil { // no room: something has to end first, or grow old
			e.sleep(ctx, wait)
			continue
		}
		req := e.claimRequest(plan)
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
			waitFor(ctx.Done(), storeRetry(failures))
			continue
		}
		failures = 0
		if e.accept(ctx, res, req, plan) {
			continue // there is more: look again as soon as there is room
		}
		if e.once && len(res.Deliveries) == 0 && plan.Idle {
			break
		}
		wait = e.cfg.PollInterval
		if !res.NextDue.IsZero() {
			wait = min(wait, max(res.NextDue.Sub(e.d.cfg.Now()), 0)+time.Microsecond)
		}
		if e.once {
			wait = 0 // only held deliveries can lead to more
		}
		if d, starved := e.starved(); starved && (wait == 0 || wait > d) {
			wait = d // lanes that were passed over may have room by then
		}
		e.sleep(ctx, wait)
	}
	e.forgetUnknown(context.WithoutCancel(ctx))
}

// plan returns how much to claim, or nil and how long to wait until there is room.
func (e *engine) plan() (*lanes.Claim, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	plan := e.sched.PlanClaim(e.claimed.mono, now)
	if plan == nil {
		return nil, e.sched.UntilRoom(e.claimed.mono, now)
	}
	for _, id := range plan.Forgotten {
		delete(e.endpoints, id)
	}
	return plan, 0
}

func (e *engine) claimRequest(plan *lanes.Claim) ClaimRequest {
	return ClaimRequest{
		Token:       id.NewToken(),
		Now:         e.d.now(),
		Lease:       e.cfg.Lease,
		Limit:       plan.Limit,
		PerWebhook:  plan.PerLane,
		Limits:      plan.Limits,
		PassTenants: plan.PassTenants,
		Rest:        plan.Rest,
	}
}

// claim asks the store. After an error it notes the token, since the claim may
// have succeeded and only its answer been lost.
func (e *engine) claim(ctx context.Context, req ClaimRequest) (ClaimResult, error) {
	e.forgetUnknown(ctx)
	e.claimed = thisMoment() // a store may have counted from here on
	res, err := timed(ctx, e.d, "Claim", e.cfg.StoreTimeout, func(ctx context.Context) (ClaimResult, error) { return e.d.store.Claim(ctx, req) })
	if seen := e.cfg.Observer.Claimed; seen != nil {
		took := time.Since(e.claimed.mono)
		e.d.contained("the observer's Claimed", func() { seen(len(res.Deliveries), took, err) })
	}
	if err != nil && len(e.unknown) < 16 {
		e.unknown = append(e.unknown, req.Token)
	}
	return res, err
}

// forgetUnknown gives back deliveries that claims of unknown outcome may have leased.
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
func (e *engine) accept(ctx context.Context, res ClaimResult, req ClaimRequest, plan *lanes.Claim) bool {
	now, expires := e.claimed.mono, e.claimed.add(req.Lease)
	if len(res.Deliveries) == 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sched.Told(plan, now)
		return e.sched.Taken(plan, 0, now)
	}
	jobs := make([]job, len(res.Deliveries))
	var back, over, spare []*job

	e.mu.Lock()
	e.sched.Told(plan, now)
	for i := range jobs {
		j := &jobs[i]
		j.ClaimedDelivery = &res.Deliveries[i]
		if have := e.jobs[j.Delivery.ID]; have != nil && have.claimedAgain(&j.Delivery) {
			// Its lease ran out here and came back here, as renewals failed but this
			// claim did not: its attempt goes on under the new lease.
			have.token, have.expires, have.lost = req.Token, expires, false
			continue
		} else if have != nil {
			// The result of the job held here was recorded, and only the answer to that
			// was lost: the new claim is for the next attempt. If the job held here has
			// not begun, it does not.
			have.lost = true
			e.release(have)
		}
		j.token, j.expires = req.Token, expires
		e.hold(j, e.endpointOf(&j.Delivery, now), now)
		if j.Err == nil {
			e.adopt(j.endpoint, j.Webhook, now)
		}
		switch {
		case e.verdictWithoutAttempt(j):
			over = append(over, j)
		case e.sched.Surplus(j, now):
			spare = append(spare, j) // its webhook's limit was not known when it was claimed
		case j.Delivery.Crashes < suspectCrashes:
			e.sched.Enqueue(j)
		case e.admit(j):
		default:
			back = append(back, j)
		}
	}
	more := e.sched.Taken(plan, len(jobs), now)
	e.mu.Unlock()

	for _, j := range over {
		e.d.log.Error("webhook: a delivery is set aside: it cannot be read, or has crashed its process too often",
			"delivery", j.Delivery.ID, "crashes", j.Delivery.Crashes, "error", j.Err)
	}
	// Give back the other suspects before one starts: if it kills the process, their
	// leases must not expire with it, or they would be counted as crashed too.
	if len(back) > 0 {
		if err := e.giveBack(ctx, back, suspectDelay); err != nil {
			e.d.log.Warn("webhook: deliveries that crashed before could not be given back", "count", len(back), "error", err)
		}
	}
	e.results.Add(over...)
	e.mu.Lock()
	for i := range jobs {
		if jobs[i].suspect {
			e.sched.Enqueue(&jobs[i])
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

// admit limits how many deliveries with earlier crashes run at once, so that a
// delivery that kills the process can be told from its neighbours. A delivery one
// crash away from quarantine runs alone; with two crashes left at most 8 suspects
// run together, before that 64. A suspect that has run for suspectDelay is no
// longer counted. Caller holds mu.
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

// acquit removes a delivery from the suspects. Caller holds mu.
func (e *engine) acquit(j *job) {
	if j.suspect {
		e.suspects = slices.DeleteFunc(e.suspects, func(s *job) bool { return s == j })
	}
}

// shed gives back deliveries of lanes without progress once room is scarce. They
// are claimed again when their lanes have use for them.
func (e *engine) shed(ctx context.Context) {
	e.mu.Lock()
	back := jobsOf(e.sched.Shed(time.Now()))
	e.mu.Unlock()
	if len(back) == 0 {
		return
	}
	if err := e.giveBack(ctx, back, 0); err != nil && ctx.Err() == nil {
		e.d.log.Warn("webhook: deliveries could not be given back and wait for their lease to expire", "count", len(back), "error", err)
	}
}

// starved reports whether claims passed webhooks over for lack of room, or lanes
// wait for a slot, and when to look again.
func (e *engine) starved() (wait time.Duration, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Starved(time.Now())
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
	// Publishers and attempts that can run now add to the next claim.
	runtime.Gosched()
}

// storeRetry is how long to wait after the n-th failure of the store in a row.
func storeRetry(n int) time.Duration { return min(storeRetryMin<<min(n-1, 10), storeRetryMax) }
