package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/portal"
)

// backend holds the platform's own handlers.
type backend struct {
	d   *webhook.Dispatcher
	log *slog.Logger
}

// newServer returns the handler of the main address.
func newServer(d *webhook.Dispatcher, log *slog.Logger, m *metrics, o options) (http.Handler, error) {
	b := &backend{d, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", b.health)
	if o.metricsHere() {
		mux.Handle("GET /metrics", m.handler(o.addr))
	}
	if o.workers {
		return mux, nil
	}
	hooks, err := portal.New(d, portal.Config{
		Access:     access,
		EventTypes: append(portal.BuiltinEventTypes(), portal.EventType{Name: "order.paid", Description: "An order was paid.", Sample: map[string]any{"order": 4711, "total": "19.90"}}),
		Audit: func(ctx context.Context, r portal.AuditRecord) error {
			log.InfoContext(ctx, "audit", "tenant", r.Tenant, "actor", r.Actor, "action", string(r.Action), "webhook", r.WebhookID, "fields", r.Fields, "failed", r.Failed)
			return nil
		},
		Logger: log,
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/webhooks/", hooks)
	// The portal refuses writes from other origins by itself; these routes need
	// the same protection.
	own := http.NewCrossOriginProtection()
	mux.Handle("POST /events", own.Handler(http.HandlerFunc(b.publish)))
	mux.Handle("POST /chat", own.Handler(http.HandlerFunc(b.chat)))
	mux.HandleFunc("GET /{$}", b.home)
	return sameHost(o.addr, mux), nil
}

// access returns the tenant and the rights of a request. Here every visitor may
// act as any tenant. A real backend looks up its session:
//
//	user, err := sessions.User(r)
//	if err != nil {
//		return portal.Access{}, portal.ErrUnauthenticated
//	}
//	return portal.Access{Tenant: user.Account, Actor: user.Email, Manage: user.Admin}, nil
func access(r *http.Request) (portal.Access, error) {
	return portal.Access{Tenant: tenantOf(r), Actor: "somebody", Manage: true}, nil
}

func tenantOf(r *http.Request) string {
	if t := r.Header.Get("X-Tenant"); t != "" {
		return t
	}
	if c, err := r.Cookie("tenant"); err == nil && c.Value != "" {
		return c.Value
	}
	return "demo"
}

// sameHost refuses requests for other host names if the backend listens on
// loopback only. Without a login, a web page that points its own name at this
// machine (DNS rebinding) would otherwise get access.
func sameHost(addr string, next http.Handler) http.Handler {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || !loopback(host) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		if !loopback(name) {
			http.Error(w, "This listens on "+addr+" only, under that name; start it with another -addr to have it under others.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return net.ParseIP(host).IsLoopback()
}

// health answers 200 if the store answers, and 503 otherwise.
func (b *backend) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	status, answer := http.StatusOK, map[string]any{"status": "ok"}
	if _, err := b.d.Webhooks(ctx, webhook.WebhookQuery{Tenant: "demo", Limit: 1}); err != nil {
		b.log.ErrorContext(ctx, "the store does not answer", "error", err)
		status, answer["status"] = http.StatusServiceUnavailable, "the store does not answer"
	}
	s := b.d.Stats()
	answer["delivering"], answer["inFlight"] = s.Running, s.InFlight
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written"}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client has gone
}
