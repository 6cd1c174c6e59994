package post

import (
	"testing"
	"time"
)

var retryNow = time.Date(2026, time.January, 15, 11, 45, 0, 0, time.UTC)

func TestR10_RetryAfterRows(t *testing.T) {
	rows := []struct {
		name   string
		values []string
		want   time.Duration
		ok     bool
	}{
		{"none", nil, 0, false},
		{"empty", []string{""}, 0, false},
		{"zero", []string{"0"}, 0, true},
		{"seconds", []string{"120"}, 2 * time.Minute, true},
		{"leading zeros", []string{"0005"}, 5 * time.Second, true},
		{"negative", []string{"-1"}, 0, false},
		{"fraction", []string{"1.5"}, 0, false},
		{"exponent", []string{"1e3"}, 0, false},
		{"last that fits a duration", []string{"9223372036"}, longestRetryAfter, true},
		{"overflows a duration", []string{"9223372037"}, longestRetryAfter, true},
		{"overflows 64 bits", []string{"99999999999999999999"}, longestRetryAfter, true},
		{"NaN", []string{"NaN"}, 0, false},
		{"Infinity", []string{"Infinity"}, 0, false},
		{"leading space", []string{" 5"}, 0, false},
		{"trailing space", []string{"5 "}, 0, false},
		{"plus", []string{"+5"}, 0, false},
		{"hex", []string{"0x10"}, 0, false},
		{"underscore", []string{"1_0"}, 0, false},
		{"arabic digits", []string{"٥"}, 0, false},
		{"two headers", []string{"5", "5"}, 0, false},
		{"list", []string{"5, 6"}, 0, false},
		{"garbage", []string{"soon"}, 0, false},
		{"NUL", []string{"5\x00"}, 0, false},
		{"past date", []string{"Sun, 06 Nov 1994 08:49:37 GMT"}, 0, true},
		{"future date", []string{"Thu, 15 Jan 2026 11:46:30 GMT"}, 90 * time.Second, true},
		{"date in 9999", []string{"Fri, 31 Dec 9999 23:59:59 GMT"}, longestRetryAfter, true},
		{"RFC 850", []string{"Thursday, 15-Jan-26 11:46:30 GMT"}, 90 * time.Second, true},
		{"RFC 850, last century", []string{"Sunday, 06-Nov-94 08:49:37 GMT"}, 0, true},
		{"asctime", []string{"Thu Jan 15 11:46:30 2026"}, 90 * time.Second, true},
		{"asctime, one digit", []string{"Sun Nov  6 08:49:37 1994"}, 0, true},
		{"wrong day of the week", []string{"Fri, 15 Jan 2026 11:46:30 GMT"}, 0, false},
		{"fraction of a second", []string{"Thu, 15 Jan 2026 11:46:30.5 GMT"}, 0, false},
		{"another zone", []string{"Thu, 15 Jan 2026 11:46:30 PST"}, 0, false},
		{"numeric zone", []string{"Thu, 15 Jan 2026 11:46:30 +0100"}, 0, false},
		{"RFC 3339", []string{"2026-01-15T11:46:30Z"}, 0, false},
		{"31 February", []string{"Tue, 31 Feb 2026 11:46:30 GMT"}, 0, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, ok := parseRetryAfter(row.values, retryNow)
			if got != row.want || ok != row.ok {
				t.Errorf("parseRetryAfter(%q) = %v, %v; want %v, %v", row.values, got, ok, row.want, row.ok)
			}
		})
	}
}

func TestR10_TwoDigitYearsAreNearNow(t *testing.T) {
	late := time.Date(2060, time.January, 1, 0, 0, 0, 0, time.UTC)
	// 75 is 2075 in 2060, not 1975: fewer than 50 years ahead.
	if got, ok := parseRetryAfter([]string{"Tuesday, 01-Jan-75 00:00:00 GMT"}, late); !ok || got == 0 {
		t.Errorf("a year 15 years ahead was taken for one in the last century: %v, %v", got, ok)
	}
	early := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	// 68 would be 2068: more than 50 years ahead, so it is 1968.
	if got, ok := parseRetryAfter([]string{"Monday, 01-Jan-68 00:00:00 GMT"}, early); !ok || got != 0 {
		t.Errorf("a year 68 years ahead was not taken for the one that is over: %v, %v", got, ok)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"0", "-1", "1.5", "1e3", "9223372036", "9223372037", "99999999999999999999", " 5", "+5",
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 29 Feb 2024 00:00:00 GMT", ","} {
		f.Add(s, int64(1768477500))
	}
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		now := time.Unix(unix%(1<<37), 0).UTC()
		asked, ok := parseRetryAfter([]string{s}, now)
		if asked < 0 || asked > longestRetryAfter {
			t.Fatalf("parseRetryAfter(%q) = %v: out of bounds", s, asked)
		}
		if !ok && asked != 0 {
			t.Fatalf("parseRetryAfter(%q) = %v, false", s, asked)
		}
	})
}
