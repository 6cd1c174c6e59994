package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// BacklogStore is an optional ability of a [Store]: to say what its queue holds,
// for dashboards and alarms. The Stores of this module have it.
type BacklogStore interface {
	// Backlog counts what the queue holds, over all tenants and all processes
	// that share the Store. It changes nothing, and what others do meanwhile
	// may be counted or not. It stops counting at q.Limit of each kind, so that
	// its cost is bounded whatever waits.
	Backlog(ctx context.Context, q BacklogQuery) (Backlog, error)
}

// DefaultBacklogLimit is how far Backlog counts when the query does not say.
const DefaultBacklogLimit = 10_000

// BacklogQuery says how to count. Its zero value works.
type BacklogQuery struct {
	Now time.Time // filled in by the Dispatcher
	// Since bounds Quarantined and Exhausted to deliveries that ended then or
	// later. Zero counts all that are still in the log.
	Since time.Time
	// Limit is how far each kind is counted: a count that reaches it stops
	// there, and Backlog.AtLeast is set. Counting reads about as many rows. 0
	// means [DefaultBacklogLimit]; below 0 is refused.
	Limit int
}

// Backlog is a moment's view of a queue. The first four counts are of pending
// deliveries, each of which is in exactly one of them.
type Backlog struct {
	Due     int // could be claimed now, and never were or were given back
	Waiting int // become due later: retries, mostly
	Leased  int // held by a dispatcher
	// Expired are held under a lease that has run out: their process died or
	// hangs. A dispatcher takes them over within a poll, so deliveries that stay
	// here are stuck: no dispatcher runs, or none has room.
	Expired int
	// OldestDue is how long the earliest of Due has been due, by the Store's
	// clock; 0 when there is none. That is so, too, when all that is pending is
	// Expired: watch both. Behind a webhook that hangs it grows by
	// right; otherwise it is how far the dispatchers are behind.
	OldestDue time.Duration

	Quarantined int // ended as ReasonQuarantined since BacklogQuery.Since
	Exhausted   int // ended as ReasonRetriesExhausted since BacklogQuery.Since

	// AtLeast is true when a count has stopped at the limit, and the queue
	// holds that much or more.
	AtLeast bool
}

// Pending is how many deliveries are not finished.
func (b Backlog) Pending() int { return b.Due + b.Waiting + b.Leased + b.Expired }

// Backlog counts what the queue holds, over all tenants and all processes that
// share the Store; [Dispatcher.Stats] is about this process alone. It asks the
// Store once, which reads at most about q.Limit rows for each count: call it
// every few seconds at most. The error wraps [errors.ErrUnsupported] when the
// Store is no [BacklogStore].
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
