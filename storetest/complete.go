package storetest

import (
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysComplete = "in one atomic step it appends each attempt to the log, moves the delivery to its next state and ends the lease"
	saysLate     = "A result whose Token does not hold the delivery changes no state: its attempt is logged with Late set and the outcome is OutcomeLate."
	saysBefore   = "A result that has been recorded before (same delivery and token) is acknowledged with OutcomeApplied and has no further effect, which makes Complete idempotent"
	saysToken    = "also when the delivery was resent and claimed since: its counters may have the same values again, so only the token identifies the claim of a result."
	saysGone     = "When the delivery no longer exists the outcome is OutcomeGone."
	saysHolds    = "An expired lease still holds if the delivery has not been claimed since."
	saysOnlyLog  = "the lease was lost: only the log was written"
)

// claimed creates a webhook and an event for it, and claims the delivery.
func (r *run) claimed() (webhook.Delivery, webhook.Lease) {
	r.Helper()
	r.create(t1, "wh_1", nil)
	r.emit(t1, "e1")
	return r.claimOne()
}

// becomes reports differences between the stored delivery and d after change.
func (r *run) becomes(d webhook.Delivery, change func(d *webhook.Delivery)) {
	r.Helper()
	change(&d)
	r.same("delivery", d, r.delivery(d.ID))
}

