package webhook

import (
	"context"
	"errors"
	"time"
)

// EraseStore is an ability that a [Store] need not have, and that
// [Dispatcher.DeleteTenant], [Dispatcher.DeleteEvent] and Config.RetentionByType
// need. The stores of this module have it.
//
// Its methods work in steps: a step deletes at most limit rows of each kind in one
// atomic, short piece, beside all other calls, and says in More whether another
// has to follow. A claim, a result or an extension that comes later finds the
// delivery gone, as after a pruning. All are idempotent.
type EraseStore interface {
	// EraseTenant deletes everything of one tenant: its webhooks first, with their
	// secrets, so that nothing new is delivered; then deliveries in every state with
	// their attempts, and events; then statistics and what was left of deleted
	// webhooks. A tenant that has nothing is no error.
	EraseTenant(ctx context.Context, tenant string, limit int) (Erased, error)

	// EraseEvent deletes one event with its deliveries in every state and their
	// attempts, or returns ErrNotFound. Statistics, which only count, stay.
	EraseEvent(ctx context.Context, tenant, eventID string, limit int) (Erased, error)

	// EraseOld deletes, of all tenants, the events that req selects by their type
	// and that were published before req.Before, with their deliveries and
	// attempts, if every delivery was finished before req.Before: never an event
	// with a pending delivery. It goes through events in the order of their
	// publication from req.After on, and looks at a bounded number of them in a
	// step. What it passes over, as a delivery is not finished yet, only a walk
	// from the start finds again.
	EraseOld(ctx context.Context, req EraseOldRequest) (EraseOldResult, error)
}

// EraseOldRequest selects events to delete by type and age.
type EraseOldRequest struct {
	Types  []string  // event types and "prefix.*", as a webhook selects them
	Except []string  // the same; what these select stays
	Before time.Time // of publication, and of the end of every delivery
	After  string    // EraseOldResult.Next of the step before; empty begins with the oldest event
	Limit  int       // rows of each kind to delete, at most
}

// EraseOldResult is what one step of [EraseStore.EraseOld] did.
type EraseOldResult struct {
	Erased
	Next string // where the step ended: EraseOldRequest.After of the next one
}

// Erased counts what was deleted.
type Erased struct {
	Webhooks   int // that existed
	Events     int // with their data
	Deliveries int // in whatever state, with their attempts
	// More is true when there may be something left, so that another step has to
	// follow. It is false in what a Dispatcher returns without an error.
	More bool
}

func (e *Erased) add(step Erased) {
	e.Webhooks += step.Webhooks
	e.Events += step.Events
	e.Deliveries += step.Deliveries
	e.More = step.More
}

// eraseStep is how many rows of a kind one step deletes.
const eraseStep = 1000

// DeleteTenant deletes everything that is stored of a tenant: webhooks with their
// secrets, events, deliveries, attempts, statistics. It is for an account that has
// been closed, and for people who ask to be forgotten; docs/operating.md says what
// databases and backups keep beyond it.
//
// It works in short steps while everything else goes on, and blocks until it is
// done or ctx ends. After an error it returns what it has deleted so far, and can
// be called again; so it can when nothing is left. No attempt begins after the
// webhooks are gone, the first step (in other processes: within a second); an
// attempt in flight may finish, and is not recorded.
//
// Stop publishing and creating webhooks for the tenant before: what is stored after
// a step has looked may stay. An ID or Key that was used before can be used again
// afterwards, as if for the first time.
//
// Errors: a *ValidationError, the Store's, and one wrapping errors.ErrUnsupported
// when the Store is no [EraseStore].
func (d *Dispatcher) DeleteTenant(ctx context.Context, tenant string) (Erased, error) {
	var bad ValidationError
	checkTenant(&bad, tenant)
	if err := bad.err(); err != nil {
		return Erased{}, prefixed("delete tenant", err)
	}
	s, err := d.eraser()
	if err != nil {
		return Erased{}, prefixed("delete tenant", err)
	}
	webhooks, err := d.deleteWebhooks(ctx, tenant)
	if err != nil {
		return Erased{Webhooks: webhooks, More: true}, prefixed("delete tenant", err)
	}
	done, err := eraseAll(ctx, func() (Erased, error) { return s.EraseTenant(ctx, tenant, eraseStep) })
	done.Webhooks += webhooks
	return done, prefixed("delete tenant", err)
}

// DeleteEvent deletes one event with its deliveries, in whatever state they are,
// and their attempts: for data that should never have been published. It blocks
// until that is done or ctx ends, in short steps. A delivery that waits is not sent
// any more, unless a dispatcher has taken it already: then it may be sent once
// more, and nothing of it is recorded. Receivers keep what they were sent.
//
// The event's ID, and its Key, can be published anew afterwards. Errors:
// ErrNotFound, the Store's, and one wrapping errors.ErrUnsupported when the Store
// is no [EraseStore].
func (d *Dispatcher) DeleteEvent(ctx context.Context, tenant, eventID string) (Erased, error) {
	if err := findable(tenant, eventID); err != nil {
		return Erased{}, prefixed("delete event", err)
	}
	s, err := d.eraser()
	if err != nil {
		return Erased{}, prefixed("delete event", err)
	}
	done, err := eraseAll(ctx, func() (Erased, error) { return s.EraseEvent(ctx, tenant, eventID, eraseStep) })
	if errors.Is(err, ErrNotFound) && done.Deliveries > 0 {
		err, done.More = nil, false // another call has deleted the rest
	}
	return done, prefixed("delete event", err)
}

// deleteWebhooks deletes every webhook of a tenant and returns how many there
// were. It does so one by one, so that the engine of this process hears of each.
func (d *Dispatcher) deleteWebhooks(ctx context.Context, tenant string) (deleted int, err error) {
	q := WebhookQuery{Tenant: tenant, Limit: 500}
	for {
		p, err := d.store.ListWebhooks(ctx, q)
		if err != nil {
			return deleted, err
		}
		for i := range p.Items {
			switch err := d.DeleteWebhook(ctx, tenant, p.Items[i].ID); {
			case err == nil:
				deleted++
			case !errors.Is(err, ErrNotFound):
				return deleted, err
			}
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			return deleted, nil
		}
	}
}

// eraseAll repeats a step until nothing is left.
func eraseAll(ctx context.Context, step func() (Erased, error)) (total Erased, err error) {
	for total.More = true; total.More; {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		done, err := step()
		if err != nil {
			return total, err
		}
		total.add(done)
	}
	return total, nil
}
