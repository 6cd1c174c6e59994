package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/otelwebhook"
)

// metrics serves /metrics: otelwebhook's metrics of the dispatcher, and metrics
// of the process.
type metrics struct {
	telemetry *otelwebhook.Telemetry
	provider  *metric.MeterProvider
	http.Handler
}

func newMetrics(log *slog.Logger) (*metrics, error) {
	// If a part of a collection fails, for example the query of the store's
	// backlog, the other metrics are shown and the error is logged.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("metrics", "error", err) }))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m := &metrics{provider: metric.NewMeterProvider(metric.WithReader(reader))}
	if m.telemetry, err = otelwebhook.New(otelwebhook.Config{MeterProvider: m.provider}); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4, // bounds the work that clients can cause
		Timeout:             10 * time.Second,
	})
	return m, nil
}

// watch adds the gauges of a dispatcher. stop ends all metrics.
func (m *metrics) watch(d *webhook.Dispatcher) (stop func() error, err error) {
	watching, err := m.telemetry.Watch(d)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return func() error { return errors.Join(watching.Unregister(), m.provider.Shutdown(context.Background())) }, nil
}

// handler serves /metrics on a listener at addr.
func (m *metrics) handler(addr string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	return sameHost(addr, mux)
}
