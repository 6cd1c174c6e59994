package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/seed68722ecd/webhook"
)

// load describes the published events and their endpoints.
type load struct {
	store      string
	batch      int // events in one PublishAll; 0: single publishes
	publishers int
	size       int // bytes of a body
	fan        int // webhooks that each event goes to
	endpoints  int // number of endpoints, each of its own tenant; fan is then 1
	secure     bool
}

// maxAhead is how many deliveries publishers may run ahead.
const maxAhead = 4000

func throughputRows() []row {
	var rows []row
	add := func(name string, l load) {
		rows = append(rows, row{"throughput/" + l.store + "/" + name, func(ctx context.Context, e *env) ([]figure, error) {
			return e.throughput(ctx, l)
		}})
	}
	for _, store := range storeNames {
		base := load{store: store, batch: 100, publishers: 4, size: smallBody, fan: 1, endpoints: 1}
		with := func(change func(l *load)) load {
			l := base
			change(&l)
			return l
		}
		add("batched", base)
		add("single-64", with(func(l *load) { l.batch, l.publishers = 0, 64 }))
		add("single-1", with(func(l *load) { l.batch, l.publishers = 0, 1 }))
		add("batched-16KiB", with(func(l *load) { l.size = largeBody }))
		add("fan-out-100", with(func(l *load) { l.fan = 100; l.batch = 10 }))
		add("1000-endpoints", with(func(l *load) { l.endpoints = 1000 }))
		add("https-h2", with(func(l *load) { l.secure = true }))
	}
	return rows
}

// throughput measures deliveries that were published, sent and recorded.
func (e *env) throughput(ctx context.Context, l load) (out []figure, err error) {
	bare, err := e.bare(ctx, l.size, max(l.endpoints, l.fan), l.secure)
	if err != nil {
		return nil, err
	}
	store, err := e.open(ctx, l.store)
	if err != nil {
		return nil, err
	}
	defer closing(&err, store.close)
	s, err := e.loaded(ctx, store, l)
	return s.against(bare), err
}

// loaded measures a load on an open store.
func (e *env) loaded(ctx context.Context, store *opened, l load) (s sample, err error) {
	r, err := newRig(store)
	if err != nil {
		return s, err
	}
	publish, err := e.prepareLoad(ctx, r, l)
	if err != nil {
		return s, err
	}
	r.start(ctx)
	p := publishers(ctx, l.publishers, publish)
	err = pause(ctx, e.opt.window/3)
	if err == nil {
		failed := func() int64 { return r.attempts.Load() - r.delivered.Load() }
		before := failed()
		s, err = e.watch(ctx, "library", func() (int64, error) { return r.delivered.Load(), nil })
		s.failed = failed() - before
	}
	closing(&err, p.stop, r.stop)
	return s, err
}

// prepareLoad creates the webhooks of a load and returns the function that a
// publisher repeats.
func (e *env) prepareLoad(ctx context.Context, r *rig, l load) (func(ctx context.Context) error, error) {
	var events []webhook.Event
	run := e.made.Add(1) // tenants of earlier runs are not reused
	hook := func(tenant string, i int) error {
		_, err := r.register(ctx, tenant, e.sink.url("ok", i, l.secure), nil)
		return err
	}
	for i := range l.endpoints {
		tenant := fmt.Sprintf("tenant-%d-%d", run, i)
		ev, err := r.event(tenant, l.size)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
		for j := range l.fan {
			if err := hook(tenant, i+j); err != nil {
				return nil, err
			}
		}
	}
	each := max(l.batch, 1)
	q := newQuota(max(maxAhead/l.fan, 2*each))
	r.release = func(n int64) {
		if n%int64(l.fan) == 0 {
			q.give(1)
		}
	}
	var turn atomic.Int64
	return func(ctx context.Context) error {
		if err := q.take(ctx, each); err != nil {
			return err
		}
		first := int(turn.Add(int64(each))) - each
		if l.batch == 0 {
			_, err := r.Publish(ctx, events[first%len(events)])
			return err
		}
		batch := make([]webhook.Event, each)
		for i := range batch {
			batch[i] = events[(first+i)%len(events)]
		}
		_, err := r.PublishAll(ctx, batch)
		return err
	}, nil
}
