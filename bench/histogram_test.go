package main

import (
	"testing"
	"time"
)

func TestHistogramKeepsDurationsToWithinTwoPercent(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 63 * time.Microsecond, 64 * time.Microsecond,
		999 * time.Microsecond, time.Millisecond, 17 * time.Millisecond, time.Second, time.Hour} {
		got := middle(bucket(d))
		if off := (got - d).Abs(); off > d/64 {
			t.Errorf("%v is kept as %v", d, got)
		}
	}
	last := -1
	for us := range 100_000 {
		b := bucket(time.Duration(us) * time.Microsecond)
		if b != last && b != last+1 {
			t.Fatalf("%d µs is in bucket %d, the one before in %d", us, b, last)
		}
		last = b
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	for ms := range 1000 {
		h.add(time.Duration(ms+1) * time.Millisecond)
	}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.5, 500}, {0.99, 990}, {0.999, 999}, {1, 1000}} {
		if got := quantile(h.counts(), c.q); got < c.want*0.98 || got > c.want*1.02 {
			t.Errorf("quantile %v is %v ms, want about %v", c.q, got, c.want)
		}
	}
	h.reset()
	if got := quantile(h.counts(), 0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestPickMatchesAcrossSlashes(t *testing.T) {
	for pattern, want := range map[string]bool{
		"*": true, "throughput/*": true, "*single-64": true, "throughput/memory/single-64": true,
		"nothing*": false, "*/single": false, "x,*single-1,*single-64": true,
	} {
		rows, err := pick([]row{{name: "throughput/memory/single-64"}}, pattern)
		if (err == nil) != want || (len(rows) == 1) != want {
			t.Errorf("%q picked %d rows, %v", pattern, len(rows), err)
		}
	}
}
