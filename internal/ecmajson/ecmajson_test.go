package ecmajson

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestErrorNamesThePlace(t *testing.T) {
	long := strings.Repeat(`\"é😀`, 20)
	for _, c := range []struct {
		src, path string
		offset    int
		reason    string
	}{
		{`1e400`, `$`, 0, "the number 1e400 is too large for JavaScript: send it as a string"},
		{`{"a":[0,1,2,9007199254740993]}`, `$.a[3]`, 12,
			"the number 9007199254740993 is 9007199254740992 in JavaScript: send it as a string"},
		{`{"a":[0,{"odd key":[[-1e-999]]}]}`, `$.a[1]["odd key"][0][0]`, 21,
			"the number -1e-999 is 0 in JavaScript: send it as a string"},
		{`{"x" : 0.12345678901234567890123456789012345678901234567890}`, `$.x`, 7,
			"the number 0.12345678901234567890123456789012345678… has more digits than a JavaScript number holds: send it as a string"},
		{`{"\u0061" : {"$b_1":{"1":{"":{"\"":{"é":1e400}}}}}}`, `$.a.$b_1["1"][""]["\""]["é"]`, 41,
			"the number 1e400 is too large for JavaScript: send it as a string"},
		{`{"b":1,"0":{"b":1,"0":2},"c":{"b":1,"b":2,"0":{"z":1,"z":1e400}}}`, `$.c["0"].z`, 57,
			"the number 1e400 is too large for JavaScript: send it as a string"},
		{`[{},{"a":1,"__proto__":2}]`, `$[1].__proto__`, 11,
			`the key "__proto__" is refused by receivers that guard against prototype pollution: rename it`},
		{`{"constructor":{"prototype":2}}`, `$.constructor.prototype`, 16,
			`the key "prototype" within "constructor" is refused by receivers that guard against prototype pollution: rename it`},
		{`{"a":[1,}`, `$.a[1]`, 8, "not valid JSON: '}' where a value should be"},
		{`{"a":1 "b":2}`, `$`, 7, "not valid JSON: '\"' where a comma or } should be"},
		{`{"a":"x`, `$.a`, 5, "not valid JSON: a string without a closing quote"},
		{`["a` + "\x01" + `"]`, `$[0]`, 3, "not valid JSON: an unescaped control character 0x01 in a string"},
		{"\xef\xbb\xbf{}", `$`, 0, "not valid JSON: it starts with a byte order mark: remove it"},
		{"[\uFFFD]", `$[0]`, 1, "not valid JSON: '\uFFFD' where a value should be"},
		{"[\xff]", `$[0]`, 1, "not valid JSON: byte 0xff where a value should be"},
		{`[1`, `$`, 2, "not valid JSON: it ends where a comma or ] should be"},
		{`{} x`, `$`, 3, "not valid JSON: 'x' where the end should be"},
		{`{"` + long + `":tru}`, `$["` + long[:14*4] + `…"]`, 4 + len(long), "not valid JSON: a word that is not true"},
		{`[-]`, `$[0]`, 2, "not valid JSON: ']' where a digit should be"},
		{`[01]`, `$[0]`, 1, "not valid JSON: a number with a leading zero"},
		{`[1.]`, `$[0]`, 3, "not valid JSON: ']' where a digit should be"},
		{`[1e+]`, `$[0]`, 4, "not valid JSON: ']' where a digit should be"},
		{`["a\`, `$[0]`, 3, "not valid JSON: it ends within an escape sequence"},
		{`["a\x"]`, `$[0]`, 3, "not valid JSON: an unknown escape sequence"},
		{`[1 2]`, `$`, 3, "not valid JSON: '2' where a comma or ] should be"},
		{`{1:2}`, `$`, 1, "not valid JSON: '1' where a key should be"},
		{`{"a" 1}`, `$`, 5, "not valid JSON: '1' where a colon should be"},
		{`{"a":1`, `$`, 6, "not valid JSON: it ends where a comma or } should be"},
		{`{"AZaz_$09":x}`, `$.AZaz_$09`, 12, "not valid JSON: 'x' where a value should be"},
		{`{"a0":x}`, `$.a0`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"0a":x}`, `$["0a"]`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"a@":x}`, `$["a@"]`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"a[":x}`, `$["a["]`, 6, "not valid JSON: 'x' where a value should be"},
		{"{\"a`\":x}", "$[\"a`\"]", 6, "not valid JSON: 'x' where a value should be"},
		{`{"a{":x}`, `$["a{"]`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"a/":x}`, `$["a/"]`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"a:":x}`, `$["a:"]`, 6, "not valid JSON: 'x' where a value should be"},
		{`{"` + strings.Repeat("a", 64) + `":x}`, "$." + strings.Repeat("a", 64), 68, "not valid JSON: 'x' where a value should be"},
		{`{"` + strings.Repeat("a", 65) + `":x}`, "$." + strings.Repeat("a", 56) + "…", 69, "not valid JSON: 'x' where a value should be"},
		{`{"` + strings.Repeat(`\u0001`, 11) + `":x}`, `$["` + strings.Repeat(`\u0001`, 10) + `…"]`, 70, "not valid JSON: 'x' where a value should be"},
		{`{"` + strings.Repeat("au", 40) + `":x}`, "$." + strings.Repeat("au", 28) + "…", 84, "not valid JSON: 'x' where a value should be"},
		{`{"a` + strings.Repeat(`\"`, 40) + `":x}`, `$["a` + strings.Repeat(`\"`, 28) + `…"]`, 85, "not valid JSON: 'x' where a value should be"},
		{`{"` + strings.Repeat("€", 30) + `":x}`, `$["` + strings.Repeat("€", 19) + `…"]`, 94, "not valid JSON: 'x' where a value should be"},
		{`1` + strings.Repeat("0", 40) + `e400`, `$`, 0,
			"the number 1" + strings.Repeat("0", 39) + "… is too large for JavaScript: send it as a string"},
		{strings.Repeat("[", 32) + "x", "$" + strings.Repeat("[0]", 32), 32, "not valid JSON: 'x' where a value should be"},
		{strings.Repeat("[", 33) + "x", "$" + strings.Repeat("[0]", 16) + "…" + strings.Repeat("[0]", 16), 33, "not valid JSON: 'x' where a value should be"},
		{strings.Repeat("[", 257), "$" + strings.Repeat("[0]", 16) + "…" + strings.Repeat("[0]", 16), 256,
			"nested deeper than 256 arrays and objects"},
	} {
		_, err := Append(nil, []byte(c.src), Limits{})
		got, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%.60q: error is %v", c.src, err)
			continue
		}
		want := fmt.Sprintf("%s (byte %d): %s", c.path, c.offset, c.reason)
		if got.Error() != want || got.Path != c.path || got.Offset != c.offset || got.Reason != c.reason {
			t.Errorf("%.60q:\n got %v\nwant %v", c.src, got, want)
		}
	}
}

