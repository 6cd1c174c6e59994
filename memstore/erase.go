package memstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// EraseTenant implements [webhook.EraseStore].
func (s *Store) EraseTenant(ctx context.Context, tenant string, limit int) (done webhook.Erased, err error) {
	if err := s.lock(ctx); err != nil {
		return done, err
	}
	defer s.mu.Unlock()
	t := s.tenants[tenant]
	if t == nil {
		return done, nil
	}
	for len(t.order) > 0 {
		if done.Webhooks == limit {
			done.More = true
			return done, nil
		}
		s.deleteHook(t.order[len(t.order)-1])
		done.Webhooks++
	}
	for _, e := range t.events {
		if s.eraseEvent(e, limit, &done); done.More {
			return done, nil
		}
	}
	for _, h := range t.webhooks {
		h.stats = nil
		s.orphaned(h)
	}
	return done, nil
}

// EraseEvent implements [webhook.EraseStore].
func (s *Store) EraseEvent(ctx context.Context, tenant, eventID string, limit int) (done webhook.Erased, err error) {
	if err := s.lock(ctx); err != nil {
		return done, err
	}
	defer s.mu.Unlock()
	if t := s.tenants[tenant]; t != nil {
		if e := t.events[eventID]; e != nil {
			s.eraseEvent(e, limit, &done)
			return done, nil
		}
	}
	return done, fmt.Errorf("event %q: %w", eventID, webhook.ErrNotFound)
}

// eraseEvent deletes deliveries of an event as long as done counts less than
// limit, then the event.
func (s *Store) eraseEvent(e *event, limit int, done *webhook.Erased) {
	if done.Events == limit {
		done.More = true
		return
	}
	for _, d := range s.deliveriesOf(e) {
		if done.Deliveries == limit {
			done.More = true
			return
		}
		s.dropDelivery(d)
		done.Deliveries++
	}
	s.dropEvent(e)
	done.Events++
}

// EraseOld implements [webhook.EraseStore]. It ignores req.After
// and starts at the oldest event each time, since it leaves only events that have
// pending deliveries, are too young or are not selected.
func (s *Store) EraseOld(ctx context.Context, req webhook.EraseOldRequest) (res webhook.EraseOldResult, err error) {
	if err := s.lock(ctx); err != nil {
		return res, err
	}
	defer s.mu.Unlock()
	cut := req.Before.UnixMicro()
	selected := func(e *event) bool {
		return e.published < cut && e.pending == 0 && eventtype.AnyMatches(req.Types, e.rec.Type) && !eventtype.AnyMatches(req.Except, e.rec.Type)
	}
	var old []*event
	seen := make(map[*event]bool)
	for d := range s.finished.earlier(cut) {
		if e := d.event; !seen[e] && selected(e) {
			seen[e] = true
			if !slices.ContainsFunc(s.deliveriesOf(e), func(d *delivery) bool { return d.finished >= cut }) {
				old = append(old, e)
			}
		}
	}
	for e := range s.idle.earlier(cut) {
		if selected(e) {
			old = append(old, e)
		}
	}
	for _, e := range old {
		if s.eraseEvent(e, req.Limit, &res.Erased); res.More {
			break
		}
	}
	return res, nil
}
