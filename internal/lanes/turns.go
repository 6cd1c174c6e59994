package lanes

// A line is a list of lanes whose tenants take turns: pop returns the first lane of
// the tenant whose turn it is, so that a tenant waits for one lane of each other
// tenant, however many lanes they have. The lanes of one tenant are first in, first
// out. A lane is in one line at most, and the links are in the lanes and tenants
// themselves, so that every operation takes constant time and allocates no memory.
type line struct {
	index       int // of tenant.turns
	lanes       int
	first, last *turn
}

// A turn is the part of a line that one tenant's lanes make up. It is in the line
// while it has lanes.
type turn struct {
	first, last *Lane
	prev, next  *turn
}

// push adds a lane behind its tenant's others.
func (q *line) push(l *Lane) {
	t := &l.tenant.turns[q.index]
	if t.first == nil {
		q.append(t)
		t.first = l
	} else {
		t.last.next = l
	}
	l.line, l.prev, l.next = q, t.last, nil
	t.last = l
	q.lanes++
}

// pop takes the next lane out of the line, or returns nil when the line is empty.
func (q *line) pop() *Lane {
	t := q.first
	if t == nil {
		return nil
	}
	l := t.first
	q.remove(l)
	if t.first != nil {
		q.unlink(t)
		q.append(t)
	}
	return l
}

// remove takes a lane out of the line. The others keep their order.
func (q *line) remove(l *Lane) {
	t := &l.tenant.turns[q.index]
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		t.first = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		t.last = l.prev
	}
	l.line, l.prev, l.next = nil, nil, nil
	q.lanes--
	if t.first == nil {
		q.unlink(t)
	}
}

func (q *line) append(t *turn) {
	t.prev, t.next = q.last, nil
	if q.last != nil {
		q.last.next = t
	} else {
		q.first = t
	}
	q.last = t
}

func (q *line) unlink(t *turn) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		q.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		q.last = t.prev
	}
	t.prev, t.next = nil, nil
}
