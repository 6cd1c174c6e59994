package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/portal"
)

// portalRows measure the portal with large data: the pages and the API of a
// webhook with 1,000,000 deliveries, beside the store's query behind them.
func portalRows() []row {
	var rows []row
	for _, store := range storeNames {
		rows = append(rows, row{fmt.Sprintf("portal/%s/1000000-deliveries", store), (&portalRow{name: store}).run})
	}
	return rows
}

// portalRow keeps the store that its first run has filled for later runs.
type portalRow struct {
	name     string
	runs     int
	store    *opened
	handler  http.Handler
	hook     webhook.Webhook
	delivery string
}

func (p *portalRow) run(ctx context.Context, e *env) (out []figure, err error) {
	if p.store == nil {
		if err := p.fill(ctx, e); err != nil {
			return nil, err
		}
	}
	if p.runs++; p.runs == e.opt.runs {
		defer func() {
			closing(&err, p.store.close)
			p.store, p.handler = nil, nil // a large store in memory
		}()
	}
	query := func() error {
		page, err := p.store.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: "big", WebhookID: p.hook.ID, Limit: 50})
		if err == nil && len(page.Items) != 50 {
			err = fmt.Errorf("%d deliveries on a page, want 50", len(page.Items))
		}
		return err
	}
	bare, err := timed(query)
	if err != nil {
		return nil, err
	}
	api, err := timed(p.get(ctx, "/api/webhooks/"+p.hook.ID+"/deliveries?limit=50"))
	if err != nil {
		return nil, err
	}
	page, err := timed(p.get(ctx, "/webhooks/"+p.hook.ID))
	if err != nil {
		return nil, err
	}
	out = []figure{
		{"query ms", bare}, {"api ms", api}, {"ratio", api / bare}, {"page ms", page}, {"ratio", page / bare},
	}
	// All other pages, each with its most expensive query: a filter that no row
	// matches. The slowest page counts.
	slowest := 0.0
	for _, path := range []string{
		"/", "/?q=bench", "/?q=nothing", "/webhooks/" + p.hook.ID + "?state=failed", "/webhooks/" + p.hook.ID + "?state=succeeded",
		"/webhooks/" + p.hook.ID + "?type=" + webhook.TypeAgentMessage, "/deliveries/" + p.delivery,
		"/api/webhooks", "/api/webhooks/" + p.hook.ID + "/deliveries?state=succeeded", "/api/webhooks/" + p.hook.ID + "/stats", "/api/deliveries/" + p.delivery,
		"/api/webhooks/" + p.hook.ID + "/deliveries?since=2100-01-01T00:00:00Z", "/api/webhooks/" + p.hook.ID + "/deliveries?until=2000-01-01T00:00:00Z",
		"/api/webhooks/" + p.hook.ID + "/deliveries?eventType=no.such", "/api/webhooks/" + p.hook.ID + "/deliveries?eventId=none",
	} {
		ms, err := timed(p.get(ctx, path))
		if err != nil {
			return nil, err
		}
		slowest = max(slowest, ms)
	}
	return append(out, figure{"slowest ms", slowest}), nil
}

// timed returns the median of twenty calls in milliseconds, after a call that
// does not count.
func timed(call func() error) (float64, error) {
	var ms []float64
	for i := range 21 {
		began := time.Now()
		if err := call(); err != nil {
			return 0, err
		}
		if i > 0 {
			ms = append(ms, micros(time.Since(began))/1000)
		}
	}
	return median(ms), nil
}

// get returns a call that requests a path of the portal.
func (p *portalRow) get(ctx context.Context, path string) func() error {
	return func() error {
		rec := httptest.NewRecorder()
		p.handler.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody))
		if rec.Code != http.StatusOK {
			return fmt.Errorf("GET %s: %d %.500s", path, rec.Code, rec.Body)
		}
		return nil
	}
}

// fill creates a webhook with a million waiting deliveries, and a portal.
func (p *portalRow) fill(ctx context.Context, e *env) (err error) {
	if p.store, err = e.open(ctx, p.name); err != nil {
		return err
	}
	r, err := newRig(p.store)
	if err != nil {
		return err
	}
	if p.hook, err = r.register(ctx, "big", "http://127.0.0.1:1/", nil); err != nil {
		return err
	}
	const step = 500
	data := []byte(`{"filler":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`)
	for left := e.opt.scaled(1_000_000); left > 0; left -= step {
		if _, err := p.store.Publish(ctx, time.Now().UTC(), requests("big", min(left, step), data)); err != nil {
			return err
		}
	}
	page, err := p.store.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: "big", Limit: 1})
	if err != nil {
		return err
	}
	p.delivery = page.Items[0].ID
	if p.store.schema != "" {
		if _, err := p.store.db.ExecContext(ctx, "ANALYZE"); err != nil {
			return err
		}
	}
	p.handler, err = portal.New(r.Dispatcher, portal.Config{Access: func(*http.Request) (portal.Access, error) {
		return portal.Access{Tenant: "big", Manage: true}, nil
	}})
	return err
}
