package portal

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// Two editors of a webhook never overwrite each other's changes unseen.
func TestP11_TwoEditors(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	first := x.do(asManager, http.MethodGet, path, "").want(http.StatusOK).Header.Get("ETag")
	if first != w.etag || first == "" {
		t.Errorf("ETag %q at creation, %q when read", w.etag, first)
	}
	next := x.do(asManager, http.MethodPatch, path, `{"name":"Ann's"}`, with("If-Match", first)).want(http.StatusOK).Header.Get("ETag")
	if next == first {
		t.Error("a change leaves the ETag as it was")
	}
	x.do(asManager, http.MethodPatch, path, `{"name":"Bob's"}`, with("If-Match", first)).problem(http.StatusPreconditionFailed, codeChanged)
	x.do(asManager, http.MethodPatch, path, `{"name":"Bob's"}`).problem(http.StatusPreconditionRequired, codeNeedsIfMatch)
	for _, stale := range []string{`"0"`, `"999"`, `W/` + next, `"x"`, `"` + strings.Trim(next, `"`) + ` "`, `"+` + strings.Trim(next, `"`) + `"`, first + `, "77"`} {
		x.do(asManager, http.MethodPatch, path, `{"name":"Bob's"}`, with("If-Match", stale)).problem(http.StatusPreconditionFailed, codeChanged)
	}
	for _, odd := range []string{"3", `"3`, `3"`, `"a"b"`, "", `"1",,`} {
		x.do(asManager, http.MethodPatch, path, `{"name":"Bob's"}`, with("If-Match", odd)).problem(http.StatusBadRequest, codeMalformed)
	}
	var got struct{ Name string }
	x.do(asManager, http.MethodGet, path, "").want(http.StatusOK).json(&got)
	if got.Name != "Ann's" {
		t.Errorf("the name is %q", got.Name)
	}
	x.do(asManager, http.MethodPatch, path, `{"name":"Bob's"}`, with("If-Match", first+", "+next)).want(http.StatusOK)
	x.do(asManager, http.MethodPatch, path, `{"name":"Carl's"}`, with("If-Match", "*")).want(http.StatusOK)
	// Other writes evaluate the header too, when it is there.
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/disable"}, {http.MethodPost, "/enable"}, {http.MethodPost, "/rotate-secret"}, {http.MethodDelete, ""},
	} {
		x.do(asManager, c.method, path+c.path, "", with("If-Match", first)).problem(http.StatusPreconditionFailed, codeChanged)
	}
	// A missing webhook is answered with 404, whatever the precondition.
	x.do(asManager, http.MethodPatch, "/api/webhooks/wh_none", `{"name":"x"}`, with("If-Match", first)).problem(http.StatusNotFound, codeNotFound)
	x.do(asManager, http.MethodPatch, "/api/webhooks/wh_none", `{"name":"x"}`).problem(http.StatusNotFound, codeNotFound)
}

// Of several concurrent editors of one version, one succeeds. An editor who
// sends "*" succeeds too, and keeps the others' settings.
func TestP11_EditorsThatRace(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	const n = 20
	var wg sync.WaitGroup
	status := make([]int, n)
	for i := range n {
		wg.Go(func() {
			status[i] = x.do(asManager, http.MethodPatch, path, fmt.Sprintf(`{"name":"editor %d"}`, i), with("If-Match", w.etag)).StatusCode
		})
	}
	wg.Wait()
	winner := -1
	for i, s := range status {
		switch {
		case s == http.StatusOK && winner < 0:
			winner = i
		case s != http.StatusPreconditionFailed:
			t.Errorf("editor %d got %d, and editor %d had won", i, s, winner)
		}
	}
	var got struct{ Name, Description string }
	x.do(asManager, http.MethodGet, path, "").json(&got)
	if got.Name != fmt.Sprintf("editor %d", winner) {
		t.Errorf("editor %d won, the name is %q", winner, got.Name)
	}
	for i := range n {
		wg.Go(func() {
			field := "name"
			if i%2 == 0 {
				field = "description"
			}
			if r := x.do(asManager, http.MethodPatch, path, fmt.Sprintf(`{%q:"v%d"}`, field, i), with("If-Match", "*")); r.StatusCode != http.StatusOK {
				t.Errorf("%d %s", r.StatusCode, r.text)
			}
		})
	}
	wg.Wait()
	x.do(asManager, http.MethodGet, path, "").json(&got)
	if !strings.HasPrefix(got.Name, "v") || !strings.HasPrefix(got.Description, "v") {
		t.Errorf("%+v", got)
	}
}

