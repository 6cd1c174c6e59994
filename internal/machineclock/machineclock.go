// Package machineclock is the wall clock of the machine, which tests set.
package machineclock

import (
	"sync/atomic"
	"time"
)

var set atomic.Pointer[func() time.Time]

// Now is what the machine's clock shows.
func Now() time.Time {
	if f := set.Load(); f != nil {
		return (*f)()
	}
	return time.Now()
}

// Set makes f the clock of this process, and nil time.Now again.
func Set(f func() time.Time) {
	if f == nil {
		set.Store(nil)
		return
	}
	set.Store(&f)
}
