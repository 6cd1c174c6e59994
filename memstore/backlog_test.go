package memstore

import (
	"testing"
)

// A look at a long queue ends at its limit: it does not walk through all that waits.
func TestBacklogCountsNoFurtherThanItsLimit(t *testing.T) {
	var line timeline[delivery]
	nodes := make([]node[delivery], 100_000)
	for i := range nodes {
		line.push(&nodes[i], int64(i%1000), uint64(i), i < 10) // most are in the heap
	}
	for at, want := range map[int64]int{-1: 0, 0: 100, 499: 50_000, 999: 100_000} {
		if n := line.until(at, len(nodes)); n != want {
			t.Errorf("up to %d: counted %d, want %d", at, n, want)
		}
	}
	if n := line.until(999, 7); n != 7 {
		t.Errorf("up to 7: counted %d", n)
	}
	if allocs := testing.AllocsPerRun(10, func() { line.until(999, 5) }); allocs > 5 {
		t.Errorf("counting up to 5 allocated %v times", allocs)
	}
}
