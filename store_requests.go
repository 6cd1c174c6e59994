package webhook

import "time"

// WebhookRecord is a webhook as a [Store] keeps it: with its secrets.
type WebhookRecord struct {
	Webhook
	// Secrets holds the current secret first, then older secrets that still
	// sign during a rotation. Never empty.
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
	Items []T // in the order of the list; may be empty
	// Next is the cursor of the following page; empty on the last page. A page
	// with Next set may have fewer items than the limit, or be empty.
	Next string
	// Reached is set if the page ended because the call had read as many
	// deliveries as one call may. All matching deliveries created after Reached
	// are on the pages so far. Zero otherwise.
	Reached time.Time
}

// MaxScan is the largest number of deliveries that one call of
// [LogStore.ListDeliveries] reads; a query may ask for less. It bounds the cost
// of a filter that few deliveries match, however large the log is.
const MaxScan = 10_000

// WebhookQuery selects webhooks of one tenant.
type WebhookQuery struct {
	Tenant string
	Search string // substring of name or URL, ASCII case ignored; empty selects all
	Cursor string // Page.Next of the previous page; empty for the first
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
	Cursor    string    // Page.Next of the previous page; empty for the first
	Limit     int       // items per page, 1–500; 0 means 50
	Scan      int       // deliveries to read for a page, 1–MaxScan; 0 means MaxScan
}

// PublishRequest is one event to publish, with the selections that match it.
type PublishRequest struct {
	Event EventRecord // validated and encoded, with its ID
	// Patterns are the selections that match the event's type: the type
	// itself, each of its prefixes followed by ".*", and "*". A webhook matches
	// when one of its Events is among them.
	Patterns []string
	// WebhookID restricts the event to this webhook, if it is active, whatever
	// event types it selects. Empty means all webhooks that match.
	WebhookID string
}

// PublishResult is the result of one PublishRequest.
type PublishResult struct {
	Deliveries int  // created by this call
	Duplicate  bool // the event was there already, with equal type and data
	Conflict   bool // another event has this ID: this event was not stored
}

// Lease names one claimed delivery and the token of the claim that holds it.
type Lease struct {
	DeliveryID string // empty, in Release, for every delivery that the token holds
	Token      int64  // of the claim
}

// ClaimRequest asks for due deliveries.
type ClaimRequest struct {
	// Token identifies this claim: random, above 0, never used twice.
	Token int64
	Now   time.Time     // the caller's clock
	Lease time.Duration // how long the caller holds the returned deliveries
	Limit int           // deliveries in total, at least 1
	// PerWebhook bounds the deliveries of one webhook; at least 1.
	PerWebhook int
	// Limits replaces PerWebhook for the webhooks named; 0 skips the webhook.
	Limits map[string]int
	// PassTenants are skipped with all their webhooks.
	PassTenants []string
	// Rest names webhooks that this claim and later claims skip, for the given
	// time from Now; 0 ends that, and so does a change of the webhook. It saves
	// naming them in every claim. Rest is a hint: it holds for every caller of
	// the same Store, and the Store may forget it.
	Rest map[string]time.Duration
}

// ClaimResult holds the deliveries that a claim leased.
type ClaimResult struct {
	Deliveries []ClaimedDelivery // empty when no delivery is due
	// NextDue is when the earliest delivery that was not due at this claim
	// becomes due, or its lease expires; zero when no delivery waits, or when
	// the Store cannot tell cheaply. It is a hint that saves polling.
	NextDue time.Time
}

// ClaimedDelivery is a leased delivery with the event and the webhook that an
// attempt needs. Event and Webhook may be shared among the deliveries of a
// result and with the Store: they must not be modified.
type ClaimedDelivery struct {
	Delivery Delivery       // counters as they are after the claim
	Event    *EventRecord   // the event to deliver
	Webhook  *WebhookRecord // nil when the webhook was deleted
	// Err is set, and Event may be nil, if this delivery cannot be read. The
	// other deliveries of the result are not affected. The Dispatcher
	// quarantines the delivery.
	Err error
}

// Result is the result of one claimed delivery, for Complete.
type Result struct {
	DeliveryID string        // as claimed
	Token      int64         // of the claim
	State      State         // the next state; StatePending asks for another attempt
	Reason     Reason        // with StateFailed and StateCanceled
	Delay      time.Duration // with StatePending: due this long after now
	Attempt    *Attempt      // nil when no request was made
}

// Outcome is the effect of Complete on one Result.
type Outcome uint8

// The outcomes of a Result.
const (
	OutcomeApplied Outcome = iota // recorded, now or by an earlier call
	OutcomeLate                   // the lease was lost: only the log was written
	OutcomeGone                   // the delivery no longer exists: the result was dropped
)

// ReplayRequest asks for one step of a replay: at most Limit deliveries, from
// Cursor on. Repeat it with the returned cursor until the cursor is empty.
// Since and Until are compared with the now of the Publish that stored the
// event, not with the time that the event carries.
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
	// that have no delivery to it, because it was inactive or did not exist
	// yet. Events that were published to another webhook only
	// (PublishRequest.WebhookID) are left out.
	Missing bool
	// DryRun counts the deliveries of the step without making a change.
	DryRun bool
	Cursor string // ReplayResult.Next of the previous step; empty for the first
	Limit  int    // deliveries per step, 1–1000; 0 means 500
}

// ReplayResult is the result of one step of a replay.
type ReplayResult struct {
	Resent  int    // deliveries made pending again
	Created int    // missing deliveries created
	Next    string // cursor of the next step; empty at the end
}

// MaxStats is the largest number of buckets that one call of [LogStore.Stats]
// returns; a query may ask for less. It covers one webhook for more than a
// year, or 400 webhooks for a day.
const MaxStats = 10_000

// StatsQuery selects hourly statistics of one tenant.
type StatsQuery struct {
	Tenant     string    // required
	WebhookIDs []string  // empty selects every webhook of the tenant
	Since      time.Time // from the hour that contains it; zero for all
	Until      time.Time // hours that start before it; zero for all
	// After is the last bucket of the previous answer, after which this answer
	// begins. Only its WebhookID and its Hour count. Zero for the first answer.
	After StatsBucket
	// Limit is the largest number of buckets in the answer, 1–MaxStats. To a
	// Store 0 means MaxStats; for 0 in a call of [Dispatcher.HourlyStats], see
	// there.
	Limit int
}

// StatsBucket counts the attempts at one webhook within one hour, without
// attempts that failed on the sender's side (see [ErrorClass.OurFault]).
type StatsBucket struct {
	WebhookID string    // the attempts' webhook
	Hour      time.Time // start of the hour, UTC
	Succeeded int64     // attempts answered 2xx
	Failed    int64     // all other attempts
	// Duration is the sum over all attempts; divide by their number for the mean.
	Duration time.Duration
}
