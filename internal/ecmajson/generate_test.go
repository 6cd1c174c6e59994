package ecmajson

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator writes random JSON texts that differ from the output of JSON.stringify
// as much as the grammar allows, and sometimes a little beyond the grammar.
type generator struct {
	*rand.Rand
	out  []byte
	keys []string // used before, for duplicates
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0x5eed))}
}

// document returns the next text. Most are valid; some of these hold a value that a
// rule refuses.
func (g *generator) document() []byte {
	g.out, g.keys = nil, g.keys[:0]
	switch g.IntN(40) {
	case 0:
		g.deep()
	case 1:
		g.wide()
	default:
		g.value(1 + g.IntN(5))
	}
	doc := g.out
	if g.IntN(12) == 0 {
		doc = g.damage(doc)
	}
	return doc
}

func (g *generator) add(s ...string) {
	for _, s := range s {
		g.out = append(g.out, s...)
	}
}

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g *generator) space() {
	for g.IntN(6) == 0 {
		g.add(g.pick(" ", "\t", "\n", "\r", "  ", "\r\n"))
	}
}

func (g *generator) value(depth int) {
	g.space()
	defer g.space()
	if depth == 0 {
		g.scalar()
		return
	}
	switch g.IntN(5) {
	case 0:
		g.scalar()
	case 1:
		g.add("[")
		for n := range g.IntN(5) {
			if n > 0 {
				g.add(",")
			}
			g.value(depth - 1)
		}
		g.space()
		g.add("]")
	default:
		g.object(g.IntN(7), depth)
	}
}

func (g *generator) object(n, depth int) {
	g.add("{")
	for k := range n {
		if k > 0 {
			g.add(",")
		}
		g.space()
		g.key()
		g.space()
		g.add(":")
		g.value(depth - 1)
	}
	g.space()
	g.add("}")
}

// deep nests to just below, at or above the limit.
func (g *generator) deep() {
	var end []string
	for range 250 + g.IntN(12) {
		if g.IntN(2) == 0 {
			g.add("[")
			end = append(end, "]")
		} else {
			g.add(`{"`, g.pick("a", "1", ""), `":`)
			end = append(end, g.pick("}", `,"0":1}`, `,"a":[]}`))
		}
	}
	g.add("7")
	for len(end) > 0 {
		g.add(end[len(end)-1])
		end = end[:len(end)-1]
	}
}

// wide writes objects large enough for the hash table.
func (g *generator) wide() { g.object(10+g.IntN(60), 1+g.IntN(2)) }

func (g *generator) key() {
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		if len(g.keys) > 0 {
			g.respell(g.keys[g.IntN(len(g.keys))])
			return
		}
		fallthrough
	case 4, 5:
		k := g.pick("a", "b", "id", "name", "event", "data", "content", "odd key", "", "constructor", "prototype", "toJSON", "é", "\u2028", "\uFFFD", "😀")
		g.keys = append(g.keys, k)
		g.respell(k)
	case 6, 7, 8:
		k := g.pick("0", "1", "2", "10", "9", "01", "-1", "-0", "1.5", "1e3", " 1", "4294967294", "4294967295",
			"4294967293", "4294967296", "9007199254740991", "9999999999", "10000000000", strconv.Itoa(g.IntN(300)))
		g.keys = append(g.keys, k)
		g.respell(k)
	case 9:
		if g.IntN(40) == 0 {
			g.respell("__proto__")
			return
		}
		g.respell(g.pick("__proto", "__proto___", "_", "__", "_proto_", "__PROTO__"))
	default:
		g.str()
	}
}

// respell writes s as one of its many JSON strings.
func (g *generator) respell(s string) {
	g.add(`"`)
	escape := g.IntN(3) == 0
	for _, r := range s {
		switch {
		case escape && g.IntN(2) == 0 && r < 0x10000:
			g.add(fmt.Sprintf(g.pick(`\u%04x`, `\u%04X`), r))
		case r < ' ':
			g.add(fmt.Sprintf(`\u%04x`, r))
		default:
			g.add(string(r))
		}
	}
	g.add(`"`)
}

