package webhook

import (
	"context"
	"time"
)

var _ BacklogStore = (*MemoryStore)(nil)

// Backlog implements [BacklogStore]. It holds the store while it counts: up to
// q.Limit deliveries of each kind, every webhook, and what has finished since
// q.Since.
func (s *MemoryStore) Backlog(ctx context.Context, q BacklogQuery) (Backlog, error) {
	if err := s.lock(ctx); err != nil {
		return Backlog{}, err
	}
	defer s.mu.Unlock()
	c := memCount{limit: q.Limit, now: q.Now.UnixMicro(), oldest: memNever}
	if c.limit <= 0 {
		c.limit = DefaultBacklogLimit
	}
	for _, t := range s.tenants {
		for _, h := range t.webhooks { // deleted ones that have deliveries are among them
			c.queues(h)
		}
	}
	c.log(&s.finished, q.Since.UnixMicro())
	if c.oldest < c.now {
		c.out.OldestDue = time.Duration(c.now-c.oldest) * time.Microsecond
	}
	return c.out, nil
}

// memCount counts towards one Backlog.
type memCount struct {
	out         Backlog
	limit       int
	now, oldest int64
}

// queues counts a webhook's pending deliveries.
func (c *memCount) queues(h *memHook) {
	c.oldest = min(c.oldest, h.queue.firstAt())
	due := h.queue.until(c.now, c.limit-c.out.Due)
	expired := h.leases.until(c.now, c.limit-c.out.Expired)
	c.add(&c.out.Due, due)
	c.add(&c.out.Expired, expired)
	// Of a queue of which no more was looked at, the rest is nothing certain.
	if c.out.Due < c.limit {
		c.add(&c.out.Waiting, h.queue.n-due)
	}
	if c.out.Expired < c.limit {
		c.add(&c.out.Leased, h.leases.n-expired)
	}
}

// log counts what has ended, the latest first.
func (c *memCount) log(t *memTimeline[memDelivery], since int64) {
	count := func(d *memDelivery) {
		switch {
		case d.state != StateFailed || d.finished < since:
		case d.reason == ReasonQuarantined:
			c.add(&c.out.Quarantined, 1)
		case d.reason == ReasonRetriesExhausted:
			c.add(&c.out.Exhausted, 1)
		}
	}
	for n := t.tail; n != nil && n.at >= since; n = n.prev {
		count(n.owner)
	}
	for _, n := range t.heap {
		count(n.owner)
	}
}

// add adds up to the limit.
func (c *memCount) add(to *int, n int) {
	if *to += n; *to >= c.limit {
		*to, c.out.AtLeast = c.limit, true
	}
}

// until counts the nodes up to a time, most of them at most. It looks at no
// more than three times as many.
func (t *memTimeline[T]) until(at int64, most int) int {
	n := 0
	for x := t.head; x != nil && x.at <= at && n < most; x = x.next {
		n++
	}
	for next := []int{0}; len(next) > 0 && n < most; {
		i := next[len(next)-1]
		next = next[:len(next)-1]
		if i < len(t.heap) && t.heap[i].at <= at { // otherwise all below it are later
			n++
			next = append(next, 2*i+1, 2*i+2)
		}
	}
	return n
}
