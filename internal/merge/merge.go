// Package merge reads a page from several streams, each in the order of a list. It
// looks at a bounded number of their rows.
package merge

import "slices"

// Stream is one of the sources of a list. K is a position in the list.
type Stream[K any] struct {
	// From is the position up to which the stream has been read. Initially it is
	// the end of the previous page.
	From K
	// Done is set when the stream has no row after From.
	Done bool
	// ID identifies the stream to the reader.
	ID int64
}

// Row is a matching row.
type Row[K, T any] struct {
	At   K
	Item T
}

// Page is the result of a search.
type Page[K, T any] struct {
	Rows []Row[K, T] // in order
	// More is set if there may be more rows, after the place Next.
	More bool
	Next K
	// Short is set if the page ended at Next because scan rows had been looked at.
	Short bool
}

// Source reads the streams.
type Source[K, T any] struct {
	// Order is below 0 if a comes before b in the list.
	Order func(a, b K) int
	// Read looks at the next step rows of each stream, or at all that are left. It
	// moves From to the last row it looked at, or sets Done if there were fewer
	// than step rows. It returns the matching rows in any order.
	Read func(streams []*Stream[K], step int) ([]Row[K, T], error)
	// Placed says that each stream has a row and begins right before it. Then not
	// all streams need to be read to know which rows come first.
	Placed bool
}

// Newest returns the first limit matching rows. It looks at scan rows, or at one
// row of each stream if that is more and the streams are not placed. It stops
// reading a stream whose remaining rows cannot be on the page. It reads the streams
// with the smallest From first, since the page ends where some stream may still
// have an earlier row. If all rows match, and the streams are placed or no more
// than limit, scan = 20*limit suffices for a full page.
func (s Source[K, T]) Newest(streams []*Stream[K], limit, scan int) (Page[K, T], error) {
	var rows []Row[K, T]
	open := slices.Clone(streams)
	first := min(len(open), limit+1) // the placed streams that may begin the page
	if !s.Placed {
		first = len(open)
	}
	for step, begun := limit/max(1, first)+2, false; len(open) > 0; step, begun = step*4, true {
		if len(rows) > limit {
			// Streams beyond the first row of the next page are finished.
			open = slices.DeleteFunc(open, func(x *Stream[K]) bool { return s.Order(x.From, rows[limit].At) >= 0 })
		}
		n := first
		if begun {
			// The first reads use half of the remaining scan. If one stream has
			// nearly all rows, the other half is for that stream.
			n = min(len(open), max(1, scan/(2*step)))
		} else if s.Placed {
			n = min(n, scan)
		}
		if n == 0 || begun && scan <= 0 {
			break
		}
		if n < len(open) { // otherwise all streams are read, and their order does not matter
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
	// Rows up to the smallest From of the open streams are complete.
	reached := slices.MinFunc(open, func(a, b *Stream[K]) int { return s.Order(a.From, b.From) }).From
	if i := slices.IndexFunc(rows, func(r Row[K, T]) bool { return s.Order(r.At, reached) > 0 }); i >= 0 {
		rows = rows[:i]
	}
	return Page[K, T]{Rows: rows, More: true, Next: reached, Short: true}, nil
}
