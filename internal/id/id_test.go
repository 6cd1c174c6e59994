package id

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

func TestIDsSortByTimeAndAreValid(t *testing.T) {
	start := time.Now()
	var ids []string
	for i := range 5000 {
		// A few per millisecond, and once the clock goes back.
		at := start.Add(time.Duration(i/7) * time.Millisecond)
		if i == 3000 {
			start = start.Add(-time.Second)
		}
		id := New("evt_", at)
		if len(id) != 30 || !eventtype.IsWord(id) || !strings.HasPrefix(id, "evt_") {
			t.Fatalf("ID %q is not evt_ and 26 characters", id)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Error("IDs do not sort in the order in which they were made")
	}
	if n := len(slices.Compact(ids)); n != 5000 {
		t.Errorf("%d different IDs of 5000", n)
	}
	if id := New("x_", time.Unix(-5, 0)); !eventtype.IsWord(id) {
		t.Errorf("ID %q of a time before 1970 is not valid", id)
	}
}

func TestIDsOfManyGoroutinesDiffer(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	now := time.Now()
	for range 8 {
		wg.Go(func() {
			own := make([]string, 0, 1000)
			for range 1000 {
				own = append(own, New("", now))
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range own {
				seen[id] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 8000 {
		t.Errorf("%d different IDs of 8000", len(seen))
	}
}

// A counter's carry must reach the bytes in front of it and never the time.
func TestIDsCountUpWithinAMillisecond(t *testing.T) {
	source.Lock()
	saved := source.last
	for i := 7; i < 16; i++ {
		source.last[i] = 0xff
	}
	source.last[6] = 0x01
	before := source.last
	source.Unlock()
	New("", time.Unix(0, 0))
	source.Lock()
	defer source.Unlock()
	if source.last[6] != 0x02 || source.last[15] != 0 || [6]byte(source.last[:6]) != [6]byte(before[:6]) {
		t.Errorf("after %x comes %x", before, source.last)
	}
	source.last = saved
}

func TestIDsFromKeys(t *testing.T) {
	seen := map[string]string{}
	for _, k := range [][2]string{{"a", "k"}, {"b", "k"}, {"a", "K"}, {"ak", ""}, {"a", "k:"}, {"1", "1:a"}, {"11", ":a"}, {"a", "Zahlung Nr. 7 – größer\x00"}} {
		id := FromKey(k[0], k[1])
		if !eventtype.IsWord(id) || id != FromKey(k[0], k[1]) {
			t.Errorf("ID %q of %q is not valid or not stable", id, k)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %s have the same ID", k, other)
		}
		seen[id] = k[0] + "/" + k[1]
	}
}

func TestTokensArePositiveAndDiffer(t *testing.T) {
	seen := map[int64]bool{}
	for range 1000 {
		n := NewToken()
		if n <= 0 || seen[n] {
			t.Fatalf("token %d is not above 0, or was there before", n)
		}
		seen[n] = true
	}
}
