package webhook

// laneTurns is a list of lanes whose tenants take turns: what comes next is the
// first lane of the tenant whose turn it is, so that a tenant with a lane in it
// waits for one lane of each other tenant, however many lanes they have. The lanes
// of one tenant are first in, first out. Each operation costs the same, whatever is
// in the list. The zero value is empty.
type laneTurns struct {
	n       int
	tenants map[string]*fifo[*lane] // of those that have lanes here
	turns   fifo[*fifo[*lane]]      // of the same
	spare   []*fifo[*lane]          // emptied, to be used again
}

func (q *laneTurns) len() int { return q.n }

// push adds a lane behind its tenant's others.
func (q *laneTurns) push(l *lane) {
	q.n++
	of := q.tenants[l.tenant]
	if of == nil {
		if last := len(q.spare) - 1; last >= 0 {
			of, q.spare = q.spare[last], q.spare[:last]
		} else {
			of = new(fifo[*lane])
		}
		if q.tenants == nil {
			q.tenants = make(map[string]*fifo[*lane])
		}
		q.tenants[l.tenant] = of
		q.turns.push(of)
	}
	of.push(l)
}

// pop takes the next lane, or nil when there is none.
func (q *laneTurns) pop() *lane {
	if q.n == 0 {
		return nil
	}
	q.n--
	of := q.turns.pop()
	l := of.pop()
	if of.len() > 0 {
		q.turns.push(of)
		return l
	}
	delete(q.tenants, l.tenant)
	if len(q.spare) < maxSpare {
		q.spare = append(q.spare, of)
	}
	return l
}

// maxSpare is how many emptied lists are kept for the next tenants.
const maxSpare = 64

// fifo is a first-in first-out list.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) push(x T) {
	if q.head > 32 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, x)
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

// pop takes the first, or returns the zero value when there is none.
func (q *fifo[T]) pop() (x T) {
	if q.head == len(q.items) {
		return x
	}
	var none T
	x, q.items[q.head] = q.items[q.head], none
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return x
}
