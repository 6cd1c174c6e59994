package webhook

import (
	"context"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/header"
)

// Unsent is the argument of [Hooks.Unsent].
type Unsent struct {
	// Fault describes the failure on the sender's side. It is for the host
	// only, because it names the host's proxy and the status of the proxy's
	// answer.
	Fault string
	// Kind is "proxy", "network" (no route out of this machine), "resolver"
	// (the name server does not answer) or "machine" (out of files or ports, a
	// local firewall, or no root certificates).
	Kind string
	// Delivery is the delivery that could not be sent, as it was claimed.
	Delivery Delivery
	// Again is the earliest time of the next try.
	Again time.Time
	// Alike is the number of further faults of this kind since the last call.
	Alike int
}

// Hooks are functions of the host that are called after changes of deliveries
// and webhooks have been stored. They are called one after the other from a
// goroutine of Run: a hook that blocks delays the others and, after a while,
// further deliveries, so hand long work to another goroutine. After a crash the
// last calls may be missing. A panic of a hook is logged and contained. Nil
// hooks are not called.
type Hooks struct {
	// Attempt is called for every recorded attempt, with the delivery as it is
	// afterwards.
	Attempt func(Delivery, Attempt)
	// Succeeded is called when a delivery has succeeded.
	Succeeded func(Delivery, Attempt)
	// Failed is called when a delivery has failed for good or was canceled;
	// Delivery.Reason says why.
	Failed func(Delivery)
	// Failing warns that a webhook has failed without a success for a quarter,
	// a half, three quarters and nine tenths of Config.DisableAfter. A process
	// that keeps running warns once per step; other processes may repeat a
	// warning. disableAt is the earliest time at which the webhook will be
	// disabled unless an attempt succeeds. The first three warnings are never
	// skipped.
	Failing func(w Webhook, since, disableAt time.Time)
	// Unsent is called when a delivery could not be sent because of a fault on
	// the sender's side, see [ClassUnsent]: at once, and then every ten seconds
	// for each kind of fault, as long as the fault lasts. Deliveries wait
	// meanwhile, and are not lost.
	Unsent func(Unsent)
	// Disabled is called when the library has disabled a webhook: the webhook
	// answered 410 Gone, or failed for Config.DisableAfter.
	// Webhook.DisabledReason says which.
	Disabled func(Webhook)
}

// Observer lets telemetry follow events from Publish to the receiver; the
// module otelwebhook makes one for OpenTelemetry. Nil functions are not called
// and have no cost.
//
// Unlike [Hooks], the functions are called by the goroutines that do the work,
// while they do it: they must be safe for concurrent use and return at once. A
// panic is logged and contained. Their arguments are shared with stores and
// senders, and must not be modified or kept, apart from strings.
type Observer struct {
	// Publish is called by Publish, PublishAll and SendTest before events are
	// stored, with the caller's context. trace is stored with each event that
	// has no trace yet (see EventRecord.Trace; a trace of more than 128 bytes
	// or with other than printable ASCII is dropped). stored, if not nil, is
	// called once with the results. Events of PublishTx do not pass here: set
	// Event.Trace in the result of Prepare.
	Publish func(ctx context.Context, reqs []PublishRequest) (trace string, stored func([]Published, error))
	// Attempt is called before each request, with the delivery as it was claimed.
	Attempt func(d Delivery, ev *EventRecord) AttemptObservation
	// Recorded is called when the result of a claimed delivery is in the Store,
	// with the delivery as it is then, the attempt, or nil if no request was
	// made, and the outcome of the result.
	Recorded func(d Delivery, a *Attempt, o Outcome)
	// Claimed is called after each claim: how many deliveries it leased, and how
	// long the Store took.
	Claimed func(deliveries int, took time.Duration, err error)
	// StoreTimeout is called when a call of the Store was given up because it
	// took longer than Config.StoreTimeout, with the name of the Store's method
	// and the time it took. The call may or may not have been carried out.
	StoreTimeout func(call string, took time.Duration)
	// Disabled is called when the library has disabled a webhook, see
	// Hooks.Disabled. gone is true if the webhook answered 410; otherwise it
	// failed for Config.DisableAfter.
	Disabled func(w Webhook, gone bool)
}

// AttemptObservation is an [Observer]'s answer to the start of an attempt.
type AttemptObservation struct {
	// Traceparent and Tracestate are sent to the receiver as the headers of W3C
	// Trace Context, which customers cannot set. A value that is empty or not a
	// valid header value is not sent.
	Traceparent, Tracestate string
	// Ended, if not nil, is called once when the attempt has ended, before its
	// result is recorded. aborted is true if Run ended the attempt without an
	// outcome: it does not count and is made again.
	Ended func(a Attempt, aborted bool)
}

const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"

	maxTrace = 128 // bytes of EventRecord.Trace
)

// contained calls a function of the host and logs its panic.
func (d *Dispatcher) contained(name string, f func()) {
	if err := contain.Run(name, func() error { f(); return nil }); err != nil {
		d.logContained(err)
	}
}

// observePublish calls Observer.Publish and returns its stored function, or nil.
func (d *Dispatcher) observePublish(ctx context.Context, reqs []PublishRequest) (stored func([]Published, error)) {
	trace := ""
	d.contained("the observer's Publish", func() { trace, stored = d.cfg.Observer.Publish(ctx, reqs) })
	if len(trace) > maxTrace || header.CheckValue("", trace) != nil {
		trace = ""
	}
	for i := range reqs {
		if reqs[i].Event.Trace == "" {
			reqs[i].Event.Trace = trace
		}
	}
	return stored
}

func (e *engine) observeAttempt(j *job) *AttemptObservation {
	seen := &AttemptObservation{}
	e.d.contained("the observer's Attempt", func() { *seen = e.cfg.Observer.Attempt(j.Delivery, j.Event) })
	return seen
}

func (o *AttemptObservation) traceHeaders(h map[string][]string) {
	for name, value := range map[string]string{headerTraceparent: o.Traceparent, headerTracestate: o.Tracestate} {
		if value != "" && header.CheckValue(name, value) == nil {
			h[name] = []string{value}
		}
	}
}

func (e *engine) ended(j *job, aborted bool) {
	if j.seen != nil && j.seen.Ended != nil {
		e.d.contained("the observer's Ended", func() { j.seen.Ended(j.attempt, aborted) })
	}
}
