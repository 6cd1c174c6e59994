package portal

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
)

// Every change is recorded with actor, action and time, and without secrets.
// Reads are not recorded.
func TestP12_ChangesAreRecorded(t *testing.T) {
	x := newSite(t)
	began := time.Now()
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	path := "/api/webhooks/" + w.ID
	ids := map[string]string{}
	for _, c := range []struct{ name, method, path, body string }{
		{"update", http.MethodPatch, path, `{"name":"renamed","headers":{"X-Api-Key":"n3w-v4lue"},"timeout":5}`},
		{"activate", http.MethodPatch, path, `{"active":false}`},
		{"enable", http.MethodPost, path + "/enable", ""},
		{"rotate", http.MethodPost, path + "/rotate-secret", `{"secret":"imported-secret-of-thirty-two-b"}`},
		{"test", http.MethodPost, path + "/test", ""},
		{"resend", http.MethodPost, "/api/deliveries/" + d + "/resend", ""},
		{"count", http.MethodPost, path + "/replay", `{"since":"2024-01-01T00:00:00Z","dryRun":true}`},
		{"replay", http.MethodPost, path + "/replay", `{"since":"2024-01-01T00:00:00Z"}`},
		{"disable", http.MethodPost, path + "/disable", ""},
		{"look", http.MethodGet, path, ""},
		{"refused", http.MethodPost, path + "/test", ""},
		{"delete", http.MethodDelete, path, ""},
	} {
		r := x.do(asManager, c.method, c.path, c.body, with("If-Match", "*"))
		if want := c.name != "refused"; (r.StatusCode < 300) != want {
			t.Fatalf("%s: %d %s", c.name, r.StatusCode, r.text)
		}
		ids[c.name] = r.Header.Get("X-Request-Id")
	}
	want := []AuditRecord{
		{Action: ActionCreate, Webhook: "CRM", Fields: []string{"events", "headers", "maxRetries", "name", "url"}},
		{Action: ActionUpdate, Webhook: "CRM", Fields: []string{"headers", "name", "timeout"}, RequestID: ids["update"]},
		{Action: ActionDisable, RequestID: ids["activate"]},
		{Action: ActionEnable, RequestID: ids["enable"]},
		{Action: ActionRotate, RequestID: ids["rotate"]},
		{Action: ActionTest, RequestID: ids["test"]},
		{Action: ActionResend, DeliveryID: d, RequestID: ids["resend"]},
		{Action: ActionReplay, RequestID: ids["replay"]},
		{Action: ActionDisable, RequestID: ids["disable"]},
		{Action: ActionDelete, RequestID: ids["delete"]},
	}
	got := x.recorded()
	for i := range want {
		want[i].Tenant, want[i].Actor, want[i].WebhookID, want[i].Host = "acme", "ann", w.ID, "crm.example.com"
		if want[i].Webhook == "" {
			want[i].Webhook = "renamed"
		}
	}
	for i := range got {
		if got[i].Time.Before(began) || got[i].Time.After(time.Now()) || got[i].Time.Location() != time.UTC {
			t.Errorf("recorded at %v", got[i].Time)
		}
		got[i].Time = time.Time{}
		if i == 0 {
			want[i].RequestID = got[i].RequestID
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	for _, s := range []string{"hunter2", "n3w-v4lue", "t0ken", "imported-secret", w.Secret} {
		if strings.Contains(fmt.Sprintf("%+v", got), s) {
			t.Errorf("a record holds %q", s)
		}
	}
}

// A change that cannot be recorded is not made, whatever its kind.
func TestP12_WhatCannotBeRecordedIsNotDone(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	d := x.publish("acme", w.ID)
	before := x.everything("acme")
	attempts := len(x.env.Transport.Receiver("crm.example.com").Requests())
	x.audit = func(AuditRecord) error { return errors.New("disk of 10.1.2.3 is full") }
	path := "/api/webhooks/" + w.ID
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "/api/webhooks", newHook},
		{http.MethodPatch, path, `{"name":"renamed"}`},
		{http.MethodPatch, path, `{"active":false}`},
		{http.MethodPost, path + "/disable", ""},
		{http.MethodPost, path + "/enable", ""},
		{http.MethodPost, path + "/rotate-secret", ""},
		{http.MethodPost, path + "/test", ""},
		{http.MethodPost, path + "/replay", `{"since":"2024-01-01T00:00:00Z"}`},
		{http.MethodPost, "/api/deliveries/" + d + "/resend", ""},
		{http.MethodDelete, path, ""},
	} {
		r := x.do(asManager, c.method, c.path, c.body, with("If-Match", "*"))
		if p := r.problem(http.StatusInternalServerError, codeAudit); strings.Contains(r.text, "10.1.2.3") || strings.Contains(r.text, "secret") {
			t.Errorf("%+v", p)
		}
	}
	if diff := cmp.Diff(before, x.everything("acme")); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
	if _, err := x.env.DeliverDue(t.Context()); err != nil || len(x.env.Transport.Receiver("crm.example.com").Requests()) != attempts {
		t.Errorf("something was sent, or %v", err)
	}
	if !strings.Contains(x.log.String(), "10.1.2.3") {
		t.Error("the log does not say why")
	}
	x.audit = nil
	// The shown secret is still valid.
	x.publish("acme", w.ID)
	if rs := x.env.Transport.Receiver("crm.example.com").Requests(); rs[len(rs)-1].Err != nil {
		t.Error(rs[len(rs)-1].Err)
	}
}

