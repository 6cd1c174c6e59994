package memstore

import (
	"iter"
	"math"
)

// never is later than every time a timeline holds.
const never = math.MaxInt64

// node links an element into a timeline. An element is in at most one timeline
// at a time, so one node per element is enough for all its queues.
type node[T any] struct {
	at         int64  // microseconds since 1970
	turn       uint64 // order of arrival, for equal times
	prev, next *node[T]
	place      int // 0: not in a timeline; -1: in the list; otherwise index in the heap + 1
	owner      *T
}

func (n *node[T]) before(o *node[T]) bool {
	return n.at < o.at || n.at == o.at && n.turn < o.turn
}

// timeline is a queue ordered by time and arrival. Elements that
// arrive in order, as nearly all do, go to the end of a linked list, at constant
// cost; the others go to a heap. Elements can be removed from any place and
// leave no gaps, so its memory is that of its elements.
type timeline[T any] struct {
	head, tail *node[T]
	heap       []*node[T]
	n          int
}

// push adds a node that is in no timeline. Without inOrder it goes to the heap
// even where the list would take it: for elements so late that everything
// after them would have to go to the heap.
func (t *timeline[T]) push(n *node[T], at int64, turn uint64, inOrder bool) {
	n.at, n.turn = at, turn
	t.n++
	if inOrder && (t.tail == nil || !n.before(t.tail)) {
		n.place, n.prev, n.next = -1, t.tail, nil
		if t.tail == nil {
			t.head = n
		} else {
			t.tail.next = n
		}
		t.tail = n
		return
	}
	t.heap = append(t.heap, n)
	t.up(len(t.heap) - 1)
}

// first returns the earliest node, or nil.
func (t *timeline[T]) first() *node[T] {
	if len(t.heap) == 0 {
		return t.head
	}
	if t.head == nil || t.heap[0].before(t.head) {
		return t.heap[0]
	}
	return t.head
}

// firstAt is the time of the earliest node, or never.
func (t *timeline[T]) firstAt() int64 {
	if n := t.first(); n != nil {
		return n.at
	}
	return never
}

// after returns the earliest time above now that can be seen at constant cost:
// that of a front element.
func (t *timeline[T]) after(now int64) int64 {
	at := int64(never)
	if t.head != nil && t.head.at > now {
		at = t.head.at
	}
	if len(t.heap) > 0 && t.heap[0].at > now {
		at = min(at, t.heap[0].at)
	}
	return at
}

// earlier yields the elements before a time, in no order. The timeline must not
// change meanwhile.
func (t *timeline[T]) earlier(at int64) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for n := t.head; n != nil && n.at < at; n = n.next {
			if !yield(n.owner) {
				return
			}
		}
		for _, n := range t.heap {
			if n.at < at && !yield(n.owner) {
				return
			}
		}
	}
}

// remove takes a node that is in this timeline out of it.
func (t *timeline[T]) remove(n *node[T]) {
	t.n--
	if n.place < 0 {
		if n.prev == nil {
			t.head = n.next
		} else {
			n.prev.next = n.next
		}
		if n.next == nil {
			t.tail = n.prev
		} else {
			n.next.prev = n.prev
		}
		n.prev, n.next, n.place = nil, nil, 0
		return
	}
	i, last := n.place-1, len(t.heap)-1
	moved := t.heap[last]
	t.heap[last] = nil
	t.heap = t.heap[:last]
	if i < last {
		t.heap[i] = moved
		moved.place = i + 1
		if !t.up(i) {
			t.down(i)
		}
	}
	n.place = 0
	if c := cap(t.heap); c > 1024 && last < c/4 {
		t.heap = append(make([]*node[T], 0, c/2), t.heap...)
	}
}

// up moves the node at i towards the root and reports whether it moved.
func (t *timeline[T]) up(i int) bool {
	n, start := t.heap[i], i
	for i > 0 {
		parent := (i - 1) / 2
		if !n.before(t.heap[parent]) {
			break
		}
		t.heap[i] = t.heap[parent]
		t.heap[i].place = i + 1
		i = parent
	}
	t.heap[i] = n
	n.place = i + 1
	return i != start
}

func (t *timeline[T]) down(i int) {
	n := t.heap[i]
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			break
		}
		if child+1 < len(t.heap) && t.heap[child+1].before(t.heap[child]) {
			child++
		}
		if !t.heap[child].before(n) {
			break
		}
		t.heap[i] = t.heap[child]
		t.heap[i].place = i + 1
		i = child
	}
	t.heap[i] = n
	n.place = i + 1
}
