// Package machineclock is the wall clock of the machine, which tests can set.
package machineclock

import (
	"sync/atomic"
	"time"
)

var set atomic.Pointer[func() time.Time]

// Now returns the time of the machine's clock.
func Now() time.Time {
	if f := set.Load(); f != nil {
		return (*f)()
	}
	return time.Now()
}

// Set makes Now call f in this process; nil restores time.Now.
func Set(f func() time.Time) {
	if f == nil {
		set.Store(nil)
		return
	}
	set.Store(&f)
}
