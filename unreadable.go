package webhook

import (
	"context"
	"time"
)

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
