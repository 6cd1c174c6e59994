package post

import (
	"bytes"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// leastSecret is the length from which a secret is masked when a receiver
	// sends it back. Masking shorter ones would mask every "1" and "ok".
	leastSecret = 6
	// fewSecrets is up to how many secrets are searched for one by one before
	// an automaton is built for all of them.
	fewSecrets = 24
)

// A masker overwrites secrets in an answer to a request: signatures, values of the
// webhook's own headers, and the query of its URL. They are hidden from people who may
// read the log, and a receiver that echoes its request would otherwise show them.
//
// A masker works out the secrets when it is first asked: most answers are too
// short to hold one. Its cost is linear in the sizes of request and answer.
type masker struct {
	header http.Header
	url    *url.URL // may be nil
	path   bool     // the URL's path is masked as well

	plain   *matcher // the secrets as they were sent
	escaped *matcher // and as JSON, HTML and URLs write them
}

// mask overwrites every occurrence of a secret in data with asterisks, and a
// start of a secret at the end of data: the echo may have been cut there.
func (m *masker) mask(data []byte) {
	if len(data) >= leastSecret {
		m.matcher(bytes.ContainsAny(data, `\&%`)).mask(data)
	}
}

// maskString is mask for text. It makes no copy of text without a secret.
func (m *masker) maskString(s string) string {
	if len(s) < leastSecret {
		return s
	}
	x := m.matcher(strings.ContainsAny(s, `\&%`))
	if !x.mayOccur(s) {
		return s
	}
	b := []byte(s)
	x.mask(b)
	return string(b)
}

// matcher returns what to search for in a text that has, or has not, one of the
// characters with which escapes begin.
func (m *masker) matcher(escapes bool) *matcher {
	if m.plain == nil {
		m.plain = &matcher{secrets: sortedSecrets(m.secrets())}
	}
	if !escapes {
		return m.plain
	}
	if m.escaped == nil {
		all := slices.Clone(m.plain.secrets)
		for _, s := range m.plain.secrets {
			all = appendEscaped(all, s)
		}
		m.escaped = &matcher{secrets: sortedSecrets(all)}
	}
	return m.escaped
}

// sortedSecrets sorts secrets in place and drops duplicates and short texts.
func sortedSecrets(secrets []string) []string {
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < leastSecret })
	slices.Sort(secrets)
	return slices.Compact(secrets)
}

// secrets returns the texts that must not be stored when a receiver echoes them:
// values of headers and the query of the URL, whole and by their parts. Short texts and
// duplicates are among them.
func (m *masker) secrets() []string {
	secrets := make([]string, 0, 16)
	for name, values := range m.header {
		if isPublicHeader(name) {
			continue
		}
		for _, value := range values {
			secrets = appendParts(append(secrets, value), value)
		}
	}
	if m.url == nil {
		return secrets
	}
	if m.path {
		secrets = append(secrets, m.url.RequestURI(), m.url.EscapedPath())
	}
	if m.url.RawQuery != "" {
		secrets = appendQuery(append(secrets, m.url.RawQuery), m.url.RawQuery)
	}
	return secrets
}

// appendParts appends the parts of a header's value that spaces, commas and
// semicolons separate, the values of parameters and cookies, and the user name and
// password of HTTP Basic.
func appendParts(secrets []string, value string) []string {
	if encoded, ok := strings.CutPrefix(value, "Basic "); ok {
		if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			_, password, _ := strings.Cut(string(decoded), ":")
			secrets = append(secrets, string(decoded), password)
		}
	}
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		secrets = append(secrets, part)
		if _, behind, ok := strings.Cut(part, "="); ok {
			secrets = append(secrets, strings.Trim(behind, `"`))
		}
	}
	return secrets
}

// appendQuery appends the values of a query, as they stand there and decoded.
// A part without a name is a value.
func appendQuery(secrets []string, query string) []string {
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		if _, behind, ok := strings.Cut(part, "="); ok {
			part = behind
		}
		secrets = append(secrets, part)
		if decoded, err := url.QueryUnescape(part); err == nil {
			secrets = append(secrets, decoded)
		}
		if decoded, err := url.PathUnescape(part); err == nil { // + stays
			secrets = append(secrets, decoded)
		}
	}
	return secrets
}

// isPublicHeader reports whether anyone may see the value of a request's header.
func isPublicHeader(name string) bool {
	for _, public := range [...]string{"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "X-Webhook-Event", "X-Webhook-Attempt"} {
		if len(name) == len(public) && strings.EqualFold(name, public) {
			return true
		}
	}
	return false
}

// appendEscaped appends the forms in which an echo may hold a secret: JSON as
// JavaScript, Go, PHP and Python write it, HTML, and URLs.
func appendEscaped(all []string, secret string) []string {
	javascript := jsonForm(secret, "", false)
	all = append(all, javascript, jsonForm(secret, "<>&", false), jsonForm(secret, "", true),
		strings.ReplaceAll(jsonForm(secret, "", true), "/", `\/`), strings.ReplaceAll(javascript, "/", `\/`))
	escaped := html.EscapeString(secret)
	all = append(all, escaped, strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(escaped),
		strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#039;").Replace(escaped))
	return append(all, url.QueryEscape(secret), url.PathEscape(secret))
}

// jsonForm writes s as it stands inside a JSON string, with the characters of
// hex, and all that is not ASCII if ascii is set, as \u escapes.
func jsonForm(s, hex string, ascii bool) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	unit := func(u rune) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(digits[u>>shift&0xf])
		}
	}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r < utf8.RuneSelf && strings.ContainsRune(hex, r):
			unit(r)
		case r >= utf8.RuneSelf && ascii:
			if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
				unit(high)
				unit(low)
			} else {
				unit(r)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// A matcher finds secrets in texts.
type matcher struct {
	secrets []string // sorted, each of leastSecret bytes or more
	all     *automaton
}

// mayOccur reports false when data holds no secret, and does not end with the start of
// a secret. It looks for the first bytes of each secret; for many secrets the automaton
// is as fast.
func (x *matcher) mayOccur(data string) bool {
	return len(x.secrets) > fewSecrets ||
		slices.ContainsFunc(x.secrets, func(s string) bool { return strings.Contains(data, s[:leastSecret]) })
}

func (x *matcher) mask(data []byte) {
	if len(x.secrets) == 0 || len(x.secrets) <= fewSecrets &&
		!slices.ContainsFunc(x.secrets, func(s string) bool { return bytes.Contains(data, []byte(s[:leastSecret])) }) {
		return
	}
	if x.all == nil {
		x.all = newAutomaton(x.secrets)
	}
	x.all.mask(data)
}
