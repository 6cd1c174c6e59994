package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// steps is the number of buckets from one power of two to the next, which keeps
// values to within 1/128.
const steps = 64

// histogram counts durations. It is safe for concurrent use.
type histogram [64 * steps]atomic.Int64

// bucket returns the bucket of a duration, in microseconds.
func bucket(d time.Duration) int {
	v := uint64(max(d.Microseconds(), 0))
	if v < steps {
		return int(v)
	}
	shift := bits.Len64(v) - 7
	return (shift+1)*steps + int(v>>shift) - steps
}

// middle returns the duration that represents a bucket.
func middle(b int) time.Duration {
	if b < steps {
		return time.Duration(b) * time.Microsecond
	}
	shift := b/steps - 1
	low := uint64(b%steps+steps) << shift
	return time.Duration(low+(1<<shift)/2) * time.Microsecond
}

func (h *histogram) add(d time.Duration) { h[bucket(d)].Add(1) }

// counts returns the buckets that are not empty.
func (h *histogram) counts() map[int]int64 {
	out := make(map[int]int64)
	for i := range h {
		if n := h[i].Load(); n > 0 {
			out[i] = n
		}
	}
	return out
}

func (h *histogram) reset() {
	for i := range h {
		h[i].Store(0)
	}
}

// quantile returns the q-quantile in milliseconds, or 0 without values.
func quantile(counts map[int]int64, q float64) float64 {
	var total int64
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := int64(q * float64(total-1))
	for b := range 64 * steps {
		if rank -= counts[b]; rank < 0 {
			return float64(middle(b)) / float64(time.Millisecond)
		}
	}
	return 0
}
