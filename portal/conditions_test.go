package portal

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// A PATCH of settings and of "active" is one write, which succeeds or is
// refused as a whole.
func TestP11_APatchIsOneWrite(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	version := func() int64 {
		wh, err := x.env.Webhook(t.Context(), "acme", w.ID)
		if err != nil {
			t.Fatal(err)
		}
		return wh.Version
	}
	before, recorded := version(), len(x.recorded())
	r := x.do(asManager, http.MethodPatch, path, `{"name":"One","active":false}`, with("If-Match", w.etag)).want(http.StatusOK)
	if version() != before+1 || r.Header.Get("ETag") == w.etag {
		t.Errorf("version %d became %d", before, version())
	}
	got := x.recorded()[recorded:]
	if len(got) != 2 || got[0].Action != ActionUpdate || !slices.Equal(got[0].Fields, []string{"name"}) || got[1].Action != ActionDisable || got[0].Failed || got[1].Failed {
		t.Errorf("recorded as %+v", got)
	}
	// A refused setting leaves the webhook disabled.
	x.do(asManager, http.MethodPatch, path, `{"timeout":5,"url":"https://10.0.0.1/","active":true}`, with("If-Match", "*")).fields()
	if wh, _ := x.env.Webhook(t.Context(), "acme", w.ID); wh.Active || wh.Timeout == 5e9 || wh.DisabledReason == "" {
		t.Errorf("%+v", wh)
	}
	// If either of the two changes cannot be recorded, neither is made.
	for _, action := range []AuditAction{ActionUpdate, ActionEnable} {
		x.audit = func(r AuditRecord) error {
			if r.Action == action && !r.Failed {
				return context.DeadlineExceeded
			}
			return nil
		}
		x.do(asManager, http.MethodPatch, path, `{"timeout":5,"active":true}`, with("If-Match", "*")).problem(http.StatusInternalServerError, codeAudit)
		if wh, _ := x.env.Webhook(t.Context(), "acme", w.ID); wh.Active || wh.Timeout == 5e9 {
			t.Errorf("%s: %+v", action, wh)
		}
	}
}

// A change made between the check of the version and a write is not
// overwritten, for every kind of write.
func TestP11_WritesUseTheVersionThatMatched(t *testing.T) {
	for name, c := range map[string]struct{ method, path, body string }{
		"settings":            {http.MethodPatch, "", `{"name":"x"}`},
		"active alone":        {http.MethodPatch, "", `{"active":false}`},
		"active and settings": {http.MethodPatch, "", `{"active":false,"name":"x"}`},
		"disable":             {http.MethodPost, "/disable", `{"reason":"x"}`},
		"rotate":              {http.MethodPost, "/rotate-secret", ""},
	} {
		x := newSite(t)
		w := x.create(asManager, newHook)
		edited := false
		x.audit = func(AuditRecord) error { // after the check, before the write
			if !edited {
				edited = true
				wh, err := x.env.Webhook(t.Context(), "acme", w.ID)
				if err != nil {
					return err
				}
				_, err = x.env.UpdateWebhook(t.Context(), "acme", w.ID, wh.Version, webhook.WebhookUpdate{Description: new("between")})
				return err
			}
			return nil
		}
		x.do(asManager, c.method, "/api/webhooks/"+w.ID+c.path, c.body, with("If-Match", w.etag)).problem(http.StatusPreconditionFailed, codeChanged)
		wh, err := x.env.Webhook(t.Context(), "acme", w.ID)
		if err != nil || !edited || !wh.Active || wh.Name != "CRM" || wh.Description != "between" {
			t.Errorf("%s: %+v, %v", name, wh, err)
		}
		x.do(asManager, c.method, "/api/webhooks/"+w.ID+c.path, c.body, with("If-Match", "*")).want(http.StatusOK)
	}
}

// A reader with the current version gets 304, and attempts change a reader's
// version. For a writer attempts change no version.
func TestIfNoneMatch(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, tags := range []string{w.etag, "W/" + w.etag, `"a,b", ` + w.etag, "*", w.etag + ` , W/"77"`} {
			r := x.do(asManager, method, path, "", with("If-None-Match", tags)).want(http.StatusNotModified)
			if r.text != "" || r.Header.Get("ETag") != w.etag || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %q, %v", tags, r.text, r.Header)
			}
		}
		for _, tags := range []string{`"77"`, `"a,b"`, `W/"x"`, `"` + strings.Trim(w.etag, `"`) + `.00"`, `"` + strings.Trim(w.etag, `"`) + `,"`} {
			x.do(asManager, method, path, "", with("If-None-Match", tags)).want(http.StatusOK)
		}
	}
	if r := x.do(asManager, http.MethodGet, path, "", with("If-None-Match", "3")); r.problem(http.StatusBadRequest, codeMalformed).Code == "" || r.Header.Get("ETag") != "" {
		t.Errorf("%v", r.Header)
	}
	// Another tenant gets no information.
	x.do(asOther, http.MethodGet, path, "", with("If-None-Match", "*")).problem(http.StatusNotFound, codeNotFound)
	// A viewer sees a different answer, and an attempt changes the answer.
	if viewed := x.do(asViewer, http.MethodGet, path, "", with("If-None-Match", w.etag)).want(http.StatusOK); viewed.Header.Get("ETag") == w.etag {
		t.Error("who sees another URL gets the same ETag")
	}
	x.publish("acme", w.ID)
	attempted := x.do(asManager, http.MethodGet, path, "", with("If-None-Match", w.etag)).want(http.StatusOK).Header.Get("ETag")
	x.do(asManager, http.MethodGet, path, "", with("If-None-Match", attempted)).want(http.StatusNotModified)
	x.publish("acme", w.ID)
	x.do(asManager, http.MethodGet, path, "", with("If-None-Match", attempted)).want(http.StatusOK)
	next := x.do(asManager, http.MethodPatch, path, `{"name":"x"}`, with("If-Match", attempted)).want(http.StatusOK).Header.Get("ETag")
	x.do(asManager, http.MethodPatch, path, `{"name":"y"}`, with("If-Match", attempted)).problem(http.StatusPreconditionFailed, codeChanged)
	// The webhook exists, against the condition.
	for _, c := range []struct{ method, path string }{{http.MethodPatch, ""}, {http.MethodPost, "/enable"}, {http.MethodPost, "/rotate-secret"}, {http.MethodDelete, ""}} {
		for _, tags := range []string{"*", next, "W/" + next} {
			x.do(asManager, c.method, path+c.path, "{}", with("If-Match", "*"), with("If-None-Match", tags)).problem(http.StatusPreconditionFailed, codeChanged)
		}
	}
	x.do(asManager, http.MethodPatch, path, `{"name":"z"}`, with("If-Match", "*"), with("If-None-Match", attempted)).want(http.StatusOK)
	for _, fixed := range []string{"/api/openapi.json", "/assets/portal.css", "/assets/portal.js"} {
		tag := x.do(asManager, http.MethodGet, fixed, "").want(http.StatusOK).Header.Get("ETag")
		if r := x.do(asManager, http.MethodGet, fixed, "", with("If-None-Match", "W/"+tag)).want(http.StatusNotModified); tag == "" || r.text != "" {
			t.Errorf("%s: %q, %q", fixed, tag, r.text)
		}
		x.do(asManager, http.MethodGet, fixed, "", with("If-None-Match", `"x"`)).want(http.StatusOK)
	}
}

