package webhook

import "time"

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
