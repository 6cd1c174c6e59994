package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const saysResend = "Resend makes one delivery pending and due now, whatever its state, with Tries, Crashes and Reason reset, and returns the changed delivery."

// resend resends a delivery of tenant t1.
func (r *run) resend(id string) webhook.Delivery {
	r.Helper()
	d, err := r.store.Resend(r.Context(), r.now, t1, id)
	r.must("Resend", err)
	return d
}

// resent compares the delivery that Resend returned, and the stored delivery,
// with the expected state after before.
func (r *run) resent(before, got webhook.Delivery) {
	r.Helper()
	want := before
	want.State, want.Reason, want.Tries, want.Crashes = webhook.StatePending, "", 0, 0
	want.NextAttemptAt, want.FinishedAt = r.now, time.Time{}
	r.same("delivery returned", want, got)
	r.same("delivery stored", want, r.delivery(want.ID))
	if d, _ := r.claimOne(); d.ID != want.ID {
		r.brokenf("claimed %q, want the resent %q", d.ID, want.ID)
	}
}

var resendChecks = []check{
	{"Succeeded", saysResend, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		before := r.delivery(d.ID)
		r.pass(time.Hour)
		r.resent(before, r.resend(d.ID))
	}},
	{"Failed", saysResend, func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		r.claimOne()
		r.pass(lease + time.Second)
		d, l = r.claimOne()
		r.finish(r.failure(d, l.Token))
		before := r.delivery(d.ID)
		r.pass(time.Hour)
		r.resent(before, r.resend(d.ID))
	}},
	{"Quarantined", saysResend, func(r *run) {
		r.claimed()
		r.pass(lease + time.Second)
		d, l := r.claimOne()
		r.finish(webhook.Result{DeliveryID: d.ID, Token: l.Token, State: webhook.StateFailed, Reason: webhook.ReasonQuarantined})
		before := r.delivery(d.ID)
		r.pass(time.Hour)
		r.resent(before, r.resend(d.ID))
	}},
	{"Canceled", saysResend, func(r *run) {
		d, l := r.claimed()
		r.finish(cancel(d.ID, l.Token))
		before := r.delivery(d.ID)
		r.pass(time.Hour)
		r.resent(before, r.resend(d.ID))
	}},
	{"WaitingForARetry", saysResend, func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, time.Hour))
		before := r.delivery(d.ID)
		r.pass(time.Minute)
		r.resent(before, r.resend(d.ID))
	}},
	{"UnderALease", "A delivery that is being attempted under a lease that has not expired stays as it is and is returned unchanged.", func(r *run) {
		d, l := r.claimed()
		r.finish(r.retry(d, l.Token, 0))
		d, l = r.claimOne()
		before := r.delivery(d.ID)
		r.pass(time.Second)
		r.same("delivery returned", before, r.resend(d.ID))
		r.same("delivery stored", before, r.delivery(d.ID))
		r.claimNone("it is being attempted")
		r.finish(r.success(d, l.Token))
	}},
	{"UnderAnExpiredLease", "under a lease that has not expired", func(r *run) {
		r.claimed()
		r.pass(lease + time.Second)
		d, _ := r.claimOne()
		r.pass(lease + time.Second)
		got := r.resend(d.ID)
		r.same("counters", counters{Crashes: 0}, counters{Tries: got.Tries, Crashes: got.Crashes})
		r.same("NextAttemptAt", r.now, got.NextAttemptAt)
		r.same("delivery stored", got, r.delivery(d.ID))
		r.claimOne()
	}},
	{"Twice", saysRepeated, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		r.same("the second Resend", r.resend(d.ID), r.resend(d.ID))
		r.claimOne()
		r.claimNone("resent twice, claimed once")
	}},
	{"WebhookWasDeleted", saysResend, func(r *run) {
		d, l := r.claimed()
		r.finish(r.success(d, l.Token))
		r.remove(t1, "wh_1")
		r.same("state", webhook.StatePending, r.resend(d.ID).State)
	}},
	{"NumbersGoOn", "The next attempt is number Attempts+1.", func(r *run) {
		d, l := r.claimed()
		r.finish(r.failure(d, l.Token))
		r.resend(d.ID)
		d, l = r.claimOne()
		r.same("counters after Resend", counters{Attempts: 1}, countersOf(d))
		r.finish(r.success(d, l.Token))
		r.same("counters after one more attempt", counters{Attempts: 2, Tries: 1}, countersOf(r.delivery(d.ID)))
	}},
	{"Missing", "ErrNotFound when the delivery does not exist.", func(r *run) {
		_, err := r.store.Resend(r.Context(), r.now, t1, "missing")
		r.wantErr("Resend", err, webhook.ErrNotFound)
	}},
}
