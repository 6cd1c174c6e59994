package h1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// maxHead bounds the status line and the headers of an answer, all 1xx answers
// before it included.
const maxHead = 64 << 10

var errHeadTooLarge = fmt.Errorf("the answer's headers exceeded %d bytes", maxHead)

// readHead reads the head of the answer, behind any number of 1xx answers, and
// leaves the reader where its body begins.
func (x *exchange) readHead() error {
	left := maxHead
	for {
		raw, err := x.head(left)
		if err != nil {
			return err
		}
		left -= len(raw)
		status, minor, header, err := parseHead(string(raw))
		if err != nil {
			return err
		}
		if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
			continue
		}
		x.resp = http.Response{
			StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: minor,
			Header: header, Body: x,
		}
		return x.frame(status, minor, header)
	}
}

// head returns the bytes of a head, with the empty line that ends it. It reports a bad
// first line as soon as that line is complete: many servers on the port of a web server
// speak another protocol.
func (r *reader) head(most int) ([]byte, error) {
	line, at := 0, 0 // where the line begins, and how far it was looked at
	for {
		for rest := r.buf[r.from+at : r.to]; len(rest) > 0; rest = r.buf[r.from+at : r.to] {
			if at >= most {
				return nil, errHeadTooLarge
			}
			i := indexNewline(rest)
			if i < 0 {
				at += len(rest)
				break
			}
			at += i + 1
			if at > most {
				return nil, errHeadTooLarge
			}
			switch text := r.buf[r.from+line : r.from+at]; {
			case line == 0:
				if _, _, err := parseStatusLine(chomp(string(text))); err != nil {
					return nil, err
				}
			case len(text) == 1, len(text) == 2 && text[0] == '\r':
				raw := r.buf[r.from : r.from+at]
				r.from += at
				return raw, nil
			}
			line = at
		}
		if at >= most {
			return nil, errHeadTooLarge
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && r.to > r.from {
				err = io.ErrUnexpectedEOF
				if line == 0 {
					if _, _, bad := parseStatusLine(string(r.buf[r.from:r.to])); bad != nil {
						err = bad
					}
				}
			}
			return nil, err
		}
	}
}

func indexNewline(p []byte) int {
	for i, c := range p {
		if c == '\n' {
			return i
		}
	}
	return -1
}

// chomp cuts the end of a line off.
func chomp(line string) string {
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
}

// parseStatusLine reads "HTTP/1.1 200 OK".
func parseStatusLine(line string) (status, minor int, err error) {
	version, rest, ok := strings.Cut(line, " ")
	digits, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	switch {
	case !ok:
		return 0, 0, fmt.Errorf("malformed HTTP response %q", line)
	case len(version) == len("HTTP/1.1") && strings.HasPrefix(version, "HTTP/1.") && isDigit(version[7]):
		minor = min(int(version[7]-'0'), 1) // a later version is read as HTTP/1.1
	case len(version) == len("HTTP/1.1") && strings.HasPrefix(version, "HTTP/") && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return 0, 0, fmt.Errorf("not a version of HTTP/1: %q", version)
	default:
		return 0, 0, fmt.Errorf("malformed HTTP version %q", version)
	}
	if len(digits) != 3 || !isDigit(digits[0]) || !isDigit(digits[1]) || !isDigit(digits[2]) {
		return 0, 0, fmt.Errorf("malformed HTTP status code %q", digits)
	}
	status, err = strconv.Atoi(digits)
	return status, minor, err
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parseHead reads a status line and headers, and the empty line that ends them.
func parseHead(head string) (status, minor int, header http.Header, err error) {
	first, rest, _ := strings.Cut(head, "\n")
	if status, minor, err = parseStatusLine(chomp(first)); err != nil {
		return 0, 0, nil, err
	}
	lines := strings.Count(rest, "\n")
	header = make(http.Header, min(lines, 64))
	values := make([]string, 0, min(lines, 64)) // one array for all the headers that come once
	last := ""
	for {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			return status, minor, header, nil
		}
		if line[0] == ' ' || line[0] == '\t' { // an old way to go on (RFC 9112, section 5.2)
			more := strings.Trim(line, " \t")
			if last == "" || !isFieldValue(more) {
				return 0, 0, nil, fmt.Errorf("malformed header line %q", line)
			}
			all := header[last]
			all[len(all)-1] = strings.TrimLeft(all[len(all)-1]+" "+more, " ")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		// A name with a space is not valid, but servers send it. It is kept unchanged,
		// so that it has no meaning: it is not read as a length, for example.
		if !ok || !isToken(strings.ReplaceAll(name, " ", "")) || !isFieldValue(value) {
			return 0, 0, nil, fmt.Errorf("malformed header line %q", line)
		}
		last = textproto.CanonicalMIMEHeaderKey(name)
		if had := header[last]; had != nil {
			header[last] = append(had, value)
			continue
		}
		values = append(values, value)
		header[last] = values[len(values)-1 : len(values) : len(values)]
	}
}

// frame finds out where the body ends and whether the connection can be used again
// (RFC 9112, sections 6.3 and 9.3).
func (x *exchange) frame(status, minor int, header http.Header) error {
	length, err := contentLength(header["Content-Length"])
	if err != nil {
		return err
	}
	if all := header["Content-Length"]; len(all) > 1 {
		header["Content-Length"] = all[:1]
	}
	x.keep = minor == 1 && !hasToken(header["Connection"], "close") || minor == 0 && hasToken(header["Connection"], "keep-alive")
	x.said = keepAlive(header["Keep-Alive"])
	coding := header["Transfer-Encoding"]
	if minor == 0 && coding != nil {
		coding, x.keep = nil, false // several programs that do not know each other wrote such a head
	}
	if coding != nil {
		if len(coding) != 1 || !strings.EqualFold(coding[0], "chunked") {
			return fmt.Errorf("unsupported transfer encoding %q", coding)
		}
		if length >= 0 {
			x.keep = false // the two may have been meant for two readers
		}
		delete(header, "Content-Length")
		length = -1
	}
	switch {
	case status == http.StatusSwitchingProtocols:
		x.keep = false
		x.body.left = 0
	case status >= 100 && status < 200 || status == http.StatusNoContent || status == http.StatusNotModified:
		x.body.left = 0
	case coding != nil:
		x.body.chunked = true
	case length >= 0:
		x.body.left = length
	default:
		x.keep = false
		x.body.untilClose = true
	}
	x.resp.ContentLength = length
	if !x.body.chunked && !x.body.untilClose && x.body.left == 0 {
		x.bodyDone, x.bodyErr = true, io.EOF
	}
	return nil
}

var errTwoLengths = errors.New("the answer has two lengths: more than one Content-Length")

// contentLength returns the length that Content-Length headers give, or -1 without a
// header.
func contentLength(values []string) (int64, error) {
	if len(values) == 0 {
		return -1, nil
	}
	for _, other := range values[1:] {
		if other != values[0] {
			return 0, errTwoLengths
		}
	}
	for i := range len(values[0]) {
		if !isDigit(values[0][i]) {
			return 0, fmt.Errorf("bad Content-Length %q", values[0])
		}
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bad Content-Length %q", values[0])
	}
	return n, nil
}

// hasToken reports whether a list of tokens, separated by commas, has one.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// keepAlive returns the "timeout" of a Keep-Alive header, or a negative duration.
func keepAlive(values []string) time.Duration {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, text, _ := strings.Cut(strings.Trim(part, " \t"), "=")
			if !strings.EqualFold(strings.TrimRight(name, " \t"), "timeout") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(text, ` "`+"\t"), 10, 32)
			if err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return -1
}
