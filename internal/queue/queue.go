// Package queue holds items on their way from many producers to one consumer that
// takes them in batches, and knows when every item has been dealt with.
package queue

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// A Queue is a first-in, first-out queue. It does not bound its length: its producers
// do. A Queue is safe for concurrent use.
type Queue[T any] struct {
	mu      sync.Mutex
	waiting []T
	pending int // waiting, and taken but not yet done
	closed  bool
	arrived chan struct{} // an item waits, or the queue was closed
	emptied chan struct{} // closed when pending falls to 0; nil while no WaitEmpty runs
}

// New returns an empty queue.
func New[T any]() *Queue[T] { return &Queue[T]{arrived: make(chan struct{}, 1)} }

// Add appends items. It does not block.
func (q *Queue[T]) Add(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, items...)
	q.pending += len(items)
	q.mu.Unlock()
	q.signal()
}

// Close says that no item follows but those that come back by Again.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *Queue[T]) signal() {
	select {
	case q.arrived <- struct{}{}:
	default:
	}
}

// Take waits for items and returns up to limit of them. It returns nil when the queue
// is closed and no item waits.
func (q *Queue[T]) Take(limit int) []T {
	for {
		q.mu.Lock()
		if n := min(len(q.waiting), limit); n > 0 {
			batch := q.waiting[:n:n]
			q.waiting = q.waiting[n:]
			if len(q.waiting) == 0 {
				q.waiting = nil
			}
			q.mu.Unlock()
			return batch
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.arrived
		runtime.Gosched() // items that are added in this moment join the batch
	}
}

// More takes up to n items without waiting.
func (q *Queue[T]) More(n int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.waiting))
	out := slices.Clone(q.waiting[:n])
	q.waiting = q.waiting[n:]
	return out
}

// Again puts an item back that was taken and is not done.
func (q *Queue[T]) Again(item T) {
	q.mu.Lock()
	q.waiting = append(q.waiting, item)
	q.mu.Unlock()
	q.signal()
}

// Done says that n of the taken items have been dealt with.
func (q *Queue[T]) Done(n int) {
	q.mu.Lock()
	q.pending -= n
	if q.pending == 0 && q.emptied != nil {
		close(q.emptied)
		q.emptied = nil
	}
	q.mu.Unlock()
}

// WaitEmpty waits until every item that was added is done, at most for d.
func (q *Queue[T]) WaitEmpty(d time.Duration) {
	q.mu.Lock()
	if q.pending == 0 {
		q.mu.Unlock()
		return
	}
	if q.emptied == nil {
		q.emptied = make(chan struct{})
	}
	emptied := q.emptied
	q.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-emptied:
	case <-timer.C:
	}
}
