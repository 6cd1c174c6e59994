package webhook

import (
	"context"
	"time"
)

// Store keeps webhooks, events, deliveries and attempts, and is the queue
// between Publish and the dispatchers. The package memstore is the reference
// implementation, in memory; the packages sqlitestore and pgstore are durable.
// Package storetest checks any implementation against every sentence of this
// contract.
//
// Duties of every implementation:
//
//   - Safe for concurrent use by many goroutines, and, where the medium is
//     shared, by many processes.
//   - Every method is atomic: it takes effect as a whole or, when it returns an
//     error, not at all. The exception is an error that leaves the outcome
//     unknown, such as a connection lost while committing. Writes are
//     idempotent where their comments say so, and the caller repeats them.
//   - A write returns only once it is as durable as the Store makes it.
//   - Methods honour ctx: when it is done before the work has begun, they
//     return an error that wraps ctx.Err() without having written anything;
//     when it ends during the work they may return such an error with the
//     outcome unknown.
//   - Tenants are isolated: a request for another tenant's webhook, event or
//     delivery is answered exactly like a request for an unknown ID, with an
//     error that wraps [ErrNotFound].
//   - Arguments and results belong to the caller: a Store never keeps or
//     returns memory that a later change by the other side could reach. Only
//     the Event and Webhook of a [ClaimedDelivery] and the data of a published
//     event may be shared, and must not be modified.
//   - Times are UTC and keep microseconds. The current time is an argument
//     (now, or Now in a request). A Store shared by several machines may use
//     its own clock instead, and documents that. For this reason delays are
//     durations.
//   - Strings are valid UTF-8 without NUL, checked by the Dispatcher. Byte
//     slices hold any bytes and come back unchanged, never re-encoded.
//   - Secret values are opaque: a Store does not interpret or change them.
//
// The Dispatcher has validated every argument before a Store sees it: limits
// are within 1–1000, IDs and names within their bounds. A Store need not check
// again.
//
// Abilities beyond this contract have small optional interfaces:
// [BacklogStore], [EraseStore] and [WebhookWalker].
type Store interface {
	WebhookStore
	QueueStore
	LogStore
}

// WebhookStore keeps customers' webhooks.
type WebhookStore interface {
	// CreateWebhook stores w, whose Version is 1. It returns an error wrapping
	// ErrExists when the ID is taken (in any tenant), and one wrapping
	// ErrTooManyWebhooks when limit is above 0 and the tenant has that many
	// webhooks. Concurrent creations, also in several processes, do not exceed
	// the limit.
	CreateWebhook(ctx context.Context, w WebhookRecord, limit int) error

	// GetWebhook returns one webhook with its secrets, or ErrNotFound.
	GetWebhook(ctx context.Context, tenant, id string) (WebhookRecord, error)

	// ListWebhooks returns the tenant's webhooks, newest first (by creation
	// time, then ID, both descending). It never returns secrets. A cursor stays
	// valid while webhooks are created and deleted: every webhook that existed
	// throughout the walk is returned exactly once. For a cursor that this
	// Store did not issue it returns an error wrapping ErrCursor. A tenant
	// without webhooks has an empty page, not an error.
	ListWebhooks(ctx context.Context, q WebhookQuery) (Page[Webhook], error)

	// UpdateWebhook replaces settings and secrets if the stored Version is
	// w.Version, and stores Version+1; otherwise it makes no change and returns
	// an error wrapping ErrConflict, or ErrNotFound when the webhook does not
	// exist in the tenant of w. CreatedAt and the health fields of w are
	// ignored: the stored values stay, except that FailingSince becomes zero
	// when an inactive webhook becomes active. Events published after it has
	// returned are matched by the new settings.
	UpdateWebhook(ctx context.Context, w WebhookRecord) error

	// DeleteWebhook removes the webhook and its secrets, or returns
	// ErrNotFound. Its deliveries and attempts stay until pruned; pending
	// deliveries are still claimed when due, with a nil Webhook, so that the
	// Dispatcher cancels them.
	DeleteWebhook(ctx context.Context, tenant, id string) error
}

