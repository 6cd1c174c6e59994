package portal

import (
	"bufio"
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

// guard is what every request passes and every answer carries.
type guard struct {
	origins *http.CrossOriginProtection
	csp     string
	framing string // X-Frame-Options; empty when other origins may frame
}

func newGuard(trusted, ancestors []string) (guard, error) {
	// No patterns are exempt from the check: an exemption may reach further than
	// it looks (CVE-2025-47910).
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
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// ServeHTTP serves one request: finds its route, refuses what the route does
// not take or the visitor may not do, and contains panics.
func (s *server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answer{ResponseWriter: rw}
	id := newRequestID()
	s.guard.protect(w.Header())
	w.Header().Set("X-Request-Id", id)

	path, below := mountedPath(r)
	rt, values, allowed, k := s.match(r.Method, path)
	original := r
	r = r.Clone(context.WithValue(r.Context(), requestIDKey{}, id))
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
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
		s.answerProblem(w, r, k, newProblem(http.StatusInternalServerError, codeInternal, detailInternal))
	}()

	switch {
	case !below || rt == nil && len(allowed) == 0:
		s.answerProblem(w, r, k, newProblem(http.StatusNotFound, codeNotFound, detailNotFound))
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
		s.fail(w, r, k, err)
		return
	}
	var a Access
	if rt.need != needNothing {
		var err error
		if a, err = s.access(original, rt.need); err != nil {
			s.fail(w, r, k, err)
			return
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	rt.handler(w, r, a)
}

// access asks the host.
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

// admit refuses writes of other origins and bodies of another kind than the
// route takes.
func (g *guard) admit(rt *route, r *http.Request) error {
	if rt.method == http.MethodGet {
		return nil // changes nothing
	}
	if err := g.origins.Check(r); err != nil {
		return refuse(http.StatusForbidden, codeCrossOrigin, "This request comes from a page of another origin.")
	}
	if rt.kind == kindAPI && emptyBody(r) {
		return nil // nothing to misread
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
		return refuse(http.StatusUnsupportedMediaType, codeMediaType, "Send the body as %s, in UTF-8.", want)
	}
	return nil
}

// emptyBody reports whether a request has no body, also where its length was not given.
func emptyBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength == 0
	}
	body := bufio.NewReader(r.Body)
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	_, err := body.Peek(1)
	return errors.Is(err, io.EOF)
}

// answer notes whether an answer has begun.
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