// str writes a string with every class of character and of mistake.
func (g *generator) str() {
	g.add(`"`)
	for range g.IntN(1 + g.IntN(20)) {
		switch g.IntN(14) {
		case 0, 1, 2:
			g.add("plain <text> & more/…"[:g.IntN(20)])
		case 3:
			g.add(g.pick(`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`))
		case 4:
			g.add(fmt.Sprintf(g.pick(`\u%04x`, `\u%04X`), g.IntN(0x30)))
		case 5:
			g.add(fmt.Sprintf(g.pick(`\u%04x`, `\u%04X`), g.IntN(0x10000)))
		case 6: // surrogates, in pairs and alone
			g.add(fmt.Sprintf(g.pick(`\u%04x`, `\u%04X`), 0xD800+g.IntN(0x800)))
		case 7:
			g.add(fmt.Sprintf(g.pick(`\ud%03x\ud%03x`, `\uD%03X\ud%03X`), 0x800+g.IntN(0x400), 0xC00+g.IntN(0x400)))
		case 8:
			g.add(string(rune(g.IntN(0x10FFFF))))
		case 9:
			g.add(g.pick("\u2028", "\u2029", "\x7f", "\u0080", "\uFEFF", "\uFFFE", "\uFFFF", "é", "漢字", "👩‍👩‍👧", "\U0010FFFF", "<script>", "\u061c"))
		case 10: // bytes that are not UTF-8
			if g.IntN(3) == 0 {
				for range 1 + g.IntN(4) {
					g.out = append(g.out, byte(0x80+g.IntN(0x80)))
				}
			}
		case 11: // truncated, overlong, CESU-8, beyond Unicode
			g.add(g.pick("\xe2\x82", "\xf0\x9f\x98", "\xc0\xaf", "\xed\xa0\xbd\xed\xb8\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe0\x80\xaf", "\xf0\x80\x80", "\xc3", "\xe2\x28\xa1"))
		default:
			g.add(string(rune(' ' + g.IntN(95))))
			if c := g.out[len(g.out)-1]; c == '"' || c == '\\' {
				g.out[len(g.out)-1] = '_'
			}
		}
	}
	g.add(`"`)
}

func (g *generator) scalar() {
	switch g.IntN(9) {
	case 0:
		g.add(g.pick("true", "false", "null", "[]", "{}", `""`))
	case 1, 2, 3:
		g.str()
	default:
		g.number()
	}
}

func (g *generator) digits(n int) {
	for range n {
		g.add(string(rune('0' + g.IntN(10))))
	}
}

