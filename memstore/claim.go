package memstore

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// claim is one call of Claim, while a delivery is held by it.
type claim struct {
	token int64
	items []*delivery // all that it was given, also those it no longer holds
	held  int
}

// enqueue puts a pending delivery that no claim holds into its webhook's queue.
func (s *Store) enqueue(d *delivery, due, now int64) {
	d.due = due
	d.hook.queue.push(&d.node, due, s.turn(), due <= now)
	s.schedule(d.hook, now)
}

// hold gives a delivery that is in no queue to a claim.
func (s *Store) hold(d *delivery, c *claim, expiry int64) {
	d.claim = c
	c.held++
	d.hook.leases.push(&d.node, expiry, s.turn(), true)
}

// unhold takes a delivery from the claim that holds it; it is in no queue then.
func (s *Store) unhold(d *delivery) {
	d.hook.leases.remove(&d.node)
	c := d.claim
	d.claim = nil
	if c.held--; c.held == 0 {
		delete(s.claims, c.token)
	}
}

// nextDelivery returns the delivery that becomes claimable first: a waiting delivery,
// or a leased delivery when its lease expires.
func (h *hook) nextDelivery() *node[delivery] {
	q, l := h.queue.first(), h.leases.first()
	if q == nil || l != nil && l.before(q) {
		return l
	}
	return q
}

// nextAt is when a claim may take something of the webhook.
func (h *hook) nextAt() int64 {
	return max(min(h.queue.firstAt(), h.leases.firstAt()), h.rest)
}

// schedule makes sure that a claim finds the webhook when it should: to be
// called when a delivery of it may have become claimable earlier than before.
func (s *Store) schedule(h *hook, now int64) {
	if h.ready {
		return
	}
	at := h.nextAt()
	switch {
	case at == never:
	case at <= now:
		s.unschedule(h)
		h.ready = true
		h.tenant.ready.push(&h.node, 0, s.turn(), true)
		if t := h.tenant; t.place == 0 {
			s.lineUp(t, !t.served)
		}
	case h.place == 0:
		s.timers.push(&h.node, at, s.turn(), false)
	case at < h.at:
		s.timers.remove(&h.node)
		s.timers.push(&h.node, at, s.turn(), false)
	}
}

// lineUp puts a tenant that has something due in line.
func (s *Store) lineUp(t *tenant, fresh bool) {
	t.line = &s.ready
	if fresh {
		t.line = &s.fresh
	}
	t.line.push(&t.node, 0, s.turn(), true)
}

// nextTenant takes the tenant whose turn it is out of line.
func (s *Store) nextTenant() *tenant {
	line := &s.ready
	if s.odd = !s.odd; s.fresh.n > 0 && (s.odd || s.ready.n == 0) {
		line = &s.fresh
	}
	t := line.first().owner
	line.remove(&t.node)
	return t
}

// unschedule takes a webhook out of the queue of webhooks that it is in.
func (s *Store) unschedule(h *hook) {
	switch {
	case h.ready:
		t := h.tenant
		if t.ready.remove(&h.node); t.ready.n == 0 && t.place != 0 {
			t.line.remove(&t.node)
		}
	case h.orphan:
		s.orphans.remove(&h.node)
	case h.place != 0:
		s.timers.remove(&h.node)
	}
	h.ready, h.orphan = false, false
}

// Claim implements [webhook.QueueStore].
func (s *Store) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	now, expiry := req.Now.UnixMicro(), req.Now.Add(req.Lease).UnixMicro()
	if err := s.lock(ctx); err != nil {
		return webhook.ClaimResult{}, err
	}
	defer s.mu.Unlock()
	for n := s.timers.first(); n != nil && n.at <= now; n = s.timers.first() {
		s.visits++
		s.unschedule(n.owner)
		s.schedule(n.owner, now)
	}

	c := s.claims[req.Token]
	if c == nil {
		c = &claim{token: req.Token}
	}
	s.setRests(req.Rest, now)
	claimed, nextDue := s.takeTurns(s.claimedScratch[:0], &req, c, now, expiry)
	if c.held > 0 {
		s.claims[c.token] = c
		c.items = append(c.items, claimed...)
	}

	var res webhook.ClaimResult
	if len(claimed) > 0 {
		res.Deliveries = make([]webhook.ClaimedDelivery, len(claimed))
		for i, d := range claimed {
			res.Deliveries[i] = webhook.ClaimedDelivery{Delivery: d.view(), Event: &d.event.rec, Webhook: d.hook.snapshot()}
		}
	}
	if nextDue = min(nextDue, s.nextTimer()); nextDue != never {
		res.NextDue = timeOf(nextDue)
	}
	clear(claimed)
	s.claimedScratch = claimed[:0]
	return res, nil
}

