package webhook

import "time"

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
	// Disabled is called when the library has disabled a webhook: it answered
	// 410 Gone, or failed for Config.DisableAfter. Webhook.DisabledReason says
	// which.
	Disabled func(Webhook)
}
