package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxURLLength   = 2048 // bytes, also after normalising
	maxHostLength  = 253  // bytes, as DNS has it
	maxLabelLength = 63
)

// URLPolicy says which URLs [CheckURL] accepts. The zero value accepts https URLs
// whose host is a public address or a name, on every port.
type URLPolicy struct {
	AllowHTTP bool   // accept plain http too, for development
	Guard     *Guard // judges the port and a literal address; nil means the zero Guard
}

// CheckURL checks the URL that a customer enters for a webhook, and returns the
// form to store: scheme and host in lower case, no default port, no dot at the end
// of the host, the host in the ASCII form that net/http would dial, a path. It
// refuses, while the customer can still read why, a URL that could never be
// delivered to: a private address, a port that is not allowed, a user name or
// password, a fragment, more than 2048 bytes.
//
// CheckURL looks up no name and does not block. It is no security boundary: the
// name may resolve to a private address later. The [Guard] in the dialer is the
// boundary.
//
// Its errors name the part of the URL that was wrong and the limit. They never
// repeat the whole URL or a part that may be a password. It is safe for concurrent
// use.
func CheckURL(raw string, p URLPolicy) (string, error) {
	if err := checkURLText(raw); err != nil {
		return "", err
	}
	scheme, rest, err := p.cutScheme(raw)
	if err != nil {
		return "", err
	}
	// The authority is cut by hand and judged first: url.Parse decodes parts
	// of it, and its errors repeat text that they could not parse.
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority = rest[:i]
	}
	if strings.Contains(authority, "@") {
		return "", errors.New("a user name or password is not allowed; put credentials into a custom header")
	}
	host, port, err := splitAuthority(authority)
	if err != nil {
		return "", err
	}
	if host, err = p.checkHost(host); err != nil {
		return "", err
	}
	if port, err = p.checkPort(scheme, port); err != nil {
		return "", err
	}
	u, err := url.Parse("https://host.invalid" + rest[len(authority):])
	if err != nil {
		return "", errors.New("the path cannot be read; is there a % without two hexadecimal digits after it?")
	}
	u.Scheme, u.Host = scheme, host+port
	if u.Path == "" {
		u.Path = "/"
	}
	u.RawQuery = escapeNonASCII(u.RawQuery)
	normalized := u.String()
	if len(normalized) > maxURLLength {
		return "", fmt.Errorf("%d bytes once its special characters are escaped; the limit is %d", len(normalized), maxURLLength)
	}
	return normalized, nil
}

// checkURLText looks at the characters only.
func checkURLText(raw string) error {
	switch {
	case raw == "":
		return errors.New("is required")
	case len(raw) > maxURLLength:
		return fmt.Errorf("%d bytes; the limit is %d", len(raw), maxURLLength)
	case !utf8.ValidString(raw):
		return errors.New("is not valid UTF-8")
	}
	for i, r := range raw {
		switch {
		case r == '\\':
			return fmt.Errorf("backslash at byte %d; use /", i)
		case r == '#':
			return fmt.Errorf("fragment at byte %d; it would never be sent", i)
		case unicode.IsSpace(r):
			return fmt.Errorf("space (%U) at byte %d", r, i)
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return fmt.Errorf("invisible character %U at byte %d", r, i)
		}
	}
	return nil
}

// cutScheme returns the scheme in lower case and the text behind "://".
func (p URLPolicy) cutScheme(raw string) (scheme, rest string, err error) {
	want := `"https://"`
	if p.AllowHTTP {
		want = `"https://" or "http://"`
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case ok && scheme == "https", ok && scheme == "http" && p.AllowHTTP:
		return scheme, rest, nil
	case ok && scheme == "http":
		return "", "", errors.New(`plain http is not allowed; it must start with "https://"`)
	}
	return "", "", fmt.Errorf("must start with %s", want)
}

// splitAuthority splits host from port without interpreting either. A literal
// IPv6 address keeps its brackets.
func splitAuthority(authority string) (host, port string, err error) {
	end := strings.LastIndexByte(authority, ']') + 1
	colon := strings.IndexByte(authority[end:], ':')
	if colon < 0 {
		return authority, "", nil
	}
	host, port = authority[:end+colon], authority[end+colon+1:]
	if port == "" {
		return "", "", errors.New("a colon without a port after the host")
	}
	return host, port, nil
}

// checkPort returns the port with its colon, or "" for the default port of the scheme.
func (p URLPolicy) checkPort(scheme, port string) (string, error) {
	standard := map[string]int{"https": 443, "http": 80}[scheme]
	number := standard
	if port != "" {
		if strings.Trim(port, "0123456789") != "" || len(port) > 1 && port[0] == '0' {
			return "", fmt.Errorf("port %q is not a plain number from 1 to 65535", shorten(port))
		}
		var err error
		if number, err = strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return "", fmt.Errorf("port %s is out of range 1–65535", shorten(port))
		}
	}
	if p.Guard.CheckPort(number) != nil {
		return "", fmt.Errorf("port %d is not one of the allowed ports %d", number, p.Guard.AllowPorts)
	}
	if number == standard {
		return "", nil
	}
	return ":" + strconv.Itoa(number), nil
}

