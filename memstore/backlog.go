package memstore

import (
	"context"
	"time"

	"github.com/seed68722ecd/webhook"
)

var _ webhook.BacklogStore = (*Store)(nil)

// Backlog implements [webhook.BacklogStore]. It locks the store while it counts
// up to q.Limit deliveries of each kind, all webhooks, and the deliveries that
// have finished since q.Since.
func (s *Store) Backlog(ctx context.Context, q webhook.BacklogQuery) (webhook.Backlog, error) {
	if err := s.lock(ctx); err != nil {
		return webhook.Backlog{}, err
	}
	defer s.mu.Unlock()
	c := backlogCount{limit: q.Limit, now: q.Now.UnixMicro(), oldest: never}
	if c.limit <= 0 {
		c.limit = webhook.DefaultBacklogLimit
	}
	for _, t := range s.tenants {
		for _, h := range t.webhooks { // also deleted webhooks that have deliveries
			c.queues(h)
		}
	}
	c.log(&s.finished, q.Since.UnixMicro())
	if c.oldest < c.now {
		c.out.OldestDue = time.Duration(c.now-c.oldest) * time.Microsecond
	}
	return c.out, nil
}

// backlogCount counts towards one Backlog.
type backlogCount struct {
	out         webhook.Backlog
	limit       int
	now, oldest int64
}

// queues counts a webhook's pending deliveries.
func (c *backlogCount) queues(h *hook) {
	c.oldest = min(c.oldest, h.queue.firstAt())
	due := h.queue.until(c.now, c.limit-c.out.Due)
	expired := h.leases.until(c.now, c.limit-c.out.Expired)
	c.add(&c.out.Due, due)
	c.add(&c.out.Expired, expired)
	// Counting stopped at the limit, so the rest of such a queue is unknown.
	if c.out.Due < c.limit {
		c.add(&c.out.Waiting, h.queue.n-due)
	}
	if c.out.Expired < c.limit {
		c.add(&c.out.Leased, h.leases.n-expired)
	}
}

// log counts finished deliveries, the latest first.
func (c *backlogCount) log(t *timeline[delivery], since int64) {
	count := func(d *delivery) {
		switch {
		case d.state != webhook.StateFailed || d.finished < since:
		case d.reason == webhook.ReasonQuarantined:
			c.add(&c.out.Quarantined, 1)
		case d.reason == webhook.ReasonRetriesExhausted:
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
func (c *backlogCount) add(to *int, n int) {
	if *to += n; *to >= c.limit {
		*to, c.out.AtLeast = c.limit, true
	}
}

// until counts the nodes up to a time, most of them at most. It looks at no
// more than three times as many.
func (t *timeline[T]) until(at int64, most int) int {
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
