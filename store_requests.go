package webhook

import "time"

// WebhookRecord is a webhook as a [Store] keeps it: with its secrets.
type WebhookRecord struct {
	Webhook
	// Secrets, the current one first, then those that still sign while
	// receivers change over. Never empty.
	Secrets []SecretRecord
}

// SecretRecord is one secret of a webhook in the form a [Store] keeps.
type SecretRecord struct {
	Value     string    // opaque to the Store
	CreatedAt time.Time // UTC, microseconds
	ExpiresAt time.Time // when it stops signing; zero for the current secret
}

// Page is one page of a list and the cursor of the next.
type Page[T any] struct {
	Items []T // in the order of the list; empty when there is nothing
	// Next is the cursor to pass for the following page; empty on the last one. A
	// page that has it may have fewer items than were asked for, or none.
	Next string
	// Reached is set when a page ended because the Store had looked at as much as
	// one call may: all that matches and was created after this is on the pages so
	// far. Zero otherwise.
	Reached time.Time
}

// MaxScan is how many deliveries one call of [LogStore.ListDeliveries] looks at,
// unless the query says less. It bounds what a filter that hardly anything passes
// can cost, whatever there is to look through.
const MaxScan = 10_000

// WebhookQuery selects webhooks of one tenant.
type WebhookQuery struct {
	Tenant string
	Search string // substring of name or URL, ASCII case ignored; empty selects all
	Cursor string // Page.Next of the page before; empty for the first
	Limit  int    // items per page, 1–500; 0 means 50
}

// DeliveryQuery selects deliveries of one tenant. Empty fields select all.
type DeliveryQuery struct {
	Tenant    string    // required
	WebhookID string    // of one webhook
	EventID   string    // of one event
	EventType string    // exact
	State     State     // in one state
	Since     time.Time // created at or after
	Until     time.Time // created before
	Cursor    string    // Page.Next of the page before; empty for the first
	Limit     int       // items per page, 1–500; 0 means 50
	Scan      int       // deliveries to look at for a page, 1–MaxScan; 0 means MaxScan
}

// PublishRequest is one event and whom it is for.
type PublishRequest struct {
	Event EventRecord // validated and encoded, with its ID
	// Patterns are the selections that match the event's type: the type
	// itself, each of its prefixes followed by ".*", and "*". A webhook matches
	// when one of its Events is among them.
	Patterns []string
	// WebhookID restricts the event to this one webhook, whatever it selects,
	// if it is active. Empty for all that match.
	WebhookID string
}

// PublishResult says what became of one PublishRequest.
type PublishResult struct {
	Deliveries int  // created by this call
	Duplicate  bool // the event was there already, with equal type and data
	Conflict   bool // another event has this ID: nothing was stored
}

// Lease names one claimed delivery and the token of the claim that holds it.
type Lease struct {
	DeliveryID string // empty, in Release, for all that the token holds
	Token      int64  // of the claim
}

// ClaimRequest asks for due deliveries.
type ClaimRequest struct {
	// Token identifies this claim: random, above 0, never used twice.
	Token int64
	Now   time.Time     // the caller's clock
	Lease time.Duration // how long what is returned is the caller's
	Limit int           // deliveries in total, at least 1
	// PerWebhook bounds the deliveries of one webhook; at least 1.
	PerWebhook int
	// Limits replaces PerWebhook for the webhooks named; 0 passes one over.
	Limits map[string]int
	// PassTenants are passed over with all their webhooks.
	PassTenants []string
	// Rest names webhooks that this claim and later ones pass over until so long
	// from Now; 0 ends that, and so does a change of the webhook. It spares the
	// caller to name them again in every claim. It is a hint that holds for all who
	// claim through the same Store, and that a Store may forget.
	Rest map[string]time.Duration
}

