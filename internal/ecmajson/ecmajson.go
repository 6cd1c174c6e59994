// Package ecmajson turns a JSON text into the exact bytes that
// JSON.stringify(JSON.parse(text)) yields in a JavaScript engine, or refuses it
// with an error that names the place.
//
// Some receivers parse a body and compute the signature over the body stringified
// again. They get the signed bytes only if the body was in this form from the
// start. The form is that of ECMA-262, JSON.stringify without replacer and
// indentation:
//
//   - no white space, no byte order mark, no text after the document;
//   - strings with the escapes JSON.stringify picks and no other: U+2028, U+2029,
//     DEL, "/" and "<" are raw, lone surrogates are \udxxx in lower case, bytes
//     that are not UTF-8 are U+FFFD;
//   - keys that are array indices ("0" to "4294967294") first and ascending, the
//     others in the order in which they first appear, each key once with the last
//     value it was given;
//   - numbers as Number::toString spells them.
//
// Two things are refused although a JavaScript engine accepts them. A number that
// changes its value when JavaScript reads it is an error, never rounded
// ([ErrNumber] defines such a change). The key "__proto__", and the key "prototype"
// within "constructor", are errors, because some receivers refuse every body that
// holds them (see [ErrKey]).
//
// All functions are safe for concurrent use, keep no reference to their arguments
// and take time linear in the input, with one exception: an object whose keys have
// to move is sorted and copied once more, at each level of nesting where that
// happens.
package ecmajson

import (
	"math"
	"sync"
)

// DefaultMaxDepth is the nesting that is accepted if Limits.MaxDepth is zero.
// JavaScript engines parse deeper documents than they can stringify; all of them
// can stringify far deeper ones than this.
const DefaultMaxDepth = 256

// maxMaxDepth keeps the recursion well within the stack of a goroutine.
const maxMaxDepth = 10_000

// Limits bounds the documents that Append accepts. The zero value is ready to use.
type Limits struct {
	// MaxDepth is the number of arrays and objects that may be open at once: 1
	// admits [] and {} but not [[]]. Zero or less means DefaultMaxDepth, more
	// than 10000 means 10000. Node 20 overflows its stack in stringifying
	// somewhere between 2000 and 5000.
	MaxDepth int

	// MaxBytes is the largest output in bytes, without the previous content of dst.
	// A value that a later duplicate of its key replaces counts until its object
	// ends. Zero or less means no limit.
	MaxBytes int
}

// Append appends the canonical form of src, one JSON document of any type, to dst
// and returns the extended slice.
//
// On failure it returns dst with its length and content unchanged and an error
// that is an *[Error] and wraps one of [ErrSyntax], [ErrNumber], [ErrDepth],
// [ErrSize] and [ErrKey]. src must not overlap the spare capacity of dst. If src
// is canonical already, growing dst is the only allocation.
func Append(dst, src []byte, lim Limits) ([]byte, error) {
	return appendDocument(dst, src, lim, false)
}

// AppendObject is Append for a document that must be an object. Another type is
// refused with an error that wraps [ErrNotObject].
func AppendObject(dst, src []byte, lim Limits) ([]byte, error) {
	return appendDocument(dst, src, lim, true)
}

func appendDocument(dst, src []byte, lim Limits, object bool) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer e.release()
	e.src, e.dst, e.start = src, dst, 0
	e.constructorAt = -1
	e.maxDepth, e.maxBytes = lim.MaxDepth, lim.MaxBytes
	if e.maxDepth <= 0 {
		e.maxDepth = DefaultMaxDepth
	}
	e.maxDepth = min(e.maxDepth, maxMaxDepth)
	e.limit = math.MaxInt
	if lim.MaxBytes > 0 && lim.MaxBytes < math.MaxInt-len(dst) {
		e.limit = len(dst) + lim.MaxBytes
	}
	if !e.document(object) {
		return dst, e.failure()
	}
	return e.dst, nil
}

// encoder is the state of one Append. The output is dst followed by src[start:i],
// where i is the position up to which src has been read. Canonical bytes are copied
// only when a byte that is not canonical follows, so that a canonical document is
// copied once, as a whole.
type encoder struct {
	src, dst []byte
	start    int
	limit    int // the largest len(dst) allowed

	maxDepth, maxBytes int

	members []member // of the open objects, innermost last
	table   []int    // hash table for the duplicates of one object
	scratch []byte   // one object in its new order
	digits  decimal  // the decimal of one number

	constructorAt int // where in src the value of the last key "constructor" is, or -1

	fault Error
	path  []string // of fault, innermost step first
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// release returns e to the pool, without references to the caller's memory and
// without buffers that grew large for an unusual document.
func (e *encoder) release() {
	e.src, e.dst = nil, nil
	e.fault, e.path = Error{}, nil
	e.members = e.members[:0]
	if cap(e.members) > 1<<10 {
		e.members = nil
	}
	if cap(e.table) > 1<<12 {
		e.table = nil
	}
	if cap(e.scratch) > 1<<16 {
		e.scratch = nil
	}
	encoders.Put(e)
}

// pos returns the length of the output when src has been read up to i. A flush does
// not change it.
func (e *encoder) pos(i int) int { return len(e.dst) + i - e.start }

// output returns the bytes of the output between two positions. Either all or none
// of them must have been flushed.
func (e *encoder) output(from, to int) []byte {
	if from < len(e.dst) {
		return e.dst[from:to]
	}
	d := e.start - len(e.dst)
	return e.src[from+d : to+d]
}

// flush copies the pending bytes before src[i] to dst.
func (e *encoder) flush(i int) {
	e.dst = append(e.dst, e.src[e.start:i]...)
	e.start = i
}

// skip leaves src[from:to] out of the output.
func (e *encoder) skip(from, to int) {
	e.flush(from)
	e.start = to
}
