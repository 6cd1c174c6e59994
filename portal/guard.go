package portal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
)

// maxBody bounds the body of every request, in bytes.
const maxBody = 1 << 20

// guard checks every request's origin and body type, and sets the security
// headers of every answer.
type guard struct {
	origins *http.CrossOriginProtection
	csp     string
	framing string // X-Frame-Options; empty when other origins may frame
}

func newGuard(trusted, ancestors []string) (guard, error) {
	// Exempt no patterns from the check: an exemption may match more than
	// intended (CVE-2025-47910).
	g := guard{origins: http.NewCrossOriginProtection(), framing: "DENY"}
	var errs []error
	for i, o := range trusted {
		if err := g.origins.AddTrustedOrigin(o); err != nil {
			errs = append(errs, fmt.Errorf("config: TrustedOrigins[%d]: %w", i, err))
		}
	}
	frames := "'none'"
	if len(ancestors) > 0 {
		g.framing, frames = "", strings.Join(ancestors, " ")
	}
	for i, o := range ancestors {
		if u, err := url.Parse(o); err != nil || o != u.Scheme+"://"+u.Host || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" ||
			strings.ContainsAny(o, " \t;,'\"*") {
			errs = append(errs, fmt.Errorf("config: FrameAncestors[%d]: must be an origin such as https://app.example.com, got %q", i, o))
		}
	}
	g.csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors " + frames
	return g, errors.Join(errs...)
}

