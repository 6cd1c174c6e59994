package webhook

import (
	"math"
	"testing"
	"time"
)

func TestRetryDelays(t *testing.T) {
	for _, tt := range []struct {
		policy RetryPolicy
		n      int
		want   time.Duration
	}{
		{RetryDelays{}, 1, 0},
		{RetryDelays{time.Second, time.Minute}, 1, time.Second},
		{RetryDelays{time.Second, time.Minute}, 2, time.Minute},
		{RetryDelays{time.Second, time.Minute}, 10, time.Minute},
		{RetryDelays{time.Second}, 0, time.Second},
		// NaN is taken for the least value that makes sense.
		{ExponentialRetry{Jitter: math.NaN()}, 1, 15 * time.Second},
		{ExponentialRetry{Jitter: -1, Multiplier: math.NaN()}, 5, 15 * time.Second},
		{ExponentialRetry{Jitter: -1}, 3, 4 * time.Minute},
		{ExponentialRetry{Jitter: -1}, 10, 6 * time.Hour},
	} {
		if got := tt.policy.Delay(tt.n); got != tt.want {
			t.Errorf("%#v.Delay(%d) = %v, want %v", tt.policy, tt.n, got, tt.want)
		}
	}
}

func TestR10_TheNextDelayStaysInItsBounds(t *testing.T) {
	const own, limit = 15 * time.Second, time.Hour
	for _, asked := range []time.Duration{0, -1, math.MinInt64, time.Second, time.Minute, 2 * time.Hour, math.MaxInt64} {
		got := obeyRetryAfter(own, asked, limit)
		if got < own || got > limit {
			t.Errorf("obeyRetryAfter(%v, %v, %v) = %v", own, asked, limit, got)
		}
	}
	if got := obeyRetryAfter(own, time.Minute, limit); got < time.Minute || got > 72*time.Second {
		t.Errorf("a wait of a minute, within the bounds, became %v", got)
	}
	if got := obeyRetryAfter(2*limit, time.Minute, limit); got != 2*limit {
		t.Errorf("a backoff above the limit was shortened to %v", got)
	}
}

// Deliveries that were told the same time do not return together at that time, and
// never before it, unless it is beyond MaxRetryAfter.
func TestR10_WhoWasToldTheSameTimeIsSpread(t *testing.T) {
	const own, limit = 15 * time.Second, time.Hour
	for asked, most := range map[time.Duration]time.Duration{
		10 * time.Minute: 12 * time.Minute, 55 * time.Minute: limit, limit: limit, 24 * time.Hour: limit,
	} {
		const n, parts = 10_000, 20
		least := asked
		if asked >= limit {
			least = limit * 5 / 6
		}
		var counts [parts]int
		for range n {
			d := obeyRetryAfter(own, asked, limit)
			if d < least || d > most {
				t.Fatalf("asked for %v, waits %v: want %v–%v", asked, d, least, most)
			}
			counts[min(int((d-least)*parts/(most-least)), parts-1)]++
		}
		for i, c := range counts {
			if c > 2*n/parts {
				t.Errorf("asked for %v, %d of %d return within part %d of %d of %v–%v", asked, c, n, i+1, parts, least, most)
			}
		}
	}
}
