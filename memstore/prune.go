package memstore

import (
	"context"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// trim brings the store back within its bounds: it forgets the oldest finished
// deliveries and the oldest events without deliveries.
func (s *Store) trim() {
	for s.finished.n > s.cfg.Retain {
		s.dropOldest(true)
	}
	for s.idle.n > s.cfg.Retain {
		s.dropOldest(false)
	}
	for s.bytes > s.cfg.MaxBytes && s.finished.n+s.idle.n > 0 {
		s.dropOldest(s.finished.firstAt() <= s.idle.firstAt())
	}
}

// dropOldest forgets the delivery that finished first, and its event if that
// was its last one; or else the first event without deliveries.
func (s *Store) dropOldest(delivery bool) {
	if !delivery {
		s.dropEvent(s.idle.first().owner)
		return
	}
	d := s.finished.first().owner
	e := d.event
	s.dropDelivery(d)
	if e.alive == 0 {
		s.dropEvent(e)
	}
}

// dropDelivery forgets a delivery and its attempts, but not its event.
func (s *Store) dropDelivery(d *delivery) {
	e, h := d.event, d.hook
	switch {
	case d.state != webhook.StatePending:
		s.finished.remove(&d.node)
	case d.claim != nil:
		s.unhold(d)
		s.countPending(d, -1)
	default:
		h.queue.remove(&d.node)
		s.countPending(d, -1)
	}
	delete(s.byNum, d.num)
	e.tenant.deliveryLog.remove(d)
	h.log.remove(d)
	s.bytes -= d.logBytes
	e.alive--
	if i := slices.Index(e.late, d); i >= 0 {
		e.late = slices.Delete(e.late, i, i+1)
	}
	// A claim that is still under way may refer to it: let the rest go.
	d.event, d.hook, d.log, d.logTail = nil, nil, nil, nil
	s.orphaned(h)
}

// dropEvent forgets an event that has no delivery.
func (s *Store) dropEvent(e *event) {
	if e.place != 0 {
		s.idle.remove(&e.node)
	}
	t := e.tenant
	delete(t.events, e.rec.ID)
	t.eventLog.remove(e)
	s.bytes -= int64(len(e.rec.Data))
	s.dropTenant(t)
}

// Prune implements [webhook.LogStore]. An event is older than the given time when it
// was published before it; an hour of statistics when it ended by then.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	cut, deleted := before.UnixMicro(), 0
	for range limit {
		if s.finished.firstAt() >= cut {
			break
		}
		d := s.finished.first().owner
		e := d.event
		s.dropDelivery(d)
		if e.alive == 0 {
			s.idle.push(&e.node, e.published, s.turn(), true)
		}
		deleted++
	}
	for range limit {
		if s.idle.firstAt() >= cut {
			break
		}
		s.dropEvent(s.idle.first().owner)
		deleted++
	}
	s.pruneStats(hourOf(cut))
	return deleted, nil
}

// pruneStats forgets all hours before one.
func (s *Store) pruneStats(hour int32) {
	for _, t := range s.tenants {
		for _, h := range t.webhooks {
			n := 0
			for n < len(h.stats) && h.stats[n].hour < hour {
				n++
			}
			if n == 0 {
				continue
			}
			if h.stats = slices.Delete(h.stats, 0, n); len(h.stats) == 0 {
				h.stats = nil
				s.orphaned(h)
			}
		}
	}
}