// Answers carry the headers that HTTP requires: a challenge with 401, the
// accepted types with 415.
func TestAnswersNameWhatWouldBeTaken(t *testing.T) {
	x := newSite(t)
	for _, path := range []string{"/", "/api/webhooks", "/new"} {
		if got := x.do("", http.MethodGet, path, "").want(http.StatusUnauthorized).Header.Get("WWW-Authenticate"); got != `Session realm="webhooks"` {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := x.do("stranger", http.MethodGet, "/", "").want(http.StatusForbidden).Header.Get("WWW-Authenticate"); got != "" {
		t.Errorf("with 403: %q", got)
	}
	bearer := x.portal(x.env.Dispatcher, func(c *Config) { c.Challenge = `Bearer realm="acme", error="invalid_token"` })
	if got := ask(t, bearer, "", http.MethodGet, "/", "").Header.Get("WWW-Authenticate"); got != `Bearer realm="acme", error="invalid_token"` {
		t.Errorf("%q", got)
	}
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", "Own")
		x.s.ServeHTTP(w, r)
	})
	if got := ask(t, front, "", http.MethodGet, "/", "").Header.Values("WWW-Authenticate"); !slices.Equal(got, []string{"Own"}) {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{" ", "Bearer\r\nX: y", "ü", `"x"`, "Bearer "} {
		if _, err := New(x.env.Dispatcher, Config{Access: testLogin, Challenge: bad}); err == nil || !strings.Contains(err.Error(), "Challenge") {
			t.Errorf("challenge %q: %v", bad, err)
		}
	}
	w := x.create(asManager, newHook)
	r := x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, "x", with("Content-Type", "text/plain")).want(http.StatusUnsupportedMediaType)
	if r.Header.Get("Accept") != "application/json" || r.Header.Get("Accept-Patch") != "application/json, application/merge-patch+json" {
		t.Errorf("%v", r.Header)
	}
	r = x.do(asManager, http.MethodPost, "/api/webhooks", newHook, with("Content-Encoding", "gzip")).want(http.StatusUnsupportedMediaType)
	if r.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%v", r.Header)
	}
}

// New accepts paths as BasePath, and refuses other texts with the reason.
func TestBasePath(t *testing.T) {
	x := newSite(t)
	for _, bad := range []string{"hooks", "https://a.example.com/x/", "/a//b/", "/a/../b", "/a/./", "/a?b", "/a#b", "/a b/", "/a\n/", "/*/a"} {
		if _, err := New(x.env.Dispatcher, Config{Access: testLogin, BasePath: bad}); err == nil || !strings.Contains(err.Error(), "BasePath") {
			t.Errorf("base path %q: %v", bad, err)
		}
	}
	for base, paths := range map[string]map[string]int{
		"/a/{x}/hooks/":         {"/a/1/hooks/": 200, "/a/1/hooks": 200, "/a/%2F/hooks/new": 200, "/a//hooks/": 404, "/a/1/2/hooks/": 404, "/": 404, "/new": 404, "/a/1/Hooks/": 404, "/a/1/hooks/new/": 404},
		"/a/:x/hooks/*any":      {"/a/1/hooks/new": 200, "/a/1/hooksnew": 404},
		"/{x:[a-z/]+}/hooks/":   {"/a/hooks/new": 200},
		"/my%20hooks/{rest...}": {"/my%20hooks/new": 200, "/my%2520hooks/new": 404},
		"/new":                  {"/new": 200, "/new/": 200, "/new/new": 200, "/new/new/new": 404},
		"/":                     {"/": 200, "/new": 200},
	} {
		s := x.portal(x.env.Dispatcher, func(c *Config) { c.BasePath = base })
		for path, status := range paths {
			if r := ask(t, s, asManager, http.MethodGet, path, ""); r.StatusCode != status {
				t.Errorf("%s under %s: %d", path, base, r.StatusCode)
			}
		}
	}
}
