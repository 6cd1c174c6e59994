// Package otelwebhook instruments a webhook.Dispatcher with OpenTelemetry:
// spans from Publish to the receiver, and metrics of attempts, outcomes,
// latency, claims and the backlog.
//
//	telemetry, err := otelwebhook.New(otelwebhook.Config{})
//	d, err := webhook.New(store, webhook.Config{Observer: telemetry.Observer()})
//	watching, err := telemetry.Watch(d)
//	defer watching.Unregister()
//
// Metrics have no labels with values that customers choose, such as a webhook's
// ID or URL or a tenant, so this package bounds the number of series. Spans
// carry the IDs of events, deliveries and webhooks. Metrics and spans hold no
// secret, header value, URL or event data.
package otelwebhook

import (
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed68722ecd/webhook"
)

// Name is the instrumentation scope of all spans and metrics.
const Name = "github.com/seed68722ecd/webhook/otelwebhook"

// Config holds the settings of a [Telemetry]. The zero Config works.
type Config struct {
	// TracerProvider makes the spans. Nil means otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the metrics. Nil means otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
	// SendTraceparent sends traceparent and tracestate of each attempt's span
	// to the receiver. The receiver then learns the trace's ID and the vendor
	// data in tracestate. The default is false.
	SendTraceparent bool
	// SameTrace makes the spans of deliveries children of the publishing span,
	// in its trace, although they may start hours later. By default each
	// delivery has a trace of its own, linked to the publishing span.
	SameTrace bool
	// EventTypes adds the label webhook.event.type to metrics of events and
	// deliveries. Set it only if the event types are few and chosen by the
	// host, not by its customers.
	EventTypes bool
	// BacklogEvery is the shortest interval between two queries of the Store's
	// backlog, which are made only when metrics are collected. 0 means 15 s;
	// below 0 means never.
	BacklogEvery time.Duration
}

// Telemetry makes spans and metrics. It is safe for concurrent use and may
// observe several dispatchers.
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

// Observer returns the observer to set as webhook.Config.Observer.
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
