package portal

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Charts are SVG inside the page, built from numbers only. They are drawn on a
// canvas of fixed size that the style sheet stretches.

// slot is the time span of one bar of a chart, with its counts.
type slot struct {
	Start, End time.Time
	OK, Failed int64
	Duration   time.Duration // summed
}

func (s *slot) attempts() int64 { return s.OK + s.Failed }

// mean is the mean duration of the slot's attempts, or 0 without attempts.
func (s *slot) mean() time.Duration {
	if n := s.attempts(); n > 0 {
		return s.Duration / time.Duration(n)
	}
	return 0
}

// period is a span of time that a visitor can choose for the charts.
type period struct {
	Key, Label, Words string
	step              time.Duration
	slots             int
}

// periods are the choices of the page, the default first.
var periods = []period{
	{"24h", "24 hours", "the last 24 hours", time.Hour, 24},
	{"7d", "7 days", "the last 7 days", 6 * time.Hour, 28},
	{"30d", "30 days", "the last 30 days", 24 * time.Hour, 30},
}

// since returns the start of the period that ends with the current slot.
func (p period) since(now time.Time) time.Time {
	return now.UTC().Truncate(p.step).Add(-time.Duration(p.slots-1) * p.step)
}

// fill sorts hourly statistics into the slots of a period.
func (p period) fill(buckets []webhook.StatsBucket, now time.Time) []slot {
	start := p.since(now)
	slots := make([]slot, p.slots)
	for i := range slots {
		slots[i].Start = start.Add(time.Duration(i) * p.step)
		slots[i].End = slots[i].Start.Add(p.step)
	}
	for i := range buckets {
		b := &buckets[i]
		at := b.Hour.Sub(start)
		if at < 0 || int(at/p.step) >= p.slots {
			continue
		}
		s := &slots[at/p.step]
		s.OK += b.Succeeded
		s.Failed += b.Failed
		s.Duration += b.Duration
	}
	return slots
}

// total adds slots up.
func total(slots []slot) slot {
	var t slot
	for i := range slots {
		t.OK += slots[i].OK
		t.Failed += slots[i].Failed
		t.Duration += slots[i].Duration
	}
	return t
}

// bars is a chart of stacked bars: successful attempts below, failed attempts
// on top.
type bars struct {
	W, H  string
	Bars  []barView
	Max   string // label of the full height
	Any   bool   // any slot has attempts
	Label string // the chart in words
	From  string // label of the left end
	To    string
}

// barView is the drawing of one slot. Heights are empty where the count is 0.
type barView struct {
	X, Width         string
	OKY, OKH         string
	FailY, FailH     string
	NoneY            string // where the tick of an empty slot is
	HitX, HitW, HitH string
	Tip              string
}

// num formats a coordinate.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }

