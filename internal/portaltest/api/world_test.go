package api

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/dbtest"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/portal"
	"github.com/seed68722ecd/webhook/sqlitestore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// server is the one PostgreSQL of this test process.
var server struct {
	once    sync.Once
	pg      *dbtest.Postgres
	err     error
	schemas atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.pg != nil {
		if err := server.pg.Stop(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// stores are the stores that everything is tested on.
var stores = map[string]func(t testing.TB) webhook.Store{
	"memory": func(testing.TB) webhook.Store { return memstore.New(memstore.Config{}) },
	"sqlite": func(t testing.TB) webhook.Store {
		db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "webhook.db"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := sqlitestore.New(db, sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(); db.Close() })
		return s
	},
	"postgres": func(t testing.TB) webhook.Store {
		server.once.Do(func() { server.pg, server.err = dbtest.StartPostgres() })
		if server.err != nil {
			t.Fatal(server.err)
		}
		db, err := sql.Open("pgx", server.pg.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		s, err := pgstore.New(db, pgstore.Config{Schema: fmt.Sprintf("api_%d", server.schemas.Add(1))})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	},
}

func onEveryStore(t *testing.T, test func(t *testing.T, w *world)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, open(t))) })
	}
}

// world is a host with the portal below a path of its own, and receivers.
type world struct {
	t      *testing.T
	d      *webhook.Dispatcher
	net    *webhooktest.Transport
	base   string // URL of api/
	client *http.Client
	check  *checker
}

const mount = "/x/hooks"

func newWorld(t *testing.T, store webhook.Store) *world {
	t.Helper()
	w := &world{t: t, net: new(webhooktest.Transport)}
	var err error
	w.d, err = webhook.New(store, webhook.Config{Client: w.net.Client(), Retry: webhook.RetryDelays{time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := portal.New(w.d, portal.Config{Access: func(r *http.Request) (portal.Access, error) {
		tenant, right, ok := strings.Cut(r.Header.Get("Authorization"), "/")
		if !ok {
			return portal.Access{}, portal.ErrUnauthenticated
		}
		return portal.Access{Tenant: tenant, Actor: "test", Manage: right == "manage"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(mount+"/", h)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.base = srv.URL + mount + "/api/"
	resp, err := srv.Client().Do(w.request(http.MethodGet, "openapi.json", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	document, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	w.check = newChecker(t, document, mount+"/api")
	w.client = &http.Client{Transport: w.check}
	return w
}

// request is one of acme's manager, unless its options say otherwise.
func (w *world) request(method, path, body string, options ...func(*http.Request)) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "acme/manage")
	for _, o := range options {
		o(r)
	}
	return r
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

type answer struct {
	*http.Response
	t    *testing.T
	text []byte
}

// do makes a request, which is checked against the document, and wants a status.
func (w *world) do(status int, method, path, body string, options ...func(*http.Request)) answer {
	w.t.Helper()
	resp, err := w.client.Do(w.request(method, path, body, options...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, status)
	}
	return answer{resp, w.t, text}
}

// into decodes an answer.
func into[T any](a answer) (v T) {
	a.t.Helper()
	if err := json.Unmarshal(a.text, &v); err != nil {
		a.t.Fatalf("%v: %s", err, a.text)
	}
	return v
}

// deliver makes every attempt that is due.
func (w *world) deliver() int {
	w.t.Helper()
	n, err := w.d.DeliverDue(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) publish(ev webhook.Event) string {
	w.t.Helper()
	p, err := w.d.Publish(w.t.Context(), ev)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.ID
}
