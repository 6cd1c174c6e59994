package webhook

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// RetryPolicy says how long to wait before a retry.
type RetryPolicy interface {
	// Delay returns the time from a failed attempt to retry number n = 1, 2, ….
	// It is called for every failed attempt, from several goroutines at once.
	// Below zero counts as zero.
	Delay(n int) time.Duration
}

// Defaults of the exponential schedule.
const (
	DefaultRetryInitial    = 15 * time.Second
	DefaultRetryMultiplier = 4.0
	DefaultRetryJitter     = 0.2
	DefaultRetryMax        = 6 * time.Hour
)

// ExponentialRetry waits Initial before the first retry and Multiplier times
// as long before each following one, never more than Max, each time give or
// take a random part of up to Jitter, so that what failed together does not
// return together. The zero value is the default schedule: 15 s, 60 s, 4 min,
// 16 min, 64 min, 4 h 16 min, 6 h, 6 h, …, each ± 20 %.
type ExponentialRetry struct {
	Initial    time.Duration // 0 means 15 s
	Multiplier float64       // 0 means 4; at least 1
	Jitter     float64       // 0 means 0.2; below 0 means none; at most 1
	Max        time.Duration // 0 means 6 h
}

// Delay implements [RetryPolicy].
func (p ExponentialRetry) Delay(n int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(orDefault(p.Initial, DefaultRetryInitial)),
		backoff.WithMultiplier(atLeast(orDefault(p.Multiplier, DefaultRetryMultiplier), 1)),
		backoff.WithRandomizationFactor(0),
		backoff.WithMaxInterval(orDefault(p.Max, DefaultRetryMax)),
		backoff.WithMaxElapsedTime(0),
	)
	d := b.NextBackOff()
	for range n - 1 {
		d = b.NextBackOff()
	}
	// Drawn here and not by backoff: cut off at Max, half of all delays there
	// would be the same.
	jitter := min(atLeast(orDefault(p.Jitter, DefaultRetryJitter), 0), 1)
	width := time.Duration(jitter * float64(d))
	top := min(d+width, orDefault(p.Max, DefaultRetryMax))
	low := max(top-2*width, 0)
	return low + rand.N(top-low+1) //nolint:gosec // a pause, not a secret
}

// atLeast returns v, or low when v is below it or not a number.
func atLeast(v, low float64) float64 {
	if v >= low {
		return v
	}
	return low
}

// RetryDelays is a fixed schedule: the first delay before the first retry, and so
// on; the last one repeats. An empty one retries at once. It has no random part,
// so what failed together returns together.
type RetryDelays []time.Duration

// Delay implements [RetryPolicy].
func (p RetryDelays) Delay(n int) time.Duration {
	if len(p) == 0 {
		return 0
	}
	return p[min(max(n, 1), len(p))-1]
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
