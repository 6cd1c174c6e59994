package merge

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// row is a row of a test's streams: its place, its stream, and whether it matches.
type row struct {
	at, stream int
	match      bool
}

func order(a, b int) int { return cmp.Compare(b, a) } // the highest first

// model reads streams of rows and counts the rows it looks at.
type model struct {
	streams map[int64][]row
	looked  int
}

func (m *model) read(streams []*Stream[int], step int) (out []Row[int, row], err error) {
	for _, x := range streams {
		rows := m.streams[x.ID]
		i, found := slices.BinarySearchFunc(rows, x.From, func(r row, from int) int { return order(r.at, from) })
		if found {
			i++
		}
		rows = rows[i:]
		x.Done = len(rows) < step
		rows = rows[:min(step, len(rows))]
		for _, r := range rows {
			x.From = r.at
			if r.match {
				out = append(out, Row[int, row]{r.at, r})
			}
		}
		m.looked += len(rows)
	}
	return out, nil
}

// For random streams, limits and bounds: going on with Next finds each matching row
// once and in order, ends, and looks at no more rows for a page than the bound, or
// one row of each stream.
func TestNewestFindsEachOnceWithinTheBound(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := &model{streams: map[int64][]row{}}
		hooks, rows, rare := 1+rnd.IntN(12), rnd.IntN(400), 1+rnd.IntN(60)
		var want []row
		for at := rows; at > 0; at-- {
			// Some streams have most of the rows.
			id := min(rnd.IntN(hooks), rnd.IntN(hooks))
			r := row{at, id, rnd.IntN(rare) == 0}
			m.streams[int64(id)] = append(m.streams[int64(id)], r)
			if r.match {
				want = append(want, r)
			}
		}
		limit, scan, placed := 1+rnd.IntN(20), 1+rnd.IntN(100), rnd.IntN(2) == 0
		var got []row
		from := rows + 1
		for pages := 0; ; pages++ {
			if pages > rows+1 {
				t.Fatalf("seed %d: the walk does not end", seed)
			}
			var streams []*Stream[int]
			for id := range hooks {
				x := &Stream[int]{From: from, ID: int64(id)}
				if placed {
					i := slices.IndexFunc(m.streams[x.ID], func(r row) bool { return r.at < from })
					if i < 0 {
						continue
					}
					x.From = m.streams[x.ID][i].at + 1
				}
				streams = append(streams, x)
			}
			m.looked = 0
			page, err := Source[int, row]{order, m.read, placed}.Newest(streams, limit, scan)
			if err != nil {
				t.Fatal(err)
			}
			if m.looked > scan && (placed || m.looked > hooks) {
				t.Fatalf("seed %d: looked at %d rows of %d streams, the bound is %d", seed, m.looked, hooks, scan)
			}
			if len(page.Rows) > limit || page.More && len(page.Rows) < limit && !page.Short {
				t.Fatalf("seed %d: a page of %d, the limit is %d: %+v", seed, len(page.Rows), limit, page)
			}
			for _, r := range page.Rows {
				got = append(got, r.Item)
			}
			if !page.More {
				break
			}
			from = page.Next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: found %v, want %v", seed, got, want)
		}
	}
}

// If all rows match, scan = 20*limit suffices for full pages, however many streams
// there are and however unevenly they are filled.
func TestNewestFillsEveryPageOfTwentyLooksARow(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		m := &model{streams: map[int64][]row{}}
		limit := 1 + rnd.IntN(500)
		hooks, busy, rows := 1+rnd.IntN(2*limit), 1+rnd.IntN(5), 3000+rnd.IntN(3000)
		for at := rows; at > 0; at-- {
			id := rnd.IntN(hooks)
			for range rnd.IntN(busy) {
				id = min(id, rnd.IntN(hooks))
			}
			m.streams[int64(id)] = append(m.streams[int64(id)], row{at, id, true})
		}
		for from := rows + 1; from > 1; {
			var streams []*Stream[int]
			for id, all := range m.streams {
				x := &Stream[int]{From: from, ID: id}
				if i := slices.IndexFunc(all, func(r row) bool { return r.at < from }); hooks > limit && i >= 0 {
					x.From = all[i].at + 1
				} else if hooks > limit {
					continue
				}
				streams = append(streams, x)
			}
			page, err := Source[int, row]{order, m.read, hooks > limit}.Newest(streams, limit, 20*limit)
			if err != nil || page.Short || len(page.Rows) != min(limit, from-1) {
				t.Fatalf("seed %d: a page of %d of %d streams after %d, want %d, %v", seed, len(page.Rows), len(streams), from, limit, err)
			}
			from = page.Rows[len(page.Rows)-1].At
		}
	}
}

// If one of very many streams has nearly all rows, and no row matches, a page gets
// far in that stream.
func TestNewestGetsFarInABusyStream(t *testing.T) {
	m := &model{streams: map[int64][]row{}}
	for at := 100_000; at > 0; at-- {
		m.streams[int64(max(0, 10_000-at))] = append(m.streams[int64(max(0, 10_000-at))], row{at: at})
	}
	var streams []*Stream[int]
	for id, all := range m.streams {
		streams = append(streams, &Stream[int]{From: all[0].at + 1, ID: id})
	}
	page, err := Source[int, row]{order, m.read, true}.Newest(streams, 50, 10_000)
	if err != nil || len(page.Rows) != 0 || page.Next > 99_000 {
		t.Errorf("%d rows, the next page begins after %d, %v", len(page.Rows), page.Next, err)
	}
}

// A page of frequent matches is full, however unevenly the streams are filled.
func TestNewestFillsPages(t *testing.T) {
	m := &model{streams: map[int64][]row{}}
	for at := 20_000; at > 0; at-- {
		id := int64(0)
		if at%100 == 0 {
			id = int64(at/100) % 100
		}
		m.streams[id] = append(m.streams[id], row{at, int(id), true})
	}
	var streams []*Stream[int]
	for id := range int64(100) {
		streams = append(streams, &Stream[int]{From: 20_001, ID: id})
	}
	page, err := Source[int, row]{order, m.read, false}.Newest(streams, 500, 10_000)
	if err != nil || len(page.Rows) != 500 || page.Short || page.Next != 19_501 {
		t.Errorf("a page of %d, %+v, %v", len(page.Rows), page.Next, err)
	}
	if m.looked > 5000 {
		t.Errorf("looked at %d rows for a page of 500", m.looked)
	}
}
