package webhook

import (
	"context"
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

// Prune deletes finished deliveries older than Config.Retention, with their
// attempts and events, and what Config.RetentionByType lets go earlier, and returns
// how many deliveries and events it deleted.
// Run does this by itself; hosts that only call DeliverDue call it now and
// then. It works in small steps and returns early, with what it has done, when
// ctx ends or the Store fails. With a Retention below 0 it keeps
// what RetentionByType does not name.
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
// find what had a delivery to be finished when it was passed.
const pruneAnew = 24 * time.Hour

// typePruner remembers, for each key of Config.RetentionByType, how far the
// prunings of this process have come. Each event is then looked at once a day and
// not once an hour.
type typePruner struct {
	mu     sync.Mutex
	places map[string]prunePlace
}

type prunePlace struct {
	after string
	begun time.Time // with the oldest event
}

// pruneTypes deletes what Config.RetentionByType lets go.
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

// pruneLoop prunes at the start and every hour until ctx ends.
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
