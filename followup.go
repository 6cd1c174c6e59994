package webhook

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/seed68722ecd/webhook/internal/failspell"
)

// followUpLoop calls hooks, logs, warns and disables webhooks after results have
// been recorded. It has its own goroutine so that a slow hook holds up no result.
func (e *engine) followUpLoop() {
	for {
		select {
		case u := <-e.unsent.calls:
			e.hookUnsent(u)
		case batch, more := <-e.followUp:
			if !more {
				e.lastUnsent()
				return
			}
			for _, j := range batch {
				e.follow(j)
			}
		}
	}
}

func (e *engine) follow(j *job) {
	if j.outcome == OutcomeGone {
		return
	}
	del, a := j.after(e.d.now())
	e.logResult(&del, a, j.outcome)
	hooks := &e.cfg.Hooks
	if a != nil {
		a.Late = j.outcome == OutcomeLate
	}
	if seen := e.cfg.Observer.Recorded; seen != nil {
		e.d.contained("the observer's Recorded", func() { seen(del, a, j.outcome) })
	}
	if a != nil && hooks.Attempt != nil {
		e.d.contained("the hook Attempt", func() { hooks.Attempt(del, *a) })
	}
	if j.outcome != OutcomeApplied {
		return
	}
	switch {
	case del.State == StateSucceeded && hooks.Succeeded != nil:
		e.d.contained("the hook Succeeded", func() { hooks.Succeeded(del, *a) })
	case (del.State == StateFailed || del.State == StateCanceled) && hooks.Failed != nil:
		e.d.contained("the hook Failed", func() { hooks.Failed(del) })
	}
	switch {
	case a == nil || a.Class == "" || a.Class.OurFault():
	case del.Reason == ReasonGone:
		// Of the URL that was asked: it may have been changed meanwhile.
		e.disable(del.Tenant, del.WebhookID, reasonGone, func(w *WebhookRecord) bool { return w.URL == j.url })
	default:
		e.watchFailing(j, a.StartedAt)
	}
}

// after returns the delivery as it stands after its result, and the attempt.
func (j *job) after(now time.Time) (Delivery, *Attempt) {
	del, r := j.Delivery, &j.result
	if j.outcome != OutcomeApplied {
		return del, r.Attempt
	}
	del.State, del.Reason = r.State, r.Reason
	if r.State == StatePending {
		del.NextAttemptAt = now.Add(r.Delay)
	} else {
		del.NextAttemptAt, del.FinishedAt = time.Time{}, now
	}
	if a := r.Attempt; a != nil {
		del.Attempts = a.Number
		if a.Class != ClassUnsent {
			del.Tries++
		}
		del.Crashes = 0
		del.LastStatus, del.LastClass = a.Status, a.Class
	}
	return del, r.Attempt
}

// logResult writes every attempt at debug level, final failures as warnings.
func (e *engine) logResult(d *Delivery, a *Attempt, o Outcome) {
	level := slog.LevelDebug
	if d.State == StateFailed && o == OutcomeApplied {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !e.d.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("delivery", d.ID), slog.String("webhook", d.WebhookID), slog.String("event", d.EventID),
		slog.String("type", d.EventType), slog.String("state", string(d.State)),
	}
	if d.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(d.Reason)))
	}
	if a != nil {
		attrs = append(attrs, slog.Int("attempt", a.Number), slog.Int("status", a.Status), slog.Duration("duration", a.Duration))
		if a.Class != "" {
			attrs = append(attrs, slog.String("class", string(a.Class)), slog.String("error", a.Error))
		}
	}
	if o == OutcomeLate {
		attrs = append(attrs, slog.Bool("late", true))
	}
	msg := "webhook: attempt"
	switch {
	case o == OutcomeLate:
		msg = "webhook: a result came too late"
	case d.State == StateFailed:
		msg = "webhook: a delivery failed for good"
	case d.State == StateCanceled:
		msg = "webhook: a delivery was canceled"
	}
	e.d.log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // one of the sentences above
}

