package portal

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// A secret is only in the answers to creating and rotating, and in no other
// answer, log or record. Values of headers are in none of them.
func TestP4_SecretsAreShownOnce(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	secrets := []string{w.Secret, "hunter2"}
	var said []string
	note := func(r reply) reply {
		t.Helper()
		said = append(said, fmt.Sprint(r.Request, r.Header, r.text))
		return r
	}
	rotated := func(body string) reply {
		var got created
		r := x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/rotate-secret", body).want(http.StatusOK).json(&got)
		if got.Secret == "" || got.Secret == w.Secret {
			t.Errorf("rotated to %q", got.Secret)
		}
		if cc := r.Header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("the answer with the secret may be stored: %q", cc)
		}
		if strings.Contains(fmt.Sprint(r.Header), got.Secret) {
			t.Error("a header of the answer holds the secret")
		}
		secrets = append(secrets, got.Secret)
		return r
	}
	rotated("")
	rotated(`{"secret":"imported-secret-of-thirty-two-b","overlap":60}`)
	d := x.publish("acme", w.ID)
	for _, login := range []string{asManager, asViewer, asOther, ""} {
		for _, rt := range x.s.routes {
			if strings.HasSuffix(rt.pattern, "rotate-secret") && login == asManager {
				continue
			}
			for _, id := range []string{w.ID, d} {
				r := x.do(login, rt.method, "/"+strings.Replace(rt.pattern, "{id}", id, 1), matrix[rt.method+" "+rt.pattern].body, jsonOrForm(rt), with("If-Match", "*"))
				note(r)
			}
		}
	}
	// Refusals do not repeat secrets or values of headers either.
	note(x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"x","url":"https://a.example.com","events":["*"],"secret":"too-short-hunter2","headers":{"X-A":"hunter2\u0001"}}`)).fields()
	note(x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"x","url":"https://u:hunter2@a.example.com","events":["*"]}`)).fields()
	all := strings.Join(said, "\n") + x.log.String() + fmt.Sprintf("%+v", x.recorded())
	for _, s := range secrets {
		if i := strings.Index(all, s); i >= 0 {
			t.Errorf("%q is in …%s…", s, all[max(i-200, 0):min(i+200, len(all))])
		}
	}
}

