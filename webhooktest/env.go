package webhooktest

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// Env is a Dispatcher over a memstore.Store whose requests go to Receivers in
// place of the network. Make one with [New]. All methods are safe for
// concurrent use, but methods that may fail the test must be called from the
// test's goroutine.
type Env struct {
	*webhook.Dispatcher
	// Store is the Dispatcher's store.
	Store *memstore.Store
	// Transport replaces the network. Env.Register adds receivers to it.
	Transport *Transport

	tb      testing.TB
	tenants *tenantList
}

// New returns an Env whose Dispatcher is made from cfg with two changes: http
// URLs are allowed (for a receiver on loopback without the Transport, see
// [AllowLoopback]), and Client, if nil, uses the Env's Transport. The
// Dispatcher is not running: deliver with DeliverDue or [Env.UntilIdle], or
// call Run. New fails the test if cfg is invalid.
func New(tb testing.TB, cfg webhook.Config) *Env {
	tb.Helper()
	env := &Env{Store: memstore.New(memstore.Config{}), Transport: new(Transport), tb: tb}
	env.tenants = &tenantList{Store: env.Store}
	cfg.AllowHTTP = true
	if cfg.Client == nil {
		cfg.Client = env.Transport.Client()
	}
	d, err := webhook.New(env.tenants, cfg)
	if err != nil {
		tb.Fatalf("webhooktest: %v", err)
	}
	env.Dispatcher = d
	return env
}

// Register creates a webhook for a tenant and returns it with the Receiver at
// the host of its URL. The Receiver trusts the webhook's secret from now on.
// Empty fields of spec get defaults: the name "test", the URL
// https://receiver.example.com/webhook and all events. Webhooks with the same
// host share a Receiver. Register fails the test if the webhook is refused.
func (e *Env) Register(tenant string, spec webhook.WebhookSpec) (webhook.Webhook, *Receiver) {
	e.tb.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	if spec.URL == "" {
		spec.URL = "https://receiver.example.com/webhook"
	}
	if spec.Events == nil {
		spec.Events = []string{"*"}
	}
	w, secret, err := e.CreateWebhook(context.Background(), tenant, spec)
	if err != nil {
		e.tb.Fatalf("webhooktest: %v", err)
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		e.tb.Fatalf("webhooktest: the URL of webhook %s: %v", w.ID, err)
	}
	rx := e.Transport.Receiver(u.Host)
	rx.Trust(secret)
	return w, rx
}

// UntilIdle delivers until no delivery is pending and returns the number of
// attempts, as the function [UntilIdle] does, for every tenant with a published
// event. It fails the test on an error. It waits for retries that are due
// later, up to the end of the test's context: no real time in a
// [testing/synctest] bubble, minutes to hours outside one.
func (e *Env) UntilIdle() (attempts int) {
	e.tb.Helper()
	tenants := e.tenants.list()
	if len(tenants) == 0 {
		return 0
	}
	n, err := UntilIdle(e.tb.Context(), e.Dispatcher, tenants...)
	if err != nil {
		e.tb.Fatal(err)
	}
	return n
}

// tenantList is a memstore.Store that remembers the tenants of published events.
type tenantList struct {
	*memstore.Store
	mu      sync.Mutex
	tenants []string
}

func (l *tenantList) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	l.mu.Lock()
	for _, r := range reqs {
		if !slices.Contains(l.tenants, r.Event.Tenant) {
			l.tenants = append(l.tenants, r.Event.Tenant)
		}
	}
	l.mu.Unlock()
	return l.Store.Publish(ctx, now, reqs)
}

func (l *tenantList) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tenants)
}
