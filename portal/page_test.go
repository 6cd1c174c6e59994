package portal

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// form sends a form with a login.
func (x *site) form(login, path string, values url.Values, options ...func(*http.Request)) reply {
	x.t.Helper()
	options = append([]func(*http.Request){with("Content-Type", "application/x-www-form-urlencoded")}, options...)
	return x.do(login, http.MethodPost, path, values.Encode(), options...)
}

// hookForm is the form of a webhook, filled in.
func hookForm(change ...string) url.Values {
	v := url.Values{
		"name": {"CRM"}, "url": {"https://crm.example.com/in"}, "description": {"d"}, "events": {"agent.message"},
		"timeout": {"30"}, "maxRetries": {"3"}, "sslVerification": {"on"},
	}
	for i := 0; i < len(change); i += 2 {
		v[change[i]] = []string{change[i+1]}
	}
	return v
}

var secretText = regexp.MustCompile(`whsec_[A-Za-z0-9+/&#;]{20,}`)

// P4: the answer to the POST that makes a secret shows it, must not be cached,
// and is not a redirect. No other page shows the secret.
func TestP4_PagesShowASecretOnce(t *testing.T) {
	x := newSite(t)
	created := x.form(asManager, "/new", hookForm()).want(http.StatusOK)
	page, err := x.env.Webhooks(t.Context(), webhook.WebhookQuery{Tenant: "acme"})
	if err != nil || len(page.Items) != 1 {
		t.Fatal(page.Items, err)
	}
	id := page.Items[0].ID
	rotated := x.form(asManager, "/webhooks/"+id+"/secret", url.Values{"old": {"keep"}}).want(http.StatusOK)
	for what, r := range map[string]reply{"created": created, "rotated": rotated} {
		if len(secretText.FindAllString(r.text, -1)) != 1 || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Location") != "" {
			t.Errorf("%s: Cache-Control %q, Location %q, secrets %q", what, r.Header.Get("Cache-Control"), r.Header.Get("Location"), secretText.FindAllString(r.text, -1))
		}
	}
	if secretText.FindString(created.text) == secretText.FindString(rotated.text) {
		t.Error("rotating shows the old secret")
	}
	delivery := x.sentTo(id)
	for _, rt := range x.s.routes {
		if rt.kind == kindPage && rt.method == http.MethodGet {
			path := strings.Replace(rt.pattern, "{id}", map[bool]string{true: delivery, false: id}[strings.HasPrefix(rt.pattern, "deliveries")], 1)
			if r := x.do(asManager, http.MethodGet, "/"+path, "").want(http.StatusOK); secretText.MatchString(r.text) {
				t.Errorf("GET %s shows a secret", rt.pattern)
			}
		}
	}
	if secretText.MatchString(x.log.String()) {
		t.Error("the log holds a secret")
	}
}

// sentTo publishes an event and returns the ID of its delivery to a webhook, which
// need not have succeeded.
func (x *site) sentTo(id string) string {
	x.t.Helper()
	d, err := x.env.SendTest(x.t.Context(), "acme", id, webhook.TestEvent{})
	if err != nil {
		x.t.Fatal(err)
	}
	return d.ID
}

