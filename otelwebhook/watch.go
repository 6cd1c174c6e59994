package otelwebhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed68722ecd/webhook"
)

// backlogTimeout bounds a query of the backlog, and so how long a database can
// delay the collection of metrics.
const backlogTimeout = 5 * time.Second

// gauges holds the instruments that are read when metrics are collected.
type gauges struct {
	running, inFlight, limit, held, unreadable, backlog, backlogPartial metric.Int64ObservableGauge
	oldest                                                              metric.Float64ObservableGauge
}

// Watch adds the gauges of a dispatcher: the attempts in flight in this
// process, and the backlog of its Store, which is the same in all processes
// that share the Store. It starts no goroutine: the gauges are read when
// metrics are collected. Unregister the result to stop. The backlog is left out
// if the Store is not a webhook.BacklogStore.
func (t *Telemetry) Watch(d *webhook.Dispatcher) (metric.Registration, error) {
	var g gauges
	var errs []error
	gauge := func(into *metric.Int64ObservableGauge, name, unit, says string) {
		m, err := t.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(says))
		*into, errs = m, append(errs, err)
	}
	gauge(&g.running, "webhook.dispatcher.running", "{dispatcher}", "1 while this process delivers.")
	gauge(&g.inFlight, "webhook.attempts.in_flight", "{attempt}", "Attempts being made by this process.")
	gauge(&g.limit, "webhook.attempts.limit", "{attempt}", "How many attempts this process makes at once, at most; 0 while it does not deliver.")
	gauge(&g.held, "webhook.deliveries.held", "{delivery}", "Deliveries leased by this process, those in flight included.")
	gauge(&g.unreadable, "webhook.webhooks.unreadable", "{webhook}", "Webhooks whose deliveries wait, as their secrets or headers cannot be decrypted.")
	gauge(&g.backlog, "webhook.backlog.deliveries", "{delivery}", "Pending deliveries in the store, over all processes.")
	gauge(&g.backlogPartial, "webhook.backlog.partial", "{count}", "1 when there are more than were counted.")
	oldest, err := t.meter.Float64ObservableGauge("webhook.backlog.oldest.age", metric.WithUnit("s"),
		metric.WithDescription("How long the earliest due delivery in the store has been due."))
	g.oldest = oldest
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	all := []metric.Observable{g.running, g.inFlight, g.limit, g.held, g.unreadable}
	if t.cfg.BacklogEvery > 0 {
		all = append(all, g.backlog, g.backlogPartial, g.oldest)
	}
	w := &watch{d: d, every: t.cfg.BacklogEvery, g: g}
	return t.meter.RegisterCallback(w.observe, all...)
}

// watch reads the gauges of one dispatcher.
type watch struct {
	d     *webhook.Dispatcher
	every time.Duration
	g     gauges

	mu    sync.Mutex
	asked time.Time
	last  webhook.Backlog
	err   error
}

func (w *watch) observe(ctx context.Context, o metric.Observer) error {
	s := w.d.Stats()
	running := int64(0)
	if s.Running {
		running = 1
	}
	o.ObserveInt64(w.g.running, running)
	o.ObserveInt64(w.g.inFlight, int64(s.InFlight))
	o.ObserveInt64(w.g.limit, int64(s.MaxInFlight))
	o.ObserveInt64(w.g.held, int64(s.Claimed))
	o.ObserveInt64(w.g.unreadable, int64(s.Unreadable))
	if w.every <= 0 {
		return nil
	}
	b, err := w.backlog(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return err // the metrics are then absent, rather than wrong
	}
	for state, n := range map[string]int{"due": b.Due, "waiting": b.Waiting, "leased": b.Leased, "expired": b.Expired} {
		o.ObserveInt64(w.g.backlog, int64(n), metric.WithAttributeSet(attribute.NewSet(keyBacklogState.String(state))))
	}
	partial := int64(0)
	if b.AtLeast {
		partial = 1
	}
	o.ObserveInt64(w.g.backlogPartial, partial)
	o.ObserveFloat64(w.g.oldest, b.OldestDue.Seconds())
	return nil
}

// backlog returns the store's backlog, from a query at most BacklogEvery old.
func (w *watch) backlog(ctx context.Context) (webhook.Backlog, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asked.IsZero() && time.Since(w.asked) < w.every {
		return w.last, w.err
	}
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	w.last, w.err = w.d.Backlog(ctx, webhook.BacklogQuery{})
	w.asked = time.Now()
	return w.last, w.err
}
