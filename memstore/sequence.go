package memstore

import (
	"iter"
	"math"
	"slices"
	"sort"
)

// position is a place in the order of a log: creation time, then the number the
// store gave, which orders as the ID made from it does.
type position struct {
	at  int64 // microseconds since 1970
	num uint64
}

var (
	firstPosition = position{math.MinInt64, 0}
	lastPosition  = position{math.MaxInt64, math.MaxUint64}
)

func (p position) less(o position) bool { return p.at < o.at || p.at == o.at && p.num < o.num }

// blockSize is the number of elements in one block of a sequence.
const blockSize = 256

// sequence is a set ordered by position: a sorted list of sorted blocks.
// Appending at the end costs a constant; inserting and removing elsewhere cost
// a binary search and the move of one block. Removed elements leave no gaps, so a
// walk visits only elements of the set.
type sequence[T interface{ position() position }] struct {
	blocks [][]T
	n      int
}

// insert adds an element whose position is not taken.
func (q *sequence[T]) insert(x T) {
	q.n++
	p := x.position()
	last := len(q.blocks) - 1
	switch {
	case last < 0:
		q.blocks = append(q.blocks, []T{x})
		return
	case q.blocks[last][len(q.blocks[last])-1].position().less(p):
		if len(q.blocks[last]) < blockSize {
			q.blocks[last] = append(q.blocks[last], x)
		} else {
			q.blocks = append(q.blocks, append(make([]T, 0, blockSize), x))
		}
		return
	}
	b, i := q.search(p)
	block := slices.Insert(q.blocks[b], i, x)
	if len(block) > blockSize {
		half := len(block) / 2
		q.blocks = slices.Insert(q.blocks, b+1, slices.Clone(block[half:]))
		clear(block[half:])
		block = block[:half]
	}
	q.blocks[b] = block
}

// search returns block and index of the first element at p or after it; the
// block is len(q.blocks) if there is no such element.
func (q *sequence[T]) search(p position) (block, index int) {
	block = sort.Search(len(q.blocks), func(b int) bool {
		return !q.blocks[b][len(q.blocks[b])-1].position().less(p)
	})
	if block < len(q.blocks) {
		items := q.blocks[block]
		index = sort.Search(len(items), func(i int) bool { return !items[i].position().less(p) })
	}
	return block, index
}

// at returns the first element at p or after it.
func (q *sequence[T]) at(p position) (x T, ok bool) {
	if b, i := q.search(p); b < len(q.blocks) {
		return q.blocks[b][i], true
	}
	return x, false
}

// remove takes out the element at the position of x, if there is one. The
// shorter part of its block moves, so that removing the first costs a constant.
func (q *sequence[T]) remove(x T) {
	p := x.position()
	if len(q.blocks) == 0 {
		return
	}
	b, i := 0, 0
	if q.blocks[0][0].position() != p {
		if b, i = q.search(p); b == len(q.blocks) || q.blocks[b][i].position() != p {
			return
		}
	}
	q.n--
	block := q.blocks[b]
	if i < len(block)/2 {
		copy(block[1:i+1], block[:i])
		clear(block[:1])
		block = block[1:]
	} else {
		block = slices.Delete(block, i, i+1)
	}
	q.blocks[b] = block
	switch {
	case len(block) == 0:
		q.blocks = slices.Delete(q.blocks, b, b+1)
		if len(q.blocks) == 0 {
			q.blocks = nil
		}
	case b > 0 && b+1 < len(q.blocks) && len(block)+len(q.blocks[b+1]) <= blockSize/2:
		q.blocks[b] = append(block, q.blocks[b+1]...)
		q.blocks = slices.Delete(q.blocks, b+1, b+2)
	}
}

// ascend yields the elements after p, the earliest first. The sequence must
// not change meanwhile.
func (q *sequence[T]) ascend(p position) iter.Seq[T] {
	return func(yield func(T) bool) {
		b, i := q.search(p)
		if b < len(q.blocks) && q.blocks[b][i].position() == p {
			i++
		}
		for ; b < len(q.blocks); b, i = b+1, 0 {
			for ; i < len(q.blocks[b]); i++ {
				if !yield(q.blocks[b][i]) {
					return
				}
			}
		}
	}
}

// descend yields the elements before p, the latest first. The sequence must
// not change meanwhile.
func (q *sequence[T]) descend(p position) iter.Seq[T] {
	return func(yield func(T) bool) {
		b, i := q.search(p)
		for {
			for i--; i >= 0; i-- {
				if !yield(q.blocks[b][i]) {
					return
				}
			}
			if b--; b < 0 {
				return
			}
			i = len(q.blocks[b])
		}
	}
}
