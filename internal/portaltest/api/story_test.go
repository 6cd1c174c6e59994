package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/webhooktest"
)

type hook struct {
	ID, Name, URL, Description string
	Secret                     string
	Events                     []string
	Active, SSLVerification    bool
	Timeout, RateLimit         float64
	MaxRetries                 int
	Headers                    map[string]string
	DisabledReason             *string
	CreatedAt, UpdatedAt       time.Time
	LastTriggeredAt            *time.Time
	LastSuccessAt              *time.Time
	SuccessRate                *float64
}

type delivery struct {
	ID, EventID, EventType, WebhookID, State string
	Reason, LastError                        *string
	AttemptCount                             int
	LastStatus                               *int
	NextAttemptAt, FinishedAt                *time.Time
	Request                                  *struct {
		Attempt    int
		URL        string
		Headers    http.Header
		Body       string
		Signatures string
	}
	Attempts []struct {
		Number       int
		Status       *int
		Succeeded    bool
		ResponseBody string
	}
}

type list[T any] struct {
	Items []T
	Next  *string
}

// Everything that a customer does with webhooks, from the first to the last, by
// the API alone; each step checked against the document, and every operation of
// the document taken once and refused once.
func TestTheAPIFromBeginningToEnd(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		// What can be asked, what there is to choose from, and nothing yet.
		w.do(200, "GET", "openapi.json", "")
		types := into[list[struct {
			Name   string
			Sample map[string]any
		}]](w.do(200, "GET", "event-types", ""))
		if len(types.Items) != 3 || types.Items[0].Name != "agent.action" || types.Items[0].Sample["action"] != "WARP_EXECUTE" {
			t.Errorf("%+v", types)
		}
		if got := into[list[hook]](w.do(200, "GET", "webhooks", "")); len(got.Items) != 0 || got.Next != nil {
			t.Errorf("%+v", got)
		}

		// Created, with defaults filled in and the secret shown.
		made := w.do(201, "POST", "webhooks", `{"name":"CRM","url":"https://crm.example.com/in","events":["agent.*"],"headers":{"X-Api-Key":"hunter2"},"maxRetries":0,"rateLimit":1000}`)
		h := into[hook](made)
		if h.Name != "CRM" || h.URL != "https://crm.example.com/in" || !h.Active || !h.SSLVerification || h.Timeout != 30 || h.MaxRetries != 0 || h.RateLimit != 1000 ||
			!strings.HasPrefix(h.Secret, "whsec_") || h.Headers["X-Api-Key"] != webhook.HiddenValue || h.LastTriggeredAt != nil || h.SuccessRate != nil ||
			time.Since(h.CreatedAt) > time.Minute {
			t.Errorf("%+v", h)
		}
		one := "webhooks/" + h.ID
		if at, err := made.Location(); err != nil || at.String() != w.base+one {
			t.Errorf("it is said to be at %v, %v", at, err)
		}
		rx := w.net.Receiver("crm.example.com")
		rx.Trust(webhook.NewSecret(h.Secret))

		// A test event arrives and verifies.
		sent := w.do(202, "POST", one+"/test", `{"type":"agent.message"}`)
		if n := w.deliver(); n != 1 || len(rx.Deliveries()) != 1 {
			t.Fatalf("%d attempts, %d deliveries", n, len(rx.Deliveries()))
		}
		at, err := sent.Location()
		if err != nil {
			t.Fatal(err)
		}
		d := into[delivery](w.do(200, "GET", strings.TrimPrefix(at.String(), w.base), ""))
		got := rx.Requests()[0]
		if d.State != "succeeded" || d.AttemptCount != 1 || len(d.Attempts) != 1 || !d.Attempts[0].Succeeded || d.Request == nil ||
			d.Request.Body != string(got.Body) || d.Request.Headers.Get("X-Webhook-Signature") != got.Header.Get("X-Webhook-Signature") ||
			d.Request.Headers.Get("X-Api-Key") != webhook.HiddenValue || d.Request.Signatures != "exact" {
			t.Errorf("%+v, sent %v %s", d, got.Header, got.Body)
		}

		// Failures are shown with what the receiver said.
		since := time.Now().UTC()
		rx.AnswerAlways(webhooktest.Answer{Status: http.StatusBadGateway, Body: "<h1>down</h1>"})
		for range 5 {
			w.publish(webhook.Event{Tenant: "acme", Data: webhook.AgentMessage{Content: "hi"}})
		}
		w.publish(webhook.Event{Tenant: "acme", Data: webhook.UserMessage{Content: "not selected"}})
		w.deliver()
		failed := into[list[delivery]](w.do(200, "GET", one+"/deliveries?state=failed&limit=2&eventType=agent.message&since="+url.QueryEscape(since.Format(time.RFC3339Nano)), ""))
		if len(failed.Items) != 2 || failed.Next == nil || failed.Items[0].LastStatus == nil || *failed.Items[0].LastStatus != 502 || *failed.Items[0].Reason != "retries_exhausted" {
			t.Fatalf("%+v", failed)
		}
		all := failed.Items
		for next := failed.Next; next != nil; {
			page := into[list[delivery]](w.do(200, "GET", one+"/deliveries?state=failed&limit=2&cursor="+url.QueryEscape(*next), ""))
			all, next = append(all, page.Items...), page.Next
		}
		if len(all) != 5 {
			t.Errorf("%d failed deliveries, want 5", len(all))
		}
		if one := into[delivery](w.do(200, "GET", "deliveries/"+all[0].ID, "")); one.Attempts[0].ResponseBody != "<h1>down</h1>" {
			t.Errorf("%+v", one)
		}
		stats := into[struct {
			Attempts    int
			SuccessRate *float64
			Hours       []struct{ Succeeded, Failed int }
		}](w.do(200, "GET", one+"/stats", ""))
		if stats.Attempts != 6 || stats.SuccessRate == nil || *stats.SuccessRate < 0.16 || *stats.SuccessRate > 0.17 || len(stats.Hours) != 25 {
			t.Errorf("%+v", stats)
		}
		if got := into[list[hook]](w.do(200, "GET", "webhooks?search=crm", "")); len(got.Items) != 1 || got.Items[0].SuccessRate == nil || got.Items[0].LastTriggeredAt == nil || got.Items[0].LastSuccessAt == nil {
			t.Errorf("%+v", got)
		}

		// The receiver is back: one again by hand, the rest by a replay in steps.
		rx.AnswerAlways(webhooktest.Status(http.StatusNoContent))
		again := into[delivery](w.do(202, "POST", "deliveries/"+all[0].ID+"/resend", ""))
		if again.State != "pending" || again.NextAttemptAt == nil {
			t.Errorf("%+v", again)
		}
		w.deliver()
		type step struct {
			Resent, Created int
			Next            *string
		}
		from := `"since":"` + since.Format(time.RFC3339Nano) + `","states":["failed"],"limit":3`
		if s := into[step](w.do(200, "POST", one+"/replay", `{`+from+`,"dryRun":true}`)); s.Resent != 3 {
			t.Errorf("counted %+v", s)
		}
		resent := 0
		for cursor := ""; ; {
			s := into[step](w.do(200, "POST", one+"/replay", `{`+from+`,"cursor":"`+cursor+`"}`))
			resent += s.Resent
			if s.Next == nil {
				break
			}
			cursor = *s.Next
		}
		w.deliver()
		if resent != 4 || len(into[list[delivery]](w.do(200, "GET", one+"/deliveries?state=succeeded", "")).Items) != 6 {
			t.Errorf("%d resent", resent)
		}

		// Changed: by name, and against the version that was read.
		read := w.do(200, "GET", one, "")
		etag := read.Header.Get("ETag")
		if etag == made.Header.Get("ETag") || !strings.HasPrefix(etag, strings.TrimSuffix(made.Header.Get("ETag"), `"`)+".") {
			t.Errorf("ETag %s after attempts, was %s", etag, made.Header.Get("ETag"))
		}
		w.do(304, "GET", one, "", with("If-None-Match", etag))
		w.do(304, "GET", "openapi.json", "", with("If-None-Match", w.do(200, "GET", "openapi.json", "").Header.Get("ETag")))
		w.do(428, "PATCH", one, `{"name":"x"}`)
		next := w.do(200, "PATCH", one, `{"description":"of sales","timeout":5,"rateLimit":0,"headers":{"X-Api-Key":null,"X-New":"n"},"events":["agent.message","user.*"]}`, with("If-Match", etag))
		if c := into[hook](next); c.Description != "of sales" || c.Timeout != 5 || c.RateLimit != 0 || len(c.Headers) != 2 || !slices.Equal(c.Events, []string{"agent.message", "user.*"}) || c.Name != "CRM" {
			t.Errorf("%+v", c)
		}
		w.do(412, "PATCH", one, `{"name":"x"}`, with("If-Match", etag))
		w.do(200, "PATCH", one, `{"description":""}`, with("If-Match", "*"), with("Content-Type", "application/merge-patch+json"))

		// Disabled, nothing arrives; enabled, it does, with the old header kept.
		if off := into[hook](w.do(200, "POST", one+"/disable", `{"reason":"maintenance"}`)); off.Active || off.DisabledReason == nil || *off.DisabledReason != "maintenance" {
			t.Errorf("%+v", off)
		}
		w.do(409, "POST", one+"/test", "")
		if n := w.publishTo(rx, "while it is off"); n != 0 {
			t.Errorf("%d arrived", n)
		}
		w.do(200, "POST", one+"/enable", "")
		if n := w.publishTo(rx, "on"); n != 1 {
			t.Errorf("%d arrived", n)
		}
		if rs := rx.Requests(); rs[len(rs)-1].Header.Get("X-Api-Key") != "hunter2" || rs[len(rs)-1].Header.Get("X-New") != "n" {
			t.Errorf("%v", rs[len(rs)-1].Header)
		}

		// Rotated: the new secret is shown and signs.
		rotated := into[hook](w.do(200, "POST", one+"/rotate-secret", `{"overlap":0}`))
		rx.Distrust(webhook.NewSecret(h.Secret))
		rx.Trust(webhook.NewSecret(rotated.Secret))
		if n := w.publishTo(rx, "rotated"); n != 1 || rotated.Secret == h.Secret {
			t.Errorf("%d arrived", n)
		}
		if d := into[delivery](w.do(200, "GET", "deliveries/"+all[0].ID+"?attempt=1", "")); d.Request.Signatures != "unknown" || d.Request.Headers.Get("X-Webhook-Signature") != "" {
			t.Errorf("%+v", d.Request)
		}

		// Gone; its deliveries are still there to be looked at.
		w.do(204, "DELETE", one, "")
		w.do(404, "GET", one, "")
		w.do(200, "GET", "deliveries/"+all[0].ID, "")
		w.do(404, "POST", "deliveries/"+all[0].ID+"/resend", "")

		// Every operation was carried out, and every one was refused.
		anonymous := func(r *http.Request) { r.Header.Del("Authorization") }
		for _, op := range w.check.operations() {
			method, path, _ := strings.Cut(op, " ")
			w.do(401, method, strings.Replace(path[1:], "{id}", "wh_1", 1), "", anonymous, with("Content-Type", "application/json"))
		}
		for _, op := range w.check.operations() {
			if seen := w.check.seen[op]; seen[true] == 0 || seen[false] == 0 {
				t.Errorf("%s: %d times carried out, %d times refused; want both tested", op, seen[true], seen[false])
			}
		}
		if len(w.check.operations()) != 16 {
			t.Errorf("the document has %d operations: %v", len(w.check.operations()), w.check.operations())
		}
	})
}