var completeChecks = []check{
	{"Succeeded", saysComplete, func(r *run) {
		d, l := r.claimed()
		r.pass(time.Second)
		r.finish(r.success(d, l.Token))
		r.becomes(d, func(d *webhook.Delivery) {
			d.State, d.Attempts, d.Tries, d.LastStatus = webhook.StateSucceeded, 1, 1, 200
			d.NextAttemptAt, d.FinishedAt = time.Time{}, r.now
		})
	}},
	{"Retry", saysComplete, func(r *run) {
		d, l := r.claimed()
		r.pass(time.Second)
		r.finish(r.retry(d, l.Token, 15*time.Second))
		r.becomes(d, func(d *webhook.Delivery) {
			d.Attempts, d.Tries, d.LastStatus, d.LastClass = 1, 1, 500, webhook.ClassStatus
			d.NextAttemptAt = r.now.Add(15 * time.Second)
		})
	}},
	{"RetryAtOnce", "with StatePending: due this long after now", func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		d, l = r.claimOne()
		r.same("counters", counters{Attempts: 1, Tries: 1}, countersOf(d))
		r.finish(r.success(d, l.Token))
		r.same("Attempts", 2, r.delivery(d.ID).Attempts)
	}},
	{"Failed", saysComplete, func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		d, l = r.claimOne()
		r.pass(time.Second)
		res := r.failure(d, l.Token)
		res.Attempt.Status, res.Attempt.Class = 0, webhook.ClassTimeout
		r.finish(res)
		r.becomes(d, func(d *webhook.Delivery) {
			d.State, d.Reason, d.Attempts, d.Tries = webhook.StateFailed, webhook.ReasonRetriesExhausted, 2, 2
			d.LastStatus, d.LastClass = 0, webhook.ClassTimeout
			d.NextAttemptAt, d.FinishedAt = time.Time{}, r.now
		})
	}},
	{"LastClassIsOfTheLastAttempt", "class of the last recorded attempt; empty before the first, or if it succeeded", func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		d, l = r.claimOne()
		r.finish(r.success(d, l.Token))
		got := r.delivery(d.ID)
		r.same("LastStatus", 200, got.LastStatus)
		r.same("LastClass", webhook.ErrorClass(""), got.LastClass)
	}},
	{"Canceled", saysComplete, func(r *run) {
		d, l := r.claimed()
		r.pass(time.Second)
		r.finish(cancel(d.ID, l.Token))
		r.becomes(d, func(d *webhook.Delivery) {
			d.State, d.Reason = webhook.StateCanceled, webhook.ReasonWebhookDisabled
			d.NextAttemptAt, d.FinishedAt = time.Time{}, r.now
		})
		if n := len(r.attempts(d.ID)); n != 0 {
			r.brokenf("%d attempts logged, want none", n)
		}
	}},
	{"WithoutAttemptCountsNothing", "every recorded attempt and every attempt lost in a crash", func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		r.claimOne()
		r.pass(lease + time.Second)
		d, l = r.claimOne()
		r.finish(webhook.Result{DeliveryID: d.ID, Token: l.Token, State: webhook.StateFailed, Reason: webhook.ReasonQuarantined})
		r.becomes(d, func(d *webhook.Delivery) {
			d.State, d.Reason = webhook.StateFailed, webhook.ReasonQuarantined
			d.NextAttemptAt, d.FinishedAt = time.Time{}, r.now
		})
	}},
	{"OutcomesAreInOrder", "It returns one outcome per result, in order.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 4)...)
		ds, tok := r.claimN(4)
		late := r.success(ds[1].Delivery, tok+1)
		got := r.complete(
			r.success(ds[0].Delivery, tok), late,
			cancel("missing", tok), r.retry(ds[2].Delivery, tok, time.Minute),
			cancel("missing2", tok+1), cancel(ds[3].Delivery.ID, tok), r.success(ds[0].Delivery, tok),
		)
		r.same("outcomes", []webhook.Outcome{
			webhook.OutcomeApplied, webhook.OutcomeLate, webhook.OutcomeGone, webhook.OutcomeApplied,
			webhook.OutcomeGone, webhook.OutcomeApplied, webhook.OutcomeApplied,
		}, got)
		for i, want := range []webhook.State{
			webhook.StateSucceeded, webhook.StatePending, webhook.StatePending, webhook.StateCanceled,
		} {
			d := r.delivery(ds[i].Delivery.ID)
			r.same("state of delivery "+itoa(i), want, d.State)
		}
		r.same("attempts of the one completed twice", 1, len(r.attempts(ds[0].Delivery.ID)))
	}},
	{"AfterTheWebhookWasDeleted", "Its deliveries and attempts stay until pruned", func(r *run) {
		d, l := r.claimed()
		r.remove(t1, "wh_1")
		r.finish(r.success(d, l.Token))
		r.same("state", webhook.StateSucceeded, r.delivery(d.ID).State)
		r.same("attempts", 1, len(r.attempts(d.ID)))
		r.same("deliveries of the deleted webhook", 1,
			len(r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_1"})))
	}},
	{"Gone", saysGone, func(r *run) {
		d, l := r.claimed()
		r.same("outcome", webhook.OutcomeGone, r.complete(cancel("missing", l.Token))[0])
		r.pass(lease + time.Second)
		_, l2 := r.claimOne()
		r.finish(r.success(d, l2.Token))
		r.pass(time.Hour)
		r.prune(r.now, 100)
		r.same("outcome of a late result after Prune", webhook.OutcomeGone, r.complete(r.success(d, l.Token))[0])
		_, err := r.store.GetDelivery(r.Context(), t1, d.ID)
		r.wantErr("GetDelivery", err, webhook.ErrNotFound)
	}},
}

var fenceChecks = []check{
	{"LateResultChangesNoState", saysLate, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		held, l := r.claimOne()
		want := r.delivery(d.ID)
		r.same("outcome", webhook.OutcomeLate, r.complete(r.success(d, old.Token))[0])
		r.same("delivery after the late result", want, r.delivery(d.ID))
		r.claimNone("the second claim holds the lease")
		if !r.extend(l) {
			r.brokenf("a late result ended the lease of the claim that holds it")
		}
		r.finish(r.success(held, l.Token))
	}},
	{"LateResultIsLogged", saysLate, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		r.claimOne()
		res := r.success(d, old.Token)
		r.complete(res)
		want := *res.Attempt
		want.Late = true
		r.same("attempts", []webhook.Attempt{want}, r.attempts(d.ID))
	}},
	{"LateAfterTheEnd", saysLate, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		d2, l := r.claimOne()
		r.finish(r.success(d2, l.Token))
		want := r.delivery(d.ID)
		r.same("outcome", webhook.OutcomeLate, r.complete(r.failure(d, old.Token))[0])
		r.same("delivery after the late result", want, r.delivery(d.ID))
		as := r.attempts(d.ID)
		if len(as) != 2 || as[0].Late || !as[1].Late {
			r.brokenf("attempts %+v, want one and then one that is Late", as)
		}
	}},
	{"LateAfterRelease", saysLate, func(r *run) {
		d, l := r.claimed()
		r.release(time.Minute, l)
		want := r.delivery(d.ID)
		r.same("outcome", webhook.OutcomeLate, r.complete(r.success(d, l.Token))[0])
		r.same("delivery", want, r.delivery(d.ID))
	}},
	{"LateResultWritesOnlyTheLog", saysOnlyLog, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		r.claimOne()
		want := r.get(t1, "wh_1")
		r.complete(r.failure(d, old.Token))
		r.same("webhook", want, r.get(t1, "wh_1"))
		if st := r.stats(webhook.StatsQuery{Tenant: t1}); len(st) != 0 {
			r.brokenf("statistics are %+v, want none", st)
		}
	}},
	{"LateTwiceIsLoggedOnce", saysBefore, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		r.claimOne()
		res := r.success(d, old.Token)
		r.complete(res)
		if out := r.complete(res)[0]; out == webhook.OutcomeGone {
			r.brokenf("a late result recorded before got OutcomeGone")
		}
		r.same("attempts", 1, len(r.attempts(d.ID)))
	}},
	{"Repeated", saysBefore, func(r *run) {
		for i, result := range []func(d webhook.Delivery, tok int64) webhook.Result{
			r.success, r.failure,
			func(d webhook.Delivery, tok int64) webhook.Result { return r.retry(d, tok, time.Hour) },
			func(d webhook.Delivery, tok int64) webhook.Result { return cancel(d.ID, tok) },
		} {
			r.create(t1, "wh_"+itoa(i), nil)
			r.publish(target(r.request(t1, "e"+itoa(i), "a.b"), "wh_"+itoa(i)))
			d, l := r.claimOne()
			res := result(d, l.Token)
			r.finish(res)
			want, hook, log := r.delivery(d.ID), r.get(t1, "wh_"+itoa(i)), len(r.attempts(d.ID))
			st := r.stats(webhook.StatsQuery{Tenant: t1})
			r.pass(time.Second)
			r.same("outcome of the repetition", webhook.OutcomeApplied, r.complete(res)[0])
			r.same("delivery", want, r.delivery(d.ID))
			r.same("webhook", hook, r.get(t1, "wh_"+itoa(i)))
			r.same("number of attempts", log, len(r.attempts(d.ID)))
			r.same("statistics", st, r.stats(webhook.StatsQuery{Tenant: t1}))
		}
	}},
	{"RepeatedAfterTheNextClaim", saysBefore, func(r *run) {
		d, l := r.claimed()
		res := r.retry(d, l.Token, 0)
		r.finish(res)
		_, next := r.claimOne()
		want := r.delivery(d.ID)
		r.same("outcome", webhook.OutcomeApplied, r.complete(res)[0])
		r.same("delivery", want, r.delivery(d.ID))
		r.same("attempts", 1, len(r.attempts(d.ID)))
		if !r.extend(next) {
			r.brokenf("a repeated result ended the lease of the next claim")
		}
	}},
	{"RepeatedAfterResend", saysBefore, func(r *run) {
		for i, result := range []func(d webhook.Delivery, tok int64) webhook.Result{
			r.failure,
			func(d webhook.Delivery, tok int64) webhook.Result { return cancel(d.ID, tok) },
		} {
			r.create(t1, "wh_"+itoa(i), nil)
			r.publish(target(r.request(t1, "e"+itoa(i), "a.b"), "wh_"+itoa(i)))
			d, l := r.claimOne()
			res := result(d, l.Token)
			r.finish(res)
			want := r.resend(d.ID)
			r.same("outcome", webhook.OutcomeApplied, r.complete(res)[0])
			r.same("the resent delivery", want, r.delivery(d.ID))
			_, l = r.claimOne()
			r.finish(cancel(d.ID, l.Token))
		}
	}},
	{"RepeatedAfterResendAndClaim", saysToken, func(r *run) {
		for i, result := range []func(d webhook.Delivery, tok int64) webhook.Result{
			r.success, r.failure,
			func(d webhook.Delivery, tok int64) webhook.Result { return r.retry(d, tok, time.Hour) },
			func(d webhook.Delivery, tok int64) webhook.Result { return cancel(d.ID, tok) },
		} {
			r.create(t1, "wh_"+itoa(i), nil)
			r.publish(target(r.request(t1, "e"+itoa(i), "a.b"), "wh_"+itoa(i)))
			d, l := r.claimOne()
			res := result(d, l.Token)
			r.finish(res)
			r.resend(d.ID)
			again, next := r.claimOne()
			r.same("Tries after the resend", d.Tries, again.Tries)
			want, log := r.delivery(d.ID), len(r.attempts(d.ID))
			st := r.stats(webhook.StatsQuery{Tenant: t1})
			r.same("outcome of the old result", webhook.OutcomeApplied, r.complete(res)[0])
			r.same("delivery", want, r.delivery(d.ID))
			r.same("number of attempts", log, len(r.attempts(d.ID)))
			r.same("statistics", st, r.stats(webhook.StatsQuery{Tenant: t1}))
			if !r.extend(next) {
				r.brokenf("the old result ended the lease of the claim after the resend")
			}
			r.finish(r.success(again, next.Token))
		}
	}},
	{"RepeatedByRacers", saysBefore, func(r *run) {
		d, l := r.claimed()
		res := r.success(d, l.Token)
		var racers sync.WaitGroup
		for range 6 {
			racers.Go(func() {
				out, err := r.store.Complete(r.Context(), r.now, []webhook.Result{res})
				if err != nil || len(out) != 1 || out[0] != webhook.OutcomeApplied {
					r.brokenf("Complete by a racer: got %v, %v", out, err)
				}
			})
		}
		racers.Wait()
		r.same("attempts", 1, len(r.attempts(d.ID)))
		r.same("counters", counters{Attempts: 1, Tries: 1}, countersOf(r.delivery(d.ID)))
	}},
	{"ExpiredUnclaimedLeaseHolds", saysHolds, func(r *run) {
		d, l := r.claimed()
		r.pass(lease + time.Hour)
		r.finish(r.success(d, l.Token))
		r.same("state", webhook.StateSucceeded, r.delivery(d.ID).State)
		if as := r.attempts(d.ID); len(as) != 1 || as[0].Late {
			r.brokenf("attempts %+v, want one that is not Late", as)
		}
	}},
	{"LeaseEnds", saysComplete, func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		if r.extend(l) {
			r.brokenf("the lease went on after its result was recorded")
		}
	}},
}
