package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// mount is the path at which the portal is mounted, segment by segment.
type mount []mountSegment

// mountSegment is a literal segment of a mount, or a wildcard.
type mountSegment struct {
	literal string // decoded
	any     bool
}

// parseMount reads a path in the notation of any router: {name}, {name:regexp}
// and :name stand for one segment. open is true if the pattern also matches
// paths below it: it ends with a slash, or with {name...}, * or *name.
func parseMount(pattern string) (m mount, open bool) {
	i := strings.IndexByte(pattern, '/') // after method and host
	if i < 0 {
		return nil, false
	}
	parts := patternSegments(pattern[i+1:])
	if last := parts[len(parts)-1]; last == "" || last == "{$}" || last[0] == '*' || strings.HasSuffix(last, "...}") {
		parts, open = parts[:len(parts)-1], true
	}
	for _, p := range parts {
		if strings.Contains(p, "{") || strings.HasPrefix(p, ":") {
			m = append(m, mountSegment{any: true})
			continue
		}
		literal, err := url.PathUnescape(p)
		if err != nil {
			literal = p
		}
		m = append(m, mountSegment{literal: literal})
	}
	return m, open
}

// patternSegments cuts a pattern at its slashes. A slash between braces belongs
// to the regular expression of a wildcard.
func patternSegments(pattern string) []string {
	var out []string
	depth, begin := 0, 0
	for i := range len(pattern) {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '/':
			if depth <= 0 {
				out, begin = append(out, pattern[begin:i]), i+1
			}
		}
	}
	return append(out, pattern[begin:])
}

// parseBasePath parses Config.BasePath. An empty path means no mount.
func parseBasePath(path string) (mount, error) {
	if path == "" {
		return nil, nil
	}
	bad := func(why string) error {
		return fmt.Errorf("config: BasePath: must be a path such as /accounts/{account}/webhooks/, %s, got %q", why, cut(path))
	}
	if path[0] != '/' {
		return nil, bad("from its first slash on")
	}
	if strings.ContainsAny(path, "?# ") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, bad("without query, fragment and spaces")
	}
	m, _ := parseMount(path)
	for _, s := range m {
		if !s.any && (s.literal == "" || s.literal == "." || s.literal == ".." || s.literal[0] == '*') {
			return nil, bad("without empty segments, dots and a * in the middle")
		}
	}
	if m == nil {
		m = mount{}
	}
	return m, nil
}

// errNotBelow means that a path does not begin with the mount.
var errNotBelow = errors.New("not below the mount")

// cut removes the mount from an escaped path. The rest has no leading slash.
func (m mount) cut(path string) (rest string, err error) {
	rest = path
	for _, s := range m {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, "/"); !ok {
			return "", errNotBelow
		}
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		if !s.takes(rest[:end]) {
			return "", errNotBelow
		}
		rest = rest[end:]
	}
	return strings.TrimPrefix(rest, "/"), nil
}

func (s mountSegment) takes(escaped string) bool {
	v, err := url.PathUnescape(escaped)
	return err == nil && v != "" && (s.any || v == s.literal)
}

// takenOff reports whether a handler such as http.StripPrefix has removed the
// mount from path already: asked is then a prefix that ends with the mount,
// followed by path.
func (m mount) takenOff(asked, path string) bool {
	before, ok := strings.CutSuffix(asked, path)
	if !ok || before == "" || strings.HasSuffix(before, "/") {
		return false
	}
	for i := len(m) - 1; i >= 0; i-- {
		at := strings.LastIndexByte(before, '/')
		if at < 0 || !m[i].takes(before[at+1:]) {
			return false
		}
		before = before[:at]
	}
	return true
}

// place is a request's position below the mount.
type place struct {
	path string // escaped, without a leading slash: "" is the mount itself
	root string // relative reference from the page to the mount, as browsers resolve it
}

// locate finds the place of a request. The mount is Config.BasePath, or else
// the pattern of the route that led here. Without both, a handler has removed
// the mount from the path.
func (s *server) locate(r *http.Request) (p place, ok bool) {
	path, asked := r.URL.EscapedPath(), askedPath(r)
	p.path, ok = strings.CutPrefix(path, "/")
	ok = ok || path == "" && asked != "" // http.StripPrefix has removed the whole path
	if s.base != nil {
		if !s.base.takenOff(asked, path) {
			rest, err := s.base.cut(path)
			p.path, ok = rest, err == nil
		}
	} else if m, open := parseMount(r.Pattern); len(m) > 0 && !m.takenOff(asked, path) {
		// A pattern for a single path may be the mount without its slash, or
		// one of the routes below it.
		if rest, err := m.cut(path); err == nil && (open || rest == "" && !s.known(p.path)) {
			p.path, ok = rest, true
		}
	}
	p.root = toMount(p.path)
	if at := strings.LastIndexByte(asked, '/'); p.path == "" && at >= 0 && at < len(asked)-1 {
		p.root = "./" + asked[at+1:] + "/" // the visitor left out the last slash
	}
	return p, ok
}

// known reports whether a path below the mount has a route.
func (s *server) known(path string) bool {
	rt, _, allowed, _ := s.match(http.MethodGet, path)
	return rt != nil || len(allowed) > 0
}

// askedPath returns the escaped path that the client requested, which handlers
// on the way cannot have changed, or "" if it is not known.
func askedPath(r *http.Request) string {
	if !strings.HasPrefix(r.RequestURI, "/") {
		u, err := url.Parse(r.RequestURI) // as clients ask a proxy
		if err != nil {
			return ""
		}
		return u.EscapedPath()
	}
	asked, _, _ := strings.Cut(r.RequestURI, "?")
	return asked
}

// toMount returns the relative reference from the page at a path below the
// mount to the mount itself: "./" at the top, "../" one level down. Such links
// work under every prefix.
func toMount(path string) string {
	// Pages are only a few levels deep. A deeper path does not exist, and its
	// answer must not grow with the slashes of the request.
	const deepest = 16
	if n := strings.Count(path, "/"); n > 0 {
		return strings.Repeat("../", min(n, deepest))
	}
	return "./"
}

type rootKey struct{}

// withRoot stores the reference from a request's page to the mount.
func withRoot(ctx context.Context, root string) context.Context {
	return context.WithValue(ctx, rootKey{}, root)
}

// rootOf returns the relative reference from a request's page to the mount. It
// is computed from the escaped path, as browsers resolve it: an escaped slash
// does not start a level.
func rootOf(r *http.Request) string {
	if root, ok := r.Context().Value(rootKey{}).(string); ok {
		return root
	}
	return toMount(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
}
