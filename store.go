package webhook

import (
	"context"
	"time"
)

// Store keeps webhooks, events, deliveries and attempts, and is the queue
// between Publish and the dispatchers. [MemoryStore] is the reference; the
// packages sqlitestore and pgstore are durable. Package storetest checks any
// implementation against every sentence of this contract.
//
// Duties of every implementation:
//
//   - Safe for concurrent use by many goroutines, and, where the medium is
//     shared, by many processes.
//   - Every method is atomic: it takes effect as a whole or, when it returns an
//     error, not at all. The one exception is an error that leaves the outcome
//     unknown (a connection lost while committing); every write is therefore
//     idempotent where its comment says so, and the caller repeats it.
//   - A write has returned only when it is as durable as the Store ever makes it.
//   - Methods honour ctx: when it is done before the work has begun, they return
//     an error that wraps ctx.Err() without having written anything; when it
//     ends meanwhile they may return such an error with the outcome unknown.
//   - Nothing crosses a tenant: what belongs to another tenant is answered
//     exactly as what does not exist, with an error that wraps [ErrNotFound].
//   - Arguments and results are the caller's own: a Store neither keeps nor
//     hands out memory that a later change by the other side could reach.
//     Only what Claim returns is shared and must not be modified (see there).
//   - Times are UTC and keep microseconds. The current time comes in with the
//     request (Now); a Store that is shared by machines may use its own clock
//     in its place and says so. Delays are durations for that reason.
//   - Strings are valid UTF-8 without NUL, checked by the Dispatcher. Byte
//     slices hold any bytes and come back unchanged, never re-encoded.
//   - Secret values are opaque: a Store neither reads nor changes them.
//
// The Dispatcher has validated every argument before a Store sees it: limits
// are within 1–1000, IDs and names within their bounds. A Store need not check
// again.
//
// Abilities beyond this contract are small optional interfaces of their own.
type Store interface {
	WebhookStore
	QueueStore
	LogStore
}

// WebhookStore keeps the registrations of customers.
type WebhookStore interface {
	// CreateWebhook stores w, whose Version is 1. It returns an error wrapping
	// ErrExists when the ID is taken (in any tenant), and one wrapping
	// ErrTooManyWebhooks when limit is above 0 and the tenant has that many.
	// Creations that race, in whichever processes, do not pass the limit.
	CreateWebhook(ctx context.Context, w WebhookRecord, limit int) error

	// GetWebhook returns one webhook with its secrets, or ErrNotFound.
	GetWebhook(ctx context.Context, tenant, id string) (WebhookRecord, error)

	// ListWebhooks returns the tenant's webhooks, newest first (by creation
	// time, then ID, both descending). Never secrets. A cursor stays valid
	// while webhooks are created and deleted: every webhook that existed
	// throughout the walk is returned exactly once. A cursor that this Store
	// did not issue is an error wrapping ErrCursor. A tenant without webhooks
	// has an empty page, not an error.
	ListWebhooks(ctx context.Context, q WebhookQuery) (Page[Webhook], error)

	// UpdateWebhook replaces settings and secrets if the stored Version is
	// w.Version, and stores Version+1; otherwise it changes nothing and
	// returns an error wrapping ErrConflict, or ErrNotFound when the webhook
	// does not exist in the tenant of w. CreatedAt and the health fields of w
	// are ignored: the stored ones stay, except that FailingSince becomes zero
	// when an inactive webhook becomes active. What is published after it
	// returned is matched by the new settings.
	UpdateWebhook(ctx context.Context, w WebhookRecord) error

	// DeleteWebhook removes the webhook and its secrets, or returns
	// ErrNotFound. Its deliveries and attempts stay until pruned; those that
	// are pending are still claimed when due, with a nil Webhook, so that the
	// Dispatcher cancels them.
	DeleteWebhook(ctx context.Context, tenant, id string) error
}

