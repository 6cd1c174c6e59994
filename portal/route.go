package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// kind says in which form a route takes bodies and answers errors.
type kind uint8

const (
	kindAPI   kind = iota // JSON
	kindPage              // HTML forms
	kindAsset             // what pages are made of; needs no access
)

// route is one entry of the routing table. All that serves a request is in it.
type route struct {
	method  string // GET also serves HEAD
	pattern string // below the mount, without a leading slash: "api/webhooks/{id}"; "" is the mount itself
	kind    kind
	need    need
	// handler answers. The request's path values are set, its path is relative
	// to the mount, its body is bounded. The Access is zero with needNothing.
	handler func(w http.ResponseWriter, r *http.Request, a Access)
}

// match finds the route of a path, which is escaped and relative to the mount.
// Without one it returns the methods that the path knows, if any, and which kind
// of answer the client expects.
func (s *server) match(method, path string) (rt *route, values map[string]string, allowed []string, k kind) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	k = kindPage
	if path == "api" || strings.HasPrefix(path, "api/") {
		k = kindAPI
	}
	segments := strings.Split(path, "/")
	for i := range s.routes {
		r := &s.routes[i]
		v, ok := r.matches(segments)
		if !ok {
			continue
		}
		if r.method == method {
			return r, v, nil, r.kind
		}
		if !slices.Contains(allowed, r.method) {
			allowed = append(allowed, r.method)
		}
		if r.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	if len(allowed) > 0 {
		allowed = append(allowed, http.MethodOptions)
	}
	slices.Sort(allowed)
	return nil, nil, allowed, k
}

// matches compares segment by segment. A literal segment of the pattern must
// come before a wildcard that would take it: the first route that matches wins.
func (rt *route) matches(segments []string) (map[string]string, bool) {
	pattern := strings.Split(rt.pattern, "/")
	if len(pattern) != len(segments) {
		return nil, false
	}
	var values map[string]string
	for i, p := range pattern {
		name, wild := strings.CutPrefix(p, "{")
		if !wild {
			if p != segments[i] {
				return nil, false
			}
			continue
		}
		v, err := url.PathUnescape(segments[i])
		if err != nil || v == "" {
			return nil, false
		}
		if values == nil {
			values = make(map[string]string, 2)
		}
		values[strings.TrimSuffix(name, "}")] = v
	}
	return values, true
}
