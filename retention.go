package webhook

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

const (
	pruneBatch = 1000
	pruneEvery = time.Hour
)

// Prune deletes finished deliveries older than Config.Retention, or than
// Config.RetentionByType for their event type, with their attempts and events. It
// returns the number of deleted deliveries and events. Run does this by itself;
// hosts that only call DeliverDue call it now and then. It works in small steps
// and returns early, with the count so far, when ctx ends or the Store fails. With
// a Retention below 0 it prunes only the types in RetentionByType.
func (d *Dispatcher) Prune(ctx context.Context) (int, error) {
	total, err := d.pruneTypes(ctx)
	if err != nil || d.cfg.Retention < 0 {
		return total, prefixed("prune", err)
	}
	before := d.now().Add(-d.cfg.Retention) // the same for all steps, so that a Store can go on where it was
	for {
		n, err := timed(ctx, d, "Prune", pruneShare*d.cfg.StoreTimeout, func(ctx context.Context) (int, error) {
			return d.store.Prune(ctx, before, pruneBatch)
		})
		total += n
		if err != nil {
			return total, prefixed("prune", err)
		}
		if n < pruneBatch {
			return total, nil
		}
	}
}

// pruneAnew is how often a pruning by type begins with the oldest event again, to
// find events that had an unfinished delivery when they were passed.
const pruneAnew = 24 * time.Hour

// typePruner remembers how far the prunings of each key of Config.RetentionByType
// have come, so that each event is looked at once a day and not once an hour.
type typePruner struct {
	mu     sync.Mutex
	places map[string]prunePlace
}

type prunePlace struct {
	after string
	begun time.Time // with the oldest event
}

func (d *Dispatcher) pruneTypes(ctx context.Context) (total int, err error) {
	if len(d.cfg.RetentionByType) == 0 {
		return 0, nil
	}
	s, err := d.eraser()
	if err != nil {
		return 0, err
	}
	d.types.mu.Lock()
	defer d.types.mu.Unlock()
	if d.types.places == nil {
		d.types.places = make(map[string]prunePlace)
	}
	for _, pattern := range slices.Sorted(maps.Keys(d.cfg.RetentionByType)) {
		now := d.now()
		place, ok := d.types.places[pattern]
		if !ok || now.Sub(place.begun) >= pruneAnew {
			place = prunePlace{begun: now}
		}
		req := EraseOldRequest{Types: []string{pattern}, Before: now.Add(-d.cfg.RetentionByType[pattern]), After: place.after, Limit: pruneBatch}
		for other := range d.cfg.RetentionByType {
			if other != pattern && eventtype.Matches(pattern, strings.TrimSuffix(other, ".*")) {
				req.Except = append(req.Except, other)
			}
		}
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return total, err
			}
			done, err := s.EraseOld(ctx, req)
			if err != nil {
				return total, err
			}
			total += done.Events + done.Deliveries
			req.After, place.after, more = done.Next, done.Next, done.More
			d.types.places[pattern] = place
		}
	}
	return total, nil
}

func (e *engine) pruneLoop(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		if _, err := e.d.Prune(ctx); err != nil && ctx.Err() == nil {
			e.d.log.Warn("webhook: prune failed, will retry", "error", err, "in", pruneEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// eraseStep is the largest number of rows of a kind that one step deletes.
const eraseStep = 1000

// DeleteTenant deletes all data of a tenant: webhooks with their secrets,
// events, deliveries, attempts, statistics. It is for closed accounts and for
// people who ask to be forgotten; docs/operating.md describes the copies that
// databases and backups keep.
//
// It works in short steps beside all other calls, and blocks until it is done
// or ctx ends. After an error it returns the counts so far and can be called
// again. It is idempotent. Webhooks are deleted first, and no attempt begins
// afterwards (in other processes: after a second). An attempt in flight may
// finish, and is not recorded.
//
// Stop publishing and creating webhooks for the tenant first: data stored
// during the deletion may stay. The IDs and Keys of deleted events can be used
// again, as if for the first time.
//
// It returns a *ValidationError, the Store's error, or an error that wraps
// errors.ErrUnsupported if the Store is not an [EraseStore].
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

// DeleteEvent deletes one event with its deliveries in every state and their
// attempts, for data that should never have been published. It works in short
// steps, and blocks until it is done or ctx ends. A waiting delivery is no
// longer sent, unless a dispatcher has claimed it already: then one more
// attempt may be made, without a record. Receivers keep the data that they have
// received.
//
// The event's ID and Key can be used again afterwards. DeleteEvent returns
// ErrNotFound, the Store's error, or an error that wraps errors.ErrUnsupported
// if the Store is not an [EraseStore].
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

// deleteWebhooks deletes every webhook of a tenant and returns their number. It
// deletes them one by one, so that the engine of this process learns of each.
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
