package portal

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
)

type matrixEntry struct {
	id   string // "webhook" or "delivery"
	body string // JSON for the API, a form for pages
}

// matrix holds, for every route with an ID in its path, a request that the
// owner could make. A missing route fails TestP1_AnotherTenantsIDsAreUnknown.
var matrix = map[string]matrixEntry{
	"GET api/webhooks/{id}":                {"webhook", ""},
	"PATCH api/webhooks/{id}":              {"webhook", `{"description":"changed"}`},
	"POST api/webhooks/{id}/enable":        {"webhook", ""},
	"POST api/webhooks/{id}/disable":       {"webhook", `{"reason":"a test"}`},
	"POST api/webhooks/{id}/rotate-secret": {"webhook", ""},
	"POST api/webhooks/{id}/test":          {"webhook", `{"type":"agent.message"}`},
	"POST api/webhooks/{id}/replay":        {"webhook", `{"since":"2024-01-01T00:00:00Z"}`},
	"GET api/webhooks/{id}/deliveries":     {"webhook", ""},
	"GET api/webhooks/{id}/stats":          {"webhook", ""},
	"GET api/deliveries/{id}":              {"delivery", ""},
	"POST api/deliveries/{id}/resend":      {"delivery", ""},
	"DELETE api/webhooks/{id}":             {"webhook", ""},
}

// On every route another tenant's ID gets, byte for byte, the answer of an
// unknown ID, and has no effect.
func TestP1_AnotherTenantsIDsAreUnknown(t *testing.T) {
	// Every route has a site of its own, so that its changes do not make the
	// next route fail.
	for _, rt := range newSite(t).s.routes {
		if !strings.Contains(rt.pattern, "{id}") {
			if strings.Contains(rt.pattern, "{") && rt.need != needNothing {
				t.Errorf("%s %s has a wildcard that is not {id}: it would not be tested", rt.method, rt.pattern)
			}
			continue
		}
		name := rt.method + " " + rt.pattern
		t.Run(name, func(t *testing.T) {
			entry, ok := matrix[name]
			if rt.kind == kindPage {
				entry, ok = pageMatrix[name]
			}
			if !ok {
				t.Fatal("this route is missing from the matrix: add it")
			}
			x := newSite(t)
			w := x.create(asManager, newHook)
			ids := map[string]string{"webhook": w.ID, "delivery": x.publish("acme", w.ID)}
			if strings.HasSuffix(rt.pattern, "/enable") {
				x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/disable", "").want(http.StatusOK)
			}
			before, audited := x.everything("acme"), len(x.recorded())
			send := func(login, id string) reply {
				return x.do(login, rt.method, "/"+strings.Replace(rt.pattern, "{id}", id, 1), entry.body, with("If-Match", "*"), func(r *http.Request) {
					if rt.kind == kindPage && rt.method != http.MethodGet {
						r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					}
				})
			}
			id := ids[entry.id]
			unknown := "wh_" + strings.Repeat("0", len(id)-3)
			foreign, missing := send(asOther, id), send(asOther, unknown)
			foreign.want(http.StatusNotFound)
			missing.want(http.StatusNotFound)
			normal := func(r reply, id string) string {
				text := strings.ReplaceAll(r.text, r.Header.Get("X-Request-Id"), "request")
				r.Header.Del("X-Request-Id")
				return strings.ReplaceAll(text, id, "id")
			}
			if diff := cmp.Diff(normal(missing, unknown), normal(foreign, id)); diff != "" {
				t.Errorf("the answers differ (-missing +foreign):\n%s", diff)
			}
			foreign.Header.Del("Content-Length")
			missing.Header.Del("Content-Length")
			if diff := cmp.Diff(missing.Header, foreign.Header); diff != "" {
				t.Errorf("the headers differ (-missing +foreign):\n%s", diff)
			}
			if diff := cmp.Diff(before, x.everything("acme")); diff != "" {
				t.Errorf("something changed:\n%s", diff)
			}
			if n := len(x.recorded()); n != audited {
				t.Errorf("%d more audit records", n-audited)
			}
			// The owner can make the request, so the 404 has no other reason.
			if r := send(asManager, id); r.StatusCode >= http.StatusBadRequest {
				t.Errorf("the owner gets %d: %s", r.StatusCode, r.text)
			}
		})
	}
}

// everything returns all data of a tenant.
func (x *site) everything(tenant string) string {
	x.t.Helper()
	ws, err := x.env.Webhooks(x.t.Context(), webhook.WebhookQuery{Tenant: tenant})
	if err != nil {
		x.t.Fatal(err)
	}
	ds, err := x.env.Deliveries(x.t.Context(), webhook.DeliveryQuery{Tenant: tenant})
	if err != nil {
		x.t.Fatal(err)
	}
	out, err := json.MarshalIndent([]any{ws, ds}, "", " ")
	if err != nil {
		x.t.Fatal(err)
	}
	return string(out)
}

// The tenant comes only from Config.Access.
func TestP1_NothingInARequestNamesTheTenant(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	x.publish("acme", w.ID)
	for _, path := range []string{"/api/webhooks?tenant=acme", "/api/event-types?tenant=acme", "/api/webhooks?Tenant=acme"} {
		x.do(asOther, http.MethodGet, path, "").fields()
	}
	var page struct{ Items []created }
	x.do(asOther, http.MethodGet, "/api/webhooks", "", with("X-Tenant", "acme"), with("Tenant", "acme")).want(http.StatusOK).json(&page)
	if len(page.Items) != 0 {
		t.Errorf("a header shows another tenant's webhooks: %+v", page)
	}
	for _, field := range []string{"tenant", "Tenant", "id"} {
		if got := x.do(asOther, http.MethodPost, "/api/webhooks", `{"name":"a","url":"https://a.example.com","events":["*"],"`+field+`":"acme"}`).fields(); got[field] == "" {
			t.Errorf("a body with %q is refused for %v", field, got)
		}
	}
}

