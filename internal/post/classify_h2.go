package post

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The texts of net/http's errors about HTTP/2. Their codes are the only part that a
// receiver chooses, from a list.
const h2Code = `([A-Z0-9_]+|unknown error code 0x[0-9a-f]+)`

var (
	h2StreamError = regexp.MustCompile(`^stream error: stream ID \d+; ` + h2Code + `(; received from peer)?`)
	h2ConnError   = regexp.MustCompile(`^(?:http2: )?connection error: ` + h2Code)
	h2GoAway      = regexp.MustCompile(`^http2: Transport received GOAWAY from server ErrCode:` + h2Code + `$`)
	h2GoAwayGone  = regexp.MustCompile(`^http2: server sent GOAWAY and closed the connection; LastStreamID=\d+, ErrCode=` + h2Code + `, debug=(".*")$`)
)

// h2Hints say what to do about a code of RFC 9113, section 7.
var h2Hints = map[string]string{
	"NO_ERROR":            "it may be shutting down",
	"INTERNAL_ERROR":      "look into the log of the receiver, or of the proxy before it",
	"REFUSED_STREAM":      "it has too much to do, or is shutting down",
	"CANCEL":              "its application, or the proxy before it, gave the request up",
	"ENHANCE_YOUR_CALM":   "it asks for fewer requests: set a rate limit for the webhook, or raise the receiver's own",
	"HTTP_1_1_REQUIRED":   "it wants HTTP/1.1: turn HTTP/2 off there",
	"INADEQUATE_SECURITY": "it does not like the TLS parameters that it agreed to: see its TLS settings",
	"PROTOCOL_ERROR":      "it finds fault with the request: see its log, and its limits on the size of headers",
	"CONNECT_ERROR":       "the proxy before it lost the connection to it",
}

// h2Text explains an error about HTTP/2, and is empty when the error is about
// something else.
func (f *flight) h2Text(err error) (Class, string) {
	reason := h2Reason(err.Error())
	hint := func(code string) string {
		if text := h2Hints[code]; text != "" {
			return "; " + text
		}
		return ""
	}
	times := ""
	if f.sends > 1 {
		times = fmt.Sprintf(", each of %d times", f.sends)
	}
	if strings.HasSuffix(reason, "http2: Transport received Server's graceful shutdown GOAWAY") {
		code := "NO_ERROR"
		if c := f.turns.conn; c != nil && c.wentFor.Load() == errCalm+1 {
			code = "ENHANCE_YOUR_CALM"
		}
		return ClassProtocol, "the receiver ended the HTTP/2 connection (GOAWAY, " + code + ") without taking the request" + times + hint(code)
	}
	if m := h2StreamError.FindStringSubmatch(reason); m != nil {
		code := m[1]
		switch {
		case code == "REFUSED_STREAM":
			return ClassProtocol, "the receiver refused the HTTP/2 stream (REFUSED_STREAM)" + times + hint(code)
		case m[2] != "":
			return ClassProtocol, "the receiver reset the HTTP/2 stream (" + code + ") before there was an answer" + hint(code)
		case code == "FLOW_CONTROL_ERROR":
			return ClassProtocol, "the receiver broke the flow control of HTTP/2 (" + code + "); its HTTP/2 server is faulty"
		default:
			return ClassProtocol, "the answer is not valid HTTP/2 (" + code + "): " + f.quoted(cutTextError(reason[len(m[0]):]))
		}
	}
	if m := h2ConnError.FindStringSubmatch(reason); m != nil {
		return ClassProtocol, "the receiver broke the rules of HTTP/2 (" + m[1] + "); its HTTP/2 server, or a proxy before it, is faulty"
	}
	if m := h2GoAway.FindStringSubmatch(reason); m != nil {
		return ClassProtocol, "the receiver ended the HTTP/2 connection (GOAWAY, " + m[1] + ") without taking the request" + hint(m[1])
	}
	if m := h2GoAwayGone.FindStringSubmatch(reason); m != nil {
		said := ""
		if debug, err := strconv.Unquote(m[2]); err == nil && debug != "" {
			said = "; it says: " + f.quoted(cutTextError(debug))
		}
		return ClassProtocol, "the receiver ended the HTTP/2 connection (GOAWAY, " + m[1] + ") before there was an answer" + hint(m[1]) + said
	}
	if strings.HasSuffix(reason, "the frame header looked like an HTTP/1.1 header") {
		return ClassProtocol, "the receiver agreed to HTTP/2 and answers in HTTP/1.1; its HTTP/2 server, or a proxy before it, is faulty"
	}
	if unsentTexts[reason] {
		return ClassConnect, "the receiver closed the connection before the request was sent"
	}
	switch reason {
	case "http2: request header list larger than peer's advertised limit":
		return ClassProtocol, "the headers are longer than the receiver allows (SETTINGS_MAX_HEADER_LIST_SIZE); use fewer or shorter custom headers, or raise its limit"
	case "http2: frame too large":
		return ClassProtocol, "the receiver sends larger HTTP/2 frames than it was told to (FRAME_SIZE_ERROR); its HTTP/2 server is faulty"
	case "http2: response header list larger than advertised limit":
		return ClassProtocol, "the headers of the answer are too long"
	}
	return "", ""
}

// cutTextError is the detail of an error, without the separator before it.
type cutTextError string

func (t cutTextError) Error() string {
	if text := strings.TrimPrefix(string(t), "; "); text != "" {
		return text
	}
	return "no more is known"
}

// fewStreamsText explains the wait of an attempt that did not get its turn.
func fewStreamsText(limit int64) string {
	plural := "s"
	if limit == 1 {
		plural = ""
	}
	return fmt.Sprintf("waiting for its turn: the receiver allows %d stream%s at once on an HTTP/2 connection "+
		"(SETTINGS_MAX_CONCURRENT_STREAMS); raise its limit, or have it answer faster", limit, plural)
}
