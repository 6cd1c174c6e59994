package otelwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// receiver answers with each status in turn, and records the headers of
// requests.
type receiver struct {
	codes []int

	mu  sync.Mutex
	got []http.Header
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, req.Header.Clone())
	code := r.codes[min(len(r.got), len(r.codes))-1]
	return &http.Response{StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// bench is an observed dispatcher.
type bench struct {
	*webhook.Dispatcher
	t        *testing.T
	rx       *receiver
	exported *tracetest.InMemoryExporter
	reader   *metric.ManualReader
	tracer   trace.Tracer
}

const (
	tenant = "marker-tenant"
	secret = "marker-secret-of-24-bytes"
)

func newBench(t *testing.T, store webhook.Store, cfg Config, codes ...int) *bench {
	t.Helper()
	b := &bench{t: t, rx: &receiver{codes: codes}, exported: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.exported))
	cfg.TracerProvider, cfg.MeterProvider = tp, metric.NewMeterProvider(metric.WithReader(b.reader))
	b.tracer = tp.Tracer("test")
	tel, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if b.Dispatcher, err = webhook.New(store, webhook.Config{
		Client: &http.Client{Transport: b.rx}, Observer: tel.Observer(), Retry: webhook.RetryDelays{0},
	}); err != nil {
		t.Fatal(err)
	}
	watching, err := tel.Watch(b.Dispatcher)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := watching.Unregister(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) hook() webhook.Webhook {
	b.t.Helper()
	w, _, err := b.CreateWebhook(b.t.Context(), tenant, webhook.WebhookSpec{
		Name: "n", URL: "https://h.example.com/marker-path?q=marker-query", Events: []string{"*"}, Secret: secret,
		Headers: map[string]string{"X-Token": "marker-header"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

func (b *bench) publish(ctx context.Context) string {
	b.t.Helper()
	p, err := b.Publish(ctx, webhook.Event{Tenant: tenant, Type: "order.paid", Data: map[string]string{"x": "marker-data"}})
	if err != nil {
		b.t.Fatal(err)
	}
	return p.ID
}

func (b *bench) deliver() {
	b.t.Helper()
	if _, err := b.DeliverDue(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// spans returns the exported spans of a name.
func (b *bench) spans(name string) (out []tracetest.SpanStub) {
	for _, s := range b.exported.GetSpans() {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// value returns the sum or the count of a metric's points that have these labels.
func (b *bench) value(name string, want ...attribute.KeyValue) (n float64, series int) {
	b.t.Helper()
	for _, m := range b.collect() {
		if m.Name != name {
			continue
		}
		add := func(set attribute.Set, v float64) {
			for _, kv := range want {
				if got, ok := set.Value(kv.Key); !ok || got != kv.Value {
					return
				}
			}
			n += v
			series++
		}
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				add(p.Attributes, float64(p.Value))
			}
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				add(p.Attributes, float64(p.Value))
			}
		case metricdata.Gauge[float64]:
			for _, p := range d.DataPoints {
				add(p.Attributes, p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				add(p.Attributes, float64(p.Count))
			}
		}
	}
	return n, series
}

func (b *bench) collect() (out []metricdata.Metrics) {
	b.t.Helper()
	var all metricdata.ResourceMetrics
	if err := b.reader.Collect(context.Background(), &all); err != nil {
		b.t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		out = append(out, scope.Metrics...)
	}
	return out
}

func attr(s tracetest.SpanStub, key attribute.Key) string {
	for _, kv := range s.Attributes {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// An event is followed from the caller's span through publishing to each attempt,
// which is a trace of its own that points back.
func TestTracesArePublishDeliveryAttemptLinked(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{}, 500, 204)
	w := b.hook()
	ctx, caller := b.tracer.Start(t.Context(), "caller")
	id := b.publish(ctx)
	caller.End()
	b.deliver()

	published, deliveries, posts := b.spans("publish webhook"), b.spans("deliver webhook"), b.spans("POST")
	if len(published) != 1 || len(deliveries) != 2 || len(posts) != 2 {
		t.Fatalf("%d, %d and %d spans, want 1, 2 and 2", len(published), len(deliveries), len(posts))
	}
	p := published[0]
	if p.Parent.SpanID() != caller.SpanContext().SpanID() || p.SpanKind != trace.SpanKindProducer || attr(p, keyMessageID) != id || attr(p, keyDeliveries) != "1" {
		t.Errorf("publish: %+v", p)
	}
	for i, d := range deliveries {
		if d.Parent.IsValid() || d.SpanKind != trace.SpanKindConsumer || len(d.Links) != 1 || d.Links[0].SpanContext.SpanID() != p.SpanContext.SpanID() ||
			d.Links[0].SpanContext.TraceID() != p.SpanContext.TraceID() || attr(d, keyWebhook) != w.ID || attr(d, keyMessageID) != id {
			t.Errorf("delivery %d: %+v", i, d)
		}
		a := posts[i]
		if a.Parent.SpanID() != d.SpanContext.SpanID() || a.SpanKind != trace.SpanKindClient || attr(a, keyStatus) != []string{"500", "204"}[i] ||
			attr(a, keyResend) != []string{"0", "1"}[i] || attr(a, keyError) != []string{"status", ""}[i] {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	for _, h := range b.rx.got {
		if h.Get("traceparent") != "" {
			t.Error("traceparent was sent though nobody asked for it")
		}
	}
	// Spans hold no secret data.
	for _, s := range b.exported.GetSpans() {
		for _, kv := range s.Attributes {
			if strings.Contains(kv.Value.String(), "marker") {
				t.Errorf("span %s shows %s = %s", s.Name, kv.Key, kv.Value.String())
			}
		}
		if strings.Contains(s.Status.Description, "marker") {
			t.Errorf("span %s shows %q", s.Name, s.Status.Description)
		}
	}
}

func TestSameTraceAndTraceparent(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{SameTrace: true, SendTraceparent: true}, 204)
	b.hook()
	ctx, caller := b.tracer.Start(t.Context(), "caller")
	b.publish(ctx)
	caller.End()
	b.deliver()
	d, p := b.spans("deliver webhook"), b.spans("POST")
	if len(d) != 1 || len(p) != 1 || d[0].SpanContext.TraceID() != caller.SpanContext().TraceID() || len(d[0].Links) != 0 ||
		d[0].Parent.SpanID() != b.spans("publish webhook")[0].SpanContext.SpanID() || !d[0].Parent.IsRemote() {
		t.Fatalf("%+v", d)
	}
	want := "00-" + p[0].SpanContext.TraceID().String() + "-" + p[0].SpanContext.SpanID().String() + "-01"
	if got := b.rx.got[0].Get("traceparent"); got != want {
		t.Errorf("sent traceparent %q, want %q", got, want)
	}
}

// Events published in the host's own transaction keep their trace, too.
func TestTraceOfPreparedEvents(t *testing.T) {
	store := memstore.New(memstore.Config{})
	b := newBench(t, store, Config{}, 204)
	b.hook()
	ctx, caller := b.tracer.Start(t.Context(), "caller")
	req, err := b.Prepare(webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{}})
	if err != nil {
		t.Fatal(err)
	}
	req.Event.Trace = TraceOf(ctx)
	if _, err := store.Publish(ctx, time.Now(), []webhook.PublishRequest{req}); err != nil {
		t.Fatal(err)
	}
	b.deliver()
	if d := b.spans("deliver webhook"); len(d) != 1 || len(d[0].Links) != 1 || d[0].Links[0].SpanContext.SpanID() != caller.SpanContext().SpanID() {
		t.Errorf("%+v", d)
	}
	if got := TraceOf(context.Background()); got != "" {
		t.Errorf("without a span: %q", got)
	}
	for _, bad := range []string{"", "x", "00-0-0-00", strings.Repeat("0", 55)} {
		if spanOf(bad).IsValid() {
			t.Errorf("%q is taken for a span", bad)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{BacklogEvery: time.Nanosecond}, 500, 204, 410)
	b.hook()
	b.publish(t.Context())
	for name, want := range map[string]float64{"webhook.backlog.deliveries": 1, "webhook.dispatcher.running": 0, "webhook.backlog.partial": 0} {
		if got, _ := b.value(name); got != want {
			t.Errorf("before: %s is %v, want %v", name, got, want)
		}
	}
	if got, series := b.value("webhook.backlog.oldest.age"); got < 0 || series != 1 {
		t.Errorf("oldest age %v of %d", got, series)
	}
	b.deliver() // 500, then 204
	b.publish(t.Context())
	b.deliver() // 410
	b.publish(t.Context())
	if _, err := b.Publish(t.Context(), webhook.Event{ID: "one", Tenant: tenant, Type: "a.b", Data: map[string]int{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), webhook.Event{ID: "one", Tenant: tenant, Type: "a.b", Data: map[string]int{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), webhook.Event{ID: "one", Tenant: tenant, Type: "a.c", Data: map[string]int{}}); !errors.Is(err, webhook.ErrEventConflict) {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		want   float64
		labels []attribute.KeyValue
	}{
		{"webhook.attempt.duration", 3, nil},
		{"webhook.attempt.duration", 1, []attribute.KeyValue{keyStatusClass.String("2xx")}},
		{"webhook.attempt.duration", 1, []attribute.KeyValue{keyStatusClass.String("5xx"), keyError.String("status")}},
		{"webhook.attempt.duration", 1, []attribute.KeyValue{keyStatusClass.String("4xx"), keyError.String("status")}},
		{"webhook.finished.deliveries", 1, []attribute.KeyValue{keyState.String("succeeded")}},
		{"webhook.finished.deliveries", 1, []attribute.KeyValue{keyState.String("failed"), keyReason.String("gone")}},
		{"webhook.delivery.duration", 1, nil},
		{"webhook.published.events", 2, []attribute.KeyValue{keyOutcome.String("stored")}},
		{"webhook.published.events", 1, []attribute.KeyValue{keyOutcome.String("duplicate")}},
		{"webhook.published.events", 1, []attribute.KeyValue{keyOutcome.String("conflict")}},
		{"webhook.published.events", 2, []attribute.KeyValue{keyOutcome.String("unmatched")}}, // after the 410
		{"webhook.publish.duration", 1, []attribute.KeyValue{keyError.String("conflict")}},
		{"webhook.claimed.deliveries", 3, nil},
		{"webhook.disabled.webhooks", 1, []attribute.KeyValue{keyDisabledFor.String("gone")}},
		{"webhook.backlog.deliveries", 0, nil},
	} {
		if got, _ := b.value(c.name, c.labels...); got != c.want {
			t.Errorf("%s %v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if n, _ := b.value("webhook.claim.duration"); n < 3 {
		t.Errorf("%v claims measured", n)
	}
}

// Errors of the caller are told from errors of the store, and each event of a
// batch is counted with its own result.
func TestWhyEventsWereNotPublished(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{}, 200)
	b.hook()
	event := func(tenant, id, typ string) webhook.Event {
		return webhook.Event{ID: id, Tenant: tenant, Type: typ, Data: map[string]int{}}
	}
	if _, err := b.PublishAll(t.Context(), []webhook.Event{event(tenant, "one", "a.b"), event(tenant, "two", "a.b")}); err != nil {
		t.Fatal(err)
	}
	batch := []webhook.Event{
		event(tenant, "one", "a.c"), event(tenant, "two", "a.c"), event(tenant, "one", "a.b"), event(tenant, "three", "a.b"), event("nobody", "four", "a.b"),
	}
	if _, err := b.PublishAll(t.Context(), batch); !errors.Is(err, webhook.ErrEventConflict) {
		t.Fatal(err)
	}
	for outcome, want := range map[string]float64{"stored": 3, "duplicate": 1, "conflict": 2, "unmatched": 1} {
		if got, _ := b.value("webhook.published.events", keyOutcome.String(outcome)); got != want {
			t.Errorf("%v events are %s, want %v", got, outcome, want)
		}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""}, {context.Canceled, "canceled"}, {context.DeadlineExceeded, "store"}, {webhook.ErrBacklogFull, "store"},
		{fmt.Errorf("x: %w", webhook.ErrEventConflict), "conflict"},
	} {
		if got, _ := whyNotPublished(c.err); got != c.want {
			t.Errorf("%v is of class %q, want %q", c.err, got, c.want)
		}
	}
}

// Counters exist before the first event: to Prometheus a counter that begins at
// 1 has not increased.
func TestCountersBeginAtZero(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{}, 200)
	for name, want := range map[string]int{
		"webhook.published.events": 4, "webhook.finished.deliveries": 6, "webhook.late.results": 1, "webhook.claimed.deliveries": 1, "webhook.disabled.webhooks": 2,
	} {
		if sum, series := b.value(name); sum != 0 || series != want {
			t.Errorf("%s: %v in %d series, want 0 in %d", name, sum, series, want)
		}
	}
	if _, series := b.value("webhook.finished.deliveries", keyState.String("failed"), keyReason.String("quarantined")); series != 1 {
		t.Error("the first quarantined delivery would not be seen")
	}
	// Event types are not known in advance.
	b = newBench(t, memstore.New(memstore.Config{}), Config{EventTypes: true}, 200)
	if _, series := b.value("webhook.finished.deliveries"); series != 0 {
		t.Errorf("%d series without a type", series)
	}
}

// The number of series does not depend on the number of webhooks, tenants and
// event types or on receivers' answers, and no label holds a value that a
// customer chose.
func TestCardinalityIsBounded(t *testing.T) {
	codes := make([]int, 0, 500)
	for c := 100; c < 600; c++ {
		codes = append(codes, c+100*(1-min(c/200, 1))) // 1xx is no answer
	}
	slices.SortFunc(codes, func(a, b int) int { return a%7 - b%7 })
	codes = slices.DeleteFunc(codes, func(c int) bool { return c == 410 })
	b := newBench(t, memstore.New(memstore.Config{}), Config{}, codes...)
	for range 20 {
		b.hook()
	}
	for i := range 25 {
		if _, err := b.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "marker.type" + string(rune('a'+i)), Data: map[string]int{}}); err != nil {
			t.Fatal(err)
		}
	}
	b.deliver()
	total := 0
	for _, m := range b.collect() {
		_, series := b.value(m.Name)
		total += series
		if series > 10 {
			t.Errorf("%s has %d series", m.Name, series)
		}
		for _, set := range sets(m) {
			for _, kv := range set.ToSlice() {
				if v := kv.Value.String(); strings.Contains(v, "marker") || strings.HasPrefix(v, "wh_") || strings.Contains(v, "example") {
					t.Errorf("%s has the label %s = %s", m.Name, kv.Key, v)
				}
			}
		}
	}
	if total == 0 || total > 60 {
		t.Errorf("%d series", total)
	}
	// With EventTypes, types are labels.
	b = newBench(t, memstore.New(memstore.Config{}), Config{EventTypes: true}, 200)
	b.hook()
	b.publish(t.Context())
	b.deliver()
	for _, name := range []string{"webhook.attempt.duration", "webhook.finished.deliveries", "webhook.delivery.duration", "webhook.published.events"} {
		if n, _ := b.value(name, keyEventType.String("order.paid")); n != 1 {
			t.Errorf("%s of order.paid is %v", name, n)
		}
	}
}

func sets(m metricdata.Metrics) (out []attribute.Set) {
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			out = append(out, p.Attributes)
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			out = append(out, p.Attributes)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			out = append(out, p.Attributes)
		}
	}
	return out
}

// blind is a store that cannot count its backlog, and broken a store that fails
// to.
type blind struct{ webhook.Store }

type broken struct{ webhook.Store }

func (broken) Backlog(context.Context, webhook.BacklogQuery) (webhook.Backlog, error) {
	return webhook.Backlog{}, errors.New("the database is away")
}

func TestBacklogThatCannotBeCountedIsAbsent(t *testing.T) {
	b := newBench(t, blind{memstore.New(memstore.Config{})}, Config{}, 200)
	if _, series := b.value("webhook.backlog.deliveries"); series != 0 {
		t.Errorf("%d series", series)
	}
	if _, series := b.value("webhook.dispatcher.running"); series != 1 {
		t.Errorf("%d series of the others", series)
	}
	b = newBench(t, broken{memstore.New(memstore.Config{})}, Config{}, 200)
	var all metricdata.ResourceMetrics
	err := b.reader.Collect(t.Context(), &all)
	if err == nil || !strings.Contains(err.Error(), "the database is away") {
		t.Errorf("collecting: %v", err)
	}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			if strings.HasPrefix(m.Name, "webhook.backlog") && len(sets(m)) > 0 {
				t.Errorf("%s is reported", m.Name)
			}
		}
	}
}

func TestAbortedAttemptsAreNotCounted(t *testing.T) {
	b := newBench(t, memstore.New(memstore.Config{}), Config{}, 200)
	tel, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	tel.attempt(webhook.Delivery{}, &webhook.EventRecord{}).Ended(webhook.Attempt{}, true)
	seen := b.observerOf(t)
	seen.Attempt(webhook.Delivery{ID: "d"}, &webhook.EventRecord{ID: "e"}).Ended(webhook.Attempt{}, true)
	seen.Recorded(webhook.Delivery{State: webhook.StatePending}, nil, webhook.OutcomeLate)
	if n, _ := b.value("webhook.attempt.duration"); n != 0 {
		t.Errorf("%v attempts", n)
	}
	if n, _ := b.value("webhook.late.results"); n != 1 {
		t.Errorf("%v late results", n)
	}
	if p := b.spans("POST"); len(p) != 1 || attr(p[0], keyAborted) != "true" {
		t.Errorf("%+v", p)
	}
}

// observerOf returns an Observer that reports to b.
func (b *bench) observerOf(t *testing.T) webhook.Observer {
	t.Helper()
	tel, err := New(Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.exported)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(b.reader2())),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tel.Observer()
}

// reader2 replaces the reader of b by a new one.
func (b *bench) reader2() *metric.ManualReader {
	b.reader = metric.NewManualReader()
	return b.reader
}
