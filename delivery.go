package webhook

import "time"

// State is the state of a [Delivery].
type State string

// The states of a delivery. Every state except pending is final; a resend or a
// replay makes a delivery pending again.
const (
	StatePending   State = "pending"   // waits for its (next) attempt, or is being attempted
	StateSucceeded State = "succeeded" // the receiver answered 2xx
	StateFailed    State = "failed"    // retries used up, 410 Gone, or quarantined: see Reason
	StateCanceled  State = "canceled"  // the webhook was inactive or deleted when the delivery was due
)

// Reason says why a delivery failed or was canceled. It is empty for
// deliveries that are pending or succeeded.
type Reason string

// The reasons a delivery ends without success.
const (
	ReasonRetriesExhausted Reason = "retries_exhausted" // the last allowed attempt failed
	ReasonGone             Reason = "gone"              // the receiver answered 410 Gone
	ReasonQuarantined      Reason = "quarantined"       // its process died several times while attempting it, or it cannot be read
	ReasonWebhookDisabled  Reason = "webhook_disabled"  // the webhook was inactive when the delivery was due
	ReasonWebhookDeleted   Reason = "webhook_deleted"   // the webhook no longer existed when the delivery was due
)

// ErrorClass is the kind of an attempt's failure. It is empty for a successful
// attempt.
type ErrorClass string

// The classes of failure.
const (
	ClassDNS      ErrorClass = "dns"      // the host's name did not resolve
	ClassConnect  ErrorClass = "connect"  // no TCP connection, or it was reset
	ClassTLS      ErrorClass = "tls"      // handshake or certificate refused
	ClassTimeout  ErrorClass = "timeout"  // the webhook's timeout ran out at any stage
	ClassBlocked  ErrorClass = "blocked"  // the address may not be dialed
	ClassStatus   ErrorClass = "status"   // the answer's status is not 2xx
	ClassProtocol ErrorClass = "protocol" // the answer is not valid HTTP, or its head is too large
	ClassInternal ErrorClass = "internal" // the sender failed: a signer, a panic of the host's transport, settings that are no longer allowed
	// ClassUnsent: the sender could not send, because its proxy, its network or
	// its machine failed. The request did not reach the receiver. The delivery
	// is tried again for as long as the failure lasts, and uses up no retry.
	// One such attempt is logged each time the failure begins.
	ClassUnsent ErrorClass = "unsent"
)

// OurFault reports whether the sender failed and not the receiver:
// [ClassInternal] and [ClassUnsent]. Such an attempt does not count in the
// webhook's health and statistics.
func (c ErrorClass) OurFault() bool { return c == ClassInternal || c == ClassUnsent }

// EventRecord is a published event as a [Store] keeps it. It never changes.
type EventRecord struct {
	ID     string    // unique within the tenant; [A-Za-z0-9_-]{1,64}
	Tenant string    // owner
	Type   string    // dotted name
	Time   time.Time // UTC, microseconds
	Data   []byte    // the canonical JSON object of the event; store these bytes as they are, never as JSON
	// Trace is the trace to which the event belongs, at most 128 bytes, or
	// empty. Only [Observer] uses it: it is not sent, and it is not compared
	// when an event is published again.
	Trace string
}

// Delivery is one event on its way to one webhook: the unit of retry and state.
type Delivery struct {
	ID          string // assigned by the Store; unique across tenants; [A-Za-z0-9_-]{1,64}
	Tenant      string // owner
	EventID     string // the event to deliver
	EventType   string // the event's type
	WebhookID   string // the destination; it may have been deleted since
	WebhookName string // the webhook's name when the event was published; it is part of the body, which never changes
	State       State  // of the delivery
	Reason      Reason // why the delivery failed or was canceled; empty otherwise

	// Attempts counts the attempt numbers used so far: every recorded attempt
	// and every attempt lost in a crash. The next attempt is number Attempts+1.
	Attempts int
	// Tries counts the recorded attempts since the delivery was published, or
	// last resent by hand. The retry limit and the backoff depend on it. A
	// crash uses up no try. An attempt of [ClassUnsent] does not count either.
	Tries int
	// Crashes counts the leases that expired since the last recorded attempt
	// or resend.
	Crashes int

	CreatedAt     time.Time // when it was published, or first replayed
	NextAttemptAt time.Time // when it is due; zero unless pending
	FinishedAt    time.Time // when it reached its final state; zero while pending

	LastStatus int        // HTTP status of the last recorded attempt; 0 before the first, or without an answer
	LastClass  ErrorClass // class of the last recorded attempt; empty before the first, or if it succeeded
}

// Attempt is one HTTP request and its result. Attempts are only ever added.
type Attempt struct {
	DeliveryID string        // the attempted delivery
	Number     int           // 1, 2, …; the X-Webhook-Attempt that was sent
	StartedAt  time.Time     // UTC, microseconds; also the webhook-timestamp that was sent, to the second
	Duration   time.Duration // to the end of the answer's body, as far as it was read
	Status     int           // HTTP status; 0 without an answer
	Class      ErrorClass    // empty when it succeeded
	Error      string        // a message for people; never holds a secret, a header value, a path, a query or an internal address
	// ResponseHeaders are a few harmless headers of the answer (type, length,
	// server, date, retry-after, request ids), values cut short and made
	// printable.
	ResponseHeaders map[string]string
	// ResponseBody is the start of the answer's body, at most 4 KiB, any bytes
	// at all: a Store keeps them as bytes.
	ResponseBody []byte
	// ResponseTruncated is true if the body was longer, or broke off.
	ResponseTruncated bool
	// Late is true if the result came after its lease had been lost: the
	// attempt is logged, without effect on the delivery.
	Late bool
}

// Succeeded reports whether the attempt delivered the event.
func (a *Attempt) Succeeded() bool { return a.Class == "" && a.Status >= 200 && a.Status <= 299 }
