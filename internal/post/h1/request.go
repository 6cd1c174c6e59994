package h1

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// appendHead appends the request line and the headers. The order is net/http's:
// Host, User-Agent and Content-Length, then the other names in alphabetical order.
func appendHead(b []byte, r *Request) []byte {
	b = append(b, "POST "...)
	b = append(b, strings.ReplaceAll(r.URL.RequestURI(), " ", "%20")...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, hostField(r.URL)...)
	if agent := r.Header["User-Agent"]; len(agent) > 0 && agent[0] != "" {
		b = append(b, "\r\nUser-Agent: "...)
		b = append(b, agent[0]...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	b = append(b, "\r\n"...)
	var names [32]string
	sorted := names[:0]
	for name := range r.Header {
		if !isOurs(name) {
			sorted = append(sorted, name)
		}
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		for _, value := range r.Header[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, strings.Trim(value, " \t")...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// isOurs reports whether a header is written, or left out, by appendHead itself.
func isOurs(name string) bool {
	switch name {
	case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// hostField returns the Host header: the URL's host without the zone of an IPv6
// address, which only has a meaning on this machine.
func hostField(u *url.URL) string {
	host := u.Host
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.LastIndexByte(host, ']')
	zone := strings.LastIndexByte(host[:max(end, 0)], '%')
	if zone < 0 {
		return host
	}
	return host[:zone] + host[end:]
}

// checkHeader refuses a header that would not arrive unchanged.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("invalid header field name %q", name)
		}
		for _, value := range values {
			if !isFieldValue(value) {
				return fmt.Errorf("invalid header field value for %q", name) // not the value: it may be a secret
			}
		}
	}
	return nil
}

// checkURL refuses a URL that would not arrive as the request line and the Host
// header that it is.
func checkURL(u *url.URL) error {
	for _, part := range [...]string{u.Host, u.Opaque, u.RawQuery} {
		if !isFieldValue(part) || strings.ContainsRune(part, '\t') {
			return errors.New("the URL holds a control character")
		}
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s is a value of a header: no control character but
// the tab (RFC 9110, section 5.5).
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// tokenBytes are the characters of a header's name (RFC 9110, section 5.6.2).
var tokenBytes = func() (table [256]bool) {
	for c := '0'; c <= '9'; c++ {
		table[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		table[c], table[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		table[c] = true
	}
	return table
}()
