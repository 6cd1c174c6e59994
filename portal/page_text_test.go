package portal

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode, 日本, 🙂": "plain, ünïcode, 日本, 🙂",
		"a\nb\tc":               "a\nb\tc",
		"\x00\x07\x1b[31m\x7f":  "␀␇␛[31m␡",
		"\u202egnp.exe":         "⟨U+202E⟩gnp.exe",
		"\u200b\ufeff\u2028":    "⟨U+200B⟩⟨U+FEFF⟩⟨U+2028⟩",
		"\u0085\u00ad":          "⟨U+0085⟩⟨U+00AD⟩",
		"x\xff\xfey":            "x\ufffd\ufffdy",
		"\U000e0041":            "⟨U+E0041⟩",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got := line("a\nb\tc"); got != "a␊b␉c" {
		t.Errorf("line: %q", got)
	}
	if got := line(strings.Repeat("é", 1<<20)); len(got) > 5000 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("line of 2 MiB is %d bytes", len(got))
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("\u202e\x00 a")
	f.Fuzz(func(t *testing.T, s string) {
		got := visible(s)
		if !utf8.ValidString(got) {
			t.Fatalf("not UTF-8: %q", got)
		}
		for _, r := range got {
			if r != '\n' && r != '\t' && hides(r) {
				t.Fatalf("%q still holds %U", got, r)
			}
		}
		if visible(got) != got {
			t.Fatalf("%q is not shown as itself", got)
		}
	})
}

// The tokens together are the indented text.
func FuzzPrettyJSON(f *testing.F) {
	f.Add(`{"a":[1,-2.5e+9,true,null,"x\"y:"],"b\\":{}}`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, s string) {
		var b strings.Builder
		for _, tok := range prettyJSON([]byte(s)) {
			b.WriteString(tok.Text)
		}
		// A carriage return between tokens is white space and left out. In a
		// string it is shown.
		squeeze := func(s string) string {
			return strings.Join(strings.Fields(strings.ReplaceAll(visible(s), "␍", "")), "")
		}
		if got, want := squeeze(b.String()), squeeze(s); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestPrettyJSON(t *testing.T) {
	got := prettyJSON([]byte(`{"k":"v: \"q\"","n":-1.5e3,"l":[true,null]}`))
	want := []token{
		{"", "{\n  "}, {"tk", `"k"`}, {"", ": "}, {"ts", `"v: \"q\""`}, {"", ",\n  "}, {"tk", `"n"`}, {"", ": "}, {"tn", "-1.5e3"}, {"", ",\n  "},
		{"tk", `"l"`}, {"", ": [\n    "}, {"tl", "true"}, {"", ",\n    "}, {"tl", "null"}, {"", "\n  ]\n}"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", -400 * time.Millisecond: "just now", -59 * time.Second: "59 s ago", -time.Minute: "1 min ago", 90 * time.Minute: "in 1 h",
		-47 * time.Hour: "47 h ago", -72 * time.Hour: "3 days ago",
	} {
		if got := relative(d); got != want {
			t.Errorf("relative(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 ms", 300 * time.Microsecond: "< 1 ms", 84 * time.Millisecond: "84 ms", 1250 * time.Millisecond: "1.25 s", 2 * time.Second: "2 s",
		30 * time.Second: "30 s", 300 * time.Second: "300 s", 24 * time.Hour: "24 h", 5 * 24 * time.Hour: "5 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for r, want := range map[float64]string{0: "0 %", 1: "100 %", 0.5: "50 %", 0.9999: "> 99.9 %", 0.0001: "< 0.1 %", 0.123: "12.3 %"} {
		if got := percent(r); got != want {
			t.Errorf("percent(%v) = %q, want %q", r, got, want)
		}
	}
}

// Every attempt of a period is in one bar, however the hours lie.
func TestChartsLoseNothing(t *testing.T) {
	now := time.Date(2026, 3, 1, 13, 37, 0, 0, time.UTC)
	for _, p := range periods {
		var buckets []webhook.StatsBucket
		var ok, failed int64
		for h := p.since(now).Add(-3 * time.Hour); !h.After(now); h = h.Add(time.Hour) {
			b := webhook.StatsBucket{Hour: h, Succeeded: 5, Failed: int64(h.Hour() % 3), Duration: time.Second}
			buckets = append(buckets, b)
			if !h.Before(p.since(now)) {
				ok, failed = ok+b.Succeeded, failed+b.Failed
			}
		}
		slots := p.fill(buckets, now)
		if got := total(slots); got.OK != ok || got.Failed != failed || len(slots) != p.slots {
			t.Errorf("%s: %d slots with %d and %d, want %d with %d and %d", p.Key, len(slots), got.OK, got.Failed, p.slots, ok, failed)
		}
		if last := slots[len(slots)-1]; last.Start.After(now) || !last.End.After(now) {
			t.Errorf("%s: the last slot is %v to %v, now is %v", p.Key, last.Start, last.End, now)
		}
	}
}

// One failure among ten thousand is visible, and no bar leaves the canvas.
func TestChartsShowWhatIsRare(t *testing.T) {
	slots := []slot{{OK: 10_000, Failed: 1, Duration: time.Hour}, {}, {Failed: 3, Duration: time.Second}, {OK: 1, Duration: 1}}
	c := drawBars(slots, 100, 50, "a test")
	if b := c.Bars[0]; b.FailH != "2" || b.FailY != "0" || b.OKH != "48" {
		t.Errorf("the first bar: %+v", b)
	}
	if b := c.Bars[1]; b.OKH != "" || b.FailH != "" || b.NoneY == "" {
		t.Errorf("the empty one: %+v", b)
	}
	if want := "10,005 attempts in a test: 10,001 succeeded, 4 failed."; c.Label != want {
		t.Errorf("label %q, want %q", c.Label, want)
	}
	if l := drawCurve(slots, 100, 50, "a test"); len(l.Dots) != 1 || l.Line == "" || l.Empty {
		t.Errorf("the line breaks where there is nothing: %+v", l)
	}
	if l := drawCurve(make([]slot, 3), 100, 50, "a test"); !l.Empty || l.Line != "" {
		t.Errorf("nothing is drawn as %+v", l)
	}
}
