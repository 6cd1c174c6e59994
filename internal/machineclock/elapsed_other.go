//go:build !linux

package machineclock

import "time"

func sinceBoot() time.Duration { return time.Since(started) }