// P6: an edit form never holds a value of a header, and saving it keeps them.
func TestP6_FormsHoldNoHeaderValues(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	get := x.do(asManager, http.MethodGet, "/webhooks/"+w.ID+"/edit", "").want(http.StatusOK)
	if strings.Contains(get.text, "hunter2") || !strings.Contains(get.text, `value="X-Api-Key"`) {
		t.Error("the form of a webhook shows a header's value, or not its name")
	}
	for _, c := range []struct {
		what string
		form []string
		want map[string]string
	}{
		{"left alone", []string{"headerName.0", "X-Api-Key", "headerSet.0", "1", "headerValue.0", ""}, map[string]string{"X-Api-Key": "hunter2"}},
		{"not mentioned", nil, map[string]string{"X-Api-Key": "hunter2"}},
		{"another one", []string{"headerName.0", "X-Api-Key", "headerSet.0", "1", "headerName.1", "X-New", "headerValue.1", "n"}, map[string]string{"X-Api-Key": "hunter2", "X-New": "n"}},
		{"replaced", []string{"headerName.0", "X-Api-Key", "headerSet.0", "1", "headerValue.0", "h3"}, map[string]string{"X-Api-Key": "h3"}},
		{"removed", []string{"headerName.0", "X-Api-Key", "headerSet.0", "1", "headerRemove.0", "1"}, map[string]string{}},
	} {
		hook, err := x.env.Webhook(t.Context(), "acme", w.ID)
		if err != nil {
			t.Fatal(err)
		}
		x.form(asManager, "/webhooks/"+w.ID+"/edit", hookForm(append(c.form, "version", count(hook.Version))...)).want(http.StatusSeeOther)
		if hook, err = x.env.Webhook(t.Context(), "acme", w.ID); err != nil {
			t.Fatal(err)
		}
		if len(hook.Headers) != len(c.want) {
			t.Fatalf("%s: headers %v, want %v", c.what, hook.Headers, c.want)
		}
		for k, v := range c.want {
			if hook.Headers[k] != v {
				t.Errorf("%s: %s is %q, want %q", c.what, k, hook.Headers[k], v)
			}
		}
	}
}

// P6: a visitor who may only view sees no query of a URL on any page.
func TestP6_ViewersSeeNoQueries(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	delivery := x.publish("acme", w.ID)
	for _, path := range []string{"/", "/?q=CRM", "/webhooks/" + w.ID, "/deliveries/" + delivery} {
		if !strings.Contains(x.do(asManager, http.MethodGet, path, "").want(http.StatusOK).text, "t0ken") {
			t.Errorf("%s: who manages does not see the query", path)
		}
		if r := x.do(asViewer, http.MethodGet, path, "").want(http.StatusOK); strings.Contains(r.text, "t0ken") {
			t.Errorf("%s: who looks sees the query", path)
		} else if strings.Contains(r.text, `method="post"`) {
			t.Errorf("%s: who looks has a form that writes", path)
		}
	}
	if x.do(asViewer, http.MethodGet, "/?q=t0ken", "").want(http.StatusOK); strings.Contains(x.do(asViewer, http.MethodGet, "/?q=t0ken", "").text, w.ID) {
		t.Error("who looks can search for what is hidden")
	}
}

// P11: the second of two editors gets 409 with the typed and the stored
// settings. A form without a version is not saved.
func TestP11_PagesLoseNoUpdate(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	hook, err := x.env.Webhook(t.Context(), "acme", w.ID)
	if err != nil {
		t.Fatal(err)
	}
	version := count(hook.Version)
	path := "/webhooks/" + w.ID + "/edit"
	if got := x.form(asManager, path, hookForm("version", version, "description", "first")).want(http.StatusSeeOther).Header.Get("Location"); got != "../../webhooks/"+w.ID+"?done=saved" {
		t.Errorf("Location %q", got)
	}
	r := x.form(asManager, path, hookForm("version", version, "description", "second", "name", "Mine")).want(http.StatusConflict)
	for _, want := range []string{`value="second"`, `value="Mine"`, "first", "Someone else saved"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("the answer to the second editor lacks %s", want)
		}
	}
	x.form(asManager, path, hookForm("description", "third")).want(http.StatusBadRequest)
	if hook, err = x.env.Webhook(t.Context(), "acme", w.ID); err != nil || hook.Description != "first" {
		t.Errorf("description %q, %v", hook.Description, err)
	}
}

