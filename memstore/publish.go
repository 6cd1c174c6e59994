package memstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// event is a stored event. All its deliveries share it.
type event struct {
	node[event]
	rec       webhook.EventRecord // immutable: claims share it
	tenant    *tenant
	only      string // the one webhook it was published to, if it was restricted
	published int64  // when, in microseconds
	num       uint64
	first     uint64 // number of the first delivery made then; the others follow
	made      int    // deliveries made then

	late    []*delivery // deliveries that a replay made
	alive   int         // deliveries not forgotten
	pending int         // deliveries that are pending
}

func (e *event) position() position { return position{e.published, e.num} }

// delivery is a delivery. Its node is in its webhook's queue while it is
// pending, in its webhook's leases while it is claimed, and in the store's
// finished deliveries after that.
type delivery struct {
	node[delivery]
	num       uint64
	id        string
	event     *event
	hook      *hook
	hookName  string
	claim     *claim // that holds it, or nil
	createdAt int64  // microseconds, as all its times
	due       int64  // zeroMicros unless pending
	finished  int64  // zeroMicros while pending

	state  webhook.State
	reason webhook.Reason

	attempts, tries, crashes int32

	lastStatus int32
	lastClass  webhook.ErrorClass

	log, logTail *attempt // in the order of recording
	logBytes     int64
}

func (d *delivery) position() position { return position{d.createdAt, d.num} }

func (d *delivery) view() webhook.Delivery {
	e := &d.event.rec
	return webhook.Delivery{
		ID:            d.id,
		Tenant:        e.Tenant,
		EventID:       e.ID,
		EventType:     e.Type,
		WebhookID:     d.hook.id,
		WebhookName:   d.hookName,
		State:         d.state,
		Reason:        d.reason,
		Attempts:      int(d.attempts),
		Tries:         int(d.tries),
		Crashes:       int(d.crashes),
		CreatedAt:     timeOf(d.createdAt),
		NextAttemptAt: timeOf(d.due),
		FinishedAt:    timeOf(d.finished),
		LastStatus:    int(d.lastStatus),
		LastClass:     d.lastClass,
	}
}

// Publish implements [webhook.QueueStore]. It keeps the data of events without
// copying it.
func (s *Store) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	results := make([]webhook.PublishResult, len(reqs))
	events := make([]*event, len(reqs))
	for i := range reqs {
		e := &event{rec: reqs[i].Event, only: reqs[i].WebhookID, published: now.UnixMicro()}
		e.owner = e
		e.rec.Data = keepData(e.rec.Data)
		e.rec.Time = cutTime(e.rec.Time)
		events[i] = e
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()

	hooks := s.hooksScratch[:0]
	defer func() {
		clear(hooks)
		s.hooksScratch = hooks[:0]
	}()
	var data int64
	for i, e := range events {
		t := s.tenant(e.rec.Tenant)
		e.tenant = t
		if old := t.events[e.rec.ID]; old != nil {
			same := old.rec.Type == e.rec.Type && bytes.Equal(old.rec.Data, e.rec.Data)
			results[i] = webhook.PublishResult{Duplicate: same, Conflict: !same}
			events[i] = nil
			continue
		}
		t.events[e.rec.ID] = e
		matched := len(hooks)
		hooks = t.match(hooks, &reqs[i]) //nolint:gosec // i is an index of reqs
		if e.made = len(hooks) - matched; e.made > 0 {
			data += int64(len(e.rec.Data))
		}
	}
	if err := s.room(len(hooks), data); err != nil {
		for _, e := range events {
			if e != nil {
				delete(e.tenant.events, e.rec.ID)
				s.dropTenant(e.tenant)
			}
		}
		return nil, err
	}

	matched, ids := hooks, s.newIDs(len(hooks))
	for i, e := range events {
		if e == nil {
			continue
		}
		s.lastEvent++
		e.num, e.first = s.lastEvent, s.lastNum+1
		e.tenant.eventLog.insert(e)
		s.bytes += int64(len(e.rec.Data))
		if e.made == 0 {
			s.idle.push(&e.node, e.published, s.turn(), true)
		}
		for _, h := range matched[:e.made] {
			s.deliver(e, h, ids.next(), e.published)
		}
		matched = matched[e.made:]
		results[i].Deliveries = e.made
	}
	s.trim()
	return results, nil
}

// keepData returns the data to keep: data itself, which callers do not change
// after Publish, or a copy where it would keep much more than itself in memory.
func keepData(data []byte) []byte {
	if cap(data)-len(data) > 256 {
		return bytes.Clone(data)
	}
	return data
}

// room reports as an error that so many more deliveries, of events with so much
// data, would be too many.
func (s *Store) room(deliveries int, data int64) error {
	if deliveries > s.cfg.MaxPending-s.pending && deliveries > 0 {
		return fmt.Errorf("memory store: %d deliveries are pending, %d more would pass the limit of %d: %w",
			s.pending, deliveries, s.cfg.MaxPending, webhook.ErrBacklogFull)
	}
	if data > s.cfg.MaxBytes-s.pendingBytes && data > 0 {
		return fmt.Errorf("memory store: pending deliveries hold %d bytes, %d more would pass the limit of %d: %w",
			s.pendingBytes, data, s.cfg.MaxBytes, webhook.ErrBacklogFull)
	}
	return nil
}

// deliver makes a delivery that is due now. Its number is the next one.
func (s *Store) deliver(e *event, h *hook, id string, now int64) *delivery {
	s.lastNum++
	d := &delivery{
		num:       s.lastNum,
		id:        id,
		event:     e,
		hook:      h,
		hookName:  h.rec.Name,
		createdAt: now,
		due:       now,
		finished:  zeroMicros,
		state:     webhook.StatePending,
	}
	d.owner = d
	s.byNum[d.num] = d
	e.alive++
	e.tenant.deliveryLog.insert(d)
	h.log.insert(d)
	s.countPending(d, 1)
	s.enqueue(d, now, now)
	return d
}

// countPending brings the bounds up to date when a delivery becomes pending (1)
// or is pending no more (-1).
func (s *Store) countPending(d *delivery, by int) {
	s.pending += by
	s.pendingBytes += int64(by) * d.logBytes
	before := d.event.pending
	d.event.pending += by
	if before == 0 || d.event.pending == 0 {
		s.pendingBytes += int64(by) * int64(len(d.event.rec.Data))
	}
}

// match appends the webhooks that a request is for, in the order of their
// creation and each once.
func (t *tenant) match(dst []*hook, req *webhook.PublishRequest) []*hook {
	if req.WebhookID != "" {
		if h := t.webhooks[req.WebhookID]; h != nil && h.rec != nil && h.rec.Active {
			dst = append(dst, h)
		}
		return dst
	}
	var buf [8][]*hook
	sets := buf[:0]
	for _, pattern := range req.Patterns {
		if set := t.selects[pattern]; len(set) > 0 {
			sets = append(sets, set)
		}
	}
	for len(sets) > 1 {
		least := sets[0][0]
		for _, set := range sets[1:] {
			if set[0].order < least.order {
				least = set[0]
			}
		}
		dst = append(dst, least)
		kept := sets[:0]
		for _, set := range sets {
			if set[0] == least {
				set = set[1:]
			}
			if len(set) > 0 {
				kept = append(kept, set)
			}
		}
		sets = kept
	}
	if len(sets) == 1 {
		dst = append(dst, sets[0]...)
	}
	return dst
}
