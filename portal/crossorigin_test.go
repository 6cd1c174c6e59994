package portal

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A page of another origin cannot write on any route, whatever headers it
// sends.
func TestP3_WritesOfOtherOriginsAreRefused(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	before := x.everything("acme")
	foreign := map[string][]func(*http.Request){
		"cross-site":              {with("Sec-Fetch-Site", "cross-site")},
		"same-site":               {with("Sec-Fetch-Site", "same-site")},
		"odd":                     {with("Sec-Fetch-Site", "SAME-ORIGIN")},
		"origin":                  {with("Origin", "https://evil.example")},
		"null":                    {with("Origin", "null")},
		"no origin":               {with("Origin", "x")},
		"another port":            {with("Origin", "http://example.com:8080")},
		"a suffix of it":          {with("Origin", "http://evilexample.com")},
		"cross-site, own origin":  {with("Sec-Fetch-Site", "cross-site"), with("Origin", "http://example.com")},
		"another trusted looking": {with("Sec-Fetch-Site", "cross-site"), with("Origin", "https://app.example.com")},
	}
	for _, rt := range x.s.routes {
		if rt.method == http.MethodGet {
			continue
		}
		for name, options := range foreign {
			for _, id := range []string{w.ID, d} {
				r := x.do(asManager, rt.method, "/"+strings.Replace(rt.pattern, "{id}", id, 1), "", append(options, jsonOrForm(rt), with("If-Match", "*"))...)
				if r.StatusCode != http.StatusForbidden || rt.kind == kindAPI && !strings.Contains(r.text, codeCrossOrigin) {
					t.Errorf("%s %s, %s: %d %s", rt.method, rt.pattern, name, r.StatusCode, r.text)
				}
			}
		}
	}
	if diff := cmp.Diff(before, x.everything("acme")); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
	for name, options := range map[string][]func(*http.Request){
		"a program":  nil,
		"own page":   {with("Sec-Fetch-Site", "same-origin"), with("Origin", "http://example.com")},
		"old":        {with("Origin", "http://example.com")},
		"typed":      {with("Sec-Fetch-Site", "none")},
		"other host": {with("Origin", "https://hooks.example.com"), func(r *http.Request) { r.Host = "hooks.example.com" }},
	} {
		if r := x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", "", options...); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.text)
		}
	}
}

func TestP3_TrustedOriginsAreTheHostsToName(t *testing.T) {
	x := newSite(t, func(c *Config) { c.TrustedOrigins = []string{"https://app.example.com"} })
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID + "/enable"
	x.do(asManager, http.MethodPost, path, "", with("Sec-Fetch-Site", "cross-site"), with("Origin", "https://app.example.com")).want(http.StatusOK)
	x.do(asManager, http.MethodPost, path, "", with("Sec-Fetch-Site", "cross-site"), with("Origin", "https://app.example.com.evil.example")).problem(http.StatusForbidden, codeCrossOrigin)
	for _, bad := range []string{"app.example.com", "https://app.example.com/", "https://app.example.com/x", "*"} {
		if _, err := New(x.env.Dispatcher, Config{Access: testLogin, TrustedOrigins: []string{bad}}); err == nil || !strings.Contains(err.Error(), "TrustedOrigins[0]") {
			t.Errorf("trusts %q: %v", bad, err)
		}
	}
}

