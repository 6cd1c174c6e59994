package otelwebhook

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed68722ecd/webhook"
)

// Labels of metrics. The library defines a short list of values for each.
const (
	keyOutcome      = attribute.Key("webhook.publish.outcome") // stored, unmatched, duplicate, conflict
	keyStatusClass  = attribute.Key("webhook.attempt.status")  // 1xx … 5xx; see statusClass
	keyState        = attribute.Key("webhook.delivery.state")  // succeeded, failed, canceled
	keyReason       = attribute.Key("webhook.delivery.reason") // retries_exhausted, gone, …
	keyDisabledFor  = attribute.Key("webhook.disabled.reason") // gone, failing
	keyBacklogState = attribute.Key("webhook.backlog.state")   // due, waiting, leased, expired
)

// Values of labels.
const (
	outcomeStored, outcomeUnmatched   = "stored", "unmatched"
	outcomeDuplicate, outcomeConflict = "duplicate", "conflict"

	disabledGone, disabledFailing = "gone", "failing"

	// Values of error.type besides the classes of attempts
	// (webhook.ErrorClass).
	classStore, classConflict, classCanceled = "store", "conflict", "canceled"
)

// Bucket bounds in seconds. The first list is that of OpenTelemetry's
// conventions for HTTP clients, extended to the longest timeout of an attempt;
// the second extends to the end of the schedule of retries.
var (
	httpBuckets    = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300}
	storeBuckets   = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	arrivalBuckets = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600}
)

// instruments holds the instruments of all metrics.
type instruments struct {
	publishDuration, attemptDuration, claimDuration, arrival    metric.Float64Histogram
	events, finished, late, claimedDeliveries, webhooksDisabled metric.Int64Counter
	storeTimeouts                                               metric.Int64Counter

	sets sync.Map // of metric.MeasurementOption, by labels: making an option costs more than a measurement
}

// make creates all instruments except those of Watch.
func (t *Telemetry) make() error {
	var errs []error
	histogram := func(into *metric.Float64Histogram, name, says string, buckets []float64) {
		h, err := t.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(says), metric.WithExplicitBucketBoundaries(buckets...))
		*into, errs = h, append(errs, err)
	}
	counter := func(into *metric.Int64Counter, name, unit, says string) {
		c, err := t.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(says))
		*into, errs = c, append(errs, err)
	}
	histogram(&t.publishDuration, "webhook.publish.duration", "How long the store took to take events in.", storeBuckets)
	histogram(&t.attemptDuration, "webhook.attempt.duration", "How long attempts took, from the look-up of the name to the end of the answer.", httpBuckets)
	histogram(&t.claimDuration, "webhook.claim.duration", "How long the store took to lease due deliveries.", storeBuckets)
	histogram(&t.arrival, "webhook.delivery.duration", "From publishing to the receiver's 2xx, retries included.", arrivalBuckets)
	counter(&t.events, "webhook.published.events", "{event}", "Events published.")
	counter(&t.finished, "webhook.finished.deliveries", "{delivery}", "Deliveries that reached their end.")
	counter(&t.late, "webhook.late.results", "{result}", "Results that came after their lease had been lost: sent twice, most likely.")
	counter(&t.claimedDeliveries, "webhook.claimed.deliveries", "{delivery}", "Deliveries leased.")
	counter(&t.webhooksDisabled, "webhook.disabled.webhooks", "{webhook}", "Webhooks disabled by the library.")
	counter(&t.storeTimeouts, "webhook.store.timeouts", "{call}", "Calls of the store that were given up, as they took too long.")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.zero()
	return nil
}

// zero starts every foreseeable series of a counter at 0. To Prometheus a
// series that starts at 1 has not increased, so the first quarantine after a
// start would raise no alarm.
func (t *Telemetry) zero() {
	ctx := context.Background()
	t.late.Add(ctx, 0, t.with(labels{}))
	t.claimedDeliveries.Add(ctx, 0, t.with(labels{}))
	t.storeTimeouts.Add(ctx, 0, t.with(labels{}))
	for _, why := range []string{disabledGone, disabledFailing} {
		t.webhooksDisabled.Add(ctx, 0, t.with(labels{key: keyDisabledFor, value: why}))
	}
	if t.cfg.EventTypes {
		return // the other series depend on event types, which are not known in advance
	}
	for _, outcome := range []string{outcomeStored, outcomeUnmatched, outcomeDuplicate, outcomeConflict} {
		t.events.Add(ctx, 0, t.with(labels{key: keyOutcome, value: outcome}))
	}
	for reason, state := range map[webhook.Reason]webhook.State{
		"":                             webhook.StateSucceeded,
		webhook.ReasonRetriesExhausted: webhook.StateFailed,
		webhook.ReasonGone:             webhook.StateFailed,
		webhook.ReasonQuarantined:      webhook.StateFailed,
		webhook.ReasonWebhookDisabled:  webhook.StateCanceled,
		webhook.ReasonWebhookDeleted:   webhook.StateCanceled,
	} {
		t.finished.Add(ctx, 0, t.with(labels{key: keyState, value: string(state), reason: string(reason)}))
	}
}

