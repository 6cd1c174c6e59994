package portal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// site is a portal over a dispatcher whose receivers are in the process.
type site struct {
	t   *testing.T
	env *webhooktest.Env
	s   *server
	log *syncBuffer

	mu     sync.Mutex
	audits []AuditRecord
	audit  func(AuditRecord) error // called for each record
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// loginHeader is the tests' login: it holds tenant, actor and rights.
const loginHeader = "Test-Login"

func testLogin(r *http.Request) (Access, error) {
	login := r.Header.Get(loginHeader)
	tenant, rest, _ := strings.Cut(login, "/")
	actor, right, _ := strings.Cut(rest, "/")
	switch login {
	case "":
		return Access{}, ErrUnauthenticated
	case "stranger":
		return Access{}, fmt.Errorf("billing says no: %w", ErrForbidden)
	case "broken":
		return Access{}, fmt.Errorf("sessions: dial tcp 10.1.2.3:6379: connection refused")
	case "nobody":
		return Access{Manage: true}, nil
	}
	return Access{Tenant: tenant, Actor: actor, Manage: right == "manage"}, nil
}

// Logins of the tests.
const (
	asManager = "acme/ann/manage"
	asViewer  = "acme/val/view"
	asOther   = "other/olga/manage"
)

func newSite(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	x := &site{t: t, log: new(syncBuffer)}
	x.env = webhooktest.New(t, webhook.Config{Retry: webhook.RetryDelays{time.Hour}, Logger: slog.New(slog.NewTextHandler(x.log, nil))})
	x.s = x.portal(x.env.Dispatcher, change...)
	return x
}

// portal returns a portal with the tests' login over a dispatcher.
func (x *site) portal(d *webhook.Dispatcher, change ...func(*Config)) *server {
	x.t.Helper()
	cfg := Config{
		Access: testLogin,
		Logger: slog.New(slog.NewTextHandler(x.log, nil)),
		Audit: func(_ context.Context, r AuditRecord) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.audit != nil {
				if err := x.audit(r); err != nil {
					return err
				}
			}
			x.audits = append(x.audits, r)
			return nil
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	h, err := New(d, cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	return h.(*server)
}

func (x *site) recorded() []AuditRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]AuditRecord(nil), x.audits...)
}

// reply is an answer with its whole body.
type reply struct {
	*http.Response
	t    *testing.T
	text string
}

// do makes a request with a login; a body is sent as JSON. Options change the
// request.
func (x *site) do(login, method, path, body string, options ...func(*http.Request)) reply {
	x.t.Helper()
	return ask(x.t, x.s, login, method, path, body, options...)
}

func ask(t *testing.T, h http.Handler, login, method, path, body string, options ...func(*http.Request)) reply {
	t.Helper()
	var r io.Reader = http.NoBody
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequestWithContext(t.Context(), method, path, r)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if login != "" {
		req.Header.Set(loginHeader, login)
	}
	for _, o := range options {
		o(req)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	resp := rec.Result()
	return reply{resp, t, rec.Body.String()}
}

// with sets a header of a request.
func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// want checks the status and returns the answer.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.StatusCode != status {
		r.t.Fatalf("status %d, want %d: %s", r.StatusCode, status, r.text)
	}
	return r
}

// json decodes the answer.
func (r reply) json(v any) reply {
	r.t.Helper()
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		r.t.Fatalf("Content-Type %q: %s", got, r.text)
	}
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		r.t.Fatalf("%v: %s", err, r.text)
	}
	return r
}

// problem checks that the answer is a problem of this status and code, and
// returns it.
func (r reply) problem(status int, code string) problem {
	r.t.Helper()
	r.want(status)
	var p problem
	if err := json.Unmarshal([]byte(r.text), &p); err != nil || r.Header.Get("Content-Type") != "application/problem+json" {
		r.t.Fatalf("no problem (%q, %v): %s", r.Header.Get("Content-Type"), err, r.text)
	}
	if p.Code != code || p.Status != status || p.RequestID == "" || p.RequestID != r.Header.Get("X-Request-Id") {
		r.t.Fatalf("problem %+v, want code %s and status %d", p, code, status)
	}
	return p
}

// fields returns the refused fields of a 400.
func (r reply) fields() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, f := range r.problem(http.StatusBadRequest, codeInvalid).Errors {
		out[f.Field] = f.Reason
	}
	return out
}

// created holds the fields of a webhook that the tests read.
type created struct {
	ID, Secret, URL string
	Active          bool
	Headers         map[string]string
	etag            string
}

const newHook = `{"name":"CRM","url":"https://crm.example.com/in?token=t0ken","events":["*"],"headers":{"X-Api-Key":"hunter2"},"maxRetries":0}`

// create makes a webhook and lets its receiver trust it.
func (x *site) create(login, body string) created {
	x.t.Helper()
	var w created
	w.etag = x.do(login, http.MethodPost, "/api/webhooks", body).want(http.StatusCreated).json(&w).Header.Get("ETag")
	x.env.Transport.Receiver("crm.example.com").Trust(webhook.NewSecret(w.Secret))
	return w
}

// publish publishes an event for a tenant and delivers it; it returns the ID of
// the delivery to a webhook.
func (x *site) publish(tenant, webhookID string) string {
	x.t.Helper()
	p, err := x.env.Publish(x.t.Context(), webhook.Event{Tenant: tenant, Data: webhook.AgentMessage{Agent: webhook.Ref{ID: "a", Name: "Ada"}, Content: "hi"}})
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.env.DeliverDue(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	page, err := x.env.Deliveries(x.t.Context(), webhook.DeliveryQuery{Tenant: tenant, WebhookID: webhookID, EventID: p.ID})
	if err != nil || len(page.Items) != 1 {
		x.t.Fatalf("%d deliveries, %v", len(page.Items), err)
	}
	return page.Items[0].ID
}
