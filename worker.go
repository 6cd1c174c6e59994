package webhook

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/lanes"
	"github.com/seed68722ecd/webhook/internal/post"
)

// startWorkers starts up to n workers, but no more than lanes are ready. Caller
// holds mu.
func (e *engine) startWorkers(n int) {
	for n = min(n, e.sched.Ready()); n > 0 && e.running < e.cfg.MaxInFlight; n-- {
		e.running++
		e.workers.Go(e.work)
	}
}

// work makes attempts for as long as there is one to begin.
func (e *engine) work() {
	e.mu.Lock()
	for {
		j, ok := e.sched.Next(time.Now()).(*job)
		if !ok {
			e.running--
			e.mu.Unlock()
			return
		}
		// Each worker that has found a delivery starts the next worker, so that
		// no worker starts in vain.
		e.startWorkers(1)
		now := thisMoment()
		began := now.mono
		unsure := !j.lost && began.Before(j.expires.mono) && j.expires.until(now) <= 0
		if unsure {
			e.mu.Unlock()
			unsure = !e.confirm(j)
			e.mu.Lock()
			began = time.Now()
		}
		if j.lost || unsure || !began.Before(j.expires.mono) {
			// Another process may have claimed the delivery.
			e.sched.Landed(j, lanes.LandedUnused, began, time.Now())
			e.release(j)
			continue
		}
		j.began = began
		e.mu.Unlock()

		how := e.deliver(j)

		e.mu.Lock()
		e.sched.Landed(j, how, began, time.Now())
	}
}

// deliver makes one attempt, hands the result on and reports how the endpoint did.
func (e *engine) deliver(j *job) lanes.Landing {
	t := e.freshTarget(j.endpoint)
	switch {
	case t.rec == nil:
		j.end(StateCanceled, ReasonWebhookDeleted)
	case !t.rec.Active:
		j.end(StateCanceled, ReasonWebhookDisabled)
	case t.sealed != nil && t.unreadable(e.d.now()) != nil:
		e.putOff(j, t.unreadable(e.d.now()))
		return lanes.LandedUnused
	default:
		if e.cfg.Observer.Attempt != nil {
			j.seen = e.observeAttempt(j)
		}
		after, err := contain.Call("an attempt", func() (post.Answer, error) { return e.attempt(j, t) })
		if err != nil {
			e.d.logContained(err)
			j.attempt = Attempt{
				DeliveryID: j.Delivery.ID,
				Number:     j.Delivery.Attempts + 1,
				StartedAt:  orDefault(j.attempt.StartedAt, e.d.now()),
				Class:      ClassInternal,
				Error:      "the sender failed: " + internalText(err),
			}
		}
		e.ended(j, after.Aborted)
		if after.Aborted {
			e.mu.Lock()
			j.aborted = true
			e.mu.Unlock()
			return lanes.LandedUnused
		}
		if after.Fault != nil {
			e.putOffUnsent(j, after.Fault)
			return lanes.LandedUnused
		}
		e.decide(j, t, &after)
	}
	if j.result.Attempt == nil {
		e.mu.Lock()
		j.untold = true
		e.mu.Unlock()
	}
	e.results.Add(j)
	switch {
	case j.result.Attempt == nil || j.attempt.Class == ClassInternal:
		return lanes.LandedUnused // no request was sent
	case j.attempt.Class == "" || j.attempt.Status == http.StatusGone:
		return lanes.LandedWell
	}
	return lanes.LandedBadly
}

// internalText describes a failure on this side, without the text of a panic,
// which may hold anything.
func internalText(err error) string {
	if _, ok := errors.AsType[*contain.PanicError](err); ok {
		return "it panicked; see its log"
	}
	return err.Error()
}

func (e *engine) decide(j *job, t *target, answer *post.Answer) {
	a := &j.attempt
	j.result = Result{Attempt: a}
	try := j.Delivery.Tries + 1
	switch {
	case a.Class == "":
		j.result.State = StateSucceeded
	case a.Status == http.StatusGone:
		j.result.State, j.result.Reason = StateFailed, ReasonGone
	case try > t.rec.MaxRetries:
		j.result.State, j.result.Reason = StateFailed, ReasonRetriesExhausted
	default:
		j.result.State = StatePending
		j.result.Delay = e.retryDelay(try, answer)
	}
}

func (e *engine) retryDelay(try int, answer *post.Answer) time.Duration {
	own, err := contain.Call("the retry policy", func() (time.Duration, error) { return max(e.cfg.Retry.Delay(try), 0), nil })
	if err != nil {
		e.d.logContained(err)
		own = ExponentialRetry{}.Delay(try)
	}
	if e.cfg.MaxRetryAfter > 0 {
		if asked, ok := answer.RetryAfter(e.cfg.Now()); ok {
			return obeyRetryAfter(own, asked, e.cfg.MaxRetryAfter)
		}
	}
	return own
}

func (j *job) end(s State, r Reason) {
	j.result = Result{State: s, Reason: r}
}
