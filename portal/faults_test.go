package portal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// faultyStore fails, or panics, as a database does.
type faultyStore struct {
	*memstore.Store
	err   error
	panic bool
}

func (s *faultyStore) fault() error {
	if s.panic {
		panic(s.err)
	}
	return s.err
}

func (s *faultyStore) ListWebhooks(context.Context, webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	return webhook.Page[webhook.Webhook]{}, s.fault()
}

func (s *faultyStore) GetWebhook(context.Context, string, string) (webhook.WebhookRecord, error) {
	return webhook.WebhookRecord{}, s.fault()
}

func (s *faultyStore) GetDelivery(context.Context, string, string) (webhook.Delivery, error) {
	return webhook.Delivery{}, s.fault()
}

// errInternals has details that an error may hold and an answer must not.
var errInternals = errors.New(`pq: relation "hooks.webhooks" does not exist at /srv/app/store.go:42, SELECT secret FROM webhooks on 10.1.2.3:5432`)

// Internal errors are answered with only a request ID, under which the log has
// the details.
func TestP14_FaultsSayNothing(t *testing.T) {
	for _, panics := range []bool{false, true} {
		x := newSite(t)
		d, err := webhook.New(&faultyStore{memstore.New(memstore.Config{}), errInternals, panics}, webhook.Config{Logger: slog.New(slog.NewTextHandler(x.log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s := x.portal(d)
		for _, rt := range s.routes {
			if rt.need == needNothing {
				continue
			}
			entry := matrix[rt.method+" "+rt.pattern]
			if rt.pattern == "api/webhooks" && rt.method == http.MethodPost {
				entry.body = newHook
			}
			if rt.kind == kindPage {
				entry = pageMatrix[rt.method+" "+rt.pattern]
			}
			r := ask(t, s, asManager, rt.method, "/"+strings.Replace(rt.pattern, "{id}", "wh_1", 1), entry.body, jsonOrForm(rt), with("If-Match", "*"))
			for _, secret := range []string{"pq:", "SELECT", "hooks.", "10.1.2.3", ".go", "panic", "goroutine", "store"} {
				if r.StatusCode >= http.StatusBadRequest && strings.Contains(r.text, secret) {
					t.Errorf("%s %s: the answer holds %q: %s", rt.method, rt.pattern, secret, r.text)
				}
			}
			id := r.Header.Get("X-Request-Id")
			if strings.Contains(rt.pattern, "{id}") && rt.kind == kindAPI {
				if r.problem(http.StatusInternalServerError, codeInternal); !strings.Contains(x.log.String(), id) {
					t.Errorf("%s %s: nothing in the log has the ID %s", rt.method, rt.pattern, id)
				}
			}
			if r.StatusCode >= 500 && !strings.Contains(r.text, id) {
				t.Errorf("%s %s: the answer does not show its ID: %s", rt.method, rt.pattern, r.text)
			}
		}
		if !strings.Contains(x.log.String(), "10.1.2.3:5432") {
			t.Errorf("the log does not say what happened:\n%s", x.log)
		}
	}
}

// A panic, in a host's function or in the portal, ends only its own request.
func TestP14_PanicsAreContained(t *testing.T) {
	x := newSite(t, func(c *Config) {
		c.Access = func(r *http.Request) (Access, error) {
			if r.Header.Get(loginHeader) == "panic" {
				panic("10.1.2.3")
			}
			return testLogin(r)
		}
	})
	x.s.routes = append(x.s.routes,
		route{http.MethodGet, "api/half", kindAPI, needView, func(w http.ResponseWriter, _ *http.Request, _ Access) {
			_, _ = io.WriteString(w, "half an ans")
			panic("10.1.2.3")
		}},
		route{http.MethodGet, "api/abort", kindAPI, needView, func(http.ResponseWriter, *http.Request, Access) { panic(http.ErrAbortHandler) }},
	)
	r := x.do("panic", http.MethodGet, "/api/webhooks", "")
	r.problem(http.StatusInternalServerError, codeInternal)
	if strings.Contains(r.text, "10.1.2.3") || !strings.Contains(x.log.String(), "10.1.2.3") || !strings.Contains(x.log.String(), r.Header.Get("X-Request-Id")) {
		t.Errorf("%s\n%s", r.text, x.log)
	}
	srv := httptest.NewUnstartedServer(x.s)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	defer srv.Close()
	for _, path := range []string{"/api/half", "/api/abort"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(loginHeader, asManager)
		resp, err := srv.Client().Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: half an answer looks like a whole one", path)
		}
	}
}

func TestP14_RequestIDsDiffer(t *testing.T) {
	x := newSite(t)
	seen := map[string]bool{}
	for range 100 {
		id := x.do(asManager, http.MethodGet, "/api/event-types", "", with("X-Request-Id", "mine")).Header.Get("X-Request-Id")
		if seen[id] || len(id) != 20 {
			t.Errorf("%q", id)
		}
		seen[id] = true
	}
}

// The answer to each error of the dispatcher.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{webhook.ErrNotFound, http.StatusNotFound, codeNotFound, false},
		{webhook.ErrConflict, http.StatusPreconditionFailed, codeChanged, false},
		{webhook.ErrInactive, http.StatusConflict, codeInactive, false},
		{webhook.ErrTooManyWebhooks, http.StatusConflict, codeTooMany, false},
		{webhook.ErrCursor, http.StatusBadRequest, codeInvalid, false},
		{webhook.ErrBacklogFull, http.StatusServiceUnavailable, codeBusy, true},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, codeBusy, true},
		{errors.New("x"), http.StatusInternalServerError, codeInternal, false},
	} {
		x := newSite(t)
		rec := httptest.NewRecorder()
		x.s.fail(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/x", http.NoBody), kindAPI, fmt.Errorf("webhook: x: %w", c.err))
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), `"code":"`+c.code+`"`) || (rec.Header().Get("Retry-After") != "") != c.retry {
			t.Errorf("%v: %d %s %v", c.err, rec.Code, rec.Body, rec.Header())
		}
	}
}
