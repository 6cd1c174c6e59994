package webhook

import (
	"context"
	"slices"
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
	checkLimit(&bad, &q.Limit, 50, 500)
	checkScan(&bad, &q.Scan)
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

func checkScan(bad *ValidationError, scan *int) {
	if *scan < 0 {
		bad.add("scan", "must be 1–%d, got %d", MaxScan, *scan)
	}
	*scan = min(orDefault(*scan, MaxScan), MaxScan)
}

func checkState(bad *ValidationError, field string, s State) {
	switch s {
	case StatePending, StateSucceeded, StateFailed, StateCanceled:
	default:
		bad.add(field, "must be one of pending, succeeded, failed, canceled, got %s", quoted(string(s)))
	}
}

// checkStates returns the states without repetitions. It refuses only the first
// invalid state, since the list may have any length.
func checkStates(bad *ValidationError, states []State) []State {
	var out []State
	for _, s := range states {
		if refused := len(bad.Fields); !slices.Contains(out, s) {
			checkState(bad, "states", s)
			if len(bad.Fields) > refused {
				return nil
			}
			out = append(out, s)
		}
	}
	return out
}
