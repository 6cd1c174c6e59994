//go:build !linux

package portal

import (
	"testing"
	"time"
)

var processBegan = time.Now()

// cpuTime returns the elapsed time, on systems that do not report a thread's
// CPU time.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	return time.Since(processBegan)
}
