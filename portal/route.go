package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// kind determines the form of a route's bodies and error answers.
type kind uint8

const (
	kindAPI   kind = iota // JSON
	kindPage              // HTML forms
	kindAsset             // style sheets and scripts; no access needed
)

// route is one entry of the routing table.
type route struct {
	method  string // GET also serves HEAD
	pattern string // below the mount, without a leading slash: "api/webhooks/{id}"; "" is the mount itself
	kind    kind
	need    need
	// handler answers a request. The request's path values are set, its path is
	// relative to the mount, and its body is bounded. The Access is zero with
	// needNothing.
	handler func(w http.ResponseWriter, r *http.Request, a Access)
}

// match finds the route of a path, which is escaped and relative to the mount.
// Without a match it returns the methods that the path allows, if any, and the
// kind of answer that the client expects.
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

// matches compares the pattern with the path segment by segment. The first
// route that matches wins, so routes with a literal segment must come before
// routes with a wildcard in its place.
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
