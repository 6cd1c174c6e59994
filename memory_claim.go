package webhook

import (
	"context"
	"time"
)

// memClaim is one call of Claim, while a delivery is held by it.
type memClaim struct {
	token int64
	items []*memDelivery // all that it was given, also those it no longer holds
	held  int
}

// enqueue puts a pending delivery that no claim holds into its webhook's queue.
func (s *MemoryStore) enqueue(d *memDelivery, due, now int64) {
	d.due = due
	d.hook.queue.push(&d.memNode, due, s.turn(), due <= now)
	s.schedule(d.hook, now)
}

// hold gives a delivery that is in no queue to a claim.
func (s *MemoryStore) hold(d *memDelivery, c *memClaim, expiry int64) {
	d.claim = c
	c.held++
	d.hook.leases.push(&d.memNode, expiry, s.turn(), true)
}

// unhold takes a delivery from the claim that holds it; it is in no queue then.
func (s *MemoryStore) unhold(d *memDelivery) {
	d.hook.leases.remove(&d.memNode)
	c := d.claim
	d.claim = nil
	if c.held--; c.held == 0 {
		delete(s.claims, c.token)
	}
}

// nextDelivery returns the delivery that becomes claimable first: one that waits, or
// one whose lease expires.
func (h *memHook) nextDelivery() *memNode[memDelivery] {
	q, l := h.queue.first(), h.leases.first()
	if q == nil || l != nil && l.before(q) {
		return l
	}
	return q
}

func (h *memHook) nextAt() int64 { return min(h.queue.firstAt(), h.leases.firstAt()) }

// schedule makes sure that a claim finds the webhook when it should: to be
// called when a delivery of it may have become claimable earlier than before.
func (s *MemoryStore) schedule(h *memHook, now int64) {
	if h.ready {
		return
	}
	at := h.nextAt()
	switch {
	case at == memNever:
	case at <= now:
		s.unschedule(h)
		h.ready = true
		s.ready.push(&h.memNode, 0, s.turn(), true)
	case h.place == 0:
		s.timers.push(&h.memNode, at, s.turn(), false)
	case at < h.at:
		s.timers.remove(&h.memNode)
		s.timers.push(&h.memNode, at, s.turn(), false)
	}
}

// unschedule takes a webhook out of the queue of webhooks that it is in.
func (s *MemoryStore) unschedule(h *memHook) {
	switch {
	case h.ready:
		s.ready.remove(&h.memNode)
	case h.orphan:
		s.orphans.remove(&h.memNode)
	case h.place != 0:
		s.timers.remove(&h.memNode)
	}
	h.ready, h.orphan = false, false
}

// Claim implements [QueueStore].
func (s *MemoryStore) Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error) {
	now, expiry := req.Now.UnixMicro(), req.Now.Add(req.Lease).UnixMicro()
	if err := s.lock(ctx); err != nil {
		return ClaimResult{}, err
	}
	defer s.mu.Unlock()
	for n := s.timers.first(); n != nil && n.at <= now; n = s.timers.first() {
		s.visits++
		s.unschedule(n.owner)
		s.schedule(n.owner, now)
	}

	c := s.claims[req.Token]
	if c == nil {
		c = &memClaim{token: req.Token}
	}
	claimed, nextDue := s.claimedScratch[:0], int64(memNever)
	// Each webhook is taken from the front and put back at the end, once.
	for n := s.ready.n; n > 0 && len(claimed) < req.Limit; n-- {
		s.visits++
		h := s.ready.first().owner
		s.unschedule(h)
		limit := req.PerWebhook
		if l, ok := req.Limits[h.id]; ok {
			limit = l
		}
		from := len(claimed)
		claimed = s.takeDue(claimed, h, now, min(limit, req.Limit-from))
		for _, d := range claimed[from:] {
			s.hold(d, c, expiry)
		}
		s.schedule(h, now)
		if h.ready {
			nextDue = min(nextDue, h.queue.after(now), h.leases.after(now))
		}
	}
	if c.held > 0 {
		s.claims[c.token] = c
		c.items = append(c.items, claimed...)
	}

	var res ClaimResult
	if len(claimed) > 0 {
		res.Deliveries = make([]ClaimedDelivery, len(claimed))
		for i, d := range claimed {
			res.Deliveries[i] = ClaimedDelivery{Delivery: d.view(), Event: &d.event.rec, Webhook: d.hook.snapshot()}
		}
	}
	if nextDue = min(nextDue, s.nextTimer()); nextDue != memNever {
		res.NextDue = memTime(nextDue)
	}
	clear(claimed)
	s.claimedScratch = claimed[:0]
	return res, nil
}

// takeDue takes up to limit deliveries that are claimable now out of the
// queues of a webhook, earliest first, and appends them to dst.
func (s *MemoryStore) takeDue(dst []*memDelivery, h *memHook, now int64, limit int) []*memDelivery {
	for ; limit > 0; limit-- {
		n := h.nextDelivery()
		if n == nil || n.at > now {
			break
		}
		s.visits++
		d := n.owner
		if d.claim != nil { // its lease expired
			s.unhold(d)
			d.attempts++
			d.crashes++
		} else {
			h.queue.remove(n)
		}
		dst = append(dst, d)
	}
	return dst
}

// nextTimer returns when the first webhook in timers has something due.
func (s *MemoryStore) nextTimer() int64 {
	for {
		n := s.timers.first()
		if n == nil {
			return memNever
		}
		s.visits++
		at := n.owner.nextAt()
		if at == n.at {
			return at
		}
		s.timers.remove(n)
		if at != memNever {
			s.timers.push(n, at, s.turn(), false)
		}
	}
}

// held returns the delivery of a lease if the lease's claim holds it.
func (s *MemoryStore) held(l Lease) *memDelivery {
	if d := s.delivery(l.DeliveryID); d != nil && d.claim != nil && d.claim.token == l.Token {
		return d
	}
	return nil
}

// Extend implements [QueueStore].
func (s *MemoryStore) Extend(ctx context.Context, now time.Time, leases []Lease, by time.Duration) (lost []string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	expiry := now.Add(by).UnixMicro()
	for _, l := range leases {
		d := s.held(l)
		if d == nil {
			lost = append(lost, l.DeliveryID)
			continue
		}
		d.hook.leases.remove(&d.memNode)
		d.hook.leases.push(&d.memNode, expiry, s.turn(), true)
		s.schedule(d.hook, now.UnixMicro())
	}
	return lost, nil
}

// Release implements [QueueStore].
func (s *MemoryStore) Release(ctx context.Context, now time.Time, leases []Lease, delay time.Duration) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	due := now.Add(delay).UnixMicro()
	for _, l := range leases {
		if l.DeliveryID != "" {
			if d := s.held(l); d != nil {
				s.unhold(d)
				s.enqueue(d, due, now.UnixMicro())
			}
			continue
		}
		if c := s.claims[l.Token]; c != nil {
			for _, d := range c.items {
				if d.claim == c {
					s.unhold(d)
					s.enqueue(d, due, now.UnixMicro())
				}
			}
		}
	}
	return nil
}
