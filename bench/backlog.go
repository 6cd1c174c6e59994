package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/seed68722ecd/webhook"
)

// backlogRows show how deliveries that wait for a dead webhook, or were
// finished long ago, slow down current deliveries: in the stores alone, and
// through a dispatcher. Each has a run on a store without a backlog next to it.
func backlogRows() []row {
	var rows []row
	for _, store := range storeNames {
		for _, b := range []backlog{{waiting: 10_000}, {waiting: 1_000_000}, {finished: 1_000_000}} {
			if store == "memory" && b.finished > 0 {
				continue // the memory store keeps 10,000
			}
			s := &backlogStores{name: store, backlog: b}
			rows = append(rows, row{fmt.Sprintf("backlog/%s/%s", store, b), s.run})
		}
	}
	return rows
}

// backlog describes the deliveries of a store besides the measured ones.
type backlog struct {
	waiting  int // due deliveries of a webhook whose endpoint is dead
	finished int // deliveries that have succeeded
}

func (b backlog) String() string {
	if b.finished > 0 {
		return fmt.Sprintf("%d-finished", b.finished)
	}
	return fmt.Sprintf("%d-waiting", b.waiting)
}

// backlogStores holds an empty store and a store with a backlog, filled by the
// first run and used by all.
type backlogStores struct {
	name        string
	backlog     backlog
	runs        int
	empty, full *opened
}

func (b *backlogStores) run(ctx context.Context, e *env) (out []figure, err error) {
	if b.empty == nil {
		if err := b.fill(ctx, e); err != nil {
			return nil, err
		}
	}
	if b.runs++; b.runs == e.opt.runs {
		defer func() {
			closing(&err, b.empty.close, b.full.close)
			b.empty, b.full = nil, nil // large stores in memory
		}()
	}
	// Alternate, so that each store comes first in half of the runs.
	stores := []*opened{b.empty, b.full}
	if b.runs%2 == 0 {
		stores[0], stores[1] = stores[1], stores[0]
	}
	costs := make(map[*opened]storeCost)
	rates := make(map[*opened]sample)
	for _, s := range stores {
		if costs[s], err = storeCosts(ctx, e, s); err != nil {
			return nil, err
		}
		l := load{batch: 100, publishers: 4, size: smallBody, fan: 1, endpoints: 1}
		if rates[s], err = e.loaded(ctx, s, l); err != nil {
			return nil, err
		}
	}
	with, without := costs[b.full], costs[b.empty]
	return []figure{
		{"publish µs", with.publish}, {"without", without.publish},
		{"claim µs", with.claim}, {"without", without.claim},
		{"complete µs", with.complete}, {"without", without.complete},
		{"/s", rates[b.full].rate()}, {"ratio", rates[b.full].rate() / rates[b.empty].rate()},
		{"dead /s", float64(rates[b.full].failed) / rates[b.full].elapsed.Seconds()},
		{"cpu µs", rates[b.full].each(rates[b.full].cpu.tree)}, {"without", rates[b.empty].each(rates[b.empty].cpu.tree)},
	}, nil
}

// fill opens the stores and creates the backlog.
func (b *backlogStores) fill(ctx context.Context, e *env) (err error) {
	if b.empty, err = e.open(ctx, b.name); err != nil {
		return err
	}
	if b.full, err = e.open(ctx, b.name); err != nil {
		return err
	}
	for _, s := range []*opened{b.empty, b.full} {
		r, err := newRig(s)
		if err != nil {
			return err
		}
		// No server listens at this port. The deliveries wait: they do not run
		// out of retries during the run.
		dead, err := r.register(ctx, "dead", "http://127.0.0.1:1/", func(w *webhook.WebhookSpec) { w.MaxRetries = new(10) })
		if err != nil {
			return err
		}
		s.dead = dead.ID
		if _, err := r.register(ctx, "well", e.sink.url("ok", 0, false), nil); err != nil {
			return err
		}
	}
	if err := b.full.publishMany(ctx, "dead", e.opt.scaled(b.backlog.waiting)); err != nil {
		return err
	}
	const step = 500
	for left := e.opt.scaled(b.backlog.finished); left > 0; left -= step {
		if err := b.full.publishMany(ctx, "well", min(left, step)); err != nil {
			return err
		}
		if _, err := finish(ctx, b.full, min(left, step)); err != nil {
			return err
		}
	}
	return b.full.settle(ctx)
}

