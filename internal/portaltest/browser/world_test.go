package browser

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/dbtest"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/portal"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// mount is where the host has the portal: not at the top.
const mount = "/settings/hooks/"

// world is a host with the portal in it, a receiver, and what a browser's
// script needs to make things happen in both.
type world struct {
	t        testing.TB
	store    webhook.Store
	d        *webhook.Dispatcher
	host     *httptest.Server
	receiver *receiver
	seeded   map[string]string // IDs of what seed has made
	more     map[string]any    // what scenarios are told beside the usual

	mu   sync.Mutex
	logs strings.Builder
}

// newWorld starts a host on a store. The dispatcher runs until the test ends;
// before it begins, the tenant "acme" gets a past if that is wanted.
func newWorld(t testing.TB, store webhook.Store, withPast bool) *world {
	t.Helper()
	w := &world{t: t, store: store}
	w.receiver = newReceiver(t)
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.logs.Write(p)
	}), nil))
	var err error
	w.d, err = webhook.New(store, webhook.Config{
		AllowHTTP: true, Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Retry: webhook.RetryDelays{2 * time.Second, time.Minute}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := portal.New(w.d, portal.Config{
		EventTypes: append(portal.BuiltinEventTypes(), portal.EventType{
			Name: "order.paid", Description: "An order was paid in full.",
			Sample: map[string]any{"order": "4711", "total": 42.5, "currency": "EUR", "paid": true, "note": nil},
		}),
		Access: access, Logger: log, Limits: portal.Limits{Tests: -1, Resends: -1, ReplaySteps: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(mount, http.StripPrefix(strings.TrimSuffix(mount, "/"), h))
	mux.Handle("/strict/hooks/", noReferrer(http.StripPrefix("/strict/hooks", h)))
	mux.HandleFunc("/control/", w.control)
	w.host = httptest.NewServer(mux)
	t.Cleanup(w.host.Close)

	if withPast {
		if w.seeded, err = seed(t.Context(), w, "acme"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx) }()
	t.Cleanup(func() {
		w.receiver.release()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the dispatcher ended with: %v", err)
		}
	})
	return w
}

// noReferrer adds a header to every answer, as proxies are often made to.
func noReferrer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(addsHeader{w}, r) })
}

type addsHeader struct{ http.ResponseWriter }

func (w addsHeader) WriteHeader(status int) {
	w.Header().Add("Referrer-Policy", "no-referrer")
	w.ResponseWriter.WriteHeader(status)
}

// access is the host's login: a cookie says who somebody is.
func access(r *http.Request) (portal.Access, error) {
	c, err := r.Cookie("login")
	if err != nil {
		return portal.Access{}, portal.ErrUnauthenticated
	}
	tenant, role, _ := strings.Cut(c.Value, "|")
	return portal.Access{Tenant: tenant, Actor: "ada@example.com", Manage: role == "manage"}, nil
}

// control lets the script in the browser's process do what the host, its
// customers' receivers and its database do.
func (w *world) control(rw http.ResponseWriter, r *http.Request) {
	var in struct {
		Tenant, Type, Webhook string
		Data                  json.RawMessage
		Status                int
		Headers               map[string]string
		Body                  string
		Repeat                int
		Hang                  bool
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := func() (any, error) {
		switch strings.TrimPrefix(r.URL.Path, "/control/") {
		case "publish":
			var evs []webhook.Event
			for range max(in.Repeat, 1) {
				evs = append(evs, webhook.Event{Tenant: in.Tenant, Type: in.Type, Data: in.Data})
			}
			return w.d.PublishAll(r.Context(), evs)
		case "answer":
			body := in.Body
			if in.Repeat > 0 {
				body = strings.Repeat(body, in.Repeat)
			}
			w.receiver.answer(in.Status, in.Headers, body, in.Hang)
			return true, nil
		case "received":
			return w.receiver.requests(), nil
		case "edit": // somebody else edits
			h, err := w.d.Webhook(r.Context(), in.Tenant, in.Webhook)
			if err != nil {
				return nil, err
			}
			return w.d.UpdateWebhook(r.Context(), in.Tenant, in.Webhook, h.Version, webhook.WebhookUpdate{Description: &in.Body})
		case "webhooks":
			return w.d.Webhooks(r.Context(), webhook.WebhookQuery{Tenant: in.Tenant, Limit: 500})
		case "headers":
			h, err := w.d.Webhook(r.Context(), in.Tenant, in.Webhook)
			return h.Headers, err
		case "create":
			h, _, err := w.d.CreateWebhook(r.Context(), in.Tenant, webhook.WebhookSpec{Name: in.Body, URL: w.receiver.url(), Events: []string{"*"}})
			return h, err
		case "seeded":
			return w.seeded, nil
		case "logs":
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.logs.String(), nil
		}
		return nil, fmt.Errorf("no control called %s", r.URL.Path)
	}()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(rw).Encode(out)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// sqliteStore returns a store on a new SQLite file.
func sqliteStore(t testing.TB) webhook.Store {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "portal.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlitestore.New(db, sqlitestore.Config{Relaxed: true, PassedClock: true}) // the past is made up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); db.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// postgresStore returns a store on a PostgreSQL server of the test's own.
func postgresStore(t testing.TB) webhook.Store {
	t.Helper()
	server, err := dbtest.StartPostgres("fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	db, err := sql.Open("pgx", server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := pgstore.New(db, pgstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