func TestAppendObjectRefusesOtherTypes(t *testing.T) {
	got, err := AppendObject(nil, []byte(` {"b":1, "0":[]}`), Limits{})
	if err != nil || string(got) != `{"0":[],"b":1}` {
		t.Errorf("got %q, %v", got, err)
	}
	for src, want := range map[string]string{
		` [1]`: "an array", `"a"`: "a string", `0`: "a number", `9`: "a number", `-1`: "a number", `true`: "a boolean", `false`: "a boolean", "\nnull": "null",
	} {
		_, err := AppendObject(nil, []byte(src), Limits{})
		if !errors.Is(err, ErrNotObject) || !strings.HasSuffix(err.Error(), "the document must be a JSON object, not "+want) {
			t.Errorf("%q: error is %v", src, err)
		}
	}
	for _, src := range []string{``, ` `, `x`, `{`, "\xef\xbb\xbf{}"} {
		if _, err := AppendObject(nil, []byte(src), Limits{}); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: error is %v, want a syntax error", src, err)
		}
	}
}

func TestMaxDepthBoundsNesting(t *testing.T) {
	for _, c := range []struct {
		max int
		src string
		ok  bool
	}{
		{1, `[]`, true}, {1, `{}`, true}, {1, `[1,"[[["]`, true}, {1, `[[]]`, false}, {1, `{"a":{}}`, false},
		{2, `[[],{},[]]`, true}, {2, `[[],{"a":[]}]`, false}, {-1, `[[]]`, true},
		{10_000, strings.Repeat(`[{"":`, 5000) + "1" + strings.Repeat(`}]`, 5000), true},
		{1 << 30, strings.Repeat(`[{"":`, 5000) + "[]" + strings.Repeat(`}]`, 5000), false},
	} {
		_, err := Append(nil, []byte(c.src), Limits{MaxDepth: c.max})
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrDepth) {
			t.Errorf("%.60q with MaxDepth %d: %v", c.src, c.max, err)
		}
	}
	// The limit applies before the text is known to be complete.
	if _, err := Append(nil, bytes.Repeat([]byte("["), 10<<20), Limits{}); !errors.Is(err, ErrDepth) {
		t.Errorf("endless nesting: %v", err)
	}
}