// QueueStore takes events in and gives deliveries out.
type QueueStore interface {
	// Publish stores every event with one pending delivery, due now, for each
	// webhook of its tenant that is active and selects its type (see
	// [PublishRequest.Patterns]), all in one atomic step. It returns one result
	// per request, in order.
	//
	// An event whose (Tenant, ID) exists already is not stored again and
	// creates no delivery: its result says Duplicate when type and data are
	// equal to the stored ones and Conflict when not; the time is not compared.
	// That also holds within one call and among callers that race. It makes
	// Publish idempotent. A bounded Store that is full returns an error
	// wrapping ErrBacklogFull and stores none of the events.
	//
	// An event that matches no webhook is stored too: a replay can find it.
	Publish(ctx context.Context, now time.Time, reqs []PublishRequest) ([]PublishResult, error)

	// Claim leases pending deliveries that are due and not leased, or whose
	// lease has expired, to the caller for req.Lease and returns them. Two
	// calls never return the same delivery while its lease holds.
	//
	// It walks the tenants that have such deliveries in turn, and when it is a
	// tenant's turn the next of its webhooks that have them, each call going on
	// where the one before it ended, and takes at most as many per webhook
	// as the request allows, in the order in which they became due. Whatever is
	// waiting for one webhook, every webhook with due deliveries is served
	// within as many calls as it takes to walk once round all of them. However
	// many webhooks of other tenants have due deliveries, every tenant is served
	// within as many calls as it takes to serve one webhook of each tenant, and one
	// call more. The cost of a call depends on what it returns and on what the
	// request names, not on what waits: not on the backlog of webhooks it passes,
	// nor on how many webhooks have one, nor on deliveries due later, nor on
	// finished ones.
	//
	// Reclaiming an expired lease adds one to Crashes and one to Attempts of
	// the delivery, as its attempt may have been sent.
	//
	// Claim is not idempotent, but after an error that leaves its outcome
	// unknown the caller can Release by token what it may have leased; what it
	// does not release is due again when the lease expires.
	Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error)

	// Extend moves the expiry of the leases to d from now and returns the
	// delivery IDs of those it could not extend, as another claim holds them or
	// none does. An expired lease that nobody has claimed since can be
	// extended. Idempotent.
	Extend(ctx context.Context, now time.Time, leases []Lease, d time.Duration) (lost []string, err error)

	// Complete records what came of claimed deliveries: in one atomic step it
	// appends each attempt to the log, moves the delivery to its next state and
	// ends the lease, and brings the health of the webhooks and their hourly
	// statistics up to date, by the time at which attempts started: a failure
	// that started before the last success is no news. It returns one outcome
	// per result, in order.
	//
	// An attempt whose class is the sender's own fault (ErrorClass.OurFault) is
	// logged and leaves health and statistics as they are. One of ClassUnsent
	// leaves Tries as it is, too.
	//
	// A result whose Token is not the one that holds the delivery changes no
	// state: its attempt is logged with Late set and the outcome is
	// OutcomeLate. A result that has been recorded before (same delivery and
	// token) is acknowledged with OutcomeApplied and changes nothing, which
	// makes Complete idempotent, also when the delivery was resent and claimed
	// since: its counters may be what they were, and only the token tells which
	// claim a result is of. When the delivery no longer exists the outcome
	// is OutcomeGone. A lease that has expired but that nobody has claimed
	// since still holds.
	Complete(ctx context.Context, now time.Time, results []Result) ([]Outcome, error)

	// Release gives leases back unused: the deliveries are due again after
	// delay, with Attempts, Tries and Crashes unchanged. Leases that are not
	// held (any more) are ignored. A Lease with an empty DeliveryID stands for
	// everything claimed with its token. Idempotent.
	Release(ctx context.Context, now time.Time, leases []Lease, delay time.Duration) error

	// Resend makes one delivery pending and due now, whatever its state, with
	// Tries, Crashes and Reason reset, and returns it as it is then. A
	// delivery that is being attempted under a lease that has not expired stays
	// as it is and is returned unchanged. ErrNotFound when it does not exist.
	// Idempotent.
	Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (Delivery, error)

	// Replay does for one bounded step of many deliveries what Resend does for
	// one, and creates the deliveries that were never made; see
	// [ReplayRequest]. Deliveries that are pending already are left alone.
	// ErrNotFound when the webhook does not exist.
	Replay(ctx context.Context, req ReplayRequest) (ReplayResult, error)
}

// LogStore answers questions about what happened.
type LogStore interface {
	// GetEvent returns one event, or ErrNotFound.
	GetEvent(ctx context.Context, tenant, id string) (EventRecord, error)

	// GetDelivery returns one delivery, or ErrNotFound.
	GetDelivery(ctx context.Context, tenant, id string) (Delivery, error)

	// ListDeliveries returns deliveries that match q, newest first (by creation
	// time, then ID, both descending). Cursors behave as in ListWebhooks.
	//
	// A call looks at no more deliveries than q.Scan says, and two more for each
	// webhook that q is about, however many there are: a page may come back short,
	// or even empty, with Next set, and the caller goes on with the cursor. It then
	// says in Reached how far back it looked. What a page left out because it
	// looked no further is on a later one.
	//
	// When q names no event, no type and no state, and q.Scan is 20 times q.Limit or
	// more, every page but the last is full, however many webhooks the tenant has.
	ListDeliveries(ctx context.Context, q DeliveryQuery) (Page[Delivery], error)

	// ListAttempts returns every recorded attempt of a delivery in the order in
	// which they were recorded, or ErrNotFound when the delivery does not exist.
	ListAttempts(ctx context.Context, tenant, deliveryID string) ([]Attempt, error)

	// Stats returns counts per webhook and hour, ordered by webhook ID, then
	// hour ascending. Hours without attempts are left out. The answer has the first
	// q.Limit buckets behind q.After; fewer than that means that there are no more.
	Stats(ctx context.Context, q StatsQuery) ([]StatsBucket, error)

	// Prune deletes deliveries that were finished before the given time with their
	// attempts, and events older than it that have no delivery left (and
	// statistics older than it), at most limit deliveries and limit events in one
	// call (an event's age is that of the Publish that stored it), and returns how
	// many deliveries and events it deleted: fewer than limit means that it is
	// done. Never a pending delivery, never an event with one.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

// WebhookWalker is an ability that a [Store] need not have, and that
// [Dispatcher.ReencryptSecrets] needs to reach the webhooks of all tenants. The
// stores of this module have it.
type WebhookWalker interface {
	// WalkWebhooks returns up to limit webhooks of all tenants with their
	// secrets, in ascending byte order of their IDs, beginning behind the ID
	// after; fewer than limit means that there are no more. A webhook that exists
	// throughout a walk is returned exactly once.
	WalkWebhooks(ctx context.Context, after string, limit int) ([]WebhookRecord, error)
}
