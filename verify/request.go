package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// firstRead is how much memory a body gets before any of it has arrived: a
// client that only announces a large body does not make us allocate it.
const firstRead = 32 << 10

// Request reads and checks a delivery, up to Config.MaxBody bytes of it. After
// it, r.Body can be read again from the start and gives the same bytes, and
// r.ContentLength is their number; that holds as well when the body was read in
// full but the check failed, so that another Verifier can try. Closing r.Body
// closes the original body.
//
// It returns the errors of [Verifier.Verify], and ErrContentEncoding and
// ErrBodyRead; [StatusCode] turns them into an answer. What the headers alone
// can decide is decided before the body is read. It does not look at the method, nor at Config.Seen: see [Middleware]
// and [Delivery.DedupKey]. It blocks as long as the body takes to arrive, so
// set http.Server's ReadTimeout.
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
// Standard Webhooks signature, at most 5 minutes old, over a body of at most
// 1 MiB in this library's form, and leaves r.Body readable from the start.
// Give several secrets while a rotation lasts. It returns ErrNoSecret and
// ErrSecret as [New] does, and otherwise what [Verifier.Request] returns.
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

// readBody reads the whole body and puts a copy that can be read again in its
// place.
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
		// ReadFrom wants some room to see the end of the body in.
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
		return nil, fmt.Errorf("%w: %d bytes, of %d announced: was the body read before it got here?", ErrBodyRead, n, r.ContentLength)
	}
	body := buf.Bytes()
	r.Body = &replayBody{Reader: bytes.NewReader(body), original: original}
	r.ContentLength = n
	r.TransferEncoding = nil
	return body, nil
}

// replayBody gives bytes that were read already, and closes what they were
// read from.
type replayBody struct {
	*bytes.Reader
	original io.Closer
}

func (b *replayBody) Close() error { return b.original.Close() }