func TestMaxBytesBoundsTheOutput(t *testing.T) {
	for _, src := range []string{`{"a":[1,2,"xyz"]}`, ` 123 `, `"\u0041"`, `[[],[],{}]`, `{"a":"bb","a":1}`, "\"\xff\xff\""} {
		full, err := Append(nil, []byte(src), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		most := len(full)
		if src[1:4] == `"a"` && src[5] == '"' {
			most = len(`{"a":"bb","a":1`) // replaced values count until their object ends
		}
		for n := 1; n < most; n++ {
			got, err := Append([]byte("dst"), []byte(src), Limits{MaxBytes: n})
			if !errors.Is(err, ErrSize) || string(got) != "dst" {
				t.Errorf("%s with MaxBytes %d: %q, %v", src, n, got, err)
			}
		}
		for _, n := range []int{0, -1, most, most + 1, math.MaxInt} {
			got, err := Append([]byte("dst"), []byte(src), Limits{MaxBytes: n})
			if err != nil || string(got) != "dst"+string(full) {
				t.Errorf("%s with MaxBytes %d: %q, %v", src, n, got, err)
			}
		}
	}
}

func TestAppendFloatSpellsAsJavaScript(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 1: "1", -1.5: "-1.5", 1e20: "100000000000000000000", 1e21: "1e+21",
		-1e21: "-1e+21", 1e-6: "0.000001", 1e-7: "1e-7", 1.5e-9: "1.5e-9", 1e-10: "1e-10", 1e100: "1e+100", 5e-324: "5e-324",
		math.MaxFloat64: "1.7976931348623157e+308", 0.1: "0.1", 123456789012345680000: "123456789012345680000",
		1 << 53: "9007199254740992", 1 << 60: "1152921504606847000",
	} {
		got, err := AppendFloat([]byte("x"), f)
		if err != nil || string(got) != "x"+want {
			t.Errorf("%g: %q, %v; want %q", f, got, err, want)
		}
	}
}

func TestAppendFloat_RefusesWhatJSONLacks(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		got, err := AppendFloat([]byte("x"), f)
		if !errors.Is(err, ErrNumber) || string(got) != "x" {
			t.Errorf("%g: %q, %v", f, got, err)
		}
	}
}

// Every float that AppendFloat writes, and every other common spelling of it, is
// accepted and comes out as AppendFloat writes it.
func TestFloatsInEverySpelling(t *testing.T) {
	g := newGenerator(7)
	for range 20_000 {
		f := g.double()
		want, err := AppendFloat(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		spellings := []string{string(want), strconv.FormatFloat(f, 'e', -1, 64)}
		if f < 1<<53 && f != math.Trunc(f) {
			spellings = append(spellings, strconv.FormatFloat(f, 'e', 16, 64), strconv.FormatFloat(f, 'g', 17, 64),
				strconv.FormatFloat(f, 'e', 766, 64))
		}
		for _, s := range spellings {
			got, err := Append(nil, []byte(s), Limits{})
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %q, %v; want %q", s, got, err, want)
			}
		}
	}
}