// No event is sent to a new webhook before its creation is recorded.
func TestP12_ANewWebhookGetsNothingBeforeItIsRecorded(t *testing.T) {
	x := newSite(t)
	x.audit = func(r AuditRecord) error {
		if r.Action == ActionCreate {
			w, err := x.env.Webhook(t.Context(), "acme", r.WebhookID)
			if err != nil || w.Active {
				t.Errorf("while it is being recorded: %+v, %v", w, err)
			}
			if _, err := x.env.Publish(t.Context(), webhook.Event{Tenant: "acme", Type: "a.b", Data: map[string]int{}}); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	w := x.create(asManager, newHook)
	if !w.Active {
		t.Error("it is not active in the end")
	}
	if n, err := x.env.DeliverDue(t.Context()); n != 0 || err != nil {
		t.Errorf("%d attempts, %v", n, err)
	}
	var off created
	x.do(asManager, http.MethodPost, "/api/webhooks", strings.Replace(newHook, "{", `{"active":false,`, 1)).want(http.StatusCreated).json(&off)
	if off.Active {
		t.Error("it is active though it was to be disabled")
	}
}

// A change that fails after it was recorded is recorded as failed.
func TestP12_FailuresAreRecorded(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	x.audit = func(r AuditRecord) error {
		if r.Action == ActionUpdate && !r.Failed {
			// Another user changes the webhook in between.
			if _, err := x.env.DisableWebhook(t.Context(), "acme", w.ID, "meanwhile"); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	x.do(asManager, http.MethodPatch, "/api/webhooks/"+w.ID, `{"name":"renamed"}`, with("If-Match", w.etag)).problem(http.StatusPreconditionFailed, codeChanged)
	got := slices.DeleteFunc(x.recorded(), func(r AuditRecord) bool { return r.Action != ActionUpdate })
	if len(got) != 2 || got[0].Failed || !got[1].Failed || got[1].WebhookID != w.ID {
		t.Errorf("%+v", got)
	}
}

// All changes work without an audit function.
func TestP12_NoAudit(t *testing.T) {
	x := newSite(t, func(c *Config) { c.Audit = nil })
	w := x.create(asManager, newHook)
	if !w.Active || w.etag != `"1"` {
		t.Errorf("%+v", w)
	}
	x.do(asManager, http.MethodDelete, "/api/webhooks/"+w.ID, "").want(http.StatusNoContent)
}