// drawBars draws slots on a canvas of w by h.
func drawBars(slots []slot, w, h float64, words string) bars {
	var most int64 = 1
	for i := range slots {
		most = max(most, slots[i].attempts())
	}
	t := total(slots)
	c := bars{W: num(w), H: num(h), Max: count(most), Any: t.attempts() > 0, Label: fmt.Sprintf("%s in %s: %s succeeded, %s failed.", several(t.attempts(), "attempt", "attempts"), words, count(t.OK), count(t.Failed))}
	if len(slots) > 0 {
		c.From, c.To = axisLabel(slots[0].Start, slots[0].End), "now"
	}
	pitch := w / float64(max(len(slots), 1))
	gap := pitch * 0.22
	for i := range slots {
		s := &slots[i]
		x := float64(i) * pitch
		b := barView{X: num(x + gap/2), Width: num(pitch - gap), HitX: num(x), HitW: num(pitch), HitH: num(h), Tip: tip(s)}
		// A bar with any count is at least two units high, so that one failure
		// among ten thousand is visible.
		ok := barHeight(s.OK, most, h)
		fail := barHeight(s.Failed, most, h)
		if ok+fail > h {
			ok = h - fail
		}
		if s.OK > 0 {
			b.OKY, b.OKH = num(h-ok), num(ok)
		}
		if s.Failed > 0 {
			b.FailY, b.FailH = num(h-ok-fail), num(fail)
		}
		if s.attempts() == 0 {
			b.NoneY = num(h - 1.5)
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}

func barHeight(n, most int64, h float64) float64 {
	if n == 0 {
		return 0
	}
	return max(float64(n)/float64(most)*h, 2)
}

// curve is a line chart of the mean duration of attempts. The line breaks at
// slots without attempts.
type curve struct {
	W, H  string
	Line  string   // path of the line
	Area  string   // path of the area below the line
	Dots  []string // paths of slots that stand alone
	Hits  []barView
	Max   string
	Label string
	Empty bool
}

// drawCurve draws the mean durations of slots on a canvas of w by h.
func drawCurve(slots []slot, w, h float64, words string) curve {
	var top time.Duration
	for i := range slots {
		top = max(top, slots[i].mean())
	}
	t := total(slots)
	c := curve{W: num(w), H: num(h), Empty: t.attempts() == 0}
	if c.Empty {
		c.Label = "No attempt in " + words + "."
		return c
	}
	top = niceTop(top)
	c.Max = span(top)
	c.Label = fmt.Sprintf("Mean time of an attempt in %s: %s; the highest of the bars is below %s.", words, span(t.mean()), span(top))
	pitch := w / float64(len(slots))
	var run [][2]float64
	flush := func() {
		switch {
		case len(run) == 1:
			c.Dots = append(c.Dots, fmt.Sprintf("M%s %sh0.01", num(run[0][0]), num(run[0][1])))
		case len(run) > 1:
			path := ""
			for i, p := range run {
				path += map[bool]string{true: "M", false: "L"}[i == 0] + num(p[0]) + " " + num(p[1])
			}
			c.Line += path
			c.Area += fmt.Sprintf("%sL%s %sL%s %sZ", path, num(run[len(run)-1][0]), num(h), num(run[0][0]), num(h))
		}
		run = run[:0]
	}
	for i := range slots {
		s := &slots[i]
		x := float64(i) * pitch
		c.Hits = append(c.Hits, barView{HitX: num(x), HitW: num(pitch), HitH: num(h), Tip: tip(s)})
		if s.attempts() == 0 {
			flush()
			continue
		}
		run = append(run, [2]float64{x + pitch/2, h - float64(s.mean())/float64(top)*h})
	}
	flush()
	return c
}

// niceTop rounds a duration up to 1, 2 or 5 times a power of ten.
func niceTop(d time.Duration) time.Duration {
	for ms := int64(1); ; ms *= 10 {
		for _, m := range []int64{1, 2, 5} {
			if top := time.Duration(m*ms) * time.Millisecond; d <= top {
				return top
			}
		}
	}
}

// tip describes one slot in words.
func tip(s *slot) string {
	at := s.Start.Format("Jan 2, 15:04") + "–" + s.End.Format("15:04")
	if s.End.Sub(s.Start) >= 24*time.Hour {
		at = s.Start.Format("Mon, Jan 2")
	}
	if s.attempts() == 0 {
		return at + " · no attempts"
	}
	text := at + " · " + count(s.OK) + " succeeded"
	if s.Failed > 0 {
		text += " · " + count(s.Failed) + " failed"
	}
	return text + " · " + span(s.mean()) + " mean"
}

func axisLabel(start, end time.Time) string {
	if end.Sub(start) < 6*time.Hour {
		return start.Format("Jan 2, 15:04") + " UTC"
	}
	return start.Format("Jan 2")
}

// chartRow is one slot in the table version of a chart.
type chartRow struct {
	At, OK, Failed, Mean string
}

// chartRows returns the table of a chart, without slots that have no attempts.
func chartRows(slots []slot) []chartRow {
	var out []chartRow
	for i := len(slots) - 1; i >= 0; i-- {
		s := &slots[i]
		if s.attempts() > 0 {
			out = append(out, chartRow{s.Start.Format("2006-01-02 15:04"), count(s.OK), count(s.Failed), span(s.mean())})
		}
	}
	return out
}