// protect sets the headers that every answer carries. Assets may replace
// Cache-Control.
func (g *guard) protect(h http.Header) {
	h.Set("Content-Security-Policy", g.csp)
	if g.framing != "" {
		h.Set("X-Frame-Options", g.framing)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer, browsers would send "Origin: null" with forms, and
	// other sites' pages can make browsers send that too.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// ServeHTTP finds the request's route, checks the visitor's rights and the
// body's type, runs the route's handler and contains its panics.
func (s *server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answer{ResponseWriter: rw}
	id := newRequestID()
	s.guard.protect(w.Header())
	w.Header().Set("X-Request-Id", id)

	at, below := s.locate(r)
	path := at.path
	rt, values, allowed, k := s.match(r.Method, path)
	body := shareBody(rw, r)
	original := r
	original.Body = body.reader()
	r = r.Clone(withRoot(context.WithValue(r.Context(), requestIDKey{}, id), at.root))
	r.Body = body.reader()
	r.URL.Path, r.URL.RawPath = "/"+path, ""
	if p, err := url.PathUnescape(path); err == nil {
		r.URL.Path, r.URL.RawPath = "/"+p, "/"+path
	}

	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		s.log.ErrorContext(r.Context(), "portal: a panic was contained", "request_id", id, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		if w.begun {
			panic(http.ErrAbortHandler) // a partial answer must not look complete
		}
		s.answerProblem(w, r, k, newProblem(http.StatusInternalServerError, codeInternal, detailInternal))
	}()

	switch {
	case !below || rt == nil && len(allowed) == 0:
		s.answerProblem(w, r, k, newProblem(http.StatusNotFound, codeNotFound, detailNotFound))
		return
	case rt == nil && r.Method == http.MethodOptions:
		w.Header().Set("Allow", joinMethods(allowed))
		w.WriteHeader(http.StatusNoContent) // without CORS headers, since other origins may not call
		return
	case rt == nil:
		p := newProblem(http.StatusMethodNotAllowed, codeMethod, "This address takes %s, not %.20q.", joinMethods(allowed), r.Method)
		p.allow = allowed
		s.answerProblem(w, r, k, p)
		return
	}
	for name, v := range values {
		r.SetPathValue(name, v)
	}
	if err := s.guard.admit(rt, r); err != nil {
		if errors.Is(err, errCrossOrigin) {
			const why = "portal: a write was refused: the browser names another origin than the Host it was sent to. " +
				"Where that is the portal's public one, behind a proxy that replaces Host, name it in Config.TrustedOrigins"
			s.log.WarnContext(r.Context(), why,
				"request_id", id, "origin", cut(r.Header.Get("Origin")), "host", cut(r.Host), "sec_fetch_site", cut(r.Header.Get("Sec-Fetch-Site")))
		}
		s.fail(w, r, k, err)
		return
	}
	var a Access
	if rt.need != needNothing {
		var err error
		if a, err = s.access(original, rt.need); err != nil {
			if body.tooLarge() {
				err = errTooLarge // the bound kept Access from reading the whole body
			}
			s.fail(w, r, k, err)
			return
		}
	}
	rt.handler(w, r, a)
}

// access calls Config.Access and checks its result.
func (s *server) access(r *http.Request, n need) (Access, error) {
	a, err := s.cfg.Access(r)
	switch {
	case err != nil:
		return Access{}, err
	case a.Tenant == "":
		return Access{}, fmt.Errorf("%w: Config.Access returned neither a tenant nor an error", ErrForbidden)
	case n == needManage && !a.Manage:
		return Access{}, errNeedManage
	}
	return a, nil
}

// admit refuses writes from other origins and bodies of another type than the
// route takes.
func (g *guard) admit(rt *route, r *http.Request) error {
	if rt.method == http.MethodGet {
		return nil // a read
	}
	if !g.own(r) {
		return errCrossOrigin
	}
	if rt.kind == kindAPI && emptyBody(r) {
		return nil // no body to misread
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		p := newProblem(http.StatusUnsupportedMediaType, codeMediaType, "Send the body without a Content-Encoding, got %q.", cut(e))
		p.headers = map[string]string{"Accept-Encoding": "identity"}
		return &problemError{p}
	}
	want := "application/json"
	if rt.kind == kindPage {
		want = "application/x-www-form-urlencoded"
	}
	if rt.kind == kindAPI && rt.method == http.MethodPatch {
		if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && got == "application/merge-patch+json" {
			return nil
		}
	}
	if got, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != want ||
		params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		p := newProblem(http.StatusUnsupportedMediaType, codeMediaType, "Send the body as %s, in UTF-8.", want)
		p.headers = map[string]string{"Accept": want}
		if rt.method == http.MethodPatch {
			p.headers["Accept-Patch"] = "application/json, application/merge-patch+json"
		}
		return &problemError{p}
	}
	return nil
}

// errCrossOrigin refuses a write from a page of another origin.
var errCrossOrigin error = &problemError{newProblem(http.StatusForbidden, codeCrossOrigin, "This request comes from a page of another origin.")}

// own reports whether a write comes from a page of the portal's origin or of a
// trusted origin, or from a client that is not a browser. Sec-Fetch-Site
// decides if it is there; browsers send it over https and on localhost.
// Otherwise, and in old browsers, Origin is compared with Host, and if Origin
// is missing, Referer.
func (g *guard) own(r *http.Request) bool {
	if g.origins.Check(r) != nil {
		return r.Header.Get("Sec-Fetch-Site") == "" && ofHost(r.Header.Get("Origin"), r.Host)
	}
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" || r.Header.Get("Referer") == "" {
		return true
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil {
		return false
	}
	origin := u.Scheme + "://" + u.Host
	asked := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{"Origin": {origin}}}
	return g.origins.Check(asked) == nil || ofHost(origin, r.Host)
}

// ofHost reports whether an origin matches a Host header. Browsers leave out
// the scheme's default port, which proxies may have added.
func ofHost(origin, host string) bool {
	o, err := url.Parse(origin)
	if err != nil || o.Host == "" || origin != o.Scheme+"://"+o.Host {
		return false
	}
	port, known := map[string]string{"https": ":443", "http": ":80"}[o.Scheme]
	if !known {
		return false
	}
	return strings.EqualFold(strings.TrimSuffix(o.Host, port), strings.TrimSuffix(host, port))
}

// emptyBody reports whether a request has no body, also if its length is not
// known.
func emptyBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength == 0
	}
	body, ok := r.Body.(*bodyReader)
	if !ok {
		return false
	}
	_, err := io.ReadFull(body.body.reader(), make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// answer is a ResponseWriter that notes whether the answer has begun.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (w *answer) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *answer) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return "req_" + hex.EncodeToString(b[:])
}

func joinMethods(methods []string) string { return strings.Join(methods, ", ") }
