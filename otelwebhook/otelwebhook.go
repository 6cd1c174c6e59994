// Package otelwebhook reports what a webhook.Dispatcher does to OpenTelemetry:
// spans from Publish to the receiver, and metrics of attempts, outcomes, latency,
// claims and the backlog.
//
//	telemetry, err := otelwebhook.New(otelwebhook.Config{})
//	d, err := webhook.New(store, webhook.Config{Observer: telemetry.Observer()})
//	watching, err := telemetry.Watch(d)
//	defer watching.Unregister()
//
// No metric has a webhook's ID, its URL, a tenant or anything else that
// customers make up as a label: the number of series is bounded by this package.
// Spans do carry the IDs of events, deliveries and webhooks. Neither holds a
// secret, a header's value, a URL or event data.
package otelwebhook

import (
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed68722ecd/webhook"
)

// Name of the instrumentation scope of all spans and metrics.
const Name = "github.com/seed68722ecd/webhook/otelwebhook"

// Config adjusts a [Telemetry]. Its zero value works.
type Config struct {
	// TracerProvider makes the spans. Nil means that of otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the metrics. Nil means that of otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
	// SendTraceparent sends traceparent and tracestate of each attempt's span to
	// its receiver. They tell it the trace's ID and what your vendor puts into
	// tracestate. False sends neither.
	SendTraceparent bool
	// SameTrace makes the spans of deliveries children of the span that
	// published, in its trace, though they may come hours later. False makes each
	// a trace of its own that is linked to it.
	SameTrace bool
	// EventTypes adds the label webhook.event.type to metrics of events and
	// deliveries. Set it only where the host, not its customers, makes the types
	// up, and they are few.
	EventTypes bool
	// BacklogEvery is how often the Store is asked for its backlog, at most, and
	// only when metrics are collected. 0 means 15 s; below 0 never asks.
	BacklogEvery time.Duration
}

// Telemetry makes spans and metrics. Safe for concurrent use; one may observe
// several dispatchers.
type Telemetry struct {
	cfg    Config
	tracer trace.Tracer
	meter  metric.Meter
	instruments
}

// New returns a Telemetry. The error says which instrument the MeterProvider
// refused.
func New(cfg Config) (*Telemetry, error) {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.BacklogEvery == 0 {
		cfg.BacklogEvery = 15 * time.Second
	}
	t := &Telemetry{
		cfg:    cfg,
		tracer: cfg.TracerProvider.Tracer(Name, trace.WithInstrumentationVersion(webhook.Version)),
		meter:  cfg.MeterProvider.Meter(Name, metric.WithInstrumentationVersion(webhook.Version)),
	}
	err := t.make()
	return t, err
}

// Observer returns what Config.Observer of a dispatcher is to be.
func (t *Telemetry) Observer() webhook.Observer {
	return webhook.Observer{
		Publish:      t.publish,
		Attempt:      t.attempt,
		Recorded:     t.recorded,
		Claimed:      t.claim,
		StoreTimeout: t.storeTimeout,
		Disabled:     t.webhookDisabled,
	}
}
