package webhook

import (
	"context"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
)

// Observer lets telemetry follow events from Publish to the receiver; the module
// otelwebhook makes one for OpenTelemetry. Nil functions are not called and cost
// nothing.
//
// Unlike [Hooks] they are called by the goroutines that do the work, while it is
// done, several at a time: they must be safe for concurrent use and return at
// once. A panic is logged and does no further harm. They are handed what stores
// and senders use: nothing of it may be modified, nor kept, apart from strings.
type Observer struct {
	// Publish is called by Publish, PublishAll and SendTest before events are
	// stored, with the caller's context. trace is kept with each event that has
	// none yet (see EventRecord.Trace; more than 128 bytes or other than printable
	// ASCII are left out). stored, if not nil, is called once with what Publish
	// will return. Events of PublishTx are not seen: set the Event.Trace of what
	// Prepare returns.
	Publish func(ctx context.Context, reqs []PublishRequest) (trace string, stored func([]Published, error))
	// Attempt is called before each request, with the delivery as it was claimed.
	Attempt func(d Delivery, ev *EventRecord) AttemptObservation
	// Recorded is called when the result of a claimed delivery is in the Store,
	// with the delivery as it stands then, the attempt, which is nil when none was
	// made, and whether it was applied or came too late.
	Recorded func(d Delivery, a *Attempt, o Outcome)
	// Claimed is called after each claim: how many deliveries it leased, and how
	// long the Store took.
	Claimed func(deliveries int, took time.Duration, err error)
	// StoreTimeout is called when a call of the Store was given up, as it took longer
	// than Config.StoreTimeout, with the name of the Store's method and how long that
	// was. Whether anything was stored is unknown.
	StoreTimeout func(call string, took time.Duration)
	// Disabled is called when the library has disabled a webhook, see
	// Hooks.Disabled. gone says that it answered 410; otherwise it failed for
	// Config.DisableAfter.
	Disabled func(w Webhook, gone bool)
}

// AttemptObservation is what an [Observer] makes of one attempt.
type AttemptObservation struct {
	// Traceparent and Tracestate are sent to the receiver as the headers of W3C
	// Trace Context, which customers cannot set. Empty ones, and what is no header
	// value, are not sent.
	Traceparent, Tracestate string
	// Ended, if not nil, is called once when the attempt has ended, before its
	// result is recorded. aborted says that Run ended it before there was an
	// outcome: it will be made again and does not count.
	Ended func(a Attempt, aborted bool)
}

const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"

	maxTrace = 128 // bytes of EventRecord.Trace
)

// observed calls a function of the Observer's and contains its panic.
func (d *Dispatcher) observed(name string, f func()) {
	if err := contain.Run("the observer's "+name, func() error { f(); return nil }); err != nil {
		d.logContained(err)
	}
}

// observePublish tells the Observer of events that are about to be stored, and
// returns what to tell it afterwards, or nil.
func (d *Dispatcher) observePublish(ctx context.Context, reqs []PublishRequest) (stored func([]Published, error)) {
	trace := ""
	d.observed("Publish", func() { trace, stored = d.cfg.Observer.Publish(ctx, reqs) })
	if len(trace) > maxTrace || checkHeaderValue("", trace) != nil {
		trace = ""
	}
	for i := range reqs {
		if reqs[i].Event.Trace == "" {
			reqs[i].Event.Trace = trace
		}
	}
	return stored
}

// observeAttempt tells the Observer of an attempt that is about to be made.
func (e *engine) observeAttempt(j *job) *AttemptObservation {
	seen := &AttemptObservation{}
	e.d.observed("Attempt", func() { *seen = e.cfg.Observer.Attempt(j.Delivery, j.Event) })
	return seen
}

// traceHeaders sets what the Observer wants sent.
func (o *AttemptObservation) traceHeaders(h map[string][]string) {
	for name, value := range map[string]string{headerTraceparent: o.Traceparent, headerTracestate: o.Tracestate} {
		if value != "" && checkHeaderValue(name, value) == nil {
			h[name] = []string{value}
		}
	}
}

// ended tells the Observer how an attempt has ended.
func (e *engine) ended(j *job, aborted bool) {
	if j.seen != nil && j.seen.Ended != nil {
		e.d.observed("Ended", func() { j.seen.Ended(j.attempt, aborted) })
	}
}
