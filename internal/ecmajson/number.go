package ecmajson

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// AppendFloat appends f as ECMAScript's Number::toString spells it (1e+21, 1e-7,
// 0 for negative zero) and returns the extended slice. For NaN and infinities,
// which JSON does not have, it returns dst as it was and an error that wraps
// [ErrNumber].
func AppendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, &Error{Path: "$", Reason: fmt.Sprintf("JSON has no number %v", f), kind: ErrNumber}
	}
	return appendFinite(dst, f), nil
}

func appendFinite(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if a := math.Abs(f); 1e-6 <= a && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes at least two digits of the exponent.
	if e := n + bytes.IndexByte(dst[n:], 'e') + 2; dst[e] == '0' && e+1 < len(dst) {
		dst = append(dst[:e], dst[e+1:]...)
	}
	return dst
}

// literal is a number as src spells it. The offsets are the start and end of the
// digits of the integer and of the fraction, which may be empty.
type literal struct {
	off, end         int
	intOff, intEnd   int
	fracOff, fracEnd int
	exponent         int64
}

// sureDigits is how many significant digits a decimal may have and still certainly
// be the shortest decimal of the double nearest to it, unless that double is
// subnormal.
const sureDigits = 15

// safeInteger is 2^53, up to which every integer is a double.
const safeInteger = "9007199254740992"

// number reads the number at src[i]. The form of common literals alone shows that
// they are in JavaScript's spelling.
func (e *encoder) number(i int) int {
	src := e.src
	n := literal{off: i, intOff: i}
	if src[i] == '-' {
		n.intOff++
	}
	n.intEnd = digits(src, n.intOff)
	switch {
	case n.intEnd == n.intOff:
		return e.unexpected(n.intEnd, "a digit")
	case src[n.intOff] == '0' && n.intEnd > n.intOff+1:
		return e.fail(ErrSyntax, n.intOff, "not valid JSON: a number with a leading zero")
	}
	n.end, n.fracOff, n.fracEnd = n.intEnd, n.intEnd, n.intEnd
	whole := n.intEnd - n.intOff
	if n.end < len(src) && src[n.end] == '.' {
		n.fracOff = n.end + 1
		n.fracEnd = digits(src, n.fracOff)
		n.end = n.fracEnd
		if n.fracEnd == n.fracOff {
			return e.unexpected(n.end, "a digit")
		}
	}
	if n.end < len(src) && src[n.end]|0x20 == 'e' {
		if !e.exponent(&n) {
			return -1
		}
		return e.uncommonNumber(&n)
	}
	if n.fracEnd == n.fracOff {
		negativeZero := src[n.intOff] == '0' && n.intOff > i
		if whole <= sureDigits && !negativeZero ||
			whole == len(safeInteger) && string(src[n.intOff:n.intEnd]) <= safeInteger {
			return n.end
		}
		return e.uncommonNumber(&n)
	}
	if src[n.fracEnd-1] != '0' {
		significant := whole + n.fracEnd - n.fracOff
		zeros := 0 // after the point, of a number below 1
		if src[n.intOff] == '0' {
			for src[n.fracOff+zeros] == '0' {
				zeros++
			}
			significant -= 1 + zeros
		}
		if significant <= sureDigits && zeros <= 5 {
			return n.end
		}
	}
	return e.uncommonNumber(&n)
}

// digits returns the position after the digits at src[i].
func digits(src []byte, i int) int {
	for i < len(src) && src[i]-'0' <= 9 {
		i++
	}
	return i
}

// exponent reads the exponent at src[n.end].
func (e *encoder) exponent(n *literal) bool {
	const most = 1 << 50 // more than any number of digits; keeps sums from overflowing
	off := n.end + 1
	if off < len(e.src) && (e.src[off] == '+' || e.src[off] == '-') {
		off++
	}
	n.end = digits(e.src, off)
	if n.end == off {
		e.unexpected(n.end, "a digit")
		return false
	}
	for _, c := range e.src[off:n.end] {
		n.exponent = min(n.exponent*10+int64(c-'0'), most)
	}
	if e.src[off-1] == '-' {
		n.exponent = -n.exponent
	}
	return true
}

// uncommonNumber normalises or refuses a literal.
func (e *encoder) uncommonNumber(n *literal) int {
	var buf [32]byte
	text := e.src[n.off:n.end]
	short := len(text) <= len(buf)
	var f float64
	if short {
		f, _ = strconv.ParseFloat(string(text), 64) // infinity if out of range
		if f != 0 && !math.IsInf(f, 0) && bytes.Equal(appendFinite(buf[:0], f), text) {
			return n.end
		}
		f = math.Abs(f)
	}
	d := e.significant(n)
	if !short {
		f = d.float()
	}
	if d.n > 0 { // else zero, with any sign and exponent
		if reason := d.refuse(f); reason != "" {
			return e.fail(ErrNumber, n.off, "the number %s %s: send it as a string", excerpt(text), reason)
		}
	}
	if e.src[n.off] == '-' {
		f = -f
	}
	e.flush(n.off)
	e.dst = appendFinite(e.dst, f)
	e.start = n.end
	return n.end
}

