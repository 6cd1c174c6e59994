package portal

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime returns the CPU time that this thread has used: what else the machine
// does takes none of it.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