// Content types that a page can send without a preflight request are refused.
func TestP3_OnlyJSONIsABody(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	for _, ct := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json; charset=utf-16",
		"application/json, text/plain", "text/plain; application/json", "application/jsonx",
	} {
		for _, c := range []struct{ method, path string }{
			{http.MethodPost, "/api/webhooks"}, {http.MethodPatch, "/api/webhooks/" + w.ID}, {http.MethodPost, "/api/webhooks/" + w.ID + "/test"},
			{http.MethodPost, "/api/webhooks/" + w.ID + "/disable"}, {http.MethodDelete, "/api/webhooks/" + w.ID},
		} {
			r := x.do(asManager, c.method, c.path, `{"name":"x"}`, func(r *http.Request) {
				r.Header.Del("Content-Type")
				if ct != "" {
					r.Header.Set("Content-Type", ct)
				}
			})
			r.problem(http.StatusUnsupportedMediaType, codeMediaType)
		}
	}
	// A body of unknown length is a body.
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/disable", "x", func(r *http.Request) {
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		r.Header.Set("Content-Type", "text/plain")
	}).problem(http.StatusUnsupportedMediaType, codeMediaType)
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", "", func(r *http.Request) { r.ContentLength = -1 }).want(http.StatusOK)
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", `{}`, with("Content-Type", "Application/JSON; charset=UTF-8")).want(http.StatusOK)
	x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, `{"name":"y"}`, with("Content-Type", "application/merge-patch+json"), with("If-Match", "*")).want(http.StatusOK)
}

// GET has no effect on any route.
func TestP3_GetChangesNothing(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	before, audited := x.everything("acme"), len(x.recorded())
	for _, rt := range x.s.routes {
		if rt.method != http.MethodGet {
			continue
		}
		for _, id := range []string{w.ID, d} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if r := x.do(asManager, method, "/"+strings.Replace(rt.pattern, "{id}", id, 1), ""); r.StatusCode >= http.StatusInternalServerError {
					t.Errorf("%s %s: %d", method, rt.pattern, r.StatusCode)
				}
			}
		}
	}
	if diff := cmp.Diff(before, x.everything("acme")); diff != "" || len(x.recorded()) != audited {
		t.Errorf("something changed:\n%s", diff)
	}
	if n := x.env.Stats(); n.InFlight != 0 {
		t.Errorf("%+v", n)
	}
}

// Every answer, also an error, carries the security headers.
func TestP3_EveryAnswerIsProtected(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	answers := map[string]reply{
		"no route":     x.do(asManager, http.MethodGet, "/api/nothing", ""),
		"wrong method": x.do(asManager, http.MethodPut, "/api/webhooks", ""),
		"options":      x.do(asManager, http.MethodOptions, "/api/webhooks", "", with("Origin", "https://evil.example"), with("Access-Control-Request-Method", "POST")),
		"logged out":   x.do("", http.MethodGet, "/api/webhooks", ""),
		"cross-origin": x.do(asManager, http.MethodPost, "/api/webhooks", newHook, with("Origin", "https://evil.example")),
		"created":      x.do(asManager, http.MethodPost, "/api/webhooks", newHook),
		"one":          x.do(asManager, http.MethodGet, "/api/webhooks/"+w.ID, "", with("Origin", "https://evil.example")),
	}
	for _, rt := range x.s.routes {
		answers[rt.method+" "+rt.pattern] = x.do(asManager, rt.method, "/"+strings.Replace(rt.pattern, "{id}", w.ID, 1), "", jsonOrForm(rt))
	}
	for name, r := range answers {
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'",
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Access-Control-Allow-Methods": "",
		} {
			if got := r.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		if strings.Contains(name, "assets") {
			continue // the same for every visitor
		}
		if got := r.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control is %q", name, got)
		}
	}
}

func TestP3_FramesAreTheHostsToAllow(t *testing.T) {
	x := newSite(t, func(c *Config) { c.FrameAncestors = []string{"https://app.example.com", "http://localhost:3000"} })
	r := x.do(asManager, http.MethodGet, "/api/webhooks", "")
	if csp := r.Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "frame-ancestors https://app.example.com http://localhost:3000") || r.Header.Get("X-Frame-Options") != "" {
		t.Errorf("%q, %q", csp, r.Header.Get("X-Frame-Options"))
	}
	for _, bad := range []string{"*", "app.example.com", "https://a.example.com; script-src *", "https://a.example.com/x", "https://*.example.com", "'self' *", "ftp://a.example.com", ""} {
		if _, err := New(x.env.Dispatcher, Config{Access: testLogin, FrameAncestors: []string{bad}}); err == nil || !strings.Contains(err.Error(), "FrameAncestors[0]") {
			t.Errorf("frames by %q: %v", bad, err)
		}
	}
}