func excerpt(text []byte) string {
	const most = 40
	if len(text) <= most {
		return string(text)
	}
	return string(text[:most]) + "…"
}

// maxDigits is larger than the number of significant digits of any double, and of
// the middle of any two neighbours. Digits beyond can break a tie and have no other
// effect.
const maxDigits = 800

// decimal is the absolute value of a literal: 0.d1d2d3… × 10^point, d1 and the
// last digit not zero, or zero if n is 0.
type decimal struct {
	digits [maxDigits]byte // the first maxDigits digits
	n      int             // the number of digits; may exceed maxDigits
	point  int64
}

// significant returns the decimal of a literal, valid until the next call.
func (e *encoder) significant(n *literal) *decimal {
	whole, frac := e.src[n.intOff:n.intEnd], e.src[n.fracOff:n.fracEnd]
	d := &e.digits
	d.n, d.point = 0, 0
	lead := len(whole) - len(bytes.TrimLeft(whole, "0"))
	if lead == len(whole) {
		lead += len(frac) - len(bytes.TrimLeft(frac, "0"))
	}
	trail := len(frac) - len(bytes.TrimRight(frac, "0"))
	if trail == len(frac) {
		trail += len(whole) - len(bytes.TrimRight(whole, "0"))
	}
	total := len(whole) + len(frac)
	if lead == total {
		return d
	}
	d.n = total - lead - trail
	d.point = int64(len(whole)-lead) + n.exponent
	at := 0
	if lead < len(whole) {
		at = copy(d.digits[:min(d.n, maxDigits)], whole[lead:])
		lead = len(whole)
	}
	if at < d.n {
		copy(d.digits[at:min(d.n, maxDigits)], frac[lead-len(whole):])
	}
	return d
}

// float returns the double nearest to d, or infinity.
func (d *decimal) float() float64 {
	switch {
	case d.n == 0 || d.point < -400:
		return 0
	case d.point > 400:
		return math.Inf(1)
	}
	text := make([]byte, 0, 64)
	text = append(text, "0."...)
	text = append(text, d.digits[:min(d.n, maxDigits)]...)
	if d.n > maxDigits {
		text = append(text, '1')
	}
	text = append(text, 'e')
	text = strconv.AppendInt(text, d.point, 10)
	f, _ := strconv.ParseFloat(string(text), 64) // infinity if out of range
	return f
}

// refuse returns why f, the double nearest to d, may not replace d, which is not
// zero. It returns "" if it may.
func (d *decimal) refuse(f float64) string {
	const (
		doubleDigits   = 17  // enough to tell any two doubles apart
		exactDigits    = 767 // of the double with the most digits
		smallestNormal = 0x1p-1022
	)
	switch {
	case math.IsInf(f, 0):
		return "is too large for JavaScript"
	case f == 0:
		return "is 0 in JavaScript"
	case d.n <= sureDigits && f >= smallestNormal:
		return "" // prints as it is
	case d.prints(f, -1):
		return ""
	case d.point >= int64(d.n) || f >= 1<<53:
		return "is " + string(appendFinite(nil, f)) + " in JavaScript"
	case d.n <= doubleDigits && f >= smallestNormal:
		return ""
	case d.n <= doubleDigits && d.prints(f, d.n-1):
		return ""
	case d.n <= exactDigits && d.prints(f, exactDigits-1):
		return ""
	}
	return "has more digits than a JavaScript number holds"
}

// prints reports whether f, printed with precision digits after the first (-1: as
// many as needed), equals d.
func (d *decimal) prints(f float64, precision int) bool {
	var buf [64]byte
	text := strconv.AppendFloat(buf[:0], f, 'e', precision, 64)
	mantissa, exponent, _ := bytes.Cut(text, []byte{'e'})
	if point, err := strconv.ParseInt(string(exponent), 10, 64); err != nil || point+1 != d.point {
		return false
	}
	first, rest := mantissa[:1], []byte(nil)
	if len(mantissa) > 2 {
		rest = bytes.TrimRight(mantissa[2:], "0")
	}
	return d.n <= maxDigits && d.n == 1+len(rest) &&
		d.digits[0] == first[0] && bytes.Equal(d.digits[1:d.n], rest)
}
