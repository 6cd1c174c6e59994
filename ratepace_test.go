package webhook

import (
	"testing"
	"time"
)

// The bounds that Webhook.RateLimit states, for any rate and any load.
func TestPaceBounds(t *testing.T) {
	start := time.Now()
	for _, rate := range []float64{MinRateLimit, 0.3, 1, 7, 99, 101, 5000, MaxRateLimit} {
		var p ratePace
		p.set(rate, start)
		now, n := start, 0
		for now.Sub(start) < 10*time.Second && n < 50_000 {
			if w := p.wait(now); w > 0 {
				if p.within(w-1, now) != 0 || p.within(w, now) < 1 {
					t.Fatalf("%v/s: %d may begin before the wait of %v is over, %d after", rate, p.within(w-1, now), w, p.within(w, now))
				}
				now = now.Add(w)
			}
			p.take(now)
			n++
			if most := rate*now.Sub(start).Seconds() + max(rate/100, 1) + 1e-6; float64(n) > most+1e-3 {
				t.Fatalf("%v/s: %d attempts after %v, want at most %v", rate, n, now.Sub(start), most)
			}
		}
		if least := rate * now.Sub(start).Seconds() * 0.999; float64(n) < least {
			t.Errorf("%v/s: only %d attempts in %v", rate, n, now.Sub(start))
		}
	}
}
