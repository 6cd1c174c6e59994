package webhook

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// RetryPolicy determines the wait before each retry.
type RetryPolicy interface {
	// Delay returns the time from a failed attempt to retry number n = 1, 2, ….
	// It is called for every failed attempt, from several goroutines at once. A
	// negative delay counts as zero.
	Delay(n int) time.Duration
}

// Defaults of the exponential schedule.
const (
	DefaultRetryInitial    = 15 * time.Second
	DefaultRetryMultiplier = 4.0
	DefaultRetryJitter     = 0.2
	DefaultRetryMax        = 6 * time.Hour
)

// ExponentialRetry waits Initial before the first retry and Multiplier times as
// long before each following retry, but at most Max. Each delay varies by a
// random share of up to Jitter, so that deliveries that failed together are not
// retried together. The zero value is the default schedule: 15 s, 60 s, 4 min,
// 16 min, 64 min, 4 h 16 min, 6 h, 6 h, …, each ± 20 %.
type ExponentialRetry struct {
	Initial    time.Duration // 0 means 15 s
	Multiplier float64       // 0 means 4; at least 1
	Jitter     float64       // 0 means 0.2; below 0 means no jitter; at most 1
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
	// The jitter is drawn here and not by backoff, which would cut it off at
	// Max, so that half of all delays of that length would be equal.
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

// RetryDelays is a fixed schedule: the first delay precedes the first retry,
// and so on; the last delay repeats. An empty schedule retries at once. The
// delays do not vary, so deliveries that failed together are retried together.
type RetryDelays []time.Duration

// Delay implements [RetryPolicy].
func (p RetryDelays) Delay(n int) time.Duration {
	if len(p) == 0 {
		return 0
	}
	return p[min(max(n, 1), len(p))-1]
}

// retryAfterSpread is the part of the wait asked for by which retries are spread:
// a receiver that sends the same date to all does not get all back at once.
const retryAfterSpread = 5

// obeyRetryAfter returns the wait before the next attempt when a receiver asked
// for a wait: asked and up to a fifth more, at random. It is at least own, the wait
// of the policy, so that a receiver cannot shorten it, and at most the larger of
// own and limit, so that a receiver cannot park a delivery for ever.
func obeyRetryAfter(own, asked, limit time.Duration) time.Duration {
	low, top := asked, min(asked+asked/retryAfterSpread, limit)
	if asked >= limit {
		low = limit - limit/(retryAfterSpread+1)
	}
	return max(own, low+rand.N(max(top-low, 0)+1)) //nolint:gosec // a pause, not a secret
}
