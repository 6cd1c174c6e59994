package ecmajson

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The kinds of *Error, for errors.Is.
var (
	// ErrSyntax: src is not a JSON text as RFC 8259 defines it, or starts with a
	// byte order mark.
	ErrSyntax = errors.New("not valid JSON")

	// ErrNumber: a number has a value that JavaScript cannot hold, so that a
	// receiver would see another value. Such numbers are: numbers beyond the range
	// of a double, or so small that they become 0; integers and numbers of 2^53 and
	// more whose decimal value differs from the one JavaScript prints for them; and
	// fractions with more than 17 significant digits, unless all digits are those
	// of the double. A fraction of at most 17 digits is a double as other languages
	// print it, and is normalised. (Among the subnormal numbers, below 2.3e-308, a
	// double has fewer digits, and the literal must be the double rounded to as
	// many digits as it has.) Send the number as a string.
	ErrNumber = errors.New("a number that JavaScript cannot hold")

	// ErrDepth: arrays and objects are nested deeper than Limits.MaxDepth.
	ErrDepth = errors.New("nested too deeply")

	// ErrSize: the output is longer than Limits.MaxBytes.
	ErrSize = errors.New("too large")

	// ErrKey: an object has the key "__proto__", or the object under a key
	// "constructor" has the key "prototype", however they are escaped. Parsers with
	// a guard against prototype pollution (that of Fastify, by default) refuse the
	// whole body, on every attempt.
	ErrKey = errors.New("a key that receivers refuse")

	// ErrNotObject: AppendObject was given another type of document.
	ErrNotObject = errors.New("not a JSON object")
)

// Error is the first fault of a document, with its place.
type Error struct {
	// Path leads to the value at fault from the top, "$": $.a[3]["odd key"].
	// Long keys and the middle of long paths are shortened to "…".
	Path string

	// Offset is the position in src, in bytes from 0.
	Offset int

	// Reason says how the document is wrong, and gives advice.
	Reason string

	kind error
}

// Error returns path, offset and reason in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (byte %d): %s", e.Path, e.Offset, e.Reason)
}

// Unwrap returns the kind of the error: ErrSyntax, ErrNumber, ErrDepth, ErrSize,
// ErrKey or ErrNotObject.
func (e *Error) Unwrap() error { return e.kind }

// fail records the error and returns the position that means failure.
func (e *encoder) fail(kind error, offset int, format string, args ...any) int {
	e.fault = Error{Offset: offset, Reason: fmt.Sprintf(format, args...), kind: kind}
	return -1
}

// unexpected fails at src[i], where something else was expected.
func (e *encoder) unexpected(i int, wanted string) int {
	if i >= len(e.src) {
		return e.fail(ErrSyntax, len(e.src), "not valid JSON: it ends where %s should be", wanted)
	}
	if r, n := utf8.DecodeRune(e.src[i:]); r != utf8.RuneError || n > 1 {
		return e.fail(ErrSyntax, i, "not valid JSON: %q where %s should be", r, wanted)
	}
	return e.fail(ErrSyntax, i, "not valid JSON: byte 0x%02x where %s should be", e.src[i], wanted)
}

// failure completes the recorded error with its path.
func (e *encoder) failure() *Error {
	const ends = 16 // steps kept at each end of a long path
	f := e.fault
	var b strings.Builder
	b.WriteByte('$')
	for i := len(e.path) - 1; i >= 0; i-- {
		if len(e.path) > 2*ends && i == len(e.path)-1-ends {
			b.WriteString("…")
			i = ends - 1
		}
		b.WriteString(e.path[i])
	}
	f.Path = b.String()
	return &f
}

// inElement and inMember are called while a failure is returned, innermost first,
// so that a document without a failure keeps no record of its path.
func (e *encoder) inElement(n int) int {
	e.path = append(e.path, "["+strconv.Itoa(n)+"]")
	return -1
}

func (e *encoder) inMember(m member) int {
	e.path = append(e.path, step(e.output(m.off, m.keyEnd)))
	return -1
}

// step spells a canonical key, with its quotes, as one step of a path.
func step(key []byte) string {
	name := key[1 : len(key)-1]
	if identifier(name) {
		return "." + string(shorten(name))
	}
	if short := shorten(name); len(short) < len(name) {
		return `["` + string(short) + `"]`
	}
	return "[" + string(key) + "]"
}

// shorten cuts a long key, without cutting a character or an escape in two.
func shorten(name []byte) []byte {
	const most = 64
	if len(name) <= most {
		return name
	}
	n := 0
	for n < most-8 {
		switch c := name[n]; {
		case c == '\\' && name[n+1] == 'u':
			n += 6
		case c == '\\':
			n += 2
		default:
			_, size := utf8.DecodeRune(name[n:])
			n += size
		}
	}
	return append(name[:n:n], "…"...)
}

func identifier(name []byte) bool {
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '$':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return len(name) > 0
}
