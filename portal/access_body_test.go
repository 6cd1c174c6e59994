package portal

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const newForm = "name=CRM&url=https%3A%2F%2Fcrm.example.com%2Fin&events=*&maxRetries=0&csrf_token=t0ken"

var asForm = with("Content-Type", "application/x-www-form-urlencoded")

// readers are the ways in which Config.Access may read a body.
var readers = map[string]func(*http.Request) error{
	"not at all":   func(*http.Request) error { return nil },
	"a field":      func(r *http.Request) error { r.PostFormValue("csrf_token"); return nil },
	"any field":    func(r *http.Request) error { r.FormValue("csrf_token"); return nil },
	"the form":     func(r *http.Request) error { return r.ParseForm() },
	"parts":        func(r *http.Request) error { _ = r.ParseMultipartForm(1 << 10); return nil },
	"a file":       func(r *http.Request) error { _, _, _ = r.FormFile("x"); return nil },
	"all":          func(r *http.Request) error { _, err := io.ReadAll(r.Body); return err },
	"and closes":   func(r *http.Request) error { return errors.Join(errOf(io.ReadAll(r.Body)), r.Body.Close()) },
	"a beginning":  func(r *http.Request) error { _, err := io.CopyN(io.Discard, r.Body, 5); return ignoreEOF(err) },
	"closes only":  func(r *http.Request) error { return r.Body.Close() },
	"and replaces": func(r *http.Request) error { _, err := io.ReadAll(r.Body); r.Body = http.NoBody; return err },
}

func errOf(_ []byte, err error) error { return err }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// The route reads the whole body, no matter how much Config.Access has read.
func TestAccessMayReadTheBody(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			x := newSite(t, func(c *Config) {
				c.Access = func(r *http.Request) (Access, error) {
					if err := read(r); err != nil {
						return Access{}, err
					}
					return testLogin(r)
				}
			})
			for _, chunked := range []bool{false, true} {
				length := func(r *http.Request) {
					if chunked {
						r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
					}
				}
				r := x.do(asManager, http.MethodPost, "/new", newForm, asForm, length).want(http.StatusOK)
				if !strings.Contains(r.text, "whsec_") {
					t.Fatalf("no secret: %s", r.text)
				}
				var w created
				x.do(asManager, http.MethodPost, "/api/webhooks", newHook, length).want(http.StatusCreated).json(&w)
				x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, `{"name":"x"}`, with("If-Match", "*"), length).want(http.StatusOK)
				x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/disable", `{"reason":"because"}`, length).want(http.StatusOK)
				x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", "", func(r *http.Request) { r.ContentLength = -1 }).want(http.StatusOK)
				x.do(asManager, http.MethodPost, "/webhooks/"+w.ID+"/edit", "version=5&name=Renamed&events=*&csrf_token=1", asForm, length).want(http.StatusSeeOther)
				x.do(asManager, http.MethodPost, "/webhooks/"+w.ID+"/delete", "sure=yes", asForm, length).want(http.StatusSeeOther)
			}
		})
	}
}

