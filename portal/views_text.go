package portal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Texts of the pages. All functions return plain text and not HTML;
// html/template escapes it.

// visible returns text of an untrusted source with its hidden contents made
// visible: control characters become their pictures, characters that reorder or
// hide text their numbers, and bytes that are not UTF-8 the replacement
// character. It keeps line ends and tabs, for places that show several lines.
func visible(s string) string {
	clean := func(r rune) bool { return r == '\n' || r == '\t' || !hides(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 32)
	for _, r := range s {
		switch {
		case clean(r):
			b.WriteRune(r)
		case r < 0x20:
			b.WriteRune('\u2400' + r)
		case r == 0x7f:
			b.WriteRune('\u2421')
		case r == utf8.RuneError:
			b.WriteRune(utf8.RuneError)
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// line is visible for places that show one line: line ends and tabs become
// pictures too, and long text is cut.
func line(s string) string {
	const longest = 4096
	cut := false
	if len(s) > longest {
		s, cut = strings.ToValidUTF8(s[:longest], ""), true
	}
	s = visible(strings.NewReplacer("\n", "\u240a", "\t", "\u2409").Replace(s))
	if cut {
		s += "…"
	}
	return s
}

// hides reports whether a character is invisible or changes how other
// characters look: controls, formatting such as U+202E, line and paragraph
// separators, and blank letters.
func hides(r rune) bool {
	switch {
	case r < 0x20 || r == 0x7f:
		return true
	case r < 0x80:
		return false
	case r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0' || r == '\u2800':
		return true // fillers, which are blank letters
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// timeView is a time, absolute and relative to now.
type timeView struct {
	ISO, Abs, Rel string
}

// Set reports whether there is a time.
func (t timeView) Set() bool { return t.ISO != "" }

// when returns the view of t; the zero time gives the zero view.
func when(t, now time.Time) timeView {
	if t.IsZero() {
		return timeView{}
	}
	t = t.UTC()
	return timeView{ISO: t.Format("2006-01-02T15:04:05.000Z"), Abs: t.Format("2006-01-02 15:04:05.000 UTC"), Rel: relative(t.Sub(now))}
}

// relative returns a distance from now: "3 min ago", "in 42 s". The script of
// the pages updates it in the same words.
func relative(d time.Duration) string {
	past := d <= 0
	if past {
		d = -d
	}
	var s string
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		s = fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		s = fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		s = fmt.Sprintf("%d h", d/time.Hour)
	default:
		s = fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	if past {
		return s + " ago"
	}
	return "in " + s
}

// lasting returns the time since a moment: "3 min".
func lasting(since, now time.Time) string {
	if since.IsZero() || now.Sub(since) < time.Second {
		return "a moment"
	}
	return strings.TrimSuffix(relative(since.Sub(now)), " ago")
}

// span returns a duration: "84 ms", "1.25 s", "5 days".
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 ms"
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
	case d < 10*time.Second:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", d.Seconds()), "0"), ".") + " s"
	case d < 10*time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// count formats a number with separated thousands.
func count[N int | int64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		return "-" + s
	}
	return s
}

// several formats a number with its noun in singular or plural.
func several[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// percent formats a share, never rounded up to 100 or down to 0.
func percent(rate float64) string {
	switch {
	case rate >= 1:
		return "100 %"
	case rate <= 0:
		return "0 %"
	case rate > 0.999:
		return "> 99.9 %"
	case rate < 0.001:
		return "< 0.1 %"
	}
	return strings.TrimSuffix(strconv.FormatFloat(rate*100, 'f', 1, 64), ".0") + " %"
}

// bytesSize formats a size in bytes.
func bytesSize(n int) string {
	if n < 1024 {
		return several(n, "byte", "bytes")
	}
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/1024)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// token is a run of JSON text of one colour.
type token struct {
	Class string // "", "tk" key, "ts" string, "tn" number, "tl" literal
	Text  string
}

// maxColoured bounds the JSON that is shown in colours, since each token
// becomes a span element.
const maxColoured = 64 << 10

// prettyJSON returns JSON indented and cut into tokens, and other text
// unchanged.
func prettyJSON(text []byte) []token {
	var b bytes.Buffer
	if indented(text) > maxIndented || json.Indent(&b, text, "", "  ") != nil {
		return []token{{"", visible(string(text))}}
	}
	if b.Len() > maxColoured {
		return []token{{"", visible(b.String())}}
	}
	return tokens(b.String())
}

// maxIndented bounds the indented text, since deep nesting would fill it with
// spaces.
const maxIndented = 2 << 20

// indented returns the approximate length of JSON after indenting.
func indented(text []byte) int {
	n, depth, quoted := len(text), 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			}
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
			n += 1 + 2*depth
		case c == '}' || c == ']':
			depth--
			n += 1 + 2*depth
		case c == ',':
			n += 1 + 2*depth
		}
	}
	return n
}

// tokens cuts valid JSON into tokens.
func tokens(s string) []token {
	var out []token
	plain := 0
	flush := func(to int) {
		if to > plain {
			out = append(out, token{"", s[plain:to]})
		}
	}
	for i := 0; i < len(s); {
		end, class := i, ""
		switch c := s[i]; {
		case c == '"':
			end, class = stringEnd(s, i), "ts"
			if strings.HasPrefix(s[end:], ":") {
				class = "tk"
			}
		case c == '-' || c >= '0' && c <= '9':
			end, class = i+len(s[i:])-len(strings.TrimLeft(s[i:], "+-0123456789.eE")), "tn"
		case c == 't' || c == 'f' || c == 'n':
			end, class = i+len(s[i:])-len(strings.TrimLeft(s[i:], "truefalsn")), "tl"
		}
		if class == "" {
			i++
			continue
		}
		flush(i)
		out = append(out, token{class, visible(s[i:end])})
		i, plain = end, end
	}
	flush(len(s))
	return out
}

// stringEnd returns the end of the string that begins at i.
func stringEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return len(s)
}
