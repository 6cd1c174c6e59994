package machineclock

import (
	"testing"
	"time"
)

// Elapsed goes with the time of the machine: as far as the monotonic clock does,
// which stands around it, and no step back.
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
