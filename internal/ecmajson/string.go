package ecmajson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	replacement = "\uFFFD"
	lowerHex    = "0123456789abcdef"
)

// plainBytes returns how many bytes at the low end of x can be copied as they are
// within a string: ASCII other than controls, quote and backslash.
func plainBytes(x uint64) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	// A top bit is set for a byte of 0x80 and more, or where a subtraction borrows.
	// A borrow only affects higher bytes, so the lowest set bit is right.
	special := (x | (x - ' '*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)) & tops
	return bits.TrailingZeros64(special) / 8
}

// string reads the string whose opening quote is src[i].
func (e *encoder) string(i int) int {
	src := e.src
	j := i + 1
	for {
		for len(src)-j >= 8 {
			n := plainBytes(binary.LittleEndian.Uint64(src[j:]))
			j += n
			if n < 8 {
				break
			}
		}
		if j >= len(src) {
			return e.fail(ErrSyntax, i, "not valid JSON: a string without a closing quote")
		}
		switch c := src[j]; {
		case c == '"':
			return j + 1
		case c == '\\':
			if j = e.escape(j); j < 0 {
				return j
			}
		case c < ' ':
			return e.fail(ErrSyntax, j, "not valid JSON: an unescaped control character 0x%02x in a string", c)
		case c < utf8.RuneSelf:
			j++
		default:
			for j < len(src) && src[j] >= utf8.RuneSelf {
				if r, n := utf8.DecodeRune(src[j:]); r != utf8.RuneError || n > 1 {
					j += n
					continue
				}
				e.flush(j)
				e.dst = append(e.dst, replacement...)
				j += illFormed(src[j:])
				e.start = j
			}
		}
	}
}

// escape reads the escape sequence at src[i].
func (e *encoder) escape(i int) int {
	if i+1 >= len(e.src) {
		return e.fail(ErrSyntax, i, "not valid JSON: it ends within an escape sequence")
	}
	switch e.src[i+1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case '/':
		e.skip(i, i+1)
		return i + 2
	case 'u':
		return e.escapedUnit(i)
	}
	return e.fail(ErrSyntax, i, "not valid JSON: an unknown escape sequence")
}

// escapedUnit reads \uhhhh at src[i], and the \uhhhh after it if the two are a
// surrogate pair.
func (e *encoder) escapedUnit(i int) int {
	r, lower, ok := e.unit(i)
	if !ok {
		return e.fail(ErrSyntax, i, `not valid JSON: \u without four hexadecimal digits`)
	}
	end := i + 6
	stays := false // JSON.stringify writes the character as this escape
	if utf16.IsSurrogate(r) {
		if low, _, ok := e.unit(end); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			r, end = utf16.DecodeRune(r, low), end+6
		} else {
			stays = lower
		}
	} else if r < ' ' {
		stays = lower && shortEscape[r] == 0
	}
	if stays {
		return end
	}
	e.flush(i)
	e.dst = appendUnit(e.dst, r)
	e.start = end
	return end
}

// unit decodes \uhhhh at src[i]. lower reports whether its digits are in the case
// that JSON.stringify writes; ok is false if there is no such escape.
func (e *encoder) unit(i int) (r rune, lower, ok bool) {
	if len(e.src)-i < 6 || e.src[i] != '\\' || e.src[i+1] != 'u' {
		return 0, false, false
	}
	lower = true
	for _, c := range e.src[i+2 : i+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
			lower = false
		default:
			return 0, false, false
		}
		r = r<<4 | rune(c)
	}
	return r, lower, true
}

// shortEscape has the letters of the controls that have a short escape.
var shortEscape = [' ']byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// appendUnit appends one character, or lone surrogate, of a string.
func appendUnit(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r < ' ' && shortEscape[r] != 0:
		return append(dst, '\\', shortEscape[r])
	case r < ' ' || utf16.IsSurrogate(r):
		return append(dst, '\\', 'u',
			lowerHex[r>>12], lowerHex[r>>8&15], lowerHex[r>>4&15], lowerHex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// illFormed returns the length of the ill-formed UTF-8 sequence that b starts
// with, as the WHATWG Encoding Standard and Unicode's "maximal subpart" count it:
// JavaScript decodes it to one U+FFFD.
func illFormed[T string | []byte](b T) int {
	var low, high byte = 0x80, 0xBF // range of the second byte
	more := 0                       // number of bytes after the first
	switch c := b[0]; {
	case 0xC2 <= c && c <= 0xDF:
		more = 1
	case 0xE0 <= c && c <= 0xEF:
		more = 2
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case 0xF0 <= c && c <= 0xF4:
		more = 3
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for n <= more && n < len(b) && low <= b[n] && b[n] <= high {
		low, high = 0x80, 0xBF
		n++
	}
	return n
}

// AppendString appends s to dst as JSON.stringify writes a string, with its quotes,
// and returns the extended slice. Bytes that are not UTF-8 become U+FFFD, one for
// each sequence for which JavaScript's TextDecoder writes one.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // s[start:i] is plain and not copied yet
	for i := 0; i < len(s); {
		for len(s)-i >= 8 && plainEight(s[i:i+8]) {
			i += 8
		}
		if i == len(s) {
			break
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				dst = appendUnit(append(dst, s[start:i]...), rune(c))
				start = i + 1
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(append(dst, s[start:i]...), replacement...)
			n = illFormed(s[i:])
			start = i + n
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plainEight reports whether all eight bytes of s can be copied: each is ASCII that
// needs no escape. In most strings most bytes are, which makes encoding an event
// cheap.
func plainEight(s string) bool {
	const ones = 0x0101010101010101
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// A difference has its highest bit set where the byte is below the subtrahend.
	// The borrow may set that bit in the next byte too, which is harmless: one bit
	// decides.
	control := x - ' '*ones
	quote := (x ^ '"'*ones) - ones
	backslash := (x ^ '\\'*ones) - ones
	return (x|control|quote|backslash)&(0x80*ones) == 0
}
