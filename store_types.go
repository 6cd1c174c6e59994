package webhook

import (
	"context"
	"time"
)

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

// BacklogStore is an optional interface of a [Store] that counts the deliveries
// in its queue, for dashboards and alerts. The stores of this module implement
// it.
type BacklogStore interface {
	// Backlog counts the deliveries in the queue, over all tenants and all
	// processes that share the Store. It does not change them, and changes made
	// meanwhile may be counted or not. It stops counting at q.Limit of each
	// kind, which bounds its cost however many deliveries wait.
	Backlog(ctx context.Context, q BacklogQuery) (Backlog, error)
}

// DefaultBacklogLimit bounds each count if BacklogQuery.Limit is 0.
const DefaultBacklogLimit = 10_000

// BacklogQuery bounds the counts of a Backlog. Its zero value works.
type BacklogQuery struct {
	Now time.Time // filled in by the Dispatcher
	// Since bounds Quarantined and Exhausted to deliveries that ended then or
	// later. Zero counts all deliveries that are still in the log.
	Since time.Time
	// Limit bounds the count of each kind: a count that reaches it stops there,
	// and Backlog.AtLeast is set. Counting reads about as many rows. 0 means
	// [DefaultBacklogLimit]; below 0 is refused.
	Limit int
}

// Backlog is a snapshot of a queue. Every pending delivery is in exactly one of
// the first four counts.
type Backlog struct {
	Due     int // can be claimed now: never claimed before, or given back
	Waiting int // due later: retries, mostly
	Leased  int // held by a dispatcher
	// Expired counts deliveries whose lease has expired: their process died or
	// hangs. A dispatcher takes them over within a poll, so a count that stays
	// above 0 means that no dispatcher is running or has room.
	Expired int
	// OldestDue is how long the earliest of Due has been due, by the Store's
	// clock; 0 when Due is 0. It is also 0 when every pending delivery is
	// Expired, so alert on both. For a webhook that hangs it is expected to
	// grow; otherwise it says how far the dispatchers lag.
	OldestDue time.Duration

	Quarantined int // ended as ReasonQuarantined since BacklogQuery.Since
	Exhausted   int // ended as ReasonRetriesExhausted since BacklogQuery.Since

	// AtLeast is true if a count stopped at the limit: the queue holds that
	// many deliveries or more.
	AtLeast bool
}

// Pending returns the number of pending deliveries.
func (b Backlog) Pending() int { return b.Due + b.Waiting + b.Leased + b.Expired }

// EraseStore is an optional interface of a [Store]. [Dispatcher.DeleteTenant],
// [Dispatcher.DeleteEvent] and Config.RetentionByType need it. The stores of
// this module implement it.
//
// Its methods work in steps: a step deletes at most limit rows of each kind in
// one short atomic write, beside all other calls, and says in More whether
// another step has to follow. A later claim, result or extension finds the
// delivery gone, as after pruning. All methods are idempotent.
type EraseStore interface {
	// EraseTenant deletes all data of one tenant: its webhooks first, with
	// their secrets, so that no further event is delivered; then deliveries in
	// every state with their attempts, and events; then statistics and the
	// remains of deleted webhooks. A tenant without data is not an error.
	EraseTenant(ctx context.Context, tenant string, limit int) (Erased, error)

	// EraseEvent deletes one event with its deliveries in every state and their
	// attempts, or returns ErrNotFound. Statistics, which only count, stay.
	EraseEvent(ctx context.Context, tenant, eventID string, limit int) (Erased, error)

	// EraseOld deletes, of all tenants, the events that req selects by their
	// type and that were published before req.Before, with their deliveries and
	// attempts, if every delivery was finished before req.Before: never an
	// event with a pending delivery. It goes through events in the order of
	// their publication from req.After on, and looks at a bounded number of
	// them in a step. An event that it skips, because a delivery is not
	// finished yet, is found again only by a walk from the start.
	EraseOld(ctx context.Context, req EraseOldRequest) (EraseOldResult, error)
}

// EraseOldRequest selects events to delete by type and age.
type EraseOldRequest struct {
	Types  []string  // event types and "prefix.*", as a webhook selects them
	Except []string  // the same; events that these select are kept
	Before time.Time // of publication, and of the end of every delivery
	After  string    // EraseOldResult.Next of the previous step; empty begins with the oldest event
	Limit  int       // rows of each kind to delete, at most
}

// EraseOldResult is the result of one step of [EraseStore.EraseOld].
type EraseOldResult struct {
	Erased
	Next string // where the step ended: EraseOldRequest.After of the next step
}

// Erased counts the deleted webhooks, events and deliveries.
type Erased struct {
	Webhooks   int // not counting those deleted before
	Events     int // with their data
	Deliveries int // in every state, with their attempts
	// More is true if data may be left, so that another step has to follow. A
	// Dispatcher returns it as false unless it returns an error.
	More bool
}

func (e *Erased) add(step Erased) {
	e.Webhooks += step.Webhooks
	e.Events += step.Events
	e.Deliveries += step.Deliveries
	e.More = step.More
}
