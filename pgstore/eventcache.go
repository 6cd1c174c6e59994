package pgstore

import (
	"sync"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// eventCache keeps events that this process has just published, so that it need not
// read them back to deliver them. Events never change, and only committed events
// are put in. The oldest events make room for new ones.
type eventCache struct {
	mu    sync.Mutex
	limit int
	size  int
	byKey map[int64]*webhook.EventRecord
	order []int64 // keys in the order of their arrival, from head on
	head  int
}

func newEventCache(limit int) *eventCache {
	return &eventCache{limit: limit, byKey: map[int64]*webhook.EventRecord{}}
}

// cacheOverhead is roughly the memory of an entry besides its payload.
const cacheOverhead = 256

func cacheCost(ev *webhook.EventRecord) int { return len(ev.Data) + cacheOverhead }

// put keeps a copy of ev.
func (c *eventCache) put(k int64, ev *webhook.EventRecord) {
	cost := cacheCost(ev)
	if cost > c.limit/4 {
		return
	}
	own := *ev
	own.Data = append([]byte(nil), ev.Data...)
	own.Time = sqlstore.FromMicros(sqlstore.Micros(ev.Time))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey[k] = &own
	c.order = append(c.order, k)
	c.size += cost
	for c.size > c.limit {
		c.evict()
	}
}

// evict removes the oldest event, which may have been dropped already.
func (c *eventCache) evict() {
	c.drop(c.order[c.head])
	if c.head++; c.head > 1024 && c.head > len(c.order)/2 {
		c.order = append(c.order[:0], c.order[c.head:]...)
		c.head = 0
	}
}

func (c *eventCache) drop(k int64) {
	if ev := c.byKey[k]; ev != nil {
		c.size -= cacheCost(ev)
		delete(c.byKey, k)
	}
}

// get copies cached events into events and returns the keys of the others.
func (c *eventCache) get(keys []int64, events map[int64]*webhook.EventRecord) (missing []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		if ev := c.byKey[k]; ev != nil {
			events[k] = ev
		} else {
			missing = append(missing, k)
		}
	}
	return missing
}

// forget drops events that were deleted.
func (c *eventCache) forget(keys []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		c.drop(k)
	}
}
