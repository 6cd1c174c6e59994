package webhook

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// keptBody is how much of an answer's body is kept for the log.
	keptBody = 4 << 10
	// drainedBody is how much is read: a body that ends within it leaves the
	// connection fit for the next request. It is also what lets a secret that
	// an echo carries across the end of the kept part be found.
	drainedBody = 2 * keptBody
	// keptValue is how much of a header's value is kept.
	keptValue = 256
	// leastSecret is the length from which a value of a header that we sent is
	// masked when it comes back. Below it would mask every "1" and "ok".
	leastSecret = 6
	// maxReadsForNothing ends reading from a transport of the host's whose
	// bodies return neither bytes nor an error.
	maxReadsForNothing = 100
)

var bodyBuffers = sync.Pool{New: func() any { return new([drainedBody]byte) }}

// readBody reads the body of an answer as far as it is wanted and closes it.
// It returns what is kept, and whether there was more or it broke off.
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
	if n >= leastSecret {
		mask(buf[:n], m.secrets())
	}
	return bytes.Clone(buf[:min(n, keptBody)]), err != io.EOF || n > keptBody
}

// keptHeaders returns the headers of an answer that are worth a look in the
// log and cannot carry a session: nil when there are none. A success that has
// none but its date and length, as most have, is logged without: the time and
// the body of the attempt say the same.
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
		if len(value) >= leastSecret && !isDate(value) {
			value = maskString(value, m.secrets())
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
// UTF-8, one line, nothing that a terminal acts on, at most limit bytes (and
// the mark of a cut). What is not printable is shown as an escape.
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

// A masker knows what must not be stored of an answer to a request. It finds
// that out when it is first asked: most answers hold nothing that could be it.
type masker struct {
	request http.Header
	found   []string
	asked   bool
}

func (m *masker) secrets() []string {
	if !m.asked {
		m.found, m.asked = secretsOf(m.request), true
	}
	return m.found
}

// secretsOf returns what must not be stored when a receiver echoes it: the
// signatures and the values of the webhook's own headers, whole and by the
// parts that spaces and commas separate.
func secretsOf(h http.Header) []string {
	secrets := make([]string, 0, 8)
	add := func(s string) {
		if len(s) >= leastSecret && !slices.Contains(secrets, s) {
			secrets = append(secrets, s)
		}
	}
	for name, values := range h {
		if isPublicHeader(name) {
			continue
		}
		for _, value := range values {
			add(value)
			for rest := value; ; {
				i := strings.IndexAny(rest, " ,;")
				if i < 0 {
					if len(rest) < len(value) {
						add(rest)
					}
					break
				}
				add(rest[:i])
				rest = rest[i+1:]
			}
		}
	}
	return secrets
}

// isPublicHeader reports whether a request's header is one whose value anyone
// may see.
func isPublicHeader(name string) bool {
	for _, public := range [...]string{"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "X-Webhook-Event", "X-Webhook-Attempt"} {
		if len(name) == len(public) && strings.EqualFold(name, public) {
			return true
		}
	}
	return false
}

// mask overwrites every occurrence of a secret in data, and the start of one
// that data ends in: the echo may have been cut there.
func mask(data []byte, secrets []string) {
	for _, secret := range secrets {
		for at := 0; len(data)-at >= len(secret); {
			i := bytes.Index(data[at:], []byte(secret))
			if i < 0 {
				break
			}
			at += i
			stars(data[at : at+len(secret)])
			at += len(secret)
		}
		stars(data[len(data)-endsInStartOf(data, secret):])
	}
}

func stars(p []byte) {
	for i := range p {
		p[i] = '*'
	}
}

// maskString is mask for text, without a copy when there is nothing to mask.
func maskString(s string, secrets []string) string {
	if len(s) < leastSecret {
		return s
	}
	for _, secret := range secrets {
		if strings.Contains(s, secret) || endsInStartOf(s, secret) > 0 {
			b := []byte(s)
			mask(b, secrets)
			return string(b)
		}
	}
	return s
}

// endsInStartOf returns how many bytes at the end of s are the start of
// secret, not all of it; 0 when that is fewer than leastSecret.
func endsInStartOf[T string | []byte](s T, secret string) int {
	for n := min(len(secret)-1, len(s)); n >= leastSecret; n-- {
		if string(s[len(s)-n:]) == secret[:n] {
			return n
		}
	}
	return 0
}
