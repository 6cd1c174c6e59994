package sqlitestore

import (
	"sync"

	"github.com/seed68722ecd/webhook"
)

// eventCache keeps events that this process has just published, by number, so that
// it need not read them back to deliver them. Events never change, and only
// committed events are put in. It is a ring: new events push out the oldest.
type eventCache struct {
	mu    sync.Mutex
	limit int
	size  int
	byKey map[int64]*webhook.EventRecord
	ring  []int64 // numbers in the order of their arrival
	head  int
}

func newEventCache(limit int) *eventCache {
	return &eventCache{limit: limit, byKey: map[int64]*webhook.EventRecord{}}
}

// cacheCost estimates the memory of an entry: the payload, the record and its
// strings.
func cacheCost(ev *webhook.EventRecord) int { return len(ev.Data) + 256 }

// put stores ev under its number. The caller must not change ev afterwards.
func (c *eventCache) put(seq int64, ev *webhook.EventRecord) {
	cost := cacheCost(ev)
	if cost > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey[seq] = ev
	c.ring = append(c.ring, seq)
	c.size += cost
	for c.size > c.limit {
		c.drop(c.ring[c.head])
		c.head++
	}
	if c.head > 1024 && c.head > len(c.ring)/2 {
		c.ring = append(c.ring[:0], c.ring[c.head:]...)
		c.head = 0
	}
}

func (c *eventCache) drop(seq int64) {
	if ev := c.byKey[seq]; ev != nil {
		c.size -= cacheCost(ev)
		delete(c.byKey, seq)
	}
}

// get returns an event, or nil.
func (c *eventCache) get(seq int64) *webhook.EventRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[seq]
}

// forget drops events that were deleted.
func (c *eventCache) forget(seqs []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, seq := range seqs {
		c.drop(seq)
	}
}