func TestAppendStringWritesAsJavaScript(t *testing.T) {
	for s, want := range map[string]string{
		"": `""`, "a": `"a"`, "\"\\/": `"\"\\/"`, "\b\f\n\r\t\x00\v\x1f\x7f": `"\b\f\n\r\t\u0000\u000b\u001f` + "\x7f\"",
		"<>&\u2028\u2029": "\"<>&\u2028\u2029\"", "é😀": `"é😀"`, "a\xffb": "\"a\uFFFDb\"", "\xe2\x82": "\"\uFFFD\"",
		"\xed\xa0\x80": "\"\uFFFD\uFFFD\uFFFD\"", "\xf0\x9f\x98": "\"\uFFFD\"", "\uFFFD": "\"\uFFFD\"",
	} {
		if diff := cmp.Diff("x"+want, string(AppendString([]byte("x"), s))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", s, diff)
		}
	}
	g := newGenerator(3)
	for range 20_000 {
		raw := make([]byte, g.IntN(12))
		for i := range raw {
			raw[i] = byte(g.Uint32())
			if g.IntN(2) == 0 {
				raw[i] = "\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\xc2\xe0\xf4"[g.IntN(12)]
			}
		}
		// A string written by AppendString is canonical; reading the same bytes out
		// of a document replaces the same sequences.
		out := AppendString(nil, string(raw))
		again, err := Append(nil, out, Limits{})
		if err != nil || !bytes.Equal(again, out) || !utf8.Valid(out) {
			t.Fatalf("%q: %q, read back as %q, %v", raw, out, again, err)
		}
		escaped := strings.NewReplacer(`"`, `\u0022`, `\`, `\u005C`, "\x00", `\u0000`).Replace(string(raw))
		if got, err := Append(nil, []byte(`"`+escaped+`"`), Limits{}); err == nil && !bytes.Equal(got, out) {
			t.Fatalf("%q: as a string %q, in a document %q", raw, out, got)
		}
	}
}

// A duplicate, a reordering and a bad byte at every depth and place must not change
// dst or the output of earlier calls.
func TestAppendIsConcurrentAndKeepsDst(t *testing.T) {
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			g := newGenerator(seed)
			var all []byte
			for range 2000 {
				doc := g.document()
				alone, err := Append(nil, bytes.Clone(doc), Limits{})
				if len(all) > 10_000 {
					all = all[:0]
				}
				before := bytes.Clone(all)
				var err2 error
				all, err2 = Append(all, doc, Limits{})
				if (err == nil) != (err2 == nil) || !bytes.Equal(all, append(before, alone...)) {
					t.Errorf("seed %d, %.2000q: after %d bytes of others %v, alone %v", seed, doc, len(before), err2, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCanonicalDocumentAllocatesOnlyDst(t *testing.T) {
	src := []byte(typical)
	roomy := make([]byte, 0, 2*len(src))
	for _, c := range []struct {
		dst  []byte
		most float64
	}{{nil, 1}, {roomy, 0}} {
		least := math.Inf(1) // the race detector makes pools drop items now and then
		for range 50 {
			least = min(least, testing.AllocsPerRun(1, func() {
				if _, err := Append(c.dst, src, Limits{}); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if least > c.most {
			t.Errorf("%v allocations with room for %d bytes, want %v", least, cap(c.dst), c.most)
		}
	}
}

// Hostile documents take no longer per byte than the bound below: fifty times the
// measured time, as the machine may be busy and the race detector on, but still
// less than any quadratic algorithm takes.
func TestHostileDocumentsTakeLinearTime(t *testing.T) {
	const size = 1 << 19
	repeat := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	keys := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return `{` + b.String() + `"":0}`
	}
	docs := map[string]string{
		"digits":                 repeat("7"),
		"fraction digits":        "0." + repeat("7"),
		"zeros":                  "1" + repeat("0"),
		"zeros before exponent":  "0." + repeat("0") + "1e" + strconv.Itoa(size),
		"exponent digits":        "1e" + repeat("9"),
		"negative exponent":      "1e-" + repeat("9"),
		"exact digits":           "[" + repeat(strconv.FormatFloat(1+0x1p-52, 'f', 52, 64)+",") + "1]",
		"exact digits, tiny":     "[" + repeat(strconv.FormatFloat(0x1.fffffffffffffp-1000, 'e', 766, 64)+",") + "1]",
		"uncommon spellings":     "[" + repeat("1.0,1e0,") + "1]",
		"17 digits":              "[" + repeat("0.30000000000000004,0.10000000000000001,") + "1]",
		"distinct keys":          keys(`"key %d":1,`, 200_000),
		"equal keys":             "{" + repeat(`"k":1,`) + `"k":2}`,
		"descending indices":     "{" + repeat(`"7":1,"3":1,"9":1,`) + `"1":2}`,
		"indices":                keys(`"%d":1,`, 200_000) + " ",
		"long equal keys":        "{" + repeat(`"`+strings.Repeat("k", 50_000)+`":1,`) + `"":1}`,
		"keys of a long prefix":  keys(`"`+strings.Repeat("k", 1000)+`%d":1,`, 4000),
		"reordering at depth":    strings.Repeat(`{"b":`, 255) + `"` + repeat("x") + `"` + strings.Repeat(`,"a":1,"a":2,"0":0}`, 255),
		"invalid bytes":          `"` + repeat("\xff") + `"`,
		"truncated sequences":    `"` + repeat("\xf0\x9f\x98") + `"`,
		"escaped surrogates":     `"` + repeat(`\uD83D`) + `"`,
		"escapes to copy around": `"` + repeat(`\/`) + `"`,
		"white space":            repeat(" ") + "1" + repeat("\n"),
		"spaced out":             "[" + repeat("1 , ") + "1]",
		"open strings":           "[" + repeat(`"a`),
		"small objects":          "[" + repeat(`{"a":1,"0":1},`) + "1]",
	}
	for name, doc := range docs {
		src := []byte(doc)
		start := time.Now()
		out, err := Append(nil, src, Limits{})
		took := time.Since(start)
		if len(out) > 6*len(src) {
			t.Errorf("%s: %d bytes became %d", name, len(src), len(out))
		}
		perByte := float64(took.Nanoseconds()) / float64(len(src))
		t.Logf("%-24s %8d bytes %10v %6.1f ns/byte, %.60v", name, len(src), took.Round(time.Microsecond), perByte, err)
		if perByte > 10_000 {
			t.Errorf("%s: %v for %d bytes", name, took, len(src))
		}
	}
}