// publishTo publishes one event, delivers, and returns how many verified and
// were accepted.
func (w *world) publishTo(rx *webhooktest.Receiver, content string) int {
	w.t.Helper()
	before := len(rx.Deliveries())
	w.publish(webhook.Event{Tenant: "acme", Data: webhook.AgentMessage{Content: content}})
	w.deliver()
	return len(rx.Deliveries()) - before
}

// What the document does not allow is refused, and what is refused is answered
// as the document says.
func TestRefusalsFollowTheDocument(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		h := into[hook](w.do(201, "POST", "webhooks", `{"name":"a","url":"https://a.example.com/in","events":["*"]}`))
		one := "webhooks/" + h.ID
		star := with("If-Match", "*")
		for _, body := range []string{
			`{}`, `[]`, `x`, `{"name":"a"}`, `{"name":"","url":"https://a.example.com","events":["*"]}`, `{"name":"a","url":"https://a.example.com","events":[]}`,
			`{"name":1,"url":2,"events":3}`, `{"name":"a","url":"https://a.example.com","events":["*"],"timeout":0}`, `{"name":"a","url":"https://a.example.com","events":["*"],"rateLimit":0.001}`,
			`{"name":"a","url":"https://a.example.com","events":["*"],"maxRetries":11}`, `{"name":"a","url":"https://a.example.com","events":["*"],"secret":"short"}`,
			`{"name":"a","url":"https://a.example.com","events":["*"],"id":"mine"}`, `{"name":"a","url":"https://10.0.0.1/","events":["*"]}`,
			`{"name":"a","url":"https://a.example.com","events":["*"],"headers":{"Host":"x"}}`,
		} {
			w.do(400, "POST", "webhooks", body)
		}
		for _, body := range []string{`{"name":null}`, `{"secret":"x"}`, `{"colour":"x"}`, `{"maxRetries":1.5}`} {
			w.do(400, "PATCH", one, body, star)
		}
		for _, path := range []string{"webhooks?limit=0", "webhooks?limit=501", "webhooks?cursor=x", "webhooks?x=1", one + "/deliveries?state=odd", one + "/deliveries?since=x", one + "/stats?since=2000-01-01T00:00:00Z", "deliveries/" + h.ID + "?attempt=0"} {
			w.do(400, "GET", path, "")
		}
		for _, path := range []string{"webhooks/none", "webhooks/none/stats", "webhooks/none/deliveries", "deliveries/none", "nothing", "webhooks/%00"} {
			w.do(404, "GET", path, "")
		}
		w.do(405, "PUT", "webhooks", `{}`)
		w.do(415, "POST", "webhooks", `{}`, with("Content-Type", "text/plain"))
		w.do(413, "POST", "webhooks", `{"name":"`+strings.Repeat("a", 1<<20)+`"}`)
		w.do(403, "POST", "webhooks", `{"name":"a","url":"https://a.example.com/in","events":["*"]}`, with("Authorization", "acme/view"))
		w.do(403, "POST", "webhooks", `{"name":"a","url":"https://a.example.com/in","events":["*"]}`, with("Origin", "https://evil.example"))
		w.do(404, "GET", one, "", with("Authorization", "other/manage"))
		for range 10 {
			w.do(202, "POST", one+"/test", "")
		}
		w.do(429, "POST", one+"/test", "")
	})
}
