package post

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// keptBody is how much of an answer's body is kept for the log.
	keptBody = 4 << 10
	// drainedBody bounds the bytes read of a body. A body that ends within the
	// bound leaves the connection fit for the next request. The bytes behind the
	// kept part also show an echoed secret that crosses its end.
	drainedBody = 2 * keptBody
	// keptValue is how much of a header's value is kept.
	keptValue = 256
	// maxReadsForNothing bounds the empty reads from the body of a host's own
	// transport, which may return no bytes and no error.
	maxReadsForNothing = 100
)

var bodyBuffers = sync.Pool{New: func() any { return new([drainedBody]byte) }}

// readBody reads the start of an answer's body and closes it. It returns the part to
// keep, and whether the body was longer or broke off.
func (f *flight) readBody(resp *http.Response, m *masker) (kept []byte, truncated bool) {
	defer resp.Body.Close() // a connection with anything left on it is not used again
	if resp.Body == http.NoBody || resp.StatusCode < 200 {
		return nil, false // the "body" of a 101 is the connection itself
	}
	f.timer.Reset(min(time.Until(f.deadline), maxBodyWait))
	buf := bodyBuffers.Get().(*[drainedBody]byte)
	defer bodyBuffers.Put(buf)
	n, idle := 0, 0
	var err error
	for n < len(buf) && err == nil && idle < maxReadsForNothing {
		var m int
		m, err = resp.Body.Read(buf[n:])
		if n += m; m == 0 {
			idle++
		}
	}
	if n == 0 {
		return nil, err != io.EOF
	}
	m.mask(buf[:n])
	return bytes.Clone(buf[:min(n, keptBody)]), err != io.EOF || n > keptBody
}

// keptHeaders returns the headers of an answer that help a reader of the log and
// cannot carry a session, or nil. A success with only a date and a length, the usual
// case, is logged without headers: the attempt's time and body say the same.
func keptHeaders(h http.Header, success bool, m *masker) map[string]string {
	found, telling := 0, !success
	for name, values := range h {
		if isKeptHeader(name) && len(values) > 0 {
			found++
			telling = telling || name != "Date" && name != "Content-Length"
		}
	}
	if found == 0 || !telling {
		return nil
	}
	kept := make(map[string]string, found)
	for name, values := range h {
		if !isKeptHeader(name) || len(values) == 0 {
			continue
		}
		value := values[0]
		if !isDate(value) {
			value = m.maskString(value)
		}
		kept[name] = printable(value, keptValue)
	}
	return kept
}

func isKeptHeader(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Server", "Date", "Retry-After", "Via",
		"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "Cf-Ray", "Traceparent":
		return true
	}
	return false
}

// printable makes peer bytes fit for a log, a page and a column of text: valid
// UTF-8, one line, no control characters, at most limit bytes and the mark of a
// cut. Other bytes are shown as escapes.
func printable(s string, limit int) string {
	plain := len(s) <= limit
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < utf8.RuneSelf-1
	}
	if plain {
		return s
	}
	out := make([]byte, 0, min(len(s), limit)+8)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+size]
		if r == utf8.RuneError && size == 1 {
			piece = fmt.Sprintf(`\x%02x`, s[i])
		} else if !strconv.IsPrint(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			piece = quoted[1 : len(quoted)-1]
		}
		if len(out)+len(piece) > limit {
			return string(append(out, "…"...))
		}
		out = append(out, piece...)
		i += size
	}
	return string(out)
}

// isDate reports whether a value has the form of a Date header, whose letters
// and digits come in runs too short to hold a secret.
func isDate(s string) bool {
	const form = "Aaa, 00 Aaa 0000 00:00:00 GMT"
	if len(s) != len(form) {
		return false
	}
	for i := range len(form) {
		var ok bool
		switch form[i] {
		case '0':
			ok = s[i] >= '0' && s[i] <= '9'
		case 'A':
			ok = s[i] >= 'A' && s[i] <= 'Z'
		case 'a':
			ok = s[i] >= 'a' && s[i] <= 'z'
		default:
			ok = s[i] == form[i]
		}
		if !ok {
			return false
		}
	}
	return true
}