// watchFailing warns of, and in the end disables, a webhook that has only
// failed for long.
func (e *engine) watchFailing(j *job, at time.Time) {
	if e.cfg.DisableAfter <= 0 {
		return
	}
	h, step, left, err := e.failingNow(j, at)
	if err != nil {
		e.d.log.Warn("webhook: could not see for how long a webhook has failed; the next failure looks again",
			"webhook", j.Delivery.WebhookID, "error", err)
		return
	}
	if step == 0 {
		return
	}
	if step > failspell.Steps {
		reason := fmt.Sprintf("every attempt failed for %v", e.cfg.DisableAfter)
		e.disable(j.Delivery.Tenant, j.Delivery.WebhookID, reason, func(w *WebhookRecord) bool {
			return !w.FailingSince.IsZero() && !w.FailingSince.After(h.failingSince)
		})
		return
	}
	w, err := timed(e.attemptCtx, e.d, "GetWebhook", e.d.soon(), func(ctx context.Context) (WebhookRecord, error) {
		return e.d.store.GetWebhook(ctx, j.Delivery.Tenant, j.Delivery.WebhookID)
	})
	// No warning after a success, in another spell, or once disabled.
	if err != nil || !w.FailingSince.Equal(h.failingSince) || !w.Active {
		return
	}
	disableAt := at.Add(left)
	e.d.log.Warn("webhook: a webhook keeps failing", "webhook", w.Webhook, "since", w.FailingSince, "disable_at", disableAt)
	if e.cfg.Hooks.Failing != nil {
		e.d.contained("the hook Failing", func() { e.cfg.Hooks.Failing(e.d.shown(&w), w.FailingSince, disableAt) })
	}
}

// disable makes a webhook inactive if, read afresh, it still should be.
func (e *engine) disable(tenant, id, reason string, should func(*WebhookRecord) bool) {
	done := false
	rec, err := timed(context.WithoutCancel(e.attemptCtx), e.d, "UpdateWebhook", e.d.soon(), func(ctx context.Context) (WebhookRecord, error) {
		return e.d.modify(ctx, tenant, id, func(rec *WebhookRecord, now time.Time) error {
			if done = rec.Active && should(rec); !done {
				return errUnchanged
			}
			rec.Active, rec.DisabledReason, rec.DisabledAt = false, reason, now
			return nil
		})
	})
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		// The next failed attempt tries again.
		e.d.log.Warn("webhook: a webhook could not be disabled", "webhook", id, "error", err)
	case err == nil && done:
		e.d.log.Warn("webhook: disabled a webhook", "webhook", rec.Webhook, "reason", reason)
		if e.cfg.Hooks.Disabled != nil {
			e.d.contained("the hook Disabled", func() { e.cfg.Hooks.Disabled(e.d.shown(&rec)) })
		}
		if seen := e.cfg.Observer.Disabled; seen != nil {
			e.d.contained("the observer's Disabled", func() { seen(e.d.shown(&rec), reason == reasonGone) })
		}
	}
}

// A spell is a time in which a webhook has only failed, as far as this process
// knows. Its fields are guarded by engine.mu.
type spell struct {
	since  time.Time // Webhook.FailingSince
	warned int       // the last step that was warned of
	next   time.Time // when the next step can be passed at the soonest
}

// failures yields the hours in which attempts failed, and how many did.
func failures(hours []StatsBucket) iter.Seq2[time.Time, int64] {
	return func(yield func(time.Time, int64) bool) {
		for _, h := range hours {
			if h.Failed > 0 && !yield(h.Hour, h.Failed) {
				return
			}
		}
	}
}

// failingNow looks up how long a webhook has failed after an attempt at it failed.
// It returns the step that this attempt has passed, or 0, and how long it is until
// the webhook is disabled if every attempt fails.
func (e *engine) failingNow(j *job, at time.Time) (h health, step int, left time.Duration, err error) {
	window := e.cfg.DisableAfter
	e.mu.Lock()
	h = j.endpoint.health
	s := &j.endpoint.spell
	if !s.since.Equal(h.failingSince) {
		*s = spell{since: h.failingSince}
	}
	next := s.next
	e.mu.Unlock()
	// Silence can only make it later than this.
	if h.failingSince.IsZero() || at.Before(next) || failspell.Step(at.Sub(h.failingSince), window) == 0 {
		return h, 0, 0, nil
	}
	hours, err := timed(e.attemptCtx, e.d, "Stats", e.d.soon(), func(ctx context.Context) ([]StatsBucket, error) {
		return allStats(ctx, e.d.store, StatsQuery{
			Tenant: j.Delivery.Tenant, WebhookIDs: []string{j.Delivery.WebhookID}, Since: h.failingSince, Until: at,
		})
	})
	if err != nil {
		return h, 0, 0, err
	}
	kept := h.failingSince
	if e.cfg.Retention > 0 && at.Sub(kept) > e.cfg.Retention {
		kept = at.Add(-e.cfg.Retention)
	}
	before := failspell.Time(h.failingSince, kept, failures(hours), h.lastTriggered, window)
	failing := before + failspell.Gap(at.Sub(h.lastTriggered), window)
	step = failspell.Step(failing, window)

	e.mu.Lock()
	defer e.mu.Unlock()
	if step <= failspell.Steps {
		s.next = at.Add(failspell.Until(step+1, window) - failing)
		if step == failspell.Step(before, window) || step <= s.warned {
			step = 0 // an earlier attempt passed it
		}
		s.warned = max(s.warned, step)
	}
	return h, step, window - failing, nil
}
