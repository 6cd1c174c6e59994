package webhook

import "time"

// Unsent is what [Hooks.Unsent] is told.
type Unsent struct {
	// Fault says what failed on the sender's side. It is for the host: it names the
	// host's proxy and the status that the proxy answered with.
	Fault string
	// Kind is one of "proxy", "network" (there is no way out of this machine),
	// "resolver" (its name server cannot be asked) and "machine" (out of files or
	// ports, a local firewall, or no root certificates).
	Kind string
	// Delivery is the one that could not be sent, as it was claimed.
	Delivery Delivery
	// Again is when it is tried again at the soonest.
	Again time.Time
	// Alike is how many more faults of this kind there were since the last call.
	Alike int
}

// Hooks tell the host what happens. They are called after it has been stored,
// one after the other, from a goroutine of Run's: one that blocks holds up the
// others and, after a while, further deliveries, so hand long work on. After a
// crash the last calls may be missing. A hook that panics is logged and does no
// further harm. Nil hooks are not called.
type Hooks struct {
	// Attempt is called for every recorded attempt, with the delivery as it
	// stands after it.
	Attempt func(Delivery, Attempt)
	// Succeeded is called when a delivery has succeeded.
	Succeeded func(Delivery, Attempt)
	// Failed is called when a delivery has failed for good or was canceled;
	// Delivery.Reason says why.
	Failed func(Delivery)
	// Failing warns that a webhook has failed without one success for a
	// quarter, a half, three quarters and nine tenths of Config.DisableAfter:
	// once per step in a process that keeps running, and it may be repeated by
	// others. disableAt is when it will be disabled at the soonest if nothing
	// changes. None of the first three steps is ever left out.
	Failing func(w Webhook, since, disableAt time.Time)
	// Unsent is called when something could not be sent for a fault of the sender's
	// side, see [ClassUnsent]: at once, and then, as long as it lasts, every ten
	// seconds for each kind of fault. Not one event is lost meanwhile, and none is
	// delivered.
	Unsent func(Unsent)
	// Disabled is called when the library has disabled a webhook: it answered
	// 410 Gone, or failed for Config.DisableAfter. Webhook.DisabledReason says
	// which.
	Disabled func(Webhook)
}
