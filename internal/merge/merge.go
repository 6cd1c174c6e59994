// Package merge reads a page from several streams that are each in the order of
// a list, looking at a bounded number of their rows.
package merge

import "slices"

// Stream is one of the sources of a list. K says where in the list a row is.
type Stream[K any] struct {
	// From is how far the stream has been looked at: what it has up to there has
	// been read. At first it is where the page before ended.
	From K
	// Done is set when it has nothing after From.
	Done bool
	// ID is whatever the reader knows it by.
	ID int64
}

// Row is a row that matches what is looked for.
type Row[K, T any] struct {
	At   K
	Item T
}

// Page is what was found.
type Page[K, T any] struct {
	Rows []Row[K, T] // in order
	// More is set when there may be more, after the place Next.
	More bool
	Next K
	// Short is set when the page ended at Next because enough had been looked at.
	Short bool
}

// Source is where the streams are read from.
type Source[K, T any] struct {
	// Order is below 0 when a comes before b in the list.
	Order func(a, b K) int
	// Read looks at the next rows of each stream, as many as step or as there are,
	// moves From to the last row that it looked at, or sets Done when there were
	// fewer, and returns those that match, in any order.
	Read func(streams []*Stream[K], step int) ([]Row[K, T], error)
	// Placed says that each stream has a row, and begins right before it: not all of
	// them need to be read to know which come first.
	Placed bool
}

// Newest returns the first limit rows that match. It looks at scan rows, and at
// one of each stream if those are more and not placed. Streams of which nothing can
// be on the page any more are not read further; those that are the least far are
// read first, as the page ends with what is certain to have nothing before it. Where
// all rows match, and the streams are placed or no more than limit, scan = 20*limit
// is enough for a full page.
func (s Source[K, T]) Newest(streams []*Stream[K], limit, scan int) (Page[K, T], error) {
	var rows []Row[K, T]
	open := slices.Clone(streams)
	first := min(len(open), limit+1) // of streams that are placed, those that may begin the page
	if !s.Placed {
		first = len(open)
	}
	for step, begun := limit/max(1, first)+2, false; len(open) > 0; step, begun = step*4, true {
		if len(rows) > limit {
			// What comes after the row that the next page begins with.
			open = slices.DeleteFunc(open, func(x *Stream[K]) bool { return s.Order(x.From, rows[limit].At) >= 0 })
		}
		n := first
		if begun {
			// Half of what may still be looked at: where one of the streams has nearly
			// all there is, the rest is for that one.
			n = min(len(open), max(1, scan/(2*step)))
		} else if s.Placed {
			n = min(n, scan)
		}
		if n == 0 || begun && scan <= 0 {
			break
		}
		if n < len(open) { // otherwise all of them are read, in whatever order
			slices.SortStableFunc(open, func(a, b *Stream[K]) int { return s.Order(a.From, b.From) })
		}
		step = max(1, min(step, scan/n))
		found, err := s.Read(open[:n], step)
		if err != nil {
			return Page[K, T]{}, err
		}
		scan -= n * step
		rows = append(rows, found...)
		slices.SortFunc(rows, func(a, b Row[K, T]) int { return s.Order(a.At, b.At) })
		rows = rows[:min(len(rows), limit+1)]
		open = slices.DeleteFunc(open, func(x *Stream[K]) bool { return x.Done })
	}
	if len(open) == 0 {
		if len(rows) <= limit {
			return Page[K, T]{Rows: rows}, nil
		}
		return Page[K, T]{Rows: rows[:limit], More: true, Next: rows[limit-1].At}, nil
	}
	// What is not after the least far of them is certain.
	reached := slices.MinFunc(open, func(a, b *Stream[K]) int { return s.Order(a.From, b.From) }).From
	if i := slices.IndexFunc(rows, func(r Row[K, T]) bool { return s.Order(r.At, reached) > 0 }); i >= 0 {
		rows = rows[:i]
	}
	return Page[K, T]{Rows: rows, More: true, Next: reached, Short: true}, nil
}
