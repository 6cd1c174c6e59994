package webhook

import (
	"context"
	"time"
)

const (
	pruneBatch = 1000
	pruneEvery = time.Hour
)

// Prune deletes finished deliveries older than Config.Retention, with their
// attempts and events, and returns how many deliveries and events it deleted.
// Run does this by itself; hosts that only call DeliverDue call it now and
// then. It works in small steps and returns early, with what it has done, when
// ctx ends or the Store fails. With a Retention below 0 it does nothing.
func (d *Dispatcher) Prune(ctx context.Context) (int, error) {
	if d.cfg.Retention < 0 {
		return 0, nil
	}
	total := 0
	before := d.now().Add(-d.cfg.Retention) // the same for all steps, so that a Store can go on where it was
	for {
		n, err := d.store.Prune(ctx, before, pruneBatch)
		total += n
		if err != nil {
			return total, prefixed("prune", err)
		}
		if n < pruneBatch {
			return total, nil
		}
	}
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