// takeTurns claims one webhook of each tenant in turn, each webhook once, and
// appends the claimed deliveries to dst. It also returns the earliest time at which
// a served webhook that still has due deliveries gets another one due, as far as
// that is cheap to know.
func (s *Store) takeTurns(dst []*delivery, req *webhook.ClaimRequest, c *claim, now, expiry int64) ([]*delivery, int64) {
	served, passed := s.hooksScratch[:0], s.tenantsScratch[:0]
	for s.ready.n+s.fresh.n > 0 && len(dst) < req.Limit {
		s.visits++
		t := s.nextTenant()
		if slices.Contains(req.PassTenants, t.name) {
			passed = append(passed, t)
			continue
		}
		h := t.ready.first().owner
		s.unschedule(h)
		served = append(served, h) // and gets back in line at the end
		t.served = true
		if t.ready.n > 0 {
			s.lineUp(t, false)
		}
		limit, named := req.Limits[h.id]
		if !named {
			limit = req.PerWebhook
		}
		if h.rest > now { // the clock went back
			limit = 0
		}
		from := len(dst)
		dst = s.takeDue(dst, h, now, min(limit, req.Limit-from))
		for _, d := range dst[from:] {
			s.hold(d, c, expiry)
		}
	}
	for _, t := range passed {
		s.lineUp(t, !t.served)
	}
	nextDue := int64(never)
	for _, h := range served {
		s.schedule(h, now)
		if h.ready {
			nextDue = min(nextDue, h.queue.after(now), h.leases.after(now))
		}
	}
	for _, h := range served {
		h.tenant.served = h.tenant.ready.n > 0
	}
	clear(served)
	clear(passed)
	s.hooksScratch, s.tenantsScratch = served[:0], passed[:0]
	return dst, nextDue
}

// setRests notes which webhooks are to be passed over for a while.
func (s *Store) setRests(rest map[string]time.Duration, now int64) {
	for id, d := range rest {
		h := s.webhooks[id]
		if h == nil {
			continue
		}
		s.visits++
		h.rest = 0
		if d > 0 {
			h.rest = now + d.Microseconds()
		}
		if h.ready || h.place != 0 && !h.orphan {
			s.unschedule(h)
		}
		s.schedule(h, now)
	}
}

// endRest lets claims serve a webhook that was changed: the reason to pass it over
// may be gone.
func (s *Store) endRest(h *hook) {
	if h.rest == 0 {
		return
	}
	h.rest = 0
	s.schedule(h, math.MinInt64) // the next claim finds it by its timer
}

// takeDue takes up to limit deliveries that are claimable now out of the
// queues of a webhook, earliest first, and appends them to dst.
func (s *Store) takeDue(dst []*delivery, h *hook, now int64, limit int) []*delivery {
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
func (s *Store) nextTimer() int64 {
	for {
		n := s.timers.first()
		if n == nil {
			return never
		}
		s.visits++
		at := n.owner.nextAt()
		if at == n.at {
			return at
		}
		s.timers.remove(n)
		if at != never {
			s.timers.push(n, at, s.turn(), false)
		}
	}
}

// held returns the delivery of a lease if the lease's claim holds it.
func (s *Store) held(l webhook.Lease) *delivery {
	if d := s.delivery(l.DeliveryID); d != nil && d.claim != nil && d.claim.token == l.Token {
		return d
	}
	return nil
}

// Extend implements [webhook.QueueStore].
func (s *Store) Extend(ctx context.Context, now time.Time, leases []webhook.Lease, by time.Duration) (lost []string, err error) {
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
		d.hook.leases.remove(&d.node)
		d.hook.leases.push(&d.node, expiry, s.turn(), true)
		s.schedule(d.hook, now.UnixMicro())
	}
	return lost, nil
}

// Release implements [webhook.QueueStore].
func (s *Store) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
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