// ClaimResult is what a claim leased.
type ClaimResult struct {
	Deliveries []ClaimedDelivery // empty when nothing is due
	// NextDue is when the earliest delivery that this claim did not consider
	// due becomes so (or a lease expires); zero when nothing waits, or when the
	// Store cannot say cheaply. It is a hint that saves polling.
	NextDue time.Time
}

// ClaimedDelivery is a delivery under a lease with all that an attempt needs.
// Event and Webhook may be shared among the deliveries of a result and with
// the Store: they must not be modified.
type ClaimedDelivery struct {
	Delivery Delivery       // counters as they are after the claim
	Event    *EventRecord   // what is delivered
	Webhook  *WebhookRecord // nil when the webhook was deleted
	// Err is set, and Event may be nil, when this one delivery cannot be read;
	// its neighbours are not affected. The Dispatcher quarantines it.
	Err error
}

// Result is what came of one claimed delivery.
type Result struct {
	DeliveryID string        // as claimed
	Token      int64         // of the claim
	State      State         // the next state; StatePending asks for another attempt
	Reason     Reason        // with StateFailed and StateCanceled
	Delay      time.Duration // with StatePending: due this long after now
	Attempt    *Attempt      // nil when no request was made
}

// Outcome says what Complete did with one Result.
type Outcome uint8

// Outcomes of a result.
const (
	OutcomeApplied Outcome = iota // recorded, now or by an earlier call
	OutcomeLate                   // the lease was lost: only the log was written
	OutcomeGone                   // the delivery no longer exists: nothing was written
)

// ReplayRequest asks for one step of a replay: at most Limit deliveries, from
// Cursor on. Repeat it with the returned cursor until that is empty. Since and
// Until are compared with the now of the Publish that stored the event, not with
// the time that the event carries.
type ReplayRequest struct {
	Tenant    string    // required
	WebhookID string    // required: one webhook at a time
	Now       time.Time // filled in by the Dispatcher
	Since     time.Time // events stored at or after; zero for all
	Until     time.Time // events stored before; zero for all
	EventType string    // exact; empty for all
	// States selects existing deliveries by state; each is made pending again.
	States []State
	// Missing also creates deliveries for events that the webhook selects and
	// that have no delivery to it, as it was inactive or did not exist yet.
	// Events that were published to another webhook alone
	// (PublishRequest.WebhookID) are not among them.
	Missing bool
	// DryRun changes nothing and counts what would have been done.
	DryRun bool
	Cursor string // ReplayResult.Next of the step before; empty for the first
	Limit  int    // deliveries per step, 1–1000; 0 means 500
}

// ReplayResult is what one step of a replay did.
type ReplayResult struct {
	Resent  int    // deliveries made pending again
	Created int    // deliveries made for events that had none
	Next    string // cursor of the next step; empty at the end
}

// MaxStats is how many buckets one call of [LogStore.Stats] returns, unless the query
// says less: those of one webhook for more than a year, or of 400 webhooks for a day.
const MaxStats = 10_000

// StatsQuery selects hourly statistics of one tenant.
type StatsQuery struct {
	Tenant     string    // required
	WebhookIDs []string  // empty selects every webhook of the tenant
	Since      time.Time // from the hour that contains it; zero for all
	Until      time.Time // hours that start before it; zero for all
	// After is the last bucket of the answer before, to go on behind it. Only its
	// WebhookID and its Hour count. Zero for the first answer.
	After StatsBucket
	// Limit is how many buckets the answer has at most, 1–MaxStats. 0 means MaxStats
	// to a Store; for 0 to [Dispatcher.HourlyStats], see there.
	Limit int
}

// StatsBucket counts the attempts at one webhook within one hour, without those
// that failed on the sender's side (see [ErrorClass.OurFault]).
type StatsBucket struct {
	WebhookID string    // whose attempts
	Hour      time.Time // start of the hour, UTC
	Succeeded int64     // attempts answered 2xx
	Failed    int64     // all other attempts
	// Duration is the sum over all attempts; divide by their number for the mean.
	Duration time.Duration
}
