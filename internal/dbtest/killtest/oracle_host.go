package killtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// host is a process as it is with a memory store: it registers webhooks,
// publishes and delivers, and everything is gone with it. Told to stop in
// order it publishes no more, waits for its store to be empty, for as long as
// it has patience, ends Run, and reports what became of every delivery.
func host(s *spec) error {
	ctx, stop := signal.NotifyContext(background(), syscall.SIGTERM)
	defer stop()
	memory := memstore.New(memstore.Config{MaxPending: s.MaxPending, Retain: 1_000_000})
	store, err := watch(s, memory)
	if err != nil {
		return err
	}
	d, err := webhook.New(store, s.config(store))
	if err != nil {
		return err
	}
	if err := s.register(ctx, d); err != nil {
		return err
	}
	endMeasuring, err := startGauge(s, d, store)
	if err != nil {
		return err
	}
	defer endMeasuring()
	p, err := s.newPublisher(d)
	if err != nil {
		return err
	}
	defer p.out.Close()

	running, endRun := context.WithCancel(background())
	defer endRun()
	var run sync.WaitGroup
	var runErr error
	run.Go(func() { runErr = d.Run(running) })
	if err := s.sayReady("ready"); err != nil {
		return err
	}
	err = p.load(ctx)
	eventually(s.Patience, func() bool {
		b, e := memory.Backlog(background(), webhook.BacklogQuery{Now: time.Now(), Limit: webhook.DefaultBacklogLimit})
		if e != nil {
			err = errors.Join(err, e)
			return true
		}
		return b.Pending() == 0
	})
	endRun()
	run.Wait()
	endMeasuring()
	return errors.Join(err, runErr, s.report(d), checkGoroutines())
}

// register creates the webhooks of the load and writes down their IDs.
func (s *spec) register(ctx context.Context, d *webhook.Dispatcher) error {
	ids := map[string]webhook.Webhook{}
	for _, h := range hooks() {
		w, _, err := d.CreateWebhook(ctx, h.Tenant, s.webhook(h, s.Receiver, maxRetries))
		if err != nil {
			return err
		}
		ids[h.Key] = w
	}
	raw, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return os.WriteFile(s.file("hooks"), raw, 0o600)
}

// webhook is the registration of a webhook of the load.
func (s *spec) webhook(h hook, receiver string, retries int) webhook.WebhookSpec {
	return webhook.WebhookSpec{
		Name: "load " + h.Key, URL: "https://" + receiver + "/" + h.Key, Events: h.Types,
		Timeout: new(hookTimeout), MaxRetries: new(retries), Secret: secretOf(s.Seed, h.Key, 0),
	}
}

// report writes every delivery with its attempts.
func (s *spec) report(d *webhook.Dispatcher) error {
	out, err := os.Create(s.file("report"))
	if err != nil {
		return err
	}
	defer out.Close()
	enc := json.NewEncoder(out)
	for _, tenant := range tenants() {
		q := webhook.DeliveryQuery{Tenant: tenant, Limit: 500}
		for {
			page, err := d.Deliveries(background(), q)
			if err != nil {
				return err
			}
			for _, dl := range page.Items {
				as, err := d.Attempts(background(), tenant, dl.ID)
				if err == nil {
					err = enc.Encode(reported{dl, as}) //nolint:musttag // both ends are this type
				}
				if err != nil {
					return fmt.Errorf("reporting %s: %w", dl.ID, err)
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
	}
	return out.Sync()
}

// reported is one line of a report.
type reported struct {
	Delivery webhook.Delivery
	Attempts []webhook.Attempt
}

// hosted is what a host with a memory store is started with.
func (r *run) hosted(patience time.Duration, maxPending int) *process {
	r.t.Helper()
	s := r.child("host")
	s.Rate, s.Workers, s.First = r.opt.Rate, 16, r.published
	r.published += numbers
	s.Receiver, s.Patience, s.MaxPending = r.serve, patience, maxPending
	p := r.start(s)
	p.ready(r.t)
	ids := map[string]webhook.Webhook{}
	raw, err := os.ReadFile(p.spec.file("hooks"))
	if err == nil {
		err = json.Unmarshal(raw, &ids)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if r.hosts == nil {
		r.hosts = map[uint64]map[string]webhook.Webhook{}
	}
	r.hosts[s.First/numbers] = ids
	return p
}

// numbers is how many events each publisher has numbers for.
const numbers = 1_000_000

// webhook is the webhook that an event is sent to: that of the host which has
// published it, or one of the database.
func (r *run) webhook(p pair) webhook.Webhook {
	if ids := r.hosts[p.n/numbers]; ids != nil {
		return ids[p.key]
	}
	return r.ids[p.key]
}
