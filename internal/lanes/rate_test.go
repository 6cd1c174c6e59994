package lanes

import (
	"testing"
	"time"
)

// The bounds that a rate limit promises, for any rate and any load.
func TestRateBounds(t *testing.T) {
	start := time.Now()
	for _, perSecond := range []float64{0.01, 0.3, 1, 7, 99, 101, 5000, 10_000} {
		var r rate
		r.set(perSecond, start)
		now, n := start, 0
		for now.Sub(start) < 10*time.Second && n < 50_000 {
			if w := r.wait(now); w > 0 {
				if r.within(w-1, now) != 0 || r.within(w, now) < 1 {
					t.Fatalf("%v/s: %d may begin before the wait of %v is over, %d after", perSecond, r.within(w-1, now), w, r.within(w, now))
				}
				now = now.Add(w)
			}
			r.take(now)
			n++
			if most := perSecond*now.Sub(start).Seconds() + max(perSecond/100, 1) + 1e-6; float64(n) > most+1e-3 {
				t.Fatalf("%v/s: %d attempts after %v, want at most %v", perSecond, n, now.Sub(start), most)
			}
		}
		if least := perSecond * now.Sub(start).Seconds() * 0.999; float64(n) < least {
			t.Errorf("%v/s: only %d attempts in %v", perSecond, n, now.Sub(start))
		}
	}
}