// P15: switching verification off takes its own field, warns on every page of the
// webhook, and is not offered where the host forbids it.
func TestP15_PagesWarnOfUnverifiedTLS(t *testing.T) {
	x := newSite(t)
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{}) // the tests' client always verifies
	if err != nil {
		t.Fatal(err)
	}
	x.s = x.portal(d)
	off := hookForm("sslVerification", "off")
	if r := x.form(asManager, "/new", off).want(http.StatusBadRequest); !strings.Contains(r.text, `id="sslVerification-err"`) {
		t.Error("nothing stands beside the field")
	}
	off.Set("sslVerificationOff", "yes")
	x.form(asManager, "/new", off).want(http.StatusOK)
	page, err := d.Webhooks(t.Context(), webhook.WebhookQuery{Tenant: "acme"})
	if err != nil || len(page.Items) != 1 || page.Items[0].VerifyTLS {
		t.Fatal(page.Items, err)
	}
	for _, path := range []string{"/", "/webhooks/" + page.Items[0].ID} {
		if r := x.do(asViewer, http.MethodGet, path, "").want(http.StatusOK); !strings.Contains(r.text, "TLS unverified") && !strings.Contains(r.text, "TLS verification is off") {
			t.Errorf("%s does not warn", path)
		}
	}

	env := webhooktest.New(t, webhook.Config{ForbidUnverifiedTLS: true})
	strict := x.portal(env.Dispatcher)
	if r := ask(t, strict, asManager, http.MethodGet, "/new", "").want(http.StatusOK); strings.Contains(r.text, `value="off"`) || !strings.Contains(r.text, "It cannot be switched off here") {
		t.Error("it is offered where it is forbidden")
	}
	r := ask(t, strict, asManager, http.MethodPost, "/new", off.Encode(), with("Content-Type", "application/x-www-form-urlencoded")).want(http.StatusBadRequest)
	if !strings.Contains(r.text, "cannot be switched off here") {
		t.Error("it is refused without a reason")
	}
}

// All errors are shown at once, each beside its field, and all input is kept,
// also input that could not be parsed.
func TestFormsSayEverythingAtOnce(t *testing.T) {
	x := newSite(t)
	r := x.form(asManager, "/new", url.Values{
		"name": {""}, "url": {`ftp://x/"><b>`}, "events": {"agent.message"}, "patterns": {"a..b\r\nc.*"}, "timeout": {"1e9"}, "maxRetries": {"many"}, "rateLimit": {"NaN"},
		"sslVerification": {"off"}, "headerName.3": {"Host"}, "headerValue.3": {"kept"}, "secret": {"short"},
	}).want(http.StatusBadRequest)
	for _, field := range []string{"name", "url", "events", "timeout", "maxRetries", "rateLimit", "sslVerification", "headers", "secret"} {
		if !strings.Contains(r.text, `id="`+field+`-err"`) {
			t.Errorf("nothing stands beside %s", field)
		}
	}
	for _, typed := range []string{`value="ftp://x/&#34;&gt;&lt;b&gt;"`, "a..b\nc.*</textarea>", `value="1e9"`, `value="many"`, `value="Host"`, `value="kept"`, `value="short"`, `id="ev-1" name="events" value="agent.message" checked`} {
		if !strings.Contains(r.text, typed) {
			t.Errorf("%s is lost", typed)
		}
	}
	if page, err := x.env.Webhooks(t.Context(), webhook.WebhookQuery{Tenant: "acme"}); err != nil || len(page.Items) != 0 {
		t.Errorf("%d webhooks were created, %v", len(page.Items), err)
	}
}

// P13, P14: pages link by relative references at every depth, also at addresses
// with escaped slashes. They load only the portal's own files. An error page
// shows its request ID and no details.
func TestP13_PagesLinkWithinTheMount(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	delivery := x.publish("acme", w.ID)
	link := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	for _, path := range []string{"/", "/new", "/webhooks/" + w.ID, "/webhooks/" + w.ID + "/edit", "/webhooks/" + w.ID + "/replay", "/deliveries/" + delivery, "/webhooks/a%2Fb%2Fc", "/a/b/c/d", "/webhooks/nothing"} {
		base, err := url.Parse("https://host.example/x/y" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(x.do(asManager, http.MethodGet, path, "").text, -1) {
			ref, err := url.Parse(m[1])
			if err != nil || ref.IsAbs() || ref.Host != "" || strings.HasPrefix(m[1], "/") {
				t.Errorf("%s links to %q", path, m[1])
				continue
			}
			if to := base.ResolveReference(ref).Path; !strings.HasPrefix(to, "/x/y/") {
				t.Errorf("%s links to %s with %q", path, to, m[1])
			}
		}
	}
	for _, path := range []string{"/assets/", "/assets", "/assets/..%2fpage_list.go", "/assets/..%2f..%2fportal.css", "/assets/portal.css/", "/assets/none.js", "/templates/layout.html"} {
		if r := x.do(asManager, http.MethodGet, path, "").want(http.StatusNotFound); !strings.Contains(r.text, r.Header.Get("X-Request-Id")) {
			t.Errorf("%s: the error has no request ID", path)
		}
	}
	for name, f := range assets {
		r := x.do("", http.MethodGet, "/assets/"+f.versioned, "").want(http.StatusOK)
		if r.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || r.Header.Get("Content-Type") != f.contentType || f.contentType == "" {
			t.Errorf("%s: %v", name, r.Header)
		}
		if r := x.do("", http.MethodGet, "/assets/"+name+"?v=other", "").want(http.StatusOK); r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s of another version may be kept", name)
		}
		if regexp.MustCompile(`https?://(?:www\.w3\.org)?`).FindString(r.text) == "https://" {
			t.Errorf("%s names another host", name)
		}
	}
}