// number writes numbers of every shape; about one document in four gets a number
// that must be refused.
func (g *generator) number() {
	if g.IntN(4) == 0 {
		g.add("-")
	}
	switch g.IntN(22) {
	case 0, 1, 2:
		g.add(strconv.Itoa(g.IntN(1000)))
	case 3:
		g.add(strconv.FormatInt(g.Int64N(1<<53), 10))
	case 4:
		if g.IntN(4) == 0 {
			g.add(strconv.FormatUint(1<<53-3+g.Uint64N(8), 10))
		} else {
			g.add("9007199254740", strconv.Itoa(100+g.IntN(892)))
		}
	case 5:
		if g.IntN(6) == 0 {
			g.add(strconv.FormatUint(g.Uint64(), 10))
			break
		}
		g.add("1", strings.Repeat("0", g.IntN(40)))
	case 6, 7: // the spellings of other languages
		f := g.double()
		g.add(strconv.FormatFloat(f, g.pick("g", "e", "E", "G")[0], 16, 64))
	case 8, 9:
		g.add(strconv.FormatFloat(g.Float64()*100, 'f', g.IntN(18), 64))
	case 10:
		g.add(string(appendFinite(nil, g.double())))
	case 11: // 15 digits and fewer, anywhere
		g.add(strconv.Itoa(g.IntN(10)), ".")
		g.digits(1 + g.IntN(14))
		if g.IntN(2) == 0 {
			g.add(g.pick("e", "E"), g.pick("", "+", "-"), strconv.Itoa(g.IntN(300)))
		}
	case 12:
		g.add("0.", strings.Repeat("0", g.IntN(12)))
		g.digits(1 + g.IntN(9))
	case 13:
		g.add(strconv.Itoa(g.IntN(10)), g.pick("", ".0", ".00", ".5", ".50"), g.pick("e", "E"), g.pick("", "+", "-", "+0", "-0"), strconv.Itoa(g.IntN(25)))
	case 14:
		g.add("0", g.pick("", ".0", ".000", "e5", "E-7", "e999999999999999999999", ".0e-99999999999", "e+0"))
	case 15: // subnormal
		f := math.Float64frombits(1 + g.Uint64N(1<<(1+g.Uint64N(52))))
		g.add(strconv.FormatFloat(f, 'e', []int{-1, 2, 10, 16}[g.IntN(4)], 64))
	case 16: // exact value, all digits
		f := float64(g.IntN(1<<30)) / float64(int64(1)<<g.IntN(60))
		g.add(strings.TrimSuffix(strconv.FormatFloat(f, 'f', 70, 64), "0"))
	case 17:
		if g.IntN(5) == 0 {
			g.digitsFrom1(18 + g.IntN(40))
		} else {
			g.add("12345")
		}
		g.add(".5")
	case 18:
		if g.IntN(5) == 0 {
			g.add("0.")
			g.digits(16 + g.IntN(8))
		} else {
			g.add("0.5", strings.Repeat("0", g.IntN(30)))
		}
	case 19:
		if g.IntN(6) == 0 {
			g.add(g.pick("1e400", "1e-400", "2e-324", "2.5e-324", "1.7976931348623159e308", "9e999999999999", "1e-99999999999999999999", "1.5e308", "17976931348623157e292"))
		} else {
			g.add(g.pick("5e-324", "2.2250738585072014e-308", "1.7976931348623157e308", "1e23", "1e22", "1e21", "1e20", "123456789012345680000", "1e-6", "1e-7", "0.000001", "0.0000012"))
		}
	case 20: // zeros that cancel the exponent
		n := g.IntN(40)
		g.add("0.", strings.Repeat("0", n), "25e", strconv.Itoa(n+g.IntN(3)))
	case 21:
		n := g.IntN(40)
		g.add("25", strings.Repeat("0", n), ".0e-", strconv.Itoa(n+g.IntN(5)))
	}
}

func (g *generator) digitsFrom1(n int) {
	g.add(string(rune('1' + g.IntN(9))))
	g.digits(n - 1)
}

// double returns a positive finite double of any magnitude.
func (g *generator) double() float64 {
	for {
		if f := math.Abs(math.Float64frombits(g.Uint64())); !math.IsInf(f, 0) && !math.IsNaN(f) && (f < 1 || g.IntN(3) > 0) {
			return f
		}
	}
}

// damage makes a text that most often is no longer JSON.
func (g *generator) damage(doc []byte) []byte {
	at := g.IntN(len(doc) + 1)
	switch g.IntN(6) {
	case 0:
		return doc[:at]
	case 1:
		return append(doc, g.pick("x", ",", "}", "]", "1", "\x00", "\xff", "/**/", "\u00a0")...)
	case 2:
		return append([]byte(g.pick("\xef\xbb\xbf", "\x00", "\v", "'", "+", "//\n")), doc...)
	case 3:
		if len(doc) > 0 {
			doc[g.IntN(len(doc))] = byte(g.IntN(256))
		}
		return doc
	case 4:
		insert := g.pick(",", ":", `"`, "\\", "\n", "\x01", "0", ".", "-", "e", "NaN", "Infinity", "undefined", "\\u12", "\x1f", "\x7f")
		return append(append(append([]byte(nil), doc[:at]...), insert...), doc[at:]...)
	}
	if at < len(doc) {
		return append(doc[:at:at], doc[at+1:]...)
	}
	return doc
}
