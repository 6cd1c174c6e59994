package webhook

import (
	"context"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/post"
)

// unsentNews tells the host of faults; each kind of fault is muted by itself.
type unsentNews struct {
	calls chan Unsent // of Hooks.Unsent; dropped when full
	mutes sync.Map    // *contain.Mute by kind
}

// pass reports whether to tell of a fault now, and how many were left out.
func (n *unsentNews) pass(kind string) (alike int, ok bool) {
	m, _ := n.mutes.LoadOrStore(kind, new(contain.Mute))
	return m.(*contain.Mute).Pass() // the map holds no others
}

// putOffUnsent puts off a delivery that this side could not send. The receiver is
// not at fault, so the attempt uses up no try and may repeat without limit. Only
// the first such attempt in a row is recorded, for customers to see, or a long
// outage would fill the store.
//
// From the second round on the webhook's other deliveries wait too, and one
// delivery at a time is tried.
func (e *engine) putOffUnsent(j *job, fault *post.SenderError) {
	now := time.Now()
	e.mu.Lock()
	wait, queued := e.sched.Unsent(j, j.began, now)
	back := jobsOf(queued)
	e.mu.Unlock()

	e.tellUnsent(j, fault, wait)
	if j.Delivery.LastClass != ClassUnsent {
		j.result = Result{Attempt: &j.attempt, State: StatePending, Delay: wait}
		e.results.Add(j)
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
		e.signalClaim() // they are due before the claim loop wakes
	}
	e.mu.Unlock()
}

func (e *engine) tellUnsent(j *job, fault *post.SenderError, wait time.Duration) {
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

func (e *engine) hookUnsent(u Unsent) {
	e.d.contained("the hook Unsent", func() { e.cfg.Hooks.Unsent(u) })
}

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

// unreadableWait is how long deliveries wait, again and again, whose webhook's
// secrets or headers cannot be decrypted.
const unreadableWait = 30 * time.Second

// putOff releases a delivery whose webhook's secrets or headers cannot be decrypted,
// with everything queued behind it. The host's keys are at fault and not the receiver,
// so no attempt is counted and the delivery stays pending. Its webhook is not looked at
// again for a while, so that a backlog is no cost to the others.
func (e *engine) putOff(j *job, why error) {
	now := time.Now()
	e.mu.Lock()
	p := j.endpoint
	told := now.Before(p.unreadUntil)
	p.unreadUntil = now.Add(unreadableWait)
	back := append(jobsOf(e.sched.PutOff(p.lane, p.unreadUntil)), j)
	e.mu.Unlock()
	if !told {
		e.d.log.Error("webhook: deliveries of a webhook wait, as it cannot be read; nothing is sent unsigned",
			"webhook", p.id, "error", why, "again_in", unreadableWait)
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordGrace)
	defer cancel()
	if err := e.giveBack(ctx, back, unreadableWait); err != nil {
		e.d.log.Warn("webhook: deliveries could not be given back and wait for their lease to expire", "count", len(back), "error", err)
	}
}
