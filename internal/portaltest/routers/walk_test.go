package routers

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/portal"
)

// visitor is a browser that stays below a base.
type visitor struct {
	t    *testing.T
	base *url.URL
	// redirected counts redirects.
	redirected int
}

// page is an answer.
type page struct {
	*http.Response
	text string
}

// ask makes a request to a reference from a URL, follows redirects, and wants a status.
func (v *visitor) ask(method string, from *url.URL, ref, contentType, body string, status int) page {
	v.t.Helper()
	u, err := from.Parse(ref)
	if err != nil {
		v.t.Fatal(err)
	}
	if under := strings.TrimSuffix(v.base.Path, "/"); u.Host != v.base.Host || u.Path != under && !strings.HasPrefix(u.Path, under+"/") {
		v.t.Fatalf("%q on %s leads to %s, which is not below %s", ref, from, u, v.base)
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, u.String(), strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Origin", u.Scheme+"://"+u.Host)
	req.Header.Set("If-Match", "*")
	client := http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
		v.redirected++
		if len(via) > 5 {
			return fmt.Errorf("redirected in a circle, by way of %s", r.URL)
		}
		return nil
	}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if res.StatusCode != status {
		v.t.Fatalf("%s %s: status %d, want %d: %.600s", method, u, res.StatusCode, status, text)
	}
	return page{res, string(text)}
}

var references = regexp.MustCompile(`(?:href|src|action)="([^"#]+)[^"]*"`)

// links asks for everything that a page refers to and returns how much that was.
func (v *visitor) links(p page) int {
	v.t.Helper()
	n := 0
	for _, m := range references.FindAllStringSubmatch(p.text, -1) {
		ref := strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(m[1])
		if strings.HasPrefix(ref, "https://www.standardwebhooks.com") || strings.Contains(ref, "/enable") || strings.Contains(ref, "/resend") {
			continue
		}
		v.ask(http.MethodGet, p.Request.URL, ref, "", "", http.StatusOK)
		n++
	}
	return n
}

// action returns the address of the page's form.
func (p page) action(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`<form[^>]* method="post" action="([^"]+)"`).FindStringSubmatch(p.text)
	if m == nil {
		t.Fatalf("%s has no form", p.Request.URL)
	}
	return m[1]
}

// walk does what a customer and a program do: every link, form, redirect, script
// and style sheet of the portal leads below the base.
func (v *visitor) walk() {
	t := v.t
	const form, object = "application/x-www-form-urlencoded", "application/json"
	list := v.ask(http.MethodGet, v.base, "", "", "", http.StatusOK)
	if n := v.links(list); n < 4 {
		t.Errorf("%s refers to %d addresses", list.Request.URL, n)
	}
	v.ask(http.MethodGet, v.base, "?q=nothing", "", "", http.StatusOK)
	fresh := v.ask(http.MethodGet, list.Request.URL, firstMatch(t, list.text, `href="([^"]*new)"`), "", "", http.StatusOK)
	v.links(fresh)
	made := v.ask(http.MethodPost, fresh.Request.URL, fresh.action(t), form, "name=CRM&url=https%3A%2F%2Fcrm.example.com%2Fin&events=*", http.StatusOK)
	if !strings.Contains(made.text, "whsec_") {
		t.Fatalf("no secret: %.600s", made.text)
	}
	v.links(made)
	hook := v.ask(http.MethodGet, made.Request.URL, firstMatch(t, made.text, `href="([^"]*webhooks/wh_[a-z0-9]+)"`), "", "", http.StatusOK)
	v.links(hook)
	edit := v.ask(http.MethodGet, hook.Request.URL, firstMatch(t, hook.text, `href="([^"]*/edit)"`), "", "", http.StatusOK)
	version := firstMatch(t, edit.text, `name="version" value="(\d+)"`)
	before := v.redirected
	saved := v.ask(http.MethodPost, edit.Request.URL, edit.action(t), form, "version="+version+"&name=Renamed&events=*", http.StatusOK)
	if v.redirected != before+1 || !strings.Contains(saved.text, "The settings were saved") || saved.Request.URL.Path != hook.Request.URL.Path {
		t.Errorf("saving leads to %s after %d redirects", saved.Request.URL, v.redirected-before)
	}
	test := v.ask(http.MethodGet, hook.Request.URL, firstMatch(t, hook.text, `href="([^"]*/test)"`), "", "", http.StatusOK)
	sent := v.ask(http.MethodPost, test.Request.URL, test.action(t), form, "type=", http.StatusOK)
	if !strings.Contains(sent.Request.URL.Path, "/deliveries/") {
		t.Errorf("the test leads to %s", sent.Request.URL)
	}
	v.links(sent)

	document := v.ask(http.MethodGet, v.base, "api/openapi.json", "", "", http.StatusOK)
	var openapi struct{ Servers []struct{ URL string } }
	if err := json.Unmarshal([]byte(document.text), &openapi); err != nil || len(openapi.Servers) != 1 {
		t.Fatalf("%v, %+v", err, openapi)
	}
	api, err := document.Request.URL.Parse(openapi.Servers[0].URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	created := v.ask(http.MethodPost, api, "webhooks?", object, `{"name":"API","url":"https://api.example.com/in","events":["*"]}`, http.StatusCreated)
	one := created.Header.Get("Location")
	v.ask(http.MethodGet, created.Request.URL, one, "", "", http.StatusOK)
	v.ask(http.MethodHead, created.Request.URL, one, "", "", http.StatusOK)
	v.ask(http.MethodPatch, created.Request.URL, one, object, `{"name":"x","active":true}`, http.StatusOK)
	tried := v.ask(http.MethodPost, created.Request.URL, one+"/test", "", "", http.StatusAccepted)
	v.ask(http.MethodGet, tried.Request.URL, tried.Header.Get("Location"), "", "", http.StatusOK)
	v.ask(http.MethodDelete, created.Request.URL, one, "", "", http.StatusNoContent)
	v.ask(http.MethodGet, created.Request.URL, one, "", "", http.StatusNotFound)
	v.ask(http.MethodGet, v.base, "webhooks/wh_none", "", "", http.StatusNotFound)
}

func firstMatch(t *testing.T, text, expression string) string {
	t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %.2000s", expression, text)
	}
	return m[1]
}

// The portal works under every router, wherever it is mounted.
func TestP13_EveryRouter(t *testing.T) {
	for _, m := range mountings {
		t.Run(m.name, func(t *testing.T) {
			d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
			if err != nil {
				t.Fatal(err)
			}
			origin := m.serve(t, d, portal.Config{
				Access: func(r *http.Request) (portal.Access, error) {
					r.PostFormValue("csrf_token") // as hosts do
					return portal.Access{Tenant: "acme", Manage: true}, nil
				},
			})
			bases := []string{m.base}
			if m.bare { // also where the visitor leaves the slash out
				bases = append(bases, strings.TrimSuffix(m.base, "/"))
			}
			if account := strings.Replace(m.base, "acc_1", "a%20b%3Ac", 1); account != m.base && !strings.HasSuffix(m.name, "by hand") {
				bases = append(bases, account)
			}
			for _, b := range bases {
				base, err := url.Parse(origin + b)
				if err != nil {
					t.Fatal(err)
				}
				v := &visitor{t: t, base: base}
				if !strings.HasSuffix(b, "/") {
					p := v.ask(http.MethodGet, base, "", "", "", http.StatusOK)
					v.links(p)
					v.ask(http.MethodGet, p.Request.URL, firstMatch(t, p.text, `href="([^"]*new)"`), "", "", http.StatusOK)
					continue
				}
				v.walk()
			}
		})
	}
}
