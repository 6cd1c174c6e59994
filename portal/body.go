package portal

import (
	"errors"
	"io"
	"net/http"
)

// sharedBody is a request's body that several readers can read, each from the
// beginning: Config.Access may look for a token in a form, and the route reads
// the form after that. Bytes are read from the client only as a reader needs
// them, and at most maxBody of them.
type sharedBody struct {
	src  io.ReadCloser
	seen []byte
	err  error // how src ended
}

// shareBody bounds the body of a request and returns it.
func shareBody(w http.ResponseWriter, r *http.Request) *sharedBody {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return &sharedBody{src: http.MaxBytesReader(w, r.Body, maxBody)}
}

// tooLarge reports whether a reader has reached the bound.
func (b *sharedBody) tooLarge() bool {
	_, ok := errors.AsType[*http.MaxBytesError](b.err)
	return ok
}

// reader returns the body from its beginning. Closing the reader has no effect:
// the server closes the body after the request has been answered.
func (b *sharedBody) reader() io.ReadCloser { return &bodyReader{body: b} }

type bodyReader struct {
	body *sharedBody
	at   int
}

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	if r.at < len(b.seen) {
		n := copy(p, b.seen[r.at:])
		r.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.seen, b.err = append(b.seen, p[:n]...), err
	r.at += n
	return n, err
}

func (r *bodyReader) Close() error { return nil }

// errConsumed is the error for a host whose handler in front of the portal has
// read a body and not put it back.
var errConsumed = errors.New("the body was read before the request reached the portal, by a handler in front of it that has not put it back: " +
	"read it in Config.Access, or set the request's Body to the bytes that were read")

// consumed returns errConsumed if a request announces a body that is not there.
func consumed(r *http.Request) error {
	if b, ok := r.Body.(*bodyReader); ok && len(b.body.seen) == 0 && r.ContentLength > 0 {
		return errConsumed
	}
	return nil
}

// errTooLarge refuses a body beyond the bound.
var errTooLarge error = &problemError{newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "The body is larger than %d bytes.", maxBody)}
