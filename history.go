package webhook

import (
	"context"
	"strconv"
)

// Event returns a published event, or ErrNotFound if the tenant has no event
// with this ID or the event has been pruned. Its Data are the canonical bytes
// that were signed and sent.
func (d *Dispatcher) Event(ctx context.Context, tenant, id string) (EventRecord, error) {
	if err := findable(tenant, id); err != nil {
		return EventRecord{}, prefixed("get event", err)
	}
	ev, err := d.store.GetEvent(ctx, tenant, id)
	return ev, prefixed("get event", err)
}

// Delivery returns one delivery, or ErrNotFound; other errors are the Store's.
func (d *Dispatcher) Delivery(ctx context.Context, tenant, id string) (Delivery, error) {
	if err := findable(tenant, id); err != nil {
		return Delivery{}, prefixed("get delivery", err)
	}
	del, err := d.store.GetDelivery(ctx, tenant, id)
	return del, prefixed("get delivery", err)
}

// Deliveries returns a page of the tenant's deliveries, newest first. A call
// reads a bounded number of deliveries (q.Scan), so that with a rare filter a
// page may be short, or empty, with Next set: repeat the call with Next until
// it is empty. Deliveries returns a *ValidationError, ErrCursor, or the Store's
// error.
func (d *Dispatcher) Deliveries(ctx context.Context, q DeliveryQuery) (Page[Delivery], error) {
	var bad ValidationError
	checkTenant(&bad, q.Tenant)
	checkLimit(&bad, "limit", &q.Limit, 50, 500)
	checkLimit(&bad, "scan", &q.Scan, MaxScan, MaxScan)
	checkFilterID(&bad, "webhookId", q.WebhookID)
	checkFilterID(&bad, "eventId", q.EventID)
	checkFilterType(&bad, "eventType", q.EventType)
	if q.State != "" {
		checkState(&bad, "state", q.State)
	}
	if err := bad.err(); err != nil {
		return Page[Delivery]{}, prefixed("list deliveries", err)
	}
	q.Since, q.Until = storedTime(q.Since), storedTime(q.Until)
	p, err := d.store.ListDeliveries(ctx, q)
	return p, prefixed("list deliveries", err)
}

// Attempts returns every recorded attempt of a delivery in the order in which
// they were recorded, or ErrNotFound; other errors are the Store's.
func (d *Dispatcher) Attempts(ctx context.Context, tenant, deliveryID string) ([]Attempt, error) {
	if err := findable(tenant, deliveryID); err != nil {
		return nil, prefixed("list attempts", err)
	}
	as, err := d.store.ListAttempts(ctx, tenant, deliveryID)
	return as, prefixed("list attempts", err)
}

// SuccessRate sums hourly statistics. It returns the share of successful
// attempts, 0 to 1, and the number of attempts. Without attempts the rate is 0.
func SuccessRate(buckets []StatsBucket) (rate float64, attempts int64) {
	var ok int64
	for _, b := range buckets {
		ok += b.Succeeded
		attempts += b.Succeeded + b.Failed
	}
	if attempts == 0 {
		return 0, 0
	}
	return float64(ok) / float64(attempts), attempts
}

// Backlog counts the deliveries in the queue, over all tenants and all
// processes that share the Store; [Dispatcher.Stats] covers only this process.
// It queries the Store once, which reads at most about q.Limit rows for each
// count: call it every few seconds at most. The error wraps
// [errors.ErrUnsupported] if the Store is not a [BacklogStore].
func (d *Dispatcher) Backlog(ctx context.Context, q BacklogQuery) (Backlog, error) {
	if q.Limit < 0 {
		var bad ValidationError
		bad.add("limit", "must be at least 1, or 0 for %d, got %d", DefaultBacklogLimit, q.Limit)
		return Backlog{}, prefixed("backlog", bad.err())
	}
	if q.Limit == 0 {
		q.Limit = DefaultBacklogLimit
	}
	q.Now = d.now()
	b, err := d.store.Backlog(ctx, q)
	return b, prefixed("backlog", err)
}

// maxAllStats is how many buckets HourlyStats returns when the caller sets no limit.
const maxAllStats = 10 * MaxStats

// HourlyStats returns counts of attempts per webhook and hour, for a chart or a
// success rate, ordered by webhook ID, then hour.
//
// With q.Limit 0 it returns all buckets that q selects. If they are more than
// 100,000 it returns only a *ValidationError of the field "limit", so that no sum
// is short unnoticed: name fewer webhooks, ask for a shorter time, or set q.Limit.
// With q.Limit, which is reduced to [MaxStats], it returns at most that many: set
// q.After to the last bucket for the next call, until an answer has fewer. It also
// returns a *ValidationError for an invalid q; other errors are the Store's.
func (d *Dispatcher) HourlyStats(ctx context.Context, q StatsQuery) ([]StatsBucket, error) {
	var bad ValidationError
	checkTenant(&bad, q.Tenant)
	for i, id := range q.WebhookIDs {
		if !validID(id) {
			bad.add("webhookIds["+strconv.Itoa(i)+"]", "is not an ID, got %s", quoted(id))
		}
	}
	if id := q.After.WebhookID; id != "" && !validID(id) {
		bad.add("after", "must be a bucket of the answer before, its webhook ID is %s", quoted(id))
	}
	all := q.Limit == 0
	checkLimit(&bad, "limit", &q.Limit, MaxStats, MaxStats)
	if err := bad.err(); err != nil {
		return nil, prefixed("stats", err)
	}
	q.Since, q.Until, q.After.Hour = storedTime(q.Since), storedTime(q.Until), storedTime(q.After.Hour)
	if !all {
		b, err := d.store.Stats(ctx, q)
		return b, prefixed("stats", err)
	}
	b, err := allStats(ctx, d.store, q)
	if err == nil && len(b) > maxAllStats {
		bad.add("limit", "must be set, or fewer webhooks named, or a shorter time asked for: there are more than %d hours with attempts", maxAllStats)
		b, err = nil, bad.err()
	}
	return b, prefixed("stats", err)
}

// allStats returns all statistics that q selects, or some more than maxAllStats.
func allStats(ctx context.Context, s LogStore, q StatsQuery) (all []StatsBucket, err error) {
	q.Limit = MaxStats
	for {
		some, err := s.Stats(ctx, q)
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < q.Limit || len(all) > maxAllStats {
			return all, nil
		}
		q.After = some[len(some)-1]
	}
}