// labels holds the labels of a measurement; zero fields are left out.
type labels struct {
	key       attribute.Key // of value
	value     string
	class     string // error.type
	reason    string
	eventType string
}

// with returns the measurement option for these labels.
func (t *Telemetry) with(l labels) metric.MeasurementOption {
	if !t.cfg.EventTypes {
		l.eventType = ""
	}
	if o, ok := t.sets.Load(l); ok {
		return o.(metric.MeasurementOption) //nolint:forcetypeassert // only this type is stored
	}
	var kvs []attribute.KeyValue
	add := func(k attribute.Key, v string) {
		if v != "" {
			kvs = append(kvs, k.String(v))
		}
	}
	add(l.key, l.value)
	add(keyError, l.class)
	add(keyReason, l.reason)
	add(keyEventType, l.eventType)
	o := metric.WithAttributeSet(attribute.NewSet(kvs...))
	t.sets.Store(l, o)
	return o
}

// typesOf returns the types of the events, if event types are labels.
func (t *Telemetry) typesOf(reqs []webhook.PublishRequest) []string {
	if !t.cfg.EventTypes {
		return nil
	}
	types := make([]string, len(reqs))
	for i := range reqs {
		types[i] = reqs[i].Event.Type
	}
	return types
}

func (t *Telemetry) published(ctx context.Context, types []string, out []webhook.Published, err error, took time.Duration) {
	class, conflicts := whyNotPublished(err)
	t.publishDuration.Record(ctx, took.Seconds(), t.with(labels{class: class}))
	for i, p := range out {
		l := labels{key: keyOutcome, value: outcomeUnmatched}
		switch {
		case p.Duplicate:
			l.value = outcomeDuplicate
		case p.Deliveries > 0:
			l.value = outcomeStored
		case conflicts > 0: // the error does not say which events of a batch conflict
			conflicts--
			l.value = outcomeConflict
		}
		if types != nil {
			l.eventType = types[i]
		}
		t.events.Add(ctx, 1, t.with(l))
	}
}

// whyNotPublished returns the class of an error of publishing, which separates
// errors of the caller from errors of the store, and for conflicts the number
// of events whose IDs were taken.
func whyNotPublished(err error) (class string, conflicts int) {
	switch {
	case err == nil:
		return "", 0
	case errors.Is(err, webhook.ErrEventConflict):
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			return classConflict, len(all.Unwrap())
		}
		return classConflict, 1
	case errors.Is(err, context.Canceled):
		return classCanceled, 0
	}
	return classStore, 0
}

// statusClass returns the class of a status, such as 2xx for 204.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

func (t *Telemetry) attempted(ctx context.Context, d *webhook.Delivery, a *webhook.Attempt) {
	t.attemptDuration.Record(ctx, a.Duration.Seconds(),
		t.with(labels{key: keyStatusClass, value: statusClass(a.Status), class: string(a.Class), eventType: d.EventType}))
}

func (t *Telemetry) recorded(d webhook.Delivery, a *webhook.Attempt, o webhook.Outcome) {
	ctx := context.Background()
	if o == webhook.OutcomeLate {
		t.late.Add(ctx, 1, t.with(labels{}))
		return
	}
	if o != webhook.OutcomeApplied || d.State == webhook.StatePending {
		return
	}
	t.finished.Add(ctx, 1, t.with(labels{key: keyState, value: string(d.State), reason: string(d.Reason), eventType: d.EventType}))
	if d.State == webhook.StateSucceeded && a != nil {
		t.arrival.Record(ctx, max(a.StartedAt.Add(a.Duration).Sub(d.CreatedAt), 0).Seconds(), t.with(labels{eventType: d.EventType}))
	}
}

func (t *Telemetry) claim(deliveries int, took time.Duration, err error) {
	ctx := context.Background()
	class := ""
	if err != nil {
		class = classStore
	}
	t.claimDuration.Record(ctx, took.Seconds(), t.with(labels{class: class}))
	t.claimedDeliveries.Add(ctx, int64(deliveries), t.with(labels{}))
}

func (t *Telemetry) storeTimeout(string, time.Duration) {
	t.storeTimeouts.Add(context.Background(), 1, t.with(labels{}))
}

func (t *Telemetry) webhookDisabled(_ webhook.Webhook, gone bool) {
	why := disabledFailing
	if gone {
		why = disabledGone
	}
	t.webhooksDisabled.Add(context.Background(), 1, t.with(labels{key: keyDisabledFor, value: why}))
}
