package post

import (
	"strings"
	"time"
)

// longestRetryAfter replaces every longer wait. It is far above the limits that are
// applied later, and far below the overflow of durations.
const longestRetryAfter = 366 * 24 * time.Hour

// The three forms of a date that RFC 9110, section 5.6.7, has recipients
// accept. GMT is part of the form, not a zone to be looked up.
const (
	layoutIMF     = "Mon, 02 Jan 2006 15:04:05 GMT"
	layoutRFC850  = "Monday, 02-Jan-06 15:04:05 GMT"
	layoutAsctime = "Mon Jan _2 15:04:05 2006"
)

// parseRetryAfter returns how long the Retry-After field of an answer, as RFC
// 9110 section 10.2.3 defines it, asks to wait from now: a number of seconds
// or a date. It reports false when there is no such field, more than one, or
// anything that is not exactly of that form: whoever writes "1.5", "+5" or
// "-1" has not said how long. A date that is over asks for no wait at all.
// The result is never negative and never above a year or so.
func parseRetryAfter(values []string, now time.Time) (time.Duration, bool) {
	if len(values) != 1 || values[0] == "" {
		return 0, false
	}
	value := values[0]
	if seconds, ok := decimal(value); ok {
		return min(time.Duration(seconds)*time.Second, longestRetryAfter), true
	}
	at, ok := parseHTTPDate(value, now)
	if !ok {
		return 0, false
	}
	return min(max(at.Sub(now), 0), longestRetryAfter), true
}

// decimal reads a number that consists of digits only. A number too large to
// matter comes back as the number of seconds in longestRetryAfter, so that no
// count of digits overflows.
func decimal(s string) (int64, bool) {
	const most = int64(longestRetryAfter / time.Second)
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), most)
	}
	return n, true
}

func parseHTTPDate(s string, now time.Time) (time.Time, bool) {
	layout := layoutIMF
	switch comma := strings.IndexByte(s, ','); {
	case comma < 0:
		layout = layoutAsctime
	case comma > 3:
		layout = layoutRFC850
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return time.Time{}, false
	}
	if layout == layoutRFC850 {
		// Two digits mean the latest year that is not more than 50 years ahead.
		limit := now.AddDate(50, 0, 0)
		for next := t.AddDate(100, 0, 0); !next.After(limit); next = t.AddDate(100, 0, 0) {
			t = next
		}
		for t.After(limit) {
			t = t.AddDate(-100, 0, 0)
		}
	}
	// time.Parse also takes fractions of a second, any case and the wrong day
	// of the week. A value that Format does not reproduce was not of
	// this form.
	return t, t.Format(layout) == s
}
