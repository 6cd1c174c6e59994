package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	// neighbours is the number of endpoints, which have equal traffic.
	neighbours = 20
	// calmRate is the number of events per second for all of them when latency
	// is measured: less than a store can take.
	calmRate = 1000
	// badTimeout is the timeout of the endpoints that do not answer.
	badTimeout = 2 * time.Second
)

// noisyRows show how bad endpoints affect healthy ones: the healthy endpoints'
// throughput under full load, and their latency at a fixed rate. Each run has a
// run without bad endpoints next to it.
func noisyRows() []row {
	var rows []row
	for _, store := range storeNames {
		for _, kind := range []string{"hang", "500", "drip"} {
			for _, bad := range []int{1, neighbours / 2} {
				if bad > 1 && kind != "hang" {
					continue
				}
				rows = append(rows, row{fmt.Sprintf("noisy/%s/%d-of-%d-%s", store, bad, neighbours, kind), func(ctx context.Context, e *env) ([]figure, error) {
					return e.noisy(ctx, store, kind, bad)
				}})
			}
		}
	}
	return rows
}

func (e *env) noisy(ctx context.Context, store, kind string, bad int) ([]figure, error) {
	calm, calmLatency, err := e.neighbourhood(ctx, store, "ok", bad)
	if err != nil {
		return nil, err
	}
	noisy, latency, err := e.neighbourhood(ctx, store, kind, bad)
	if err != nil {
		return nil, err
	}
	p50, p99 := quantile(latency.Latency, 0.5), quantile(latency.Latency, 0.99)
	calm50, calm99 := quantile(calmLatency.Latency, 0.5), quantile(calmLatency.Latency, 0.99)
	return []figure{
		{"healthy /s", noisy.rate()}, {"without", calm.rate()}, {"ratio", noisy.rate() / calm.rate()},
		{"p50 ms", p50}, {"without", calm50},
		{"p99 ms", p99}, {"without", calm99}, {"ratio", p99 / calm99},
	}, nil
}

// neighbourhood measures the healthy endpoints when the first few are bad. The
// run without bad endpoints leaves out the same few.
func (e *env) neighbourhood(ctx context.Context, name, kind string, bad int) (s sample, latency sinkCounts, err error) {
	r, err := e.openRig(ctx, name)
	if err != nil {
		return s, latency, err
	}
	defer closing(&err, r.store.close)
	var events []webhook.Event
	for i := range neighbours {
		url := e.sink.url("ok", i, false)
		if i < bad {
			url = e.sink.url(otherwise(kind), i, false)
		}
		tenant := fmt.Sprintf("tenant-%d", i)
		_, err := r.register(ctx, tenant, url, func(w *webhook.WebhookSpec) { w.Timeout = new(badTimeout) })
		if err != nil {
			return s, latency, err
		}
		ev, err := r.event(tenant, smallBody)
		if err != nil {
			return s, latency, err
		}
		events = append(events, ev)
	}
	r.start(ctx)
	defer closing(&err, r.stop)

	// First publish at a fixed rate, an event for each endpoint in turn.
	publish := func(n int64) error {
		ev := events[n%neighbours]
		ev.ID = stampedID(n)
		_, err := r.Publish(ctx, ev)
		return err
	}
	if err := paced(ctx, calmRate, badTimeout+time.Second, publish); err != nil { // every hanging endpoint has timed out once
		return s, latency, err
	}
	if _, err := e.sink.counts(ctx, "/reset"); err != nil {
		return s, latency, err
	}
	if err := paced(ctx, calmRate, 2*e.opt.window, publish); err != nil {
		return s, latency, err
	}
	if latency, err = e.arrived(ctx, int64(2*e.opt.window.Seconds()*calmRate)*int64(neighbours-bad)/neighbours); err != nil {
		return s, latency, err
	}

	// Then publish as much as the healthy endpoints take. A round is one event
	// for each.
	pace := newPace(e, neighbours-bad)
	p := publishers(ctx, 1, func(ctx context.Context) error {
		if err := pace.wait(ctx); err != nil {
			return err
		}
		_, err := r.PublishAll(ctx, events)
		return err
	})
	err = pause(ctx, e.opt.window/3)
	if err == nil {
		s, err = e.watch(ctx, "noisy", e.sink.received(ctx))
	}
	closing(&err, p.stop)
	return s, latency, err
}

// otherwise returns the path of an endpoint that is not counted.
func otherwise(kind string) string {
	if kind == "ok" {
		return "well"
	}
	return kind
}

// pace lets a publisher run ahead of the sink's healthy endpoints by a number
// of rounds.
type pace struct {
	e        *env
	healthy  int64
	rounds   int64
	received int64
	base     int64
	begun    bool
}

func newPace(e *env, healthy int) *pace { return &pace{e: e, healthy: int64(healthy)} }

func (p *pace) wait(ctx context.Context) error {
	for {
		if p.begun && p.rounds*p.healthy-p.received < maxAhead {
			p.rounds++
			return nil
		}
		c, err := p.e.sink.counts(ctx, "/counts")
		if err != nil {
			return err
		}
		if !p.begun {
			p.begun, p.base = true, c.OK
		}
		if p.received = c.OK - p.base; p.rounds*p.healthy-p.received >= maxAhead {
			if err := pause(ctx, 2*time.Millisecond); err != nil {
				return err
			}
		}
	}
}
