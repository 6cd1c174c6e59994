package webhook

import (
	"time"
)

// State is where a [Delivery] stands.
type State string

// The states of a delivery. Pending is the only one that is not final; a
// resend or a replay makes a delivery pending again.
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

// ErrorClass says what kind of thing made an attempt fail. It is empty for an
// attempt that succeeded.
type ErrorClass string

// The classes of failure.
const (
	ClassDNS      ErrorClass = "dns"      // the host's name did not resolve
	ClassConnect  ErrorClass = "connect"  // no TCP connection, or it was reset
	ClassTLS      ErrorClass = "tls"      // handshake or certificate refused
	ClassTimeout  ErrorClass = "timeout"  // the webhook's timeout ran out at any stage
	ClassBlocked  ErrorClass = "blocked"  // the address is not one that may be dialed
	ClassStatus   ErrorClass = "status"   // an answer whose status is not 2xx
	ClassProtocol ErrorClass = "protocol" // an answer that is not valid HTTP, or too large a head
	ClassInternal ErrorClass = "internal" // this side failed: a signer, a transport of the host's that panicked, settings that are not allowed any more
	// ClassUnsent: the sender could not send, as its proxy, its network or its
	// machine failed. Nothing reached the receiver. The delivery goes on being
	// tried for as long as that lasts, and uses up no retry; one such attempt is
	// logged for each time that it began.
	ClassUnsent ErrorClass = "unsent"
)

// OurFault reports whether the sender failed and not the receiver:
// [ClassInternal] and [ClassUnsent]. Such an attempt says nothing of the webhook
// that it was for, and touches neither its health nor its statistics.
func (c ErrorClass) OurFault() bool { return c == ClassInternal || c == ClassUnsent }

// EventRecord is a published event as a [Store] keeps it. It never changes.
type EventRecord struct {
	ID     string    // unique within the tenant; [A-Za-z0-9_-]{1,64}
	Tenant string    // owner; nothing crosses it
	Type   string    // dotted name
	Time   time.Time // UTC, microseconds
	Data   []byte    // the canonical JSON object of the event; store these bytes as they are, never as JSON
	// Trace says which trace the event belongs to, at most 128 bytes; empty when
	// there is none. It is the concern of [Observer] alone: it is neither sent nor
	// compared when an event is published again.
	Trace string
}

// Delivery is one event on its way to one webhook: the unit of retry and state.
type Delivery struct {
	ID          string // assigned by the Store; unique across tenants; [A-Za-z0-9_-]{1,64}
	Tenant      string // whose it is
	EventID     string // what is delivered
	EventType   string // its type
	WebhookID   string // where to; the webhook may have been deleted since
	WebhookName string // the webhook's name when the event was published; it is part of the body, which never changes
	State       State  // where it stands
	Reason      Reason // why it failed or was canceled; empty otherwise

	// Attempts counts the attempt numbers used so far: every attempt recorded
	// and every one lost in a crash. The next attempt is number Attempts+1.
	Attempts int
	// Tries counts the recorded attempts since the delivery was published, or
	// last resent by hand: what the retry limit and the backoff look at. A
	// crash uses up no try. Nor does an attempt of [ClassUnsent].
	Tries int
	// Crashes counts the leases that expired since the last recorded attempt
	// or resend.
	Crashes int

	CreatedAt     time.Time // when it was published, or first replayed
	NextAttemptAt time.Time // when it is due; zero unless pending
	FinishedAt    time.Time // when it reached its final state; zero while pending

	LastStatus int        // HTTP status of the last recorded attempt; 0 when none or no answer
	LastClass  ErrorClass // class of the last recorded attempt; empty when none or it succeeded
}

// Attempt is one HTTP request and what came of it. Attempts are only ever added.
type Attempt struct {
	DeliveryID string        // whose attempt it is
	Number     int           // 1, 2, …; the X-Webhook-Attempt that was sent
	StartedAt  time.Time     // UTC, microseconds; also the webhook-timestamp that was sent, to the second
	Duration   time.Duration // to the end of the answer's body, as far as it was read
	Status     int           // HTTP status; 0 when there was no answer
	Class      ErrorClass    // empty when it succeeded
	Error      string        // for people: what happened; never holds a secret, a header value, a path, a query or an internal address
	// ResponseHeaders are a few harmless headers of the answer (type, length,
	// server, date, retry-after, request ids), values cut short and made
	// printable.
	ResponseHeaders map[string]string
	// ResponseBody is the start of the answer's body, at most 4 KiB, any bytes
	// at all: a Store keeps them as bytes.
	ResponseBody []byte
	// ResponseTruncated is true when the body went on, or broke off.
	ResponseTruncated bool
	// Late is true when the result came after its lease had been lost: it is
	// logged, and changed nothing.
	Late bool
}

// Succeeded reports whether the attempt delivered the event.
func (a *Attempt) Succeeded() bool { return a.Class == "" && a.Status >= 200 && a.Status <= 299 }
