package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// BacklogStore is an optional interface of a [Store] that counts the deliveries
// in its queue, for dashboards and alerts. The stores of this module implement
// it.
type BacklogStore interface {
	// Backlog counts the deliveries in the queue, over all tenants and all
	// processes that share the Store. It does not change them, and changes made
	// meanwhile may be counted or not. It stops counting at q.Limit of each
	// kind, which bounds its cost however many deliveries wait.
	Backlog(ctx context.Context, q BacklogQuery) (Backlog, error)
}

// DefaultBacklogLimit bounds each count if BacklogQuery.Limit is 0.
const DefaultBacklogLimit = 10_000

// BacklogQuery bounds the counts of a Backlog. Its zero value works.
type BacklogQuery struct {
	Now time.Time // filled in by the Dispatcher
	// Since bounds Quarantined and Exhausted to deliveries that ended then or
	// later. Zero counts all deliveries that are still in the log.
	Since time.Time
	// Limit bounds the count of each kind: a count that reaches it stops there,
	// and Backlog.AtLeast is set. Counting reads about as many rows. 0 means
	// [DefaultBacklogLimit]; below 0 is refused.
	Limit int
}

// Backlog is a snapshot of a queue. Every pending delivery is in exactly one of
// the first four counts.
type Backlog struct {
	Due     int // can be claimed now: never claimed before, or given back
	Waiting int // due later: retries, mostly
	Leased  int // held by a dispatcher
	// Expired counts deliveries whose lease has expired: their process died or
	// hangs. A dispatcher takes them over within a poll, so a count that stays
	// above 0 means that no dispatcher is running or has room.
	Expired int
	// OldestDue is how long the earliest of Due has been due, by the Store's
	// clock; 0 when Due is 0. It is also 0 when every pending delivery is
	// Expired, so alert on both. For a webhook that hangs it is expected to
	// grow; otherwise it says how far the dispatchers lag.
	OldestDue time.Duration

	Quarantined int // ended as ReasonQuarantined since BacklogQuery.Since
	Exhausted   int // ended as ReasonRetriesExhausted since BacklogQuery.Since

	// AtLeast is true if a count stopped at the limit: the queue holds that
	// many deliveries or more.
	AtLeast bool
}

// Pending returns the number of pending deliveries.
func (b Backlog) Pending() int { return b.Due + b.Waiting + b.Leased + b.Expired }

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
	able, ok := d.store.(BacklogStore)
	if !ok {
		return Backlog{}, prefixed("backlog", fmt.Errorf("a store of type %T cannot count: %w", d.store, errors.ErrUnsupported))
	}
	b, err := able.Backlog(ctx, q)
	return b, prefixed("backlog", err)
}
