package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// replayScan is how many deliveries and events a step of a replay looks at.
const replayScan = 4096

// pageLimit is the number of items on a page.
func pageLimit(limit int) int {
	if limit <= 0 {
		return 50
	}
	return limit
}

// GetEvent implements [webhook.LogStore].
func (s *Store) GetEvent(ctx context.Context, tenant, id string) (webhook.EventRecord, error) {
	if err := s.lock(ctx); err != nil {
		return webhook.EventRecord{}, err
	}
	defer s.mu.Unlock()
	if t := s.tenants[tenant]; t != nil && t.events[id] != nil {
		rec := t.events[id].rec
		rec.Data = bytes.Clone(rec.Data)
		return rec, nil
	}
	return webhook.EventRecord{}, fmt.Errorf("event %q: %w", id, webhook.ErrNotFound)
}

// GetDelivery implements [webhook.LogStore].
func (s *Store) GetDelivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	if err := s.lock(ctx); err != nil {
		return webhook.Delivery{}, err
	}
	defer s.mu.Unlock()
	d, err := s.deliveryOf(tenant, id)
	if err != nil {
		return webhook.Delivery{}, err
	}
	return d.view(), nil
}

// ListAttempts implements [webhook.LogStore].
func (s *Store) ListAttempts(ctx context.Context, tenant, deliveryID string) ([]webhook.Attempt, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	d, err := s.deliveryOf(tenant, deliveryID)
	if err != nil {
		return nil, err
	}
	var attempts []webhook.Attempt
	for m := d.log; m != nil; m = m.next {
		if !m.none {
			attempts = append(attempts, m.view(d.id))
		}
	}
	return attempts, nil
}

// ListDeliveries implements [webhook.LogStore]. It looks only at the deliveries of the
// webhook or event that q names, in their order.
func (s *Store) ListDeliveries(ctx context.Context, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
	var page webhook.Page[webhook.Delivery]
	pos := lastPosition
	if q.Cursor != "" {
		list, p, err := s.openPosCursor(q.Cursor)
		if err != nil {
			return page, err
		}
		if list != cursorDeliveries {
			return page, fmt.Errorf("memory store: cursor of another list: %w", webhook.ErrCursor)
		}
		pos = p
	}
	if until := (position{q.Until.UnixMicro(), 0}); !q.Until.IsZero() && until.less(pos) {
		pos = until
	}
	since := q.Since.UnixMicro()
	limit, left := pageLimit(q.Limit), cmp.Or(q.Scan, webhook.MaxScan)
	if err := s.lock(ctx); err != nil {
		return webhook.Page[webhook.Delivery]{}, err
	}
	defer s.mu.Unlock()
	last := pos // of the last item
	for d := range s.deliveriesBefore(q, pos) {
		if d.createdAt < since {
			break
		}
		if left == 0 {
			page.Next, page.Reached = s.posCursor(cursorDeliveries, pos), timeOf(pos.at)
			break
		}
		left--
		s.looked++
		pos = d.position()
		if !d.matches(&q) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = s.posCursor(cursorDeliveries, last)
			break
		}
		page.Items = append(page.Items, d.view())
		last = pos
	}
	return page, nil
}

func (d *delivery) matches(q *webhook.DeliveryQuery) bool {
	return (q.WebhookID == "" || d.hook.id == q.WebhookID) &&
		(q.EventID == "" || d.event.rec.ID == q.EventID) &&
		(q.EventType == "" || d.event.rec.Type == q.EventType) &&
		(q.State == "" || d.state == q.State)
}

// deliveriesBefore yields, latest first, deliveries before a position. All
// deliveries there that q selects are among them.
func (s *Store) deliveriesBefore(q webhook.DeliveryQuery, pos position) iter.Seq[*delivery] {
	t := s.tenants[q.Tenant]
	if t == nil {
		return slices.Values[[]*delivery](nil)
	}
	if q.EventID != "" {
		e := t.events[q.EventID]
		if e == nil {
			return slices.Values[[]*delivery](nil)
		}
		all := slices.DeleteFunc(s.deliveriesOf(e), func(d *delivery) bool { return !d.position().less(pos) })
		return slices.Values(all)
	}
	if q.WebhookID != "" {
		h := t.webhooks[q.WebhookID]
		if h == nil {
			return slices.Values[[]*delivery](nil)
		}
		return h.log.descend(pos)
	}
	return t.deliveryLog.descend(pos)
}

// deliveriesOf returns the deliveries of an event, latest first.
func (s *Store) deliveriesOf(e *event) []*delivery {
	all := make([]*delivery, 0, e.alive)
	for i := range uint64(e.made) {
		if d := s.byNum[e.first+i]; d != nil {
			all = append(all, d)
		}
	}
	all = append(all, e.late...)
	slices.SortFunc(all, func(a, b *delivery) int {
		return -cmp.Or(cmp.Compare(a.createdAt, b.createdAt), cmp.Compare(a.num, b.num))
	})
	return all
}

// Stats implements [webhook.LogStore].
func (s *Store) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	t := s.tenants[q.Tenant]
	if t == nil {
		return nil, nil
	}
	var hooks []*hook
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
	slices.SortFunc(hooks, func(a, b *hook) int { return cmp.Compare(a.id, b.id) })
	var buckets []webhook.StatsBucket
	since, limit := hourOf(q.Since.UnixMicro()), cmp.Or(q.Limit, webhook.MaxStats)
	for _, h := range slices.Compact(hooks) {
		if h.id < q.After.WebhookID {
			continue
		}
		for _, b := range h.stats {
			bucket := webhook.StatsBucket{
				WebhookID: h.id,
				Hour:      timeOf(int64(b.hour) * hourMicros),
				Succeeded: int64(b.succeeded),
				Failed:    int64(b.failed),
				Duration:  b.duration,
			}
			if b.hour < since || !q.Until.IsZero() && !bucket.Hour.Before(q.Until) || !before(q.After, bucket) {
				continue
			}
			if buckets = append(buckets, bucket); len(buckets) == limit {
				return buckets, nil
			}
		}
	}
	return buckets, nil
}

// before reports whether a comes before b in statistics.
func before(a, b webhook.StatsBucket) bool {
	return cmp.Or(cmp.Compare(a.WebhookID, b.WebhookID), a.Hour.Compare(b.Hour)) < 0
}

// span is a range of times, in microseconds: from since up to, but not
// with, until.
type span struct{ since, until int64 }

func newSpan(since, until time.Time) span {
	r := span{since.UnixMicro(), until.UnixMicro()}
	if until.IsZero() {
		r.until = never
	}
	return r
}

func (r span) contains(at int64) bool { return r.since <= at && at < r.until }