// P14: internal errors look the same on every page.
func TestP14_PagesSayNothingOfFaults(t *testing.T) {
	x := newSite(t)
	r := x.do("broken", http.MethodGet, "/", "").want(http.StatusInternalServerError)
	if strings.Contains(r.text, "10.1.2.3") || strings.Contains(r.text, "sessions") || !strings.Contains(r.text, r.Header.Get("X-Request-Id")) {
		t.Errorf("the page of an error says: %s", r.text)
	}
}

// Disabling, enabling, deleting and replaying by forms, without a script. A
// webhook that is created disabled gets no events before it is enabled, and a
// refused form keeps the tick.
func TestAFormCanCreateADisabledWebhook(t *testing.T) {
	x := newSite(t)
	values := hookForm()
	values.Set("active", "no")
	values.Set("name", "")
	x.form(asManager, "/new", values).want(http.StatusBadRequest).shows("refused", nil, []string{`name="active" value="no" checked`})
	values.Set("name", "Quiet")
	x.form(asManager, "/new", values).want(http.StatusOK)
	hooks, err := x.env.Webhooks(t.Context(), webhook.WebhookQuery{Tenant: "acme"})
	if err != nil || len(hooks.Items) != 1 || hooks.Items[0].Active {
		t.Errorf("got %+v, %v, want one that is disabled", hooks.Items, err)
	}
}

func TestFormsDoWhatTheySay(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	at := "/webhooks/" + w.ID
	state := func() webhook.Webhook {
		hook, err := x.env.Webhook(t.Context(), "acme", w.ID)
		if err != nil {
			t.Fatal(err)
		}
		return hook
	}
	x.form(asManager, at+"/disable", url.Values{"reason": {strings.Repeat("x", 2000)}}).want(http.StatusBadRequest)
	x.form(asManager, at+"/disable", url.Values{"reason": {"moving"}}).want(http.StatusSeeOther)
	if got := state(); got.Active || got.DisabledReason != "moving" {
		t.Errorf("after disabling: %+v", got)
	}
	x.form(asManager, at+"/test", url.Values{}).want(http.StatusConflict)
	x.form(asManager, at+"/enable", nil).want(http.StatusSeeOther)
	if !state().Active {
		t.Error("it is not active after enabling")
	}
	x.form(asManager, at+"/test", url.Values{"type": {"no.such"}}).want(http.StatusBadRequest)
	to := x.form(asManager, at+"/test", url.Values{"type": {webhook.TypeAgentMessage}}).want(http.StatusSeeOther).Header.Get("Location")
	if !regexp.MustCompile(`^\.\./\.\./deliveries/\w+\?done=test$`).MatchString(to) {
		t.Errorf("Location %q", to)
	}
	for _, q := range []string{"back=custom&since=yesterday&failed=1", "back=24h", "back=custom&since=2026-01-02&until=2026-01-01&failed=1"} {
		x.do(asManager, http.MethodGet, at+"/replay?"+q, "").want(http.StatusBadRequest)
	}
	x.form(asManager, at+"/delete", url.Values{}).want(http.StatusBadRequest)
	state()
	if to := x.form(asManager, at+"/delete", url.Values{"sure": {"yes"}}).want(http.StatusSeeOther).Header.Get("Location"); to != "../../?done=deleted" {
		t.Errorf("Location %q", to)
	}
	x.do(asManager, http.MethodGet, at, "").want(http.StatusNotFound)
}
