package webhook

import (
	"context"
	"slices"
	"time"
)

// unreadableWait is how long deliveries wait, again and again, whose webhook's
// secrets or headers cannot be decrypted.
const unreadableWait = 30 * time.Second

// putOff gives back a delivery that can neither be signed nor refused, and what
// waits behind it: it is nobody's failure but the host's, so it uses up no
// attempt, tells nothing of the receiver and ends nothing. Its webhook is not
// looked at again for a while, so that a backlog costs the others nothing.
func (e *engine) putOff(j *job, why error) {
	now := time.Now()
	e.mu.Lock()
	l := j.lane
	back := slices.Concat(l.queue, []*job{j})
	l.queue = nil
	told := now.Before(l.unreadUntil)
	l.unreadUntil = now.Add(unreadableWait)
	if !e.once { // a single run ends when nothing is due, and this is not any more
		l.rest = l.unreadUntil
	}
	e.mu.Unlock()
	if !told {
		e.d.log.Error("webhook: deliveries of a webhook wait, as it cannot be read; nothing is sent unsigned",
			"webhook", l.id, "error", why, "again_in", unreadableWait)
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordGrace)
	defer cancel()
	if err := e.giveBack(ctx, back, unreadableWait); err != nil {
		e.d.log.Warn("webhook: deliveries could not be given back and wait for their lease to expire", "count", len(back), "error", err)
	}
}
