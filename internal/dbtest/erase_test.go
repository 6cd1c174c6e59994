package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// echo answers with the body it was sent, so that the log holds it too, and a tenth
// of the requests with a failure. Requests to hosts that begin with "held" wait.
type echo struct {
	n    atomic.Int64
	held chan struct{}
	at   sync.Map // delivered event IDs, by host
}

func (e *echo) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(r.URL.Host, "held") {
		select {
		case <-e.held:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status := 200
	if e.n.Add(1)%10 == 0 && !strings.HasPrefix(r.URL.Host, "other") {
		status = 500
	}
	e.at.Store(r.URL.Host+" "+r.Header.Get("webhook-id"), true)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Request-Id": {r.Header.Get("webhook-id")}}, Body: io.NopCloser(strings.NewReader(string(body))),
	}, nil
}

// rowsWith counts the rows of every table that hold a text.
func rowsWith(t *testing.T, db *sql.DB, tables map[string]string, text string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for table, query := range tables {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(row, text) || strings.Contains(row, fmt.Sprintf("%x", text)) || strings.Contains(row, fmt.Sprintf("%X", text)) {
				found[table]++
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// strs returns the texts of a query with one column.
func strs(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// All rows of a tenant are deleted from every table, in every state, while another
// tenant's events are published and delivered.
func TestDeleteTenantLeavesNoRowOfIt(t *testing.T) {
	t.Parallel()
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			s := pgStore(t, db, pgstore.Config{Schema: schema})
			tables := map[string]string{}
			for _, name := range strs(t, db, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = '`+schema+`'`) {
				tables[name] = fmt.Sprintf(`SELECT x::text FROM %s.%s x`, schema, name)
			}
			deletesTenant(t, s, db, tables)
		})
	}
	sqliteEach(t, func(t *testing.T, driver string) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "webhook.db")
		db := sqliteOpen(t, driver, path)
		s := sqliteStoreOn(t, db, sqlitestore.Config{Relaxed: true})
		tables := map[string]string{}
		for _, name := range strs(t, db, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'webhook_%'`) {
			var parts []string
			for _, column := range strs(t, db, `SELECT name FROM pragma_table_info('`+name+`')`) {
				parts = append(parts, fmt.Sprintf("coalesce(CAST(%s AS TEXT), '') || '|'", column))
			}
			tables[name] = "SELECT " + strings.Join(parts, " || ") + " FROM " + name
		}
		deletesTenant(t, s, db, tables)
	})
}

func deletesTenant(t *testing.T, s webhook.Store, db *sql.DB, tables map[string]string) {
	t.Helper()
	const mark, gone, other = "forgetme", "tenant-forgetme", "other"
	if len(tables) < 8 {
		t.Fatalf("%d tables, which are not all: %v", len(tables), tables)
	}
	net := &echo{held: make(chan struct{})}
	d, err := webhook.New(s, webhook.Config{
		Client: &http.Client{Transport: net}, PollInterval: 10 * time.Millisecond, DisableAfter: -1,
		Retry: webhook.RetryDelays{time.Millisecond, time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	hook := func(tenant, host string) webhook.Webhook {
		w, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
			Name: mark, URL: "https://" + host + "/" + mark, Events: []string{"*"}, Description: mark, Headers: map[string]string{"X-A": mark},
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	publish := func(tenant, id string) {
		if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, ID: id, Type: "a." + mark, Data: map[string]string{"a": mark}}); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		hook(gone, fmt.Sprintf("h%d.example.com", i))
	}
	hook(gone, "held.example.com")
	deleted := hook(gone, "deleted.example.com")
	otherHook := hook(other, "other.example.com")
	for i := range 40 {
		publish(gone, fmt.Sprintf("%s-%d", mark, i))
	}
	if err := d.DeleteWebhook(t.Context(), gone, deleted.ID); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "all deliverable events arrived", func() bool {
		n := 0
		net.at.Range(func(_, _ any) bool { n++; return true })
		return n >= 3*40
	})
	if found := rowsWith(t, db, tables, mark); len(found) < 4 {
		t.Fatalf("rows with the mark before: %v; the search proves nothing", found)
	}
	var beside sync.WaitGroup
	for i := range 100 {
		beside.Go(func() { publish(other, fmt.Sprintf("o%d", i)) })
	}
	total, err := d.DeleteTenant(t.Context(), gone)
	if err != nil || total.More || total.Webhooks != 4 || total.Events != 40 || total.Deliveries != 5*40 {
		t.Errorf("DeleteTenant = %+v, %v; want 4 webhooks, 40 events, 200 deliveries", total, err)
	}
	close(net.held) // the results of attempts in flight find no delivery
	beside.Wait()
	eventually(t, "the other tenant's events", func() bool {
		n := 0
		net.at.Range(func(k, _ any) bool {
			if strings.HasPrefix(k.(string), "other") {
				n++
			}
			return true
		})
		return n == 100
	})
	stop()
	running.Wait()

	// The other tenant's webhook has the mark as its name; no other row may have
	// it.
	if err := d.DeleteWebhook(t.Context(), other, otherHook.ID); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := d.DeleteEvent(t.Context(), other, fmt.Sprintf("o%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if found := rowsWith(t, db, tables, mark); len(found) != 0 {
		t.Errorf("rows that still hold deleted data: %v", found)
	}
	if again, err := d.DeleteTenant(t.Context(), gone); err != nil || again != (webhook.Erased{}) {
		t.Errorf("once more: %+v, %v", again, err)
	}
}

// A step of a deletion costs as much as it deletes, whatever the server's
// statistics say: for one event to very many webhooks, and for a tenant with very
// many events.
func TestDeletionCostsWhatItDeletes(t *testing.T) {
	const rows = 20_000
	for _, emptied := range []bool{false, true} {
		for _, event := range []bool{true, false} {
			w := newWide(t, rows, event, emptied)
			steps := func(what string, most int, step func() (webhook.Erased, error)) {
				t.Helper()
				for i := range 4 {
					w.db.pages(t)
					done, err := step()
					w.must(err)
					n := done.Webhooks + done.Events + done.Deliveries
					pages, plans := w.db.pages(t)
					if n == 0 || !done.More {
						t.Fatalf("%s, step %d deleted %+v", what, i, done)
					}
					t.Logf("%s, step %d (statistics of empty tables: %v): %d pages for each of %d", what, i, emptied, pages/n, n)
					if pages > most*n {
						t.Errorf("%s, step %d deleted %d and touched %d pages:\n%s", what, i, n, pages, plans)
					}
				}
			}
			if event {
				steps("a wide event", 8, func() (webhook.Erased, error) { return w.s.EraseEvent(t.Context(), tenant, "ev-1", wideProbes) })
				continue
			}
			if done, err := w.s.EraseTenant(t.Context(), tenant, wideProbes); err != nil || done.Webhooks != 1 {
				t.Fatalf("the first step: %+v, %v", done, err)
			}
			steps("many events", 20, func() (webhook.Erased, error) { return w.s.EraseTenant(t.Context(), tenant, wideProbes) })
		}
	}
}
