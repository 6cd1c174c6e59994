package main

import (
	"context"
	"errors"
	"fmt"
)

const (
	// burstEvents is the number of events that one tenant publishes at once.
	burstEvents = 1_000_000
	// leastBurst takes longer to deliver than a quick run measures.
	leastBurst = 100_000
	// quietRate is how many events per second another tenant publishes, one at
	// a time.
	quietRate = 50
)

// burstRows show how long a tenant's single events take while another tenant's
// burst is delivered, beside a run without the burst.
func burstRows() []row {
	var rows []row
	for _, store := range storeNames {
		rows = append(rows, row{fmt.Sprintf("burst/%s/%d", store, burstEvents), func(ctx context.Context, e *env) ([]figure, error) {
			return e.burst(ctx, store)
		}})
	}
	return rows
}

func (e *env) burst(ctx context.Context, store string) (out []figure, err error) {
	r, err := e.openRig(ctx, store)
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	if _, err := r.register(ctx, "busy", e.sink.url(otherwise("ok"), 0, false), nil); err != nil {
		return nil, err
	}
	if _, err := r.register(ctx, "quiet", e.sink.url("ok", 1, false), nil); err != nil {
		return nil, err
	}
	window := 3 * e.opt.window
	calm, err := e.singles(ctx, r, "quiet", quietRate, window)
	if err != nil {
		return nil, err
	}
	total := max(e.opt.scaled(burstEvents), leastBurst)
	if err := r.store.publishMany(ctx, "busy", total); err != nil {
		return nil, err
	}
	if err := r.store.settle(ctx); err != nil {
		return nil, err
	}
	before := r.delivered.Load()
	got, err := e.singles(ctx, r, "quiet", quietRate, window)
	if err != nil {
		return nil, err
	}
	if r.delivered.Load()-before >= int64(total) {
		return nil, errors.New("the burst was over before it had been measured")
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50 ms", 0.5}, {"p90 ms", 0.9}, {"p99 ms", 0.99}, {"most ms", 1}} {
		out = append(out, figure{q.name, quantile(got.Latency, q.q)}, figure{"without", quantile(calm.Latency, q.q)})
	}
	return out, nil
}
