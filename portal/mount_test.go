package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The portal works below every prefix, stripped or not, and its links stay
// below it.
func TestP13_WorksBelowEveryPrefix(t *testing.T) {
	x := newSite(t)
	under := func(pattern string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(pattern, h)
		return mux
	}
	for name, c := range map[string]struct {
		prefix string
		h      http.Handler
	}{
		"root":                  {"", x.s},
		"root of a mux":         {"", under("/", x.s)},
		"stripped":              {"/x/y", under("/x/y/", http.StripPrefix("/x/y", x.s))},
		"stripped, no mux":      {"/x/y", http.StripPrefix("/x/y", x.s)},
		"not stripped":          {"/x/y", under("/x/y/", x.s)},
		"with a host":           {"/x/y", under("example.com/x/y/", x.s)},
		"like a route":          {"/webhooks", under("/webhooks/", http.StripPrefix("/webhooks", x.s))},
		"like a route, as is":   {"/webhooks", under("/webhooks/", x.s)},
		"like the API":          {"/api", under("/api/", http.StripPrefix("/api", x.s))},
		"like the API, as is":   {"/api", under("/api/", x.s)},
		"one mux in another":    {"/a/webhooks", under("/a/", http.StripPrefix("/a", under("/webhooks/", x.s)))},
		"both stripped":         {"/a/webhooks", under("/a/", http.StripPrefix("/a", under("/webhooks/", http.StripPrefix("/webhooks", x.s))))},
		"one mux in another as": {"/a/webhooks", under("/a/", under("/a/webhooks/", x.s))},
		"with a method":         {"/x", under("GET /x/", x.s)},
	} {
		t.Run(name, func(t *testing.T) {
			ask(t, c.h, asManager, http.MethodGet, c.prefix+"/api/event-types?", "").want(http.StatusOK)
			if strings.Contains(name, "method") {
				return
			}
			r := ask(t, c.h, asManager, http.MethodPost, c.prefix+"/api/webhooks?x=1", newHook).want(http.StatusCreated)
			follow := func(r reply, from string) string {
				t.Helper()
				base, err := url.Parse("http://example.com" + c.prefix + from)
				if err != nil {
					t.Fatal(err)
				}
				ref, err := base.Parse(r.Header.Get("Location"))
				if err != nil || ref.Host != "example.com" || !strings.HasPrefix(ref.Path, c.prefix+"/api/") {
					t.Errorf("%q leads to %v, %v", r.Header.Get("Location"), ref, err)
				}
				return ref.Path
			}
			hook := follow(r, "/api/webhooks")
			ask(t, c.h, asManager, http.MethodGet, hook, "").want(http.StatusOK)
			r = ask(t, c.h, asManager, http.MethodPost, hook+"/test", "").want(http.StatusAccepted)
			ask(t, c.h, asManager, http.MethodGet, follow(r, strings.TrimPrefix(hook, c.prefix)+"/test"), "").want(http.StatusOK)
			ask(t, c.h, asManager, http.MethodDelete, hook, "").want(http.StatusNoContent)
		})
	}
}

// Unusual paths do not lead to another route or another site.
func TestP13_OddPathsAreNotFound(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	for _, path := range []string{
		"/api", "/api/", "/api//webhooks", "//evil.example/api/webhooks", "/api/webhooks/", "/api/webhooks/" + w.ID + "/", "/api/./webhooks",
		"/api/../api/webhooks", "/x/../api/webhooks", "/api/webhooks/..%2f" + w.ID, "/api/webhooks/%2e%2e/webhooks", "/api/webhooks/" + w.ID + "%2fstats",
		"/api%2fwebhooks", "/API/webhooks", "/api/Webhooks", "/api/webhooks%20", "/api/webhooks/" + w.ID + "%00", "/api/webhooks/" + w.ID + "/secret",
		"/assets/", "/assets/..%2f..%2fportal.go", "/assets/..%2fapi_routes.go", "/assets/%2e%2e/openapi.json", "/assets/....//x", "/assets/..%5cx", "/templates/layout.html",
		"/assets", "/.git/config", "/api/openapi.json/", "/api/deliveries", "/api/webhooks/%",
	} {
		r := x.do(asManager, http.MethodGet, "/", "", func(r *http.Request) {
			u := &url.URL{Path: path}
			if p, err := url.PathUnescape(path); err == nil {
				u = &url.URL{Path: p, RawPath: path}
			}
			r.URL, r.RequestURI = u, path
		})
		if r.StatusCode != http.StatusNotFound || r.Header.Get("Location") != "" {
			t.Errorf("%s: %d, Location %q", path, r.StatusCode, r.Header.Get("Location"))
		}
	}
	// An ID may be escaped, as clients do to be safe.
	x.do(asManager, http.MethodGet, "/api/webhooks/"+strings.Replace(w.ID, "_", "%5f", 1), "").want(http.StatusOK)
}

func TestToMount(t *testing.T) {
	for path, want := range map[string]string{"": "./", "new": "./", "webhooks/1": "../", "webhooks/1/edit": "../../"} {
		if got := toMount(path); got != want {
			t.Errorf("from %q the mount is %q, want %q", path, got, want)
		}
	}
}

func TestMethodsThatARouteDoesNotHave(t *testing.T) {
	x := newSite(t)
	for _, c := range []struct{ method, path, allow string }{
		{http.MethodPut, "/api/webhooks", "GET, HEAD, OPTIONS, POST"},
		{http.MethodPut, "/api/webhooks/wh_1", "DELETE, GET, HEAD, OPTIONS, PATCH"},
		{http.MethodGet, "/api/webhooks/wh_1/enable", "OPTIONS, POST"},
		{http.MethodTrace, "/api/openapi.json", "GET, HEAD, OPTIONS"},
		{"get", "/api/webhooks", "GET, HEAD, OPTIONS, POST"},
	} {
		r := x.do(asManager, c.method, c.path, "")
		r.problem(http.StatusMethodNotAllowed, codeMethod)
		if got := r.Header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow is %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	x.do(asManager, http.MethodHead, "/api/webhooks", "").want(http.StatusOK)
	for _, login := range []string{asManager, ""} {
		r := x.do(login, http.MethodOptions, "/api/webhooks/wh_1", "").want(http.StatusNoContent)
		if got := r.Header.Get("Allow"); got != "DELETE, GET, HEAD, OPTIONS, PATCH" || r.text != "" {
			t.Errorf("OPTIONS: Allow is %q, %q", got, r.text)
		}
	}
	x.do(asManager, http.MethodOptions, "/api/nothing", "").problem(http.StatusNotFound, codeNotFound)
}
