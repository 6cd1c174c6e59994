//go:build !linux

package portal

import (
	"testing"
	"time"
)

var processBegan = time.Now()

// cpuTime stands in with the time that has passed, where a thread's own is not to be had.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	return time.Since(processBegan)
}
