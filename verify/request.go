package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// firstRead is how much memory a body gets before any of it has arrived, so
// that a client cannot make the receiver allocate memory by announcing a large
// body.
const firstRead = 32 << 10

// Request reads and checks a delivery of up to Config.MaxBody bytes. Afterwards
// r.Body can be read again from the start and gives the same bytes, and
// r.ContentLength is their number. That is also so when the body was read in
// full but the check failed, so that another Verifier can try. Closing r.Body
// closes the original body.
//
// It returns the errors of [Verifier.Verify], and ErrContentEncoding and
// ErrBodyRead; [StatusCode] turns them into an answer. A request with missing
// or malformed headers is refused before its body is read. Request does not
// check the method and does not use Config.Seen: see [Middleware] and
// [Delivery.DedupKey]. It blocks until the body has arrived, so set
// http.Server's ReadTimeout.
func (v *Verifier) Request(r *http.Request) (*Delivery, error) {
	if r == nil {
		return nil, fmt.Errorf("%w: there is no request", ErrBodyRead)
	}
	c, err := v.parseHeader(r.Header)
	if err != nil {
		return nil, err
	}
	if err := checkEncoding(r.Header); err != nil {
		return nil, err
	}
	body, err := readBody(r, v.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	return v.check(c, body)
}

// Request reads and checks a delivery with the zero [Config]: it accepts the
// Standard Webhooks signature, at most 5 minutes old, over a body of at most 1
// MiB in this library's form, and leaves r.Body readable from the start. During
// a rotation give both secrets. Request returns the errors of
// [Verifier.Request], and ErrNoSecret and ErrSecret as [New] does.
func Request(r *http.Request, secrets ...string) (*Delivery, error) {
	v, err := New(Config{}, secrets...)
	if err != nil {
		return nil, err
	}
	return v.Request(r)
}

func checkEncoding(h http.Header) error {
	for _, enc := range values(h, "Content-Encoding") {
		if enc != "" && !strings.EqualFold(enc, "identity") {
			return fmt.Errorf("%w: Content-Encoding is %.32q, want none: the signature covers the bytes before compression", ErrContentEncoding, enc)
		}
	}
	return nil
}

// readBody reads the whole body and sets r.Body to a copy that can be read
// again.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes announced, limit %d (Config.MaxBody)", ErrBodyTooLarge, r.ContentLength, limit)
	}
	original := r.Body
	if original == nil {
		original = http.NoBody
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 {
		// ReadFrom needs bytes.MinRead of free space to notice the end of the
		// body.
		buf.Grow(int(min(n, firstRead)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(original, limit+1))
	if err != nil {
		if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, fmt.Errorf("%w: limit %d, set by http.MaxBytesReader in front of this package", ErrBodyTooLarge, e.Limit)
		}
		return nil, fmt.Errorf("%w: after %d bytes: %w", ErrBodyRead, n, err)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: more than %d bytes (Config.MaxBody)", ErrBodyTooLarge, limit)
	}
	if r.ContentLength > 0 && n != r.ContentLength {
		return nil, fmt.Errorf("%w: %d bytes, of %d announced: was the body read by another handler?", ErrBodyRead, n, r.ContentLength)
	}
	body := buf.Bytes()
	r.Body = &replayBody{Reader: bytes.NewReader(body), original: original}
	r.ContentLength = n
	r.TransferEncoding = nil
	return body, nil
}

// replayBody reads from bytes that are already in memory. Close closes the
// original body.
type replayBody struct {
	*bytes.Reader
	original io.Closer
}

func (b *replayBody) Close() error { return b.original.Close() }