// QueueStore is the queue between Publish and the dispatchers.
type QueueStore interface {
	// Publish stores every event with one pending delivery, due now, for each
	// webhook of its tenant that is active and selects its type (see
	// [PublishRequest.Patterns]), all in one atomic step. It returns one result
	// per request, in order.
	//
	// An event whose (Tenant, ID) exists already is not stored again and
	// creates no delivery: its result says Duplicate if type and data equal the
	// stored event's, and Conflict otherwise; the time is not compared. This
	// also holds within one call and among concurrent callers. It makes Publish
	// idempotent. A bounded Store that is full returns an error wrapping
	// ErrBacklogFull and does not store any of the events.
	//
	// An event that matches no webhook is stored too: a replay can find it.
	//
	// A Store may keep Event.Data itself instead of a copy: the caller and the
	// Store do not change these bytes after the call. The Dispatcher encodes
	// them for one call only.
	Publish(ctx context.Context, now time.Time, reqs []PublishRequest) ([]PublishResult, error)

	// Claim leases pending deliveries that are due and not leased, or whose
	// lease has expired, to the caller for req.Lease and returns them. Two
	// calls never return the same delivery while its lease holds.
	//
	// It serves the tenants that have such deliveries in turn, and at a
	// tenant's turn the next of its webhooks that have such deliveries. Each
	// call goes on where the previous call ended. From each webhook it takes at
	// most as many deliveries as the request allows, in the order in which they
	// became due. However many deliveries wait for one webhook, every webhook
	// with due deliveries is served within as many calls as it takes to serve
	// all of them once. However many webhooks of other tenants have due
	// deliveries, every tenant is served within as many calls as it takes to
	// serve one webhook of each tenant, and one call more. The cost of a call
	// depends on the deliveries that it returns and on the webhooks and tenants
	// that the request names. It does not depend on the backlog: how many
	// deliveries wait for the webhooks that it passes, how many webhooks have a
	// backlog, or how many deliveries are due later or finished.
	//
	// Reclaiming an expired lease adds one to Crashes and one to Attempts of
	// the delivery, as its attempt may have been sent.
	//
	// Claim is not idempotent, but after an error that leaves its outcome
	// unknown the caller can Release by token the deliveries that it may have
	// leased; otherwise they are due again when the lease expires.
	Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error)

	// Extend moves the expiry of the leases to d from now and returns the
	// delivery IDs of the leases that it could not extend, because the delivery
	// is held by another claim or by no claim. An expired lease can be extended
	// if its delivery has not been claimed since. Idempotent.
	Extend(ctx context.Context, now time.Time, leases []Lease, d time.Duration) (lost []string, err error)

	// Complete records the results of claimed deliveries: in one atomic step it
	// appends each attempt to the log, moves the delivery to its next state and
	// ends the lease, and updates the health of the webhooks and their hourly
	// statistics, by the time at which attempts started: a failure that started
	// before the latest success does not change the webhook's health. It
	// returns one outcome per result, in order.
	//
	// An attempt whose class is the sender's own fault (ErrorClass.OurFault) is
	// logged and leaves health and statistics as they are. An attempt of
	// ClassUnsent leaves Tries as it is, too.
	//
	// A result whose Token does not hold the delivery changes no state: its
	// attempt is logged with Late set and the outcome is OutcomeLate. A result
	// that has been recorded before (same delivery and token) is acknowledged
	// with OutcomeApplied and has no further effect, which makes Complete
	// idempotent, also when the delivery was resent and claimed since: its
	// counters may have the same values again, so only the token identifies the
	// claim of a result. When the delivery no longer exists the outcome is
	// OutcomeGone. An expired lease still holds if the delivery has not been
	// claimed since.
	Complete(ctx context.Context, now time.Time, results []Result) ([]Outcome, error)

	// Release gives leases back unused: the deliveries are due again after
	// delay, with Attempts, Tries and Crashes unchanged. Leases that are not
	// held (any more) are ignored. A Lease with an empty DeliveryID stands for
	// every delivery claimed with its token. Idempotent.
	Release(ctx context.Context, now time.Time, leases []Lease, delay time.Duration) error

	// Resend makes one delivery pending and due now, whatever its state, with
	// Tries, Crashes and Reason reset, and returns the changed delivery. A
	// delivery that is being attempted under a lease that has not expired stays
	// as it is and is returned unchanged. It returns ErrNotFound when the
	// delivery does not exist. Idempotent.
	Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (Delivery, error)

	// Replay resends many deliveries, as Resend does one, in one bounded step,
	// and creates missing deliveries; see [ReplayRequest]. Deliveries that are
	// pending already stay as they are. It returns ErrNotFound when the webhook
	// does not exist.
	Replay(ctx context.Context, req ReplayRequest) (ReplayResult, error)
}

// LogStore reads the log of events, deliveries and attempts, and prunes it.
type LogStore interface {
	// GetEvent returns one event, or ErrNotFound.
	GetEvent(ctx context.Context, tenant, id string) (EventRecord, error)

	// GetDelivery returns one delivery, or ErrNotFound.
	GetDelivery(ctx context.Context, tenant, id string) (Delivery, error)

	// ListDeliveries returns deliveries that match q, newest first (by creation
	// time, then ID, both descending). Cursors behave as in ListWebhooks.
	//
	// A call reads at most q.Scan deliveries, and two more for each webhook
	// that q selects, however many deliveries there are: a page may come back
	// short, or even empty, with Next set, and the caller goes on with the
	// cursor. Reached then says how far back the call has read. Matching
	// deliveries beyond that point are on later pages.
	//
	// When q names no event, no type and no state, and q.Scan is 20 times q.Limit or
	// more, every page but the last is full, however many webhooks the tenant has.
	ListDeliveries(ctx context.Context, q DeliveryQuery) (Page[Delivery], error)

	// ListAttempts returns every recorded attempt of a delivery in the order in
	// which they were recorded, or ErrNotFound when the delivery does not exist.
	ListAttempts(ctx context.Context, tenant, deliveryID string) ([]Attempt, error)

	// Stats returns counts per webhook and hour, ordered by webhook ID, then
	// hour ascending. Hours without attempts are left out. The answer has the
	// first q.Limit buckets after q.After; fewer buckets mean that there are no
	// more.
	Stats(ctx context.Context, q StatsQuery) ([]StatsBucket, error)

	// Prune deletes deliveries that were finished before the given time, with
	// their attempts, events older than that time that have no delivery left,
	// and statistics older than that time. It deletes at most limit deliveries
	// and limit events in one call, and returns how many it deleted: fewer than
	// limit means that it is done. An event's age counts from the Publish that
	// stored it. Prune never deletes a pending delivery or an event with a
	// pending delivery.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

// WebhookWalker is an optional interface of a [Store].
// [Dispatcher.ReencryptSecrets] needs it to reach the webhooks of all tenants.
// The stores of this module implement it.
type WebhookWalker interface {
	// WalkWebhooks returns up to limit webhooks of all tenants with their
	// secrets, in ascending byte order of their IDs, beginning behind the ID
	// after; fewer than limit means that there are no more. A webhook that exists
	// throughout a walk is returned exactly once.
	WalkWebhooks(ctx context.Context, after string, limit int) ([]WebhookRecord, error)
}
