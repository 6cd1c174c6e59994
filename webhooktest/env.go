package webhooktest

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Env is a Dispatcher over a MemoryStore whose requests go to Receivers in
// place of the network. Make one with [New]. All methods are safe for
// concurrent use; those that fail the test must be called from its goroutine.
type Env struct {
	*webhook.Dispatcher
	// Store is what the Dispatcher works on.
	Store *webhook.MemoryStore
	// Transport is the network. Env.Register puts receivers into it.
	Transport *Transport

	tb      testing.TB
	tenants *tenantList
}

// New returns an Env whose Dispatcher is made from cfg with two changes: http
// URLs are allowed (for a receiver on loopback without the Transport, see
// [AllowLoopback]), and Client, if nil, goes to the Env's Transport. It starts
// nothing: deliver with DeliverDue, with [Env.UntilIdle], or call Run. It fails
// the test when cfg makes no sense.
func New(tb testing.TB, cfg webhook.Config) *Env {
	tb.Helper()
	env := &Env{Store: webhook.NewMemoryStore(webhook.MemoryConfig{}), Transport: new(Transport), tb: tb}
	env.tenants = &tenantList{MemoryStore: env.Store}
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
// the host of its URL, which trusts its secret from now on. What spec leaves out
// is filled in: the name "test", the URL https://receiver.example.com/webhook and
// all events. Webhooks with the same host share a Receiver. It fails the test
// when the webhook is refused.
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

// UntilIdle delivers until nothing is pending and returns how many attempts it
// made, as the function [UntilIdle] does for every tenant that an event was
// published for. It fails the test when that cannot be done. It waits for retries
// that are due later, up to the end of the test's context: no time at all within
// a [testing/synctest] bubble, minutes to hours of real time outside one.
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

// tenantList is a MemoryStore that knows for whom something was published.
type tenantList struct {
	*webhook.MemoryStore
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
	return l.MemoryStore.Publish(ctx, now, reqs)
}

func (l *tenantList) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tenants)
}
