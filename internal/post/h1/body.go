package h1

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

const (
	// maxChunkLine bounds a line between chunks.
	maxChunkLine = 4 << 10
	// maxExtensions bounds the bytes of an answer's chunk extensions in total.
	maxExtensions = 16 << 10
	// maxTrailer bounds the trailer.
	maxTrailer = 8 << 10
)

var errChunk = errors.New("malformed chunks")

// A reader is a buffer before a connection.
type reader struct {
	src      io.Reader
	held     *[]byte // where buf came from
	buf      []byte
	from, to int
}

var readBuffers = sync.Pool{New: func() any { return new(make([]byte, bufferSize)) }}

func (r *reader) open(src io.Reader) {
	r.src, r.held = src, readBuffers.Get().(*[]byte)
	r.buf = *r.held
}

// release gives the buffer back with all bytes in it.
func (r *reader) release() {
	if r.held == nil {
		return
	}
	if cap(r.buf) <= mostKept {
		*r.held = r.buf
		readBuffers.Put(r.held)
	}
	*r = reader{}
}

func (r *reader) buffered() int { return r.to - r.from }

// fill reads more bytes. It moves buffered bytes to the start, and grows the buffer
// when it is full. Callers bound the amount.
func (r *reader) fill() error {
	if r.from > 0 {
		copy(r.buf, r.buf[r.from:r.to])
		r.from, r.to = 0, r.to-r.from
	}
	if r.to == len(r.buf) {
		larger := make([]byte, 2*len(r.buf))
		copy(larger, r.buf)
		r.buf = larger
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.to:])
		r.to += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// take moves up to len(p) bytes, waiting for the first.
func (r *reader) take(p []byte) (int, error) {
	if r.buffered() == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.from:r.to])
	r.from += n
	return n, nil
}

// line returns a line of at most so many bytes that ends in CRLF, without it.
func (r *reader) line(most int) (string, error) {
	for at := 0; ; {
		if i := indexNewline(r.buf[r.from+at : r.to]); i >= 0 {
			at += i
			text := string(r.buf[r.from : r.from+at])
			r.from += at + 1
			text, ok := strings.CutSuffix(text, "\r")
			if !ok || len(text) > most {
				return "", errChunk
			}
			return text, nil
		}
		at = r.buffered()
		if at > most+1 { // a CR may be among it
			return "", errChunk
		}
		if err := r.fill(); err != nil {
			return "", err
		}
	}
}

// framing is where the body of an answer ends.
type framing struct {
	untilClose bool
	chunked    bool
	left       int64 // bytes to come, of the chunk if chunked
	begun      bool  // a chunk was read: CRLF is next
	extensions int   // bytes of them so far
}

// Read reads the body. The last bytes of it come together with io.EOF where its
// end is known by then.
func (x *exchange) Read(p []byte) (int, error) {
	if x.bodyDone || x.done {
		if x.bodyErr == nil {
			return 0, io.ErrClosedPipe
		}
		return 0, x.bodyErr
	}
	n, err := x.readBody(p)
	if errors.Is(err, io.EOF) && x.body.untilClose || err == nil {
		if err != nil {
			x.bodyDone, x.bodyErr = true, io.EOF
		}
		return n, err
	}
	if errors.Is(err, errBodyEnds) {
		err = io.EOF
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	x.bodyDone, x.bodyErr = true, err
	return n, err
}

// errBodyEnds is the end of a body, as told from that of the connection.
var errBodyEnds = errors.New("h1: the body ends")

func (x *exchange) readBody(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if x.body.untilClose {
		return x.take(p)
	}
	if x.body.left == 0 && x.body.chunked {
		if err := x.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := x.take(p[:min(int64(len(p)), x.body.left)])
	x.body.left -= int64(n)
	if err == nil && x.body.left == 0 && !x.body.chunked {
		err = errBodyEnds
	}
	return n, err
}

// nextChunk reads up to the next chunk, or the end of the body behind the last.
func (x *exchange) nextChunk() error {
	if x.body.begun {
		if rest, err := x.line(0); err != nil {
			return err
		} else if rest != "" {
			return errChunk
		}
	}
	x.body.begun = true
	line, err := x.line(maxChunkLine)
	if err != nil {
		return err
	}
	digits, _, _ := strings.Cut(line, ";")
	x.body.extensions += len(line) - len(digits)
	digits = strings.TrimRight(digits, " \t")
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil || len(digits) > 16 || !isHex(digits) || x.body.extensions > maxExtensions {
		return errChunk
	}
	if size > 0 {
		x.body.left = int64(size)
		return nil
	}
	for left := maxTrailer; ; {
		field, err := x.line(left)
		if err != nil {
			return err
		}
		if field == "" {
			return errBodyEnds
		}
		name, value, ok := strings.Cut(field, ":")
		if left -= len(field) + 2; left < 0 || !ok || !isToken(name) || !isFieldValue(value) {
			return errChunk
		}
	}
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; !isDigit(s[i]) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
