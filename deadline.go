package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStoreSilent is why a call of the Store ended that took longer than it may.
var errStoreSilent = errors.New("the store did not answer in time")

const (
	// pruneShare is how many times Config.StoreTimeout a step of pruning may take:
	// nobody waits for it, and it writes much.
	pruneShare = 10
	// singleShare is the part of Config.StoreTimeout that one result by itself gets,
	// when its batch has failed twice: the others wait for it.
	singleShare = 6
)

// timed makes one call of the Store within a time limit. A connection whose other
// side has vanished is silent for ever, and nothing but a limit ends what waits
// for it. The call's outcome is unknown then.
func timed[T any](ctx context.Context, d *Dispatcher, call string, limit time.Duration, f func(ctx context.Context) (T, error)) (T, error) {
	within, cancel := context.WithTimeoutCause(ctx, limit, errStoreSilent)
	defer cancel()
	began := time.Now()
	v, err := f(within)
	if err == nil || ctx.Err() != nil || !errors.Is(context.Cause(within), errStoreSilent) {
		return v, err
	}
	took := time.Since(began)
	if muted, ok := d.silence.Pass(); ok {
		d.log.Error("webhook: a call of the store was given up: its connection may have gone silent, or it needs more time than Config.StoreTimeout gives",
			"call", call, "after", took, "error", err, "alike_not_logged", muted)
	}
	if seen := d.cfg.Observer.StoreTimeout; seen != nil {
		d.observed("StoreTimeout", func() { seen(call, took) })
	}
	return v, fmt.Errorf("%w: %s was given up after %v: %w", errStoreSilent, call, took, err)
}

// timedRun is timed for calls that return nothing but an error.
func timedRun(ctx context.Context, d *Dispatcher, call string, limit time.Duration, f func(ctx context.Context) error) error {
	_, err := timed(ctx, d, call, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// soon is the limit of calls that attempts or the end of a run wait for.
func (d *Dispatcher) soon() time.Duration { return min(recordGrace, d.cfg.StoreTimeout) }
