package webhook

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"
)

// memScan is how many deliveries and events a step of a replay looks at.
const memScan = 4096

// memLimit is the number of items on a page.
func memLimit(limit int) int {
	if limit <= 0 {
		return 50
	}
	return limit
}

// GetEvent implements [LogStore].
func (s *MemoryStore) GetEvent(ctx context.Context, tenant, id string) (EventRecord, error) {
	if err := s.lock(ctx); err != nil {
		return EventRecord{}, err
	}
	defer s.mu.Unlock()
	if t := s.tenants[tenant]; t != nil && t.events[id] != nil {
		rec := t.events[id].rec
		rec.Data = bytes.Clone(rec.Data)
		return rec, nil
	}
	return EventRecord{}, fmt.Errorf("event %q: %w", id, ErrNotFound)
}

// GetDelivery implements [LogStore].
func (s *MemoryStore) GetDelivery(ctx context.Context, tenant, id string) (Delivery, error) {
	if err := s.lock(ctx); err != nil {
		return Delivery{}, err
	}
	defer s.mu.Unlock()
	d, err := s.deliveryOf(tenant, id)
	if err != nil {
		return Delivery{}, err
	}
	return d.view(), nil
}

// ListAttempts implements [LogStore].
func (s *MemoryStore) ListAttempts(ctx context.Context, tenant, deliveryID string) ([]Attempt, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	d, err := s.deliveryOf(tenant, deliveryID)
	if err != nil {
		return nil, err
	}
	var attempts []Attempt
	for m := d.log; m != nil; m = m.next {
		if !m.none {
			attempts = append(attempts, m.view(d.id))
		}
	}
	return attempts, nil
}

// ListDeliveries implements [LogStore]. It looks only at the deliveries of the
// webhook or event that q names, in their order.
func (s *MemoryStore) ListDeliveries(ctx context.Context, q DeliveryQuery) (Page[Delivery], error) {
	var page Page[Delivery]
	pos := memLast
	if q.Cursor != "" {
		list, p, err := s.openPosCursor(q.Cursor)
		if err != nil {
			return page, err
		}
		if list != memCursorDeliveries {
			return page, fmt.Errorf("memory store: cursor of another list: %w", ErrCursor)
		}
		pos = p
	}
	if until := (memPos{q.Until.UnixMicro(), 0}); !q.Until.IsZero() && until.less(pos) {
		pos = until
	}
	since := q.Since.UnixMicro()
	limit, left := memLimit(q.Limit), cmp.Or(q.Scan, MaxScan)
	if err := s.lock(ctx); err != nil {
		return Page[Delivery]{}, err
	}
	defer s.mu.Unlock()
	last := pos // of the last item
	for d := range s.deliveriesBefore(q, pos) {
		if d.createdAt < since {
			break
		}
		if left == 0 {
			page.Next, page.Reached = s.posCursor(memCursorDeliveries, pos), memTime(pos.at)
			break
		}
		left--
		s.looked++
		pos = d.position()
		if !d.matches(&q) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = s.posCursor(memCursorDeliveries, last)
			break
		}
		page.Items = append(page.Items, d.view())
		last = pos
	}
	return page, nil
}

func (d *memDelivery) matches(q *DeliveryQuery) bool {
	return (q.WebhookID == "" || d.hook.id == q.WebhookID) &&
		(q.EventID == "" || d.event.rec.ID == q.EventID) &&
		(q.EventType == "" || d.event.rec.Type == q.EventType) &&
		(q.State == "" || d.state == q.State)
}

// deliveriesBefore yields, latest first, the deliveries before a position
// among which those that q selects are.
func (s *MemoryStore) deliveriesBefore(q DeliveryQuery, pos memPos) iter.Seq[*memDelivery] {
	t := s.tenants[q.Tenant]
	if t == nil {
		return slices.Values[[]*memDelivery](nil)
	}
	if q.EventID != "" {
		e := t.events[q.EventID]
		if e == nil {
			return slices.Values[[]*memDelivery](nil)
		}
		all := slices.DeleteFunc(s.deliveriesOf(e), func(d *memDelivery) bool { return !d.position().less(pos) })
		return slices.Values(all)
	}
	if q.WebhookID != "" {
		h := t.webhooks[q.WebhookID]
		if h == nil {
			return slices.Values[[]*memDelivery](nil)
		}
		return h.log.descend(pos)
	}
	return t.deliveryLog.descend(pos)
}

// deliveriesOf returns the deliveries of an event, latest first.
func (s *MemoryStore) deliveriesOf(e *memEvent) []*memDelivery {
	all := make([]*memDelivery, 0, e.alive)
	for i := range uint64(e.made) {
		if d := s.byNum[e.first+i]; d != nil {
			all = append(all, d)
		}
	}
	all = append(all, e.late...)
	slices.SortFunc(all, func(a, b *memDelivery) int {
		return -cmp.Or(cmp.Compare(a.createdAt, b.createdAt), cmp.Compare(a.num, b.num))
	})
	return all
}

// Stats implements [LogStore].
func (s *MemoryStore) Stats(ctx context.Context, q StatsQuery) ([]StatsBucket, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	t := s.tenants[q.Tenant]
	if t == nil {
		return nil, nil
	}
	var hooks []*memHook
	if len(q.WebhookIDs) == 0 {
		for _, h := range t.webhooks {
			hooks = append(hooks, h)
		}
	}
	for _, id := range q.WebhookIDs {
		if h := t.webhooks[id]; h != nil {
			hooks = append(hooks, h)
		}
	}
	slices.SortFunc(hooks, func(a, b *memHook) int { return cmp.Compare(a.id, b.id) })
	var buckets []StatsBucket
	since, limit := memHourOf(q.Since.UnixMicro()), cmp.Or(q.Limit, MaxStats)
	for _, h := range slices.Compact(hooks) {
		if h.id < q.After.WebhookID {
			continue
		}
		for _, b := range h.stats {
			bucket := StatsBucket{
				WebhookID: h.id,
				Hour:      memTime(int64(b.hour) * memHourMicros),
				Succeeded: int64(b.succeeded),
				Failed:    int64(b.failed),
				Duration:  b.duration,
			}
			if b.hour < since || !q.Until.IsZero() && !bucket.Hour.Before(q.Until) || !q.After.before(bucket) {
				continue
			}
			if buckets = append(buckets, bucket); len(buckets) == limit {
				return buckets, nil
			}
		}
	}
	return buckets, nil
}

// memRange is a range of times, in microseconds: from since up to, but not
// with, until.
type memRange struct{ since, until int64 }

func newMemRange(since, until time.Time) memRange {
	r := memRange{since.UnixMicro(), until.UnixMicro()}
	if until.IsZero() {
		r.until = memNever
	}
	return r
}

func (r memRange) contains(at int64) bool { return r.since <= at && at < r.until }