// checkHost returns the host as it is to be stored and dialed.
func (p URLPolicy) checkHost(host string) (string, error) {
	if host == "" {
		return "", errors.New("the host is missing")
	}
	if strings.HasPrefix(host, "[") {
		inner, ok := strings.CutSuffix(host[1:], "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", fmt.Errorf("host %q is not an IPv6 address in brackets, without a zone", shorten(host))
		}
		return p.checkLiteral(addr)
	}
	if i := strings.IndexFunc(host, func(r rune) bool { return r < utf8.RuneSelf && !isHostRune(r) }); i >= 0 {
		return "", fmt.Errorf("host: %q is not allowed in a name", host[i])
	}
	ascii, err := dialedHost(host)
	if err != nil {
		return "", err
	}
	ascii = strings.TrimSuffix(strings.ToLower(ascii), ".")
	if EndsInNumber(ascii) {
		addr, err := netip.ParseAddr(ascii)
		if err != nil || strings.TrimSuffix(host, ".") != ascii { // also when it only looks like one: １２７.0.0.1
			return "", fmt.Errorf("host %q ends in a number but is not an IPv4 address of four decimal numbers", shorten(host))
		}
		return p.checkLiteral(addr)
	}
	return ascii, p.checkName(ascii)
}

func (p URLPolicy) checkLiteral(addr netip.Addr) (string, error) {
	addr = addr.Unmap()
	if p.Guard.Check(addr) != nil {
		return "", fmt.Errorf("host %s is not a public address", addr)
	}
	if addr.Is6() {
		return "[" + addr.String() + "]", nil
	}
	return addr.String(), nil
}

// checkName refuses names that DNS cannot have and names that only mean
// something inside a network.
func (p URLPolicy) checkName(name string) error {
	if len(name) > maxHostLength {
		return fmt.Errorf("host: %d bytes; the limit is %d", len(name), maxHostLength)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return errors.New("host: an empty label; is there a dot too many?")
		case len(label) > maxLabelLength:
			return fmt.Errorf("host: a label of %d bytes; the limit is %d", len(label), maxLabelLength)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("host: label %q starts or ends with a hyphen", label)
		}
	}
	switch last := labels[len(labels)-1]; {
	case last == "localhost":
		if p.Guard.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1})) != nil && p.Guard.Check(netip.IPv6Loopback()) != nil {
			return fmt.Errorf("host %q is this machine itself, which is not a public address", shorten(name))
		}
	case len(labels) == 1:
		if !p.Guard.allowsPrivate() {
			return fmt.Errorf("host %q is a single word; a public name has a dot", name)
		}
	case name == "metadata.google.internal", strings.HasSuffix(name, ".metadata.google.internal"):
		if p.Guard.Check(netip.AddrFrom4([4]byte{169, 254, 169, 254})) != nil {
			return fmt.Errorf("host %q is a metadata service", shorten(name))
		}
	case last == "internal", last == "local", last == "localdomain", strings.HasSuffix(name, ".home.arpa"):
		if !p.Guard.allowsPrivate() {
			return fmt.Errorf("host %q is a private name, not a public one", shorten(name))
		}
	}
	return nil
}

// dialedHost returns host in the form in which net/http dials it: Unicode is
// mapped to ASCII, full-width digits to digits, U+3002 to a dot. The mapping is
// taken from net/http, by a transport that gets as far as dialing: a second
// implementation could differ from the host that is dialed in the end.
func dialedHost(host string) (string, error) {
	if strings.IndexFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return host, nil
	}
	var dialed string
	transport := &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		dialed = address
		return nil, errors.ErrUnsupported
	}}
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: host}, Header: http.Header{}}
	if response, err := transport.RoundTrip(request); err == nil {
		response.Body.Close()
	}
	ascii, _, err := net.SplitHostPort(dialed)
	if err != nil || ascii == "" || strings.IndexFunc(ascii, func(r rune) bool { return !isHostRune(r) }) >= 0 {
		return "", fmt.Errorf("host %q is not a valid international name; try its xn-- form", shorten(host))
	}
	return ascii, nil
}

// allowsPrivate reports whether the guard admits networks beside loopback that
// are not public, where private names may have a meaning.
func (g *Guard) allowsPrivate() bool {
	if g == nil {
		return false
	}
	for _, p := range g.AllowNetworks {
		p = unmapPrefix(p)
		if !p.Addr().IsLoopback() && g.Check(p.Masked().Addr()) == nil && !public(p.Masked().Addr()) {
			return true
		}
	}
	return false
}

// isHostRune reports whether r may be part of a name in DNS, or is a dot. The
// underscore is no host name's, but customers have it.
func isHostRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}

func escapeNonASCII(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// shorten keeps error messages readable. A host or port that is too long for
// one is wrong anyway.
func shorten(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