// publishMany stores n small events of a tenant, without a dispatcher.
func (s *opened) publishMany(ctx context.Context, tenant string, n int) error {
	const step = 500
	payload := []byte(`{"filler":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`)
	for ; n > 0; n -= step {
		if _, err := s.Publish(ctx, time.Now().UTC(), requests(tenant, min(n, step), payload)); err != nil {
			return err
		}
	}
	return nil
}

// settle does the work that PostgreSQL's autovacuum would do in time.
func (s *opened) settle(ctx context.Context) error {
	if s.schema == "" {
		return nil
	}
	_, err := s.db.ExecContext(ctx, "VACUUM (ANALYZE)")
	if err == nil {
		_, err = s.db.ExecContext(ctx, "CHECKPOINT")
	}
	return err
}

// requests returns n events of a tenant.
func requests(tenant string, n int, data []byte) []webhook.PublishRequest {
	reqs := make([]webhook.PublishRequest, n)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range reqs {
		reqs[i] = webhook.PublishRequest{
			Event:    webhook.EventRecord{ID: "evt_" + rand.Text(), Tenant: tenant, Type: webhook.TypeAgentMessage, Time: now, Data: data},
			Patterns: []string{"agent.message", "agent.*", "*"},
		}
	}
	return reqs
}

// token returns a new claim token.
func token() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.LittleEndian.Uint64(b[:])&math.MaxInt64 | 1)
}

// finish claims deliveries and completes them as succeeded until n are done,
// and returns the times of both.
func finish(ctx context.Context, s *opened, n int) (cost storeCost, err error) {
	for done, empty := 0, 0; done < n; {
		req := webhook.ClaimRequest{Token: token(), Now: time.Now().UTC(), Lease: 30 * time.Second, Limit: 500, PerWebhook: 500}
		// Skip the dead webhook, as a dispatcher does most of the time.
		req.Limits = map[string]int{s.dead: 0}
		began := time.Now()
		res, err := s.Claim(ctx, req)
		if err != nil {
			return cost, err
		}
		cost.claim += micros(time.Since(began))
		if len(res.Deliveries) == 0 {
			// A claim may return no delivery, but not a hundred claims in a
			// row.
			if empty++; empty == 100 {
				return cost, fmt.Errorf("%d of %d deliveries could not be claimed", n-done, n)
			}
			continue
		}
		results := make([]webhook.Result, len(res.Deliveries))
		for i := range results {
			d := &res.Deliveries[i].Delivery
			results[i] = webhook.Result{DeliveryID: d.ID, Token: req.Token, State: webhook.StateSucceeded, Attempt: &webhook.Attempt{
				DeliveryID: d.ID, Number: 1, StartedAt: req.Now, Duration: time.Millisecond, Status: 200,
			}}
		}
		began = time.Now()
		if _, err := s.Complete(ctx, time.Now().UTC(), results); err != nil {
			return cost, err
		}
		cost.complete += micros(time.Since(began))
		done += len(results)
	}
	cost.claim /= float64(n)
	cost.complete /= float64(n)
	return cost, nil
}

// storeCost is the time of a store's calls per delivery, in microseconds.
type storeCost struct{ publish, claim, complete float64 }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// storeCosts measures publishing, claiming and completing without a dispatcher,
// as medians over batches of 100.
func storeCosts(ctx context.Context, e *env, s *opened) (storeCost, error) {
	const batch = 100
	data := make([]byte, 0, smallBody)
	data = append(data, `{"content":"`...)
	for len(data) < smallBody-200 {
		data = append(data, 'x')
	}
	data = append(data, `"}`...)
	var publish, claim, complete []float64
	for range max(e.opt.scaled(300), 10) {
		reqs := requests("well", batch, data)
		began := time.Now()
		if _, err := s.Publish(ctx, time.Now().UTC(), reqs); err != nil {
			return storeCost{}, err
		}
		publish = append(publish, micros(time.Since(began))/batch)
		cost, err := finish(ctx, s, batch)
		if err != nil {
			return storeCost{}, err
		}
		claim, complete = append(claim, cost.claim), append(complete, cost.complete)
	}
	return storeCost{median(publish), median(claim), median(complete)}, nil
}
