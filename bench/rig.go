package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
)

// Sizes of complete bodies, in bytes.
const (
	smallBody = 1 << 10
	largeBody = 16 << 10
)

// rig is a dispatcher with its store. It uses the library's own client, whose
// guard permits the loopback network.
type rig struct {
	*webhook.Dispatcher
	store     *opened
	delivered atomic.Int64 // recorded as succeeded
	attempts  atomic.Int64 // recorded, successful or not
	release   func(n int64)

	cancel context.CancelFunc
	ended  chan error
}

// dispatcherConfig returns the default configuration, with loopback permitted.
func dispatcherConfig() webhook.Config {
	return webhook.Config{
		AllowHTTP: true,
		Guard:     guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
}

// openRig opens a store with a dispatcher. The caller closes the store.
func (e *env) openRig(ctx context.Context, store string) (*rig, error) {
	s, err := e.open(ctx, store)
	if err != nil {
		return nil, err
	}
	r, err := newRig(s)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return r, nil
}

// newRig returns a dispatcher that is not running yet.
func newRig(store *opened) (*rig, error) {
	r := &rig{store: store, ended: make(chan error, 1)}
	cfg := dispatcherConfig()
	cfg.DrainTimeout = time.Second // the measurement is over
	cfg.Hooks.Attempt = func(webhook.Delivery, webhook.Attempt) { r.attempts.Add(1) }
	cfg.Hooks.Succeeded = func(webhook.Delivery, webhook.Attempt) {
		n := r.delivered.Add(1)
		if r.release != nil {
			r.release(n)
		}
	}
	var err error
	if r.Dispatcher, err = webhook.New(store, cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// start runs the dispatcher. Set release before.
func (r *rig) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	r.cancel = cancel
	go func() { r.ended <- r.Run(ctx) }()
}

// stop ends the dispatcher.
func (r *rig) stop() error {
	r.cancel()
	return <-r.ended
}

// register creates a webhook.
func (r *rig) register(ctx context.Context, tenant, url string, change func(*webhook.WebhookSpec)) (webhook.Webhook, error) {
	spec := webhook.WebhookSpec{
		Name: "bench", URL: url, Events: []string{"*"},
		VerifyTLS: new(!strings.HasPrefix(url, "https:")), // the sink's certificate is its own
	}
	if change != nil {
		change(&spec)
	}
	w, _, err := r.CreateWebhook(ctx, tenant, spec)
	return w, err
}

// event returns an event whose body has the given size.
func (r *rig) event(tenant string, size int) (webhook.Event, error) {
	data := webhook.AgentMessage{Agent: webhook.Ref{ID: "agent-1", Name: "bench"}, Room: "room-1"}
	req, err := r.Prepare(webhook.Event{Tenant: tenant, Data: data})
	if err != nil {
		return webhook.Event{}, err
	}
	empty := len(webhook.Body(req.Event, webhook.Delivery{WebhookID: "wh_" + strings.Repeat("x", 26), WebhookName: "bench"}))
	if size < empty {
		return webhook.Event{}, fmt.Errorf("a body has at least %d bytes", empty)
	}
	data.Content = strings.Repeat("x", size-empty)
	return webhook.Event{Tenant: tenant, Data: data}, nil
}

// quota lets publishers run ahead of the deliveries by a number of events.
type quota struct{ tokens chan struct{} }

func newQuota(events int) *quota {
	q := &quota{make(chan struct{}, events)}
	q.give(events)
	return q
}

func (q *quota) give(n int) {
	for range n {
		select {
		case q.tokens <- struct{}{}:
		default: // the quota is full
			return
		}
	}
}

func (q *quota) take(ctx context.Context, n int) error {
	for range n {
		select {
		case <-q.tokens:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// publishing is a group of goroutines that publish until they are stopped.
type publishing struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	once   sync.Once
	err    error
}

// publishers starts n goroutines that call publish repeatedly.
func publishers(ctx context.Context, n int, publish func(ctx context.Context) error) *publishing {
	p := &publishing{}
	ctx, p.cancel = context.WithCancel(ctx)
	for range n {
		p.all.Go(func() {
			for ctx.Err() == nil {
				if err := publish(ctx); err != nil && ctx.Err() == nil {
					p.once.Do(func() { p.err = err })
					p.cancel()
				}
			}
		})
	}
	return p
}

// stop ends the goroutines and returns the first error.
func (p *publishing) stop() error {
	p.cancel()
	p.all.Wait()
	return p.err
}

// closing calls ends and joins their errors to err.
func closing(err *error, ends ...func() error) {
	for _, end := range ends {
		*err = errors.Join(*err, end())
	}
}
