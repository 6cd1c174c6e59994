package memstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// Resend implements [webhook.QueueStore]. An expired lease is not an attempt: it ends.
func (s *Store) Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (webhook.Delivery, error) {
	if err := s.lock(ctx); err != nil {
		return webhook.Delivery{}, err
	}
	defer s.mu.Unlock()
	d, err := s.deliveryOf(tenant, deliveryID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	s.resend(d, now.UnixMicro())
	return d.view(), nil
}

// resend makes a delivery pending and due now unless a lease holds it. A delivery
// that has been due for longer keeps its place in the queue.
func (s *Store) resend(d *delivery, now int64) {
	switch {
	case d.claim != nil && d.at > now:
		return
	case d.claim != nil:
		s.unhold(d)
		s.enqueue(d, now, now)
	case d.state != webhook.StatePending:
		s.finished.remove(&d.node)
		d.state, d.reason, d.finished = webhook.StatePending, "", zeroMicros
		s.countPending(d, 1)
		s.enqueue(d, now, now)
	case d.due > now:
		d.hook.queue.remove(&d.node)
		s.enqueue(d, now, now)
	}
	d.tries, d.crashes = 0, 0
}

// Replay implements [webhook.QueueStore]. It goes through the webhook's deliveries in
// the order of their creation, then through the events that it lacks in the
// order of theirs. Events published to one webhook only are not missing at
// others. A step that creates more than the store can hold ends there, and is
// an error wrapping [webhook.ErrBacklogFull] if no delivery was resent or
// created.
func (s *Store) Replay(ctx context.Context, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
	list, pos := byte(cursorResends), firstPosition
	if req.Cursor != "" {
		var err error
		if list, pos, err = s.openPosCursor(req.Cursor); err != nil {
			return webhook.ReplayResult{}, err
		}
		if list == cursorDeliveries {
			return webhook.ReplayResult{}, fmt.Errorf("memory store: cursor of another list: %w", webhook.ErrCursor)
		}
	}
	if err := s.lock(ctx); err != nil {
		return webhook.ReplayResult{}, err
	}
	defer s.mu.Unlock()
	h, err := s.hook(req.Tenant, req.WebhookID)
	if err != nil {
		return webhook.ReplayResult{}, err
	}
	r := replay{s: s, h: h, req: &req, now: req.Now.UnixMicro(), published: newSpan(req.Since, req.Until), left: replayScan}
	done := true
	if list == cursorResends {
		if pos, done = r.resend(pos); done {
			list, pos = cursorMissing, firstPosition
		}
	}
	if done && req.Missing {
		pos, done, err = r.create(pos)
	}
	if err != nil && r.res.Resent+r.res.Created == 0 {
		return webhook.ReplayResult{}, err
	}
	if !done {
		r.res.Next = s.posCursor(list, pos)
	}
	return r.res, nil
}

// replay is one step of a replay.
type replay struct {
	s         *Store
	h         *hook
	req       *webhook.ReplayRequest
	now       int64
	published span
	left      int // deliveries and events that it may still look at
	res       webhook.ReplayResult
}

// full reports whether the step must end before it looks at one more.
func (r *replay) full() bool {
	r.left--
	return r.left < 0 || r.res.Resent+r.res.Created >= r.req.Limit
}

// resend goes through the deliveries after pos and returns how far it came,
// and whether that was all.
func (r *replay) resend(pos position) (position, bool) {
	if len(r.req.States) == 0 {
		return pos, true
	}
	// No delivery was created before its event was published.
	if start := (position{r.published.since - 1, math.MaxUint64}); pos.less(start) {
		pos = start
	}
	for d := range r.h.log.ascend(pos) {
		if r.full() {
			return pos, false
		}
		pos = d.position()
		e := d.event
		if d.state == webhook.StatePending || !slices.Contains(r.req.States, d.state) || !r.selects(e) {
			continue
		}
		if !r.req.DryRun {
			r.s.resend(d, r.now)
		}
		r.res.Resent++
	}
	return pos, true
}

// create does the same for events that have no delivery to the webhook.
func (r *replay) create(pos position) (position, bool, error) {
	if start := (position{r.published.since - 1, math.MaxUint64}); pos.less(start) {
		pos = start
	}
	for e := range r.h.tenant.eventLog.ascend(pos) {
		if e.published >= r.published.until {
			break
		}
		if r.full() {
			return pos, false, nil
		}
		if r.selects(e) && r.wants(e) && !e.sentTo(r.h) {
			if !r.req.DryRun {
				var data int64
				if e.pending == 0 {
					data = int64(len(e.rec.Data))
				}
				if err := r.s.room(1, data); err != nil {
					return pos, false, err
				}
				r.deliver(e)
			}
			r.res.Created++
		}
		pos = e.position()
	}
	return pos, true, nil
}

func (r *replay) selects(e *event) bool {
	return r.published.contains(e.published) && (r.req.EventType == "" || e.rec.Type == r.req.EventType)
}

// wants reports whether the webhook would get the event if it were published now.
func (r *replay) wants(e *event) bool {
	if e.only != "" {
		return e.only == r.h.id
	}
	return eventtype.AnyMatches(r.h.rec.Events, e.rec.Type)
}

func (r *replay) deliver(e *event) {
	if e.place != 0 {
		r.s.idle.remove(&e.node)
	}
	ids := r.s.newIDs(1)
	d := r.s.deliver(e, r.h, ids.next(), max(r.now, e.published))
	e.late = append(e.late, d)
}

// sentTo reports whether the event has a delivery to a webhook. Those made when
// it was published have numbers in a row and its time.
func (e *event) sentTo(h *hook) bool {
	if d, ok := h.log.at(position{e.published, e.first}); ok && d.event == e {
		return true
	}
	return slices.ContainsFunc(e.late, func(d *delivery) bool { return d.hook == h })
}
