package machineclock

import (
	"syscall"
	"time"
	"unsafe"
)

// clockBoottime is CLOCK_BOOTTIME, which package syscall does not define.
const clockBoottime = 7

// sinceBoot reads the clock that goes on while the machine sleeps.
func sinceBoot() time.Duration {
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0) //nolint:gosec // the kernel fills ts
	if errno != 0 {
		return time.Since(started)
	}
	return time.Duration(ts.Nano())
}
