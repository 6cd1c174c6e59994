package main

import (
	"context"
	"fmt"
	"time"
)

// latencyRows measure from the call of Publish to the arrival of the request at
// the sink, whose clock is the same.
func latencyRows() []row {
	var rows []row
	for _, store := range storeNames {
		for _, rate := range []int{50, 1000} {
			rows = append(rows, row{fmt.Sprintf("latency/%s/%d-per-s", store, rate), func(ctx context.Context, e *env) ([]figure, error) {
				return e.latency(ctx, store, rate)
			}})
		}
	}
	return rows
}

// latency publishes at a fixed rate.
func (e *env) latency(ctx context.Context, name string, rate int) (out []figure, err error) {
	window := 3 * e.opt.window
	if _, err := e.sink.counts(ctx, "/reset"); err != nil {
		return nil, err
	}
	if err := e.barePaced(ctx, rate, window); err != nil {
		return nil, err
	}
	bare, err := e.sink.counts(ctx, "/reset")
	if err != nil {
		return nil, err
	}
	r, err := e.openRig(ctx, name)
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	if _, err := r.register(ctx, "tenant", e.sink.url("ok", 0, false), nil); err != nil {
		return nil, err
	}
	got, err := e.singles(ctx, r, "tenant", rate, window)
	if err != nil {
		return nil, err
	}
	return latencies(got, bare), nil
}

// singles runs a dispatcher while a tenant publishes at a fixed rate, one event
// at a time, and returns the sink's counts.
func (e *env) singles(ctx context.Context, r *rig, tenant string, rate int, window time.Duration) (got sinkCounts, err error) {
	ev, err := r.event(tenant, smallBody)
	if err != nil {
		return got, err
	}
	publish := func(n int64) error {
		ev := ev
		ev.ID = stampedID(n)
		_, err := r.Publish(ctx, ev)
		return err
	}
	r.start(ctx)
	defer closing(&err, r.stop)
	if err := paced(ctx, rate, window/10, publish); err != nil {
		return got, err
	}
	if _, err := e.sink.counts(ctx, "/reset"); err != nil {
		return got, err
	}
	if err := paced(ctx, rate, window, publish); err != nil {
		return got, err
	}
	return e.arrived(ctx, int64(window.Seconds()*float64(rate)))
}

// arrived waits until the sink has received want requests.
func (e *env) arrived(ctx context.Context, want int64) (sinkCounts, error) {
	began := time.Now()
	for {
		c, err := e.sink.counts(ctx, "/counts")
		if err != nil || c.OK >= want {
			return c, err
		}
		if time.Since(began) > time.Minute {
			return c, fmt.Errorf("%d of %d deliveries had arrived after a minute", c.OK, want)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return c, err
		}
	}
}

func latencies(got, without sinkCounts) []figure {
	var out []figure
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50 ms", 0.5}, {"p99 ms", 0.99}, {"p99.9 ms", 0.999}} {
		with, bare := quantile(got.Latency, q.q), quantile(without.Latency, q.q)
		out = append(out, figure{q.name, with}, figure{"bare", bare})
	}
	return out
}
