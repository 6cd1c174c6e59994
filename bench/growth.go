package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// growthRows show how the cost of a delivery changes with the number of
// webhooks that an event goes to.
func growthRows() []row {
	var rows []row
	for _, store := range storeNames {
		for _, fan := range []int{1, 10, 100, 10_000} {
			rows = append(rows, row{fmt.Sprintf("growth/%s/%d-webhooks", store, fan), func(ctx context.Context, e *env) ([]figure, error) {
				return e.growth(ctx, store, fan)
			}})
		}
	}
	return rows
}

// growth publishes events one at a time until 10,000 deliveries are due, and
// then delivers all of them.
func (e *env) growth(ctx context.Context, name string, fan int) (out []figure, err error) {
	const deliveries = 10_000
	r, err := e.openRig(ctx, name)
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	if err := together(fan, func(i int) error {
		_, err := r.register(ctx, "tenant", e.sink.url("ok", i%neighbours, false), nil)
		return err
	}); err != nil {
		return nil, err
	}
	ev, err := r.event("tenant", smallBody)
	if err != nil {
		return nil, err
	}
	if _, err := e.sink.counts(ctx, "/reset"); err != nil {
		return nil, err
	}
	before, err := readCPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for range deliveries / fan {
		if _, err := r.Publish(ctx, ev); err != nil {
			return nil, err
		}
	}
	publishing := time.Since(began)
	began = time.Now()
	r.start(ctx)
	defer closing(&err, r.stop)
	if _, err := e.arrived(ctx, deliveries); err != nil {
		return nil, err
	}
	delivering := time.Since(began)
	after, err := readCPU()
	s := sample{n: deliveries, elapsed: delivering, cpu: after.minus(before)}
	return []figure{
		{"publish µs", micros(publishing) / deliveries},
		{"/s", s.rate()},
		{"cpu µs", s.each(s.cpu.tree)},
	}, err
}

// footprintRows show the cost of webhooks and deliveries in the memory of the
// process, or in bytes of PostgreSQL's log.
func footprintRows() []row {
	var rows []row
	for _, store := range storeNames {
		rows = append(rows,
			row{"footprint/" + store + "/memory-per-waiting-delivery", func(ctx context.Context, e *env) ([]figure, error) {
				return e.memoryOf(ctx, store, e.opt.scaled(100_000), waitDeliveries)
			}},
			row{"footprint/" + store + "/memory-per-idle-webhook", func(ctx context.Context, e *env) ([]figure, error) {
				return e.memoryOf(ctx, store, e.opt.scaled(10_000), registerWebhooks)
			}})
	}
	return append(rows, row{"footprint/postgres/log-per-delivery", func(ctx context.Context, e *env) ([]figure, error) {
		return e.logged(ctx)
	}})
}

// memoryOf measures how much the heap of a process with a running dispatcher
// grows for each of n items.
func (e *env) memoryOf(ctx context.Context, name string, n int, grow func(ctx context.Context, r *rig, n int) error) (out []figure, err error) {
	r, err := e.openRig(ctx, name)
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	// Its endpoint hangs, so that its deliveries wait.
	if _, err := r.register(ctx, "dead", e.sink.url("hang", 0, false), nil); err != nil {
		return nil, err
	}
	r.start(ctx)
	defer closing(&err, r.stop)
	if err := pause(ctx, e.opt.window/3); err != nil {
		return nil, err
	}
	before := heap()
	if err := grow(ctx, r, n); err != nil {
		return nil, err
	}
	if err := pause(ctx, e.opt.window/3); err != nil {
		return nil, err
	}
	return []figure{{"bytes", float64(heap()-before) / float64(n)}}, nil
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // frees memory of finalizers that the first run started
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// waitDeliveries publishes events with little data.
func waitDeliveries(ctx context.Context, r *rig, n int) error {
	for left := n; left > 0; left -= 500 {
		if _, err := r.store.Publish(ctx, time.Now().UTC(), requests("dead", min(left, 500), []byte("{}"))); err != nil {
			return err
		}
	}
	return nil
}

func registerWebhooks(ctx context.Context, r *rig, n int) error {
	return together(n, func(i int) error {
		_, err := r.register(ctx, "idle", fmt.Sprintf("http://127.0.0.1:1/%d", i), nil)
		return err
	})
}

// together calls f with 0 to n-1 from several goroutines, without which a
// durable store would be slow, and returns the first error.
func together(n int, f func(i int) error) error {
	var turn atomic.Int64
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for range 64 {
		all.Go(func() {
			for i := int(turn.Add(1)) - 1; i < n; i = int(turn.Add(1)) - 1 {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	all.Wait()
	return first
}

// logged measures the bytes that PostgreSQL writes to its log for a delivery,
// from the publish to the recorded result.
func (e *env) logged(ctx context.Context) (out []figure, err error) {
	const deliveries = 20_000
	r, err := e.openRig(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	publish, err := e.prepareLoad(ctx, r, load{batch: 100, publishers: 1, size: smallBody, fan: 1, endpoints: 1})
	if err != nil {
		return nil, err
	}
	position := func() (at int64, err error) {
		err = r.store.db.QueryRowContext(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").Scan(&at)
		return at, err
	}
	r.start(ctx)
	defer closing(&err, r.stop)
	before, err := position()
	if err != nil {
		return nil, err
	}
	for range deliveries / 100 {
		if err := publish(ctx); err != nil {
			return nil, err
		}
	}
	for began := time.Now(); r.delivered.Load() < deliveries; {
		if time.Since(began) > time.Minute {
			return nil, errors.New("not all was delivered within a minute")
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
	after, err := position()
	return []figure{{"bytes", float64(after-before) / deliveries}}, err
}
