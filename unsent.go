package webhook

import (
	"context"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/post"
)

const (
	// unsentWaitMin and unsentWaitMax bound how long a delivery waits that could
	// not be sent for a fault of this side: longer with each time in a row.
	unsentWaitMin = time.Second
	unsentWaitMax = time.Minute
)

// An unsentSpell is for how many rounds nothing could be sent to a webhook.
// Attempts that were in flight together are one round. Its fields are guarded by
// engine.mu.
type unsentSpell struct {
	rounds int
	last   time.Time // when the last round was counted
}

// next counts a fault of an attempt that began at a time, and returns how long to
// wait.
func (s *unsentSpell) next(began, now time.Time) time.Duration {
	if !began.Before(s.last) || s.rounds == 0 {
		s.rounds++
		s.last = now
	}
	return min(unsentWaitMin<<min(s.rounds-1, 10), unsentWaitMax)
}

// lasts reports whether what was put off may not have been tried again yet.
func (s *unsentSpell) lasts(now time.Time) bool {
	return s.rounds > 0 && now.Sub(s.last) < 2*unsentWaitMax
}

// unsentNews tells the host of faults, muted for each kind of fault by itself.
type unsentNews struct {
	calls chan Unsent // of Hooks.Unsent; what there is no room for is left out
	mu    sync.Mutex
	mutes map[string]*contain.Mute
}

// pass reports whether to tell of a fault now, and how many were left out.
func (n *unsentNews) pass(kind string) (alike int, ok bool) {
	n.mu.Lock()
	if n.mutes == nil {
		n.mutes = make(map[string]*contain.Mute)
	}
	m := n.mutes[kind]
	if m == nil {
		m = new(contain.Mute)
		n.mutes[kind] = m
	}
	n.mu.Unlock()
	return m.Pass()
}

// putOffUnsent puts off a delivery that this side could not send. It uses up no
// try and tells nothing of the receiver, so there is no end to it but that it can
// be sent, or is not wanted any more. The first such attempt in a row is logged,
// for customers to see; the others change nothing, or the log of a long outage
// would fill the store.
//
// From the second round on the webhook's other deliveries wait too. One at a time
// goes on being tried, which costs the others nothing.
func (e *engine) putOffUnsent(j *job, fault *post.Fault) {
	now := time.Now()
	e.mu.Lock()
	l := j.lane
	wait := l.unsent.next(j.began, now)
	var back []*job
	if l.unsent.rounds > 1 {
		back, l.queue = l.queue, nil
		l.limit, l.window = 1, 1
		if !e.once { // a single run ends when nothing is due, and this is not any more
			l.rest = now.Add(wait)
		}
	}
	e.mu.Unlock()

	e.tellUnsent(j, fault, wait)
	if j.Delivery.LastClass != ClassUnsent {
		j.result = Result{Attempt: &j.attempt, State: StatePending, Delay: wait}
		e.results.add(j)
	} else {
		back = append(back, j)
	}
	if len(back) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordGrace)
	defer cancel()
	if err := e.giveBack(ctx, back, wait); err != nil {
		e.d.log.Warn("webhook: deliveries could not be given back and wait for their lease to expire", "count", len(back), "error", err)
	}
	e.mu.Lock()
	if e.asleep.IsZero() || now.Add(wait).Before(e.asleep) {
		e.signalClaim() // they are due before the claim loop meant to look again
	}
	e.mu.Unlock()
}

// tellUnsent writes to the host's log, and calls its hook.
func (e *engine) tellUnsent(j *job, fault *post.Fault, wait time.Duration) {
	alike, ok := e.unsent.pass(fault.Kind)
	if !ok {
		return
	}
	e.d.log.Error("webhook: nothing can be sent, and it is not the receiver's fault; deliveries wait and use up no retry",
		"fault", fault.Text, "kind", fault.Kind, "webhook", j.Delivery.WebhookID, "delivery", j.Delivery.ID,
		"again_in", wait, "alike_not_logged", alike)
	if e.cfg.Hooks.Unsent == nil {
		return
	}
	select {
	case e.unsent.calls <- Unsent{Fault: fault.Text, Kind: fault.Kind, Delivery: j.Delivery, Again: e.d.now().Add(wait), Alike: alike}:
	default:
	}
}

func (e *engine) hookUnsent(u Unsent) { e.hook("Unsent", func() { e.cfg.Hooks.Unsent(u) }) }

// lastUnsent makes the calls that are left when a run ends.
func (e *engine) lastUnsent() {
	for {
		select {
		case u := <-e.unsent.calls:
			e.hookUnsent(u)
		default:
			return
		}
	}
}
