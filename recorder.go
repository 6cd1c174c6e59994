package webhook

import (
	"context"
	"errors"
	"slices"
	"time"
)

// maxRecord is the most results recorded in one step.
const maxRecord = 500

// recordLoop writes results to the store until the queue is closed and empty.
// While one batch is being written the next gathers, so batches grow with the load.
func (e *engine) recordLoop(ctx context.Context) {
	for {
		batch := e.results.Take(maxRecord)
		if batch == nil {
			return
		}
		e.record(ctx, batch)
	}
}

// record writes a batch, for as long as it takes: results are never dropped
// while ctx lasts, and their leases are renewed meanwhile.
func (e *engine) record(ctx context.Context, batch []*job) {
	for failures := 1; ; failures++ {
		err := e.complete(ctx, batch, e.cfg.StoreTimeout)
		if err == nil {
			e.recorded(batch)
			return
		}
		if ctx.Err() != nil {
			e.results.Done(len(batch)) // their leases expire, and they are attempted again
			return
		}
		e.d.log.Warn("webhook: results could not be recorded, will retry", "count", len(batch), "error", err, "failures", failures)
		if failures > 1 {
			// One result that the store cannot take must not hold up the others.
			if batch = e.recordSingly(ctx, batch); len(batch) == 0 {
				return
			}
		}
		waitFor(ctx.Done(), storeRetry(failures))
		// Newer results show whether the store is at fault or a result.
		batch = append(batch, e.results.More(maxRecord-len(batch))...)
	}
}

// recordSingly writes results one by one, without texts where the store takes
// them only so, and sets refused results aside. If every result fails, the store
// is at fault: recordSingly returns the results, the tried ones last, so that the
// next round begins with others.
func (e *engine) recordSingly(ctx context.Context, batch []*job) []*job {
	var refused []*job
	for i, j := range batch {
		err := e.complete(ctx, batch[i:i+1], e.single())
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			err = e.completeBare(ctx, j, err)
		}
		if err == nil {
			e.recorded(batch[i : i+1])
			continue
		}
		refused = append(refused, j)
		if len(refused) == i+1 && (i > 0 || len(batch) == 1) { // only failures
			return append(slices.Clone(batch[i+1:]), refused...)
		}
	}
	for _, j := range refused {
		e.setAside(j)
	}
	return nil
}

const bareText = "the store refused the texts of this attempt"

// completeBare records a refused result without the texts of the receiver and of
// its error, the likeliest reason: a log without texts is better than an attempt
// repeated after every restart. A result without texts gets the old error, refused.
func (e *engine) completeBare(ctx context.Context, j *job, refused error) error {
	e.mu.Lock()
	full := j.result.Attempt
	if full == nil || full.Error == "" && len(full.ResponseBody) == 0 && len(full.ResponseHeaders) == 0 {
		e.mu.Unlock()
		return refused
	}
	bare := *full
	bare.ResponseBody, bare.ResponseHeaders = nil, nil
	bare.ResponseTruncated = full.ResponseTruncated || len(full.ResponseBody) > 0
	if bare.Error != "" {
		bare.Error = bareText
	}
	j.result.Attempt = &bare
	e.mu.Unlock()
	err := e.complete(ctx, []*job{j}, e.single())
	if err != nil {
		e.mu.Lock()
		j.result.Attempt = full
		e.mu.Unlock()
		return err
	}
	e.d.log.Error("webhook: the store refuses the texts of an attempt, which is recorded without them", "delivery", j.Delivery.ID, "error", refused)
	return nil
}

// setAside puts a result that the store refuses back in line after a while.
func (e *engine) setAside(j *job) {
	j.refusals++
	e.d.log.Error("webhook: the store refuses a result, will try again", "delivery", j.Delivery.ID, "times", j.refusals)
	time.AfterFunc(storeRetry(j.refusals), func() { e.results.Again(j) })
}

func (e *engine) single() time.Duration { return max(e.cfg.StoreTimeout/singleShare, e.d.soon()) }

func (e *engine) complete(ctx context.Context, batch []*job, limit time.Duration) error {
	results := make([]Result, len(batch))
	e.mu.Lock()
	for i, j := range batch {
		results[i] = j.result
		results[i].DeliveryID, results[i].Token = j.Delivery.ID, j.token
	}
	e.mu.Unlock()
	out, err := timed(ctx, e.d, "Complete", limit, func(ctx context.Context) ([]Outcome, error) {
		return e.d.store.Complete(ctx, e.d.now(), results)
	})
	if err != nil {
		return err
	}
	if len(out) != len(batch) {
		return errors.New("the store returned another number of outcomes than there were results")
	}
	e.mu.Lock()
	for i, j := range batch {
		j.outcome = out[i]
	}
	strays := e.strays(batch, results)
	e.mu.Unlock()
	e.giveBackStrays(ctx, strays)
	return nil
}

// recorded ends the leases of a batch that is in the store and passes it on.
func (e *engine) recorded(batch []*job) {
	e.mu.Lock()
	now := time.Now()
	for _, j := range batch {
		if j.result.Attempt != nil {
			e.attempts++
		}
		// A retry may be due before the claim loop wakes.
		if j.result.State == StatePending && (e.asleep.IsZero() || now.Add(j.result.Delay).Before(e.asleep)) {
			e.signalClaim()
		}
	}
	e.release(batch...)
	e.mu.Unlock()
	e.results.Done(len(batch))
	e.followUp <- batch
}