// Filters and cursors of another tenant do not reach its data.
func TestP1_FiltersAndCursorsStayInTheTenant(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	x.create(asManager, newHook)
	x.publish("acme", w.ID)
	x.publish("acme", w.ID)
	mine := x.create(asOther, newHook)
	x.publish("other", mine.ID)
	acme, err := x.env.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		Items []struct{ ID, WebhookID string }
		Next  string
	}
	path := "/api/webhooks/" + mine.ID + "/deliveries"
	x.do(asOther, http.MethodGet, path+"?eventId="+acme.Items[0].EventID, "").want(http.StatusOK).json(&page)
	if len(page.Items) != 0 {
		t.Errorf("another tenant's event shows %+v", page)
	}
	for _, c := range []struct{ list, ours string }{
		{"/api/webhooks", "/api/webhooks"},
		{"/api/webhooks/" + w.ID + "/deliveries", path},
	} {
		x.do(asManager, http.MethodGet, c.list+"?limit=1", "").want(http.StatusOK).json(&page)
		if page.Next == "" {
			t.Fatal("one page is all")
		}
		r := x.do(asOther, http.MethodGet, c.ours+"?cursor="+url.QueryEscape(page.Next), "")
		if r.StatusCode == http.StatusOK {
			page.Items = nil
			r.json(&page)
			for _, item := range page.Items {
				if item.ID != mine.ID && item.WebhookID != mine.ID {
					t.Errorf("another tenant's cursor shows %+v", item)
				}
			}
		} else {
			r.problem(http.StatusBadRequest, codeInvalid)
		}
	}
}

func TestP1_NoPortalWithoutAccess(t *testing.T) {
	x := newSite(t)
	if h, err := New(x.env.Dispatcher, Config{}); h != nil || err == nil || !strings.Contains(err.Error(), "Access is required") {
		t.Errorf("a portal without Access: %v, %v", h, err)
	}
	if h, err := New(nil, Config{Access: testLogin}); h != nil || err == nil {
		t.Errorf("a portal without a dispatcher: %v, %v", h, err)
	}
}

// Every route calls Config.Access and refuses visitors whom the host refuses.
func TestP1_EveryRouteAsksTheHost(t *testing.T) {
	x := newSite(t)
	for _, rt := range x.s.routes {
		if rt.need == needNothing {
			if rt.kind != kindAsset || rt.method != http.MethodGet {
				t.Errorf("%s %s needs no access and is no asset", rt.method, rt.pattern)
			}
			continue
		}
		path := "/" + strings.Replace(rt.pattern, "{id}", "wh_1", 1)
		for login, status := range map[string]int{
			"": http.StatusUnauthorized, "stranger": http.StatusForbidden, "nobody": http.StatusForbidden, "broken": http.StatusInternalServerError,
		} {
			r := x.do(login, rt.method, path, "", jsonOrForm(rt))
			if r.StatusCode != status || strings.Contains(r.text, "10.1.2.3") || strings.Contains(r.text, "billing") {
				t.Errorf("%s %s as %q: %d %s, want %d", rt.method, rt.pattern, login, r.StatusCode, r.text, status)
			}
		}
	}
	if !strings.Contains(x.log.String(), "10.1.2.3") {
		t.Errorf("the log does not say why the login failed:\n%s", x.log)
	}
}

// jsonOrForm gives a request the content type that its route takes.
func jsonOrForm(rt route) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		if rt.kind == kindPage {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
}

// A visitor who may only view cannot write, and gets no information from
// trying.
func TestP1_ViewersCannotWrite(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	before := x.everything("acme")
	for _, rt := range x.s.routes {
		if rt.method == http.MethodGet {
			continue
		}
		if rt.need != needManage {
			t.Errorf("%s %s writes and does not need the right to manage", rt.method, rt.pattern)
		}
		for _, id := range []string{w.ID, d, "wh_none"} {
			r := x.do(asViewer, rt.method, "/"+strings.Replace(rt.pattern, "{id}", id, 1), "", jsonOrForm(rt))
			if r.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s: %d, want 403", rt.method, rt.pattern, r.StatusCode)
			}
		}
	}
	// The actions check the rights by themselves, independently of the route.
	a := Access{Tenant: "acme"}
	ctx := t.Context()
	for name, try := range map[string]func() error{
		"create":  func() error { _, _, err := x.s.createWebhook(ctx, a, webhook.WebhookSpec{}); return err },
		"update":  func() error { _, err := x.s.updateWebhook(ctx, a, w.ID, 0, webhook.WebhookUpdate{}); return err },
		"enable":  func() error { _, err := x.s.setActive(ctx, a, w.ID, 0, true, ""); return err },
		"disable": func() error { _, err := x.s.setActive(ctx, a, w.ID, 0, false, ""); return err },
		"delete":  func() error { return x.s.deleteWebhook(ctx, a, w.ID) },
		"rotate":  func() error { _, _, err := x.s.rotateSecret(ctx, a, w.ID, webhook.Rotation{}); return err },
		"test":    func() error { _, err := x.s.sendTest(ctx, a, w.ID, ""); return err },
		"resend":  func() error { _, err := x.s.resend(ctx, a, d); return err },
		"replay":  func() error { _, err := x.s.replay(ctx, a, webhook.ReplayRequest{WebhookID: w.ID}); return err },
		"count": func() error {
			_, _, err := x.s.countReplay(ctx, a, webhook.ReplayRequest{WebhookID: w.ID})
			return err
		},
	} {
		if err := try(); err != errNeedManage {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, x.everything("acme")); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}
