package otelwebhook

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed68722ecd/webhook"
)

// Attributes of spans, named by OpenTelemetry's conventions where they define a
// name.
const (
	keySystem     = attribute.Key("messaging.system")
	keyOperation  = attribute.Key("messaging.operation.type")
	keyMessageID  = attribute.Key("messaging.message.id")
	keyBatch      = attribute.Key("messaging.batch.message_count")
	keyMethod     = attribute.Key("http.request.method")
	keyResend     = attribute.Key("http.request.resend_count")
	keyStatus     = attribute.Key("http.response.status_code")
	keyError      = attribute.Key("error.type")
	keyEventType  = attribute.Key("webhook.event.type")
	keyWebhook    = attribute.Key("webhook.id")
	keyDelivery   = attribute.Key("webhook.delivery.id")
	keyDeliveries = attribute.Key("webhook.deliveries")
	keyAborted    = attribute.Key("webhook.attempt.aborted")
)

var w3c propagation.TraceContext

// TraceOf returns the trace of the span in ctx in the form of
// EventRecord.Trace, or "" without a span. It is for events of PublishTx, which
// the dispatcher does not see:
//
//	req, err := d.Prepare(event)
//	req.Event.Trace = otelwebhook.TraceOf(ctx)
//	_, err = store.PublishTx(ctx, tx, req)
func TraceOf(ctx context.Context) string {
	c := propagation.MapCarrier{}
	w3c.Inject(ctx, c)
	return c["traceparent"]
}

// spanOf is the inverse of TraceOf. It returns an invalid SpanContext if kept
// is not a trace.
func spanOf(kept string) trace.SpanContext {
	ctx := w3c.Extract(context.Background(), propagation.MapCarrier{"traceparent": kept})
	return trace.SpanContextFromContext(ctx)
}

// publish starts the span of a call of Publish.
func (t *Telemetry) publish(ctx context.Context, reqs []webhook.PublishRequest) (string, func([]webhook.Published, error)) {
	began := time.Now()
	attrs := []attribute.KeyValue{keySystem.String("webhook"), keyOperation.String("send")}
	if len(reqs) == 1 {
		attrs = append(attrs, keyMessageID.String(reqs[0].Event.ID), keyEventType.String(reqs[0].Event.Type))
	} else {
		attrs = append(attrs, keyBatch.Int(len(reqs)))
	}
	types := t.typesOf(reqs)
	ctx, span := t.tracer.Start(ctx, "publish webhook", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attrs...))
	return TraceOf(ctx), func(out []webhook.Published, err error) {
		n := 0
		for _, p := range out {
			n += p.Deliveries
		}
		span.SetAttributes(keyDeliveries.Int(n))
		if err != nil {
			class, _ := whyNotPublished(err)
			span.SetAttributes(keyError.String(class))
			span.SetStatus(codes.Error, "not all events were stored")
		}
		span.End()
		t.published(ctx, types, out, err, time.Since(began))
	}
}

// attempt starts the spans of one attempt: a span for the delivery, linked to
// or below the publishing span, and a span for the request.
func (t *Telemetry) attempt(d webhook.Delivery, ev *webhook.EventRecord) webhook.AttemptObservation {
	ctx := context.Background()
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			keySystem.String("webhook"), keyOperation.String("process"), keyMessageID.String(ev.ID), keyEventType.String(ev.Type),
			keyWebhook.String(d.WebhookID), keyDelivery.String(d.ID),
		),
	}
	if from := spanOf(ev.Trace); from.IsValid() {
		if t.cfg.SameTrace {
			ctx = trace.ContextWithRemoteSpanContext(ctx, from)
		} else {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: from}))
		}
	}
	ctx, delivery := t.tracer.Start(ctx, "deliver webhook", opts...)
	ctx, request := t.tracer.Start(ctx, "POST", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(keyMethod.String("POST"), keyResend.Int(d.Attempts), keyDelivery.String(d.ID)))

	var seen webhook.AttemptObservation
	if t.cfg.SendTraceparent {
		c := propagation.MapCarrier{}
		w3c.Inject(ctx, c)
		seen.Traceparent, seen.Tracestate = c["traceparent"], c["tracestate"]
	}
	seen.Ended = func(a webhook.Attempt, aborted bool) {
		for _, span := range [...]trace.Span{request, delivery} {
			if a.Status != 0 {
				span.SetAttributes(keyStatus.Int(a.Status))
			}
			switch {
			case aborted:
				span.SetAttributes(keyAborted.Bool(true))
			case a.Class != "":
				span.SetAttributes(keyError.String(string(a.Class)))
				span.SetStatus(codes.Error, a.Error)
			}
			span.End()
		}
		if !aborted {
			t.attempted(ctx, &d, &a)
		}
	}
	return seen
}