// The body is bounded before Config.Access can read it.
func TestAccessReadsABoundedBody(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			most := int64(0)
			x := newSite(t, func(c *Config) {
				c.Access = func(r *http.Request) (Access, error) {
					if err := read(r); err != nil {
						return Access{}, err
					}
					n, _ := io.Copy(io.Discard, r.Body)
					most = max(most, n)
					if r.PostForm.Get("csrf_token") == "" && r.PostForm != nil {
						return Access{}, ErrForbidden
					}
					return testLogin(r)
				}
			})
			for _, chunked := range []bool{false, true} {
				body := &counted{r: strings.NewReader("name=" + strings.Repeat("x", 8*maxBody) + "&csrf_token=t0ken")}
				x.do(asManager, http.MethodPost, "/new", "x", asForm, func(r *http.Request) {
					r.Body, r.ContentLength = io.NopCloser(body), int64(8*maxBody+22)
					if chunked {
						r.ContentLength = -1
					}
				}).want(http.StatusRequestEntityTooLarge)
				if body.n > maxBody+1 || most > maxBody {
					t.Errorf("%d bytes were read, %d by Access", body.n, most)
				}
			}
		})
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// A handler in front of the portal may have parsed the form. If it has read the
// body and not put it back, the log says so, and customers see no details.
func TestBodiesThatWereReadBefore(t *testing.T) {
	x := newSite(t)
	front := func(f func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(r); x.s.ServeHTTP(w, r) })
	}
	ask(t, front(func(r *http.Request) { r.PostFormValue("csrf_token") }), asManager, http.MethodPost, "/new", newForm, asForm).want(http.StatusOK)
	eaten := front(func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	ask(t, eaten, asManager, http.MethodPost, "/new", newForm, asForm).want(http.StatusInternalServerError)
	ask(t, eaten, asManager, http.MethodPost, "/api/webhooks", newHook).problem(http.StatusInternalServerError, codeInternal)
	if !strings.Contains(x.log.String(), "by a handler in front of it that has not put it back") {
		t.Errorf("the log: %s", x.log)
	}
	// A form parsed with a larger bound is refused too.
	large := front(func(r *http.Request) { r.PostForm = url.Values{"name": {strings.Repeat("x", maxBody+1)}} })
	ask(t, large, asManager, http.MethodPost, "/new", newForm, asForm).want(http.StatusRequestEntityTooLarge)
}

// Without Sec-Fetch-Site, Origin and Referer are compared with Host.
func TestP3_OriginsBehindProxies(t *testing.T) {
	x := newSite(t, func(c *Config) { c.TrustedOrigins = []string{"https://public.example.com"} })
	w := x.create(asManager, newHook)
	for _, c := range []struct {
		name, host, origin, referer, site string
		own                               bool
	}{
		{"plain http", "app.test", "http://app.test", "", "", true},
		{"a port", "app.test:8080", "http://app.test:8080", "", "", true},
		{"TLS ends before", "app.test", "https://app.test", "", "", true},
		{"the proxy adds the port of https", "app.test:443", "https://app.test", "", "", true},
		{"the proxy adds the port of http", "app.test:80", "http://app.test", "", "", true},
		{"letters", "App.Test", "http://app.test", "", "", true},
		{"IPv6", "[::1]:8080", "http://[::1]:8080", "", "", true},
		{"Host is replaced", "backend:8080", "https://app.test", "", "", false},
		{"Host is replaced, a browser that says so", "backend:8080", "https://app.test", "", "same-origin", true},
		{"Host is replaced, the public origin is named", "backend:8080", "https://public.example.com", "", "", true},
		{"no origin, own page", "app.test", "", "http://app.test/hooks/new", "", true},
		{"no origin, trusted page", "backend:8080", "", "https://public.example.com/x", "", true},
		{"no origin, other page", "app.test", "", "http://evil.test/", "", false},
		{"no origin, page of a longer name", "app.test", "", "http://app.test.evil.test/app.test", "", false},
		{"no origin, odd referer", "app.test", "", "http://%zz", "", false},
		{"a program", "app.test", "", "", "", true},
		{"null", "app.test", "null", "", "", false},
		{"null, own page", "app.test", "null", "http://app.test/", "", false},
		{"other port", "app.test:8080", "http://app.test", "", "", false},
		{"port of another scheme", "app.test:443", "http://app.test", "", "", false},
		{"other site", "app.test", "http://evil.test", "http://app.test/", "", false},
		{"other site, in capitals", "app.test", "HTTP://EVIL.TEST", "", "", false},
		{"with a path", "app.test:80", "http://app.test/", "", "", false},
		{"says another site, own origin", "app.test:443", "https://app.test", "", "cross-site", false},
	} {
		r := x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", "", func(r *http.Request) {
			r.Host = c.host
			for name, v := range map[string]string{"Origin": c.origin, "Referer": c.referer, "Sec-Fetch-Site": c.site} {
				if v != "" {
					r.Header.Set(name, v)
				}
			}
		})
		if own := r.StatusCode == http.StatusOK; own != c.own {
			t.Errorf("%s: %d", c.name, r.StatusCode)
		}
	}
	if log := x.log.String(); !strings.Contains(log, "Config.TrustedOrigins") || !strings.Contains(log, "https://app.test") {
		t.Errorf("the log does not say what to do: %s", log)
	}
}
