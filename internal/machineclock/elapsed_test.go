package machineclock

import (
	"testing"
	"time"
)

// Elapsed advances with the monotonic clock, which is read before and after, and
// never goes back.
func TestElapsedGoesWithTheMonotonicClock(t *testing.T) {
	outer := time.Now()
	first := Elapsed()
	inner := time.Now()
	for time.Since(inner) < 5*time.Millisecond {
		if Elapsed() < first {
			t.Fatal("Elapsed went back")
		}
	}
	least := time.Since(inner)
	took := Elapsed() - first
	if most := time.Since(outer); took < least-time.Millisecond || took > most+time.Millisecond {
		t.Errorf("Elapsed went on by %v while between %v and %v passed", took, least, most)
	}
}