func TestP4_NothingButRotatingChangesTheSecret(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	rx := x.env.Transport.Receiver("crm.example.com")
	works := func() {
		t.Helper()
		before := len(rx.Deliveries())
		x.publish("acme", w.ID)
		if n := len(rx.Deliveries()); n != before+1 {
			t.Errorf("the secret that was shown does not verify what is sent: %v", rx.Requests()[len(rx.Requests())-1].Err)
		}
	}
	x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, `{"name":"renamed"}`, with("If-Match", w.etag)).want(http.StatusOK)
	works()
	for _, body := range []string{`{"secret":""}`, `{"secret":null}`, `{"secret":"another-secret-of-thirty-two-byt"}`} {
		if got := x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, body, with("If-Match", "*")).fields(); got["secret"] == "" {
			t.Errorf("%s: %v", body, got)
		}
	}
	for _, body := range []string{`{"secret":""}`, `{"secret":null}`, `{"secret":"short"}`, `{"overlap":-1}`, `{"overlap":"1"}`} {
		x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/rotate-secret", body).fields()
	}
	if got := x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"x","url":"https://a.example.com","events":["*"],"secret":""}`).fields(); got["secret"] == "" {
		t.Error("an empty secret can be imported")
	}
	works()
}

// Values of custom headers can be written but not read, and stay as they are
// when a webhook is written back as it was read.
func TestP6_HeaderValuesAreWriteOnly(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	rx := x.env.Transport.Receiver("crm.example.com")
	patch := func(body string) created {
		t.Helper()
		var got created
		x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, body, with("If-Match", "*")).want(http.StatusOK).json(&got)
		return got
	}
	sent := func() http.Header {
		t.Helper()
		x.publish("acme", w.ID)
		reqs := rx.Requests()
		return reqs[len(reqs)-1].Header
	}
	if len(w.Headers) != 1 || w.Headers["X-Api-Key"] != webhook.HiddenValue {
		t.Errorf("shown are %v", w.Headers)
	}
	patch(`{"description":"x"}`)
	if got := sent().Get("X-Api-Key"); got != "hunter2" {
		t.Errorf("after a change of something else %q is sent", got)
	}
	for _, same := range []string{`"********"`, `null`} {
		got := patch(`{"headers":{"x-api-key":` + same + `,"X-New":"n3w"}}`)
		if len(got.Headers) != 2 || got.Headers["X-New"] != webhook.HiddenValue {
			t.Errorf("shown are %v", got.Headers)
		}
		if h := sent(); h.Get("X-Api-Key") != "hunter2" || h.Get("X-New") != "n3w" {
			t.Errorf("sent %v", h)
		}
	}
	patch(`{"headers":{"X-Api-Key":"other"}}`)
	if h := sent(); h.Get("X-Api-Key") != "other" || h.Get("X-New") != "" {
		t.Errorf("sent %v", h)
	}
	if got := patch(`{"headers":{}}`); len(got.Headers) != 0 || sent().Get("X-Api-Key") != "" {
		t.Errorf("after removing all: %v", got.Headers)
	}
	// A value that is not stored cannot be kept.
	for _, body := range []string{`{"headers":{"X-Api-Key":"********"}}`, `{"headers":{"X-Api-Key":null}}`} {
		if got := x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, body, with("If-Match", "*")).fields(); got[`headers["X-Api-Key"]`] == "" {
			t.Errorf("%s: %v", body, got)
		}
	}
	if got := x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"a","url":"https://a.example.com","events":["*"],"headers":{"X-A":null}}`).fields(); got[`headers["X-A"]`] == "" {
		t.Errorf("%v", got)
	}
}

// URLs hold no credentials. Queries, which may hold a token, are shown only to
// managers.
func TestP6_CredentialsInURLs(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	for _, path := range []string{"/api/webhooks", "/api/webhooks/" + w.ID, "/api/deliveries/" + d} {
		if r := x.do(asViewer, http.MethodGet, path, "").want(http.StatusOK); strings.Contains(r.text, "t0ken") || !strings.Contains(r.text, "https://crm.example.com/in?…") {
			t.Errorf("%s shows a viewer %s", path, r.text)
		}
		if r := x.do(asManager, http.MethodGet, path, "").want(http.StatusOK); !strings.Contains(r.text, "https://crm.example.com/in?token=t0ken") {
			t.Errorf("%s hides the URL from who may change it: %s", path, r.text)
		}
	}
	for _, u := range []string{"https://user:s3cr3t@a.example.com", "https://user@a.example.com/x"} {
		got := x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"a","url":"`+u+`","events":["*"]}`).fields()
		if got["url"] == "" || strings.Contains(got["url"], "s3cr3t") {
			t.Errorf("%s: %v", u, got)
		}
	}
	// A search cannot be used to guess a hidden query.
	var page struct{ Items []created }
	x.do(asViewer, http.MethodGet, "/api/webhooks?search=t0k", "").want(http.StatusOK).json(&page)
	if len(page.Items) != 0 {
		t.Error("a viewer can search in what is hidden")
	}
	for _, search := range []string{"crm", "CRM.EXAMPLE", "/in"} {
		x.do(asViewer, http.MethodGet, "/api/webhooks?search="+search, "").want(http.StatusOK).json(&page)
		if len(page.Items) != 1 {
			t.Errorf("a viewer finds %d webhooks by %q", len(page.Items), search)
		}
	}
	x.do(asViewer, http.MethodGet, "/api/webhooks?search=%00", "").fields()
}