// However enabling and disabling interleave, the webhook ends up in the
// complete state of one of them, in every view.
func TestP11_EnableAndDisableThatRace(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	var wg sync.WaitGroup
	for i := range 20 {
		action := []string{"/enable", "/disable"}[i%2]
		wg.Go(func() {
			var got struct {
				Active         bool
				DisabledReason *string
			}
			x.do(asManager, http.MethodPost, path+action, "").want(http.StatusOK).json(&got)
			if got.Active != (action == "/enable") || got.Active != (got.DisabledReason == nil) {
				t.Errorf("%s: %+v", action, got)
			}
		})
	}
	wg.Wait()
	var end struct {
		Active                     bool
		DisabledReason, DisabledAt *string
	}
	x.do(asManager, http.MethodGet, path, "").json(&end)
	if end.Active != (end.DisabledReason == nil) || end.Active != (end.DisabledAt == nil) {
		t.Errorf("%+v", end)
	}
}

// PATCH changes only the named settings, and "active" is a setting like the
// others.
func TestPatchChangesWhatItNames(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	path := "/api/webhooks/" + w.ID
	before, err := x.env.Webhook(t.Context(), "acme", w.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got created
	etag := x.do(asManager, http.MethodPatch, path, `{"active":false}`, with("If-Match", w.etag)).want(http.StatusOK).json(&got).Header.Get("ETag")
	if got.Active {
		t.Error("it is active")
	}
	x.do(asManager, http.MethodPatch, path, `{"active":true,"timeout":2.5,"maxRetries":0,"events":["a.*","b"],"url":"https://new.example.com/in"}`, with("If-Match", etag)).want(http.StatusOK).json(&got)
	after, err := x.env.Webhook(t.Context(), "acme", w.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !after.Active || after.Timeout.Seconds() != 2.5 || after.MaxRetries != 0 || len(after.Events) != 2 || after.URL != "https://new.example.com/in" ||
		after.Name != before.Name || after.Headers["X-Api-Key"] != "hunter2" || after.VerifyTLS != before.VerifyTLS {
		t.Errorf("%+v", after)
	}
	// Without a change the version stays.
	version := after.Version
	x.do(asManager, http.MethodPatch, path, `{}`, with("If-Match", "*")).want(http.StatusOK)
	if after, _ = x.env.Webhook(t.Context(), "acme", w.ID); after.Version != version {
		t.Errorf("an empty change makes version %d of %d", after.Version, version)
	}
}

// TLS verification is off only on request. The portal warns of it as long as it
// is off, records it, and the host can forbid it.
func TestP15_UnverifiedTLS(t *testing.T) {
	x := newSite(t)
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := x.portal(d)
	type view struct {
		ID              string
		SSLVerification bool
		Warnings        []string
	}
	var plain, off view
	ask(t, s, asManager, http.MethodPost, "/api/webhooks", newHook).want(http.StatusCreated).json(&plain)
	if !plain.SSLVerification || len(plain.Warnings) != 0 {
		t.Errorf("nobody said anything, and it is %+v", plain)
	}
	ask(t, s, asManager, http.MethodPost, "/api/webhooks", strings.Replace(newHook, "{", `{"sslVerification":false,`, 1)).want(http.StatusCreated).json(&off)
	if off.SSLVerification || len(off.Warnings) != 1 || !strings.Contains(off.Warnings[0], "TLS verification is off") {
		t.Errorf("%+v", off)
	}
	ask(t, s, asManager, http.MethodPatch, "/api/webhooks/"+off.ID, `{"name":"renamed"}`, with("If-Match", "*")).want(http.StatusOK)
	var page struct{ Items []view }
	ask(t, s, asViewer, http.MethodGet, "/api/webhooks", "").want(http.StatusOK).json(&page)
	for _, w := range page.Items {
		if (w.ID == off.ID) != (len(w.Warnings) == 1) || (w.ID == off.ID) == w.SSLVerification {
			t.Errorf("listed as %+v", w)
		}
	}
	for _, r := range x.recorded() {
		if r.TLSVerificationOff != (r.WebhookID == off.ID) {
			t.Errorf("recorded as %+v", r)
		}
	}
	ask(t, s, asManager, http.MethodPatch, "/api/webhooks/"+off.ID, `{"sslVerification":true}`, with("If-Match", "*")).want(http.StatusOK).json(&off)
	if !off.SSLVerification || len(off.Warnings) != 0 {
		t.Errorf("switched on again it is %+v", off)
	}
	if rs := x.recorded(); rs[len(rs)-1].TLSVerificationOff {
		t.Errorf("recorded as %+v", rs[len(rs)-1])
	}

	d, err = webhook.New(memstore.New(memstore.Config{}), webhook.Config{ForbidUnverifiedTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	s = x.portal(d)
	if got := ask(t, s, asManager, http.MethodPost, "/api/webhooks", strings.Replace(newHook, "{", `{"sslVerification":false,`, 1)).fields(); got["sslVerification"] == "" {
		t.Errorf("%v", got)
	}
	ask(t, s, asManager, http.MethodPost, "/api/webhooks", newHook).want(http.StatusCreated).json(&plain)
	if got := ask(t, s, asManager, http.MethodPatch, "/api/webhooks/"+plain.ID, `{"sslVerification":false}`, with("If-Match", "*")).fields(); got["sslVerification"] == "" {
		t.Errorf("%v", got)
	}
}
