package memstore

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSequence(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var q sequence[*event]
		var plain []*event
		byPos := func(a, b *event) int {
			if a.position().less(b.position()) {
				return -1
			}
			return 1
		}
		for i := range 20_000 {
			if grow := i < 10_000; rnd.IntN(10) < 4 == grow && len(plain) > 0 {
				n := rnd.IntN(len(plain))
				if rnd.IntN(2) == 0 {
					n = min(n, 3)
				}
				q.remove(plain[n])
				q.remove(plain[n])
				plain = slices.Delete(plain, n, n+1)
			} else {
				e := &event{published: int64(i), num: uint64(i)}
				if rnd.IntN(3) == 0 {
					e.published = rnd.Int64N(int64(i + 1))
				}
				q.insert(e)
				at, _ := slices.BinarySearchFunc(plain, e, byPos)
				plain = slices.Insert(plain, at, e)
			}
			if i%500 != 0 {
				continue
			}
			from := position{rnd.Int64N(int64(i + 1)), rnd.Uint64N(uint64(i + 1))}
			above := slices.Clone(plain)
			above = slices.DeleteFunc(above, func(e *event) bool { return !from.less(e.position()) })
			below := slices.Clone(plain)
			below = slices.DeleteFunc(below, func(e *event) bool { return !e.position().less(from) })
			slices.Reverse(below)
			if q.n != len(plain) || !slices.Equal(slices.Collect(q.ascend(from)), above) || !slices.Equal(slices.Collect(q.descend(from)), below) {
				t.Fatalf("seed %d, step %d: the sequence is not in order", seed, i)
			}
			if limit := 8 + 6*len(plain)/blockSize; len(q.blocks) > limit {
				t.Fatalf("%d blocks for %d elements, want at most %d", len(q.blocks), len(plain), limit)
			}
		}
	}
}
