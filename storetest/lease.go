package storetest

import (
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysReclaim  = "Reclaiming an expired lease adds one to Crashes and one to Attempts of the delivery, as its attempt may have been sent."
	saysExtend   = "Extend moves the expiry of the leases to d from now and returns the delivery IDs of the leases that it could not extend, because the delivery is held by another claim or by no claim."
	saysRelease  = "the deliveries are due again after delay, with Attempts, Tries and Crashes unchanged"
	saysNotHeld  = "Leases that are not held (any more) are ignored."
	saysByToken  = "A Lease with an empty DeliveryID stands for every delivery claimed with its token."
	saysExpired  = "An expired lease can be extended if its delivery has not been claimed since."
	saysRepeated = "Idempotent."
)

// counters are the counters that crashes and attempts increment.
type counters struct{ Attempts, Tries, Crashes int }

func countersOf(d webhook.Delivery) counters { return counters{d.Attempts, d.Tries, d.Crashes} }

var crashChecks = []check{
	{"ExpiredLeaseIsReclaimable", saysClaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		first, _ := r.claimOne()
		r.pass(lease + time.Second)
		if again, _ := r.claimOne(); again.ID != first.ID {
			r.brokenf("reclaimed delivery %q, want %q", again.ID, first.ID)
		}
	}},
	{"ReclaimCountsTheCrash", saysReclaim, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		for crashes := range 3 {
			d, _ := r.claimOne()
			want := counters{Attempts: crashes, Crashes: crashes}
			r.same("counters of the claimed delivery", want, countersOf(d))
			r.same("counters of the stored delivery", want, countersOf(r.delivery(d.ID)))
			r.pass(lease + time.Second)
		}
	}},
	{"FirstClaimCountsNothing", "Reclaiming an expired lease adds one to Crashes and one to Attempts of the delivery", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, time.Minute))
		r.pass(time.Hour)
		d, _ = r.claimOne()
		r.same("counters after one retry, claimed long after it was due", counters{Attempts: 1, Tries: 1}, countersOf(d))
	}},
	{"AttemptEndsTheRowOfCrashes", "Crashes counts the leases that expired since the last recorded attempt or resend.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.claimOne()
		r.pass(lease + time.Second)
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, 0))
		r.same("counters after a crash and a recorded attempt", counters{Attempts: 2, Tries: 1}, countersOf(r.delivery(d.ID)))
	}},
	{"CrashUsesUpNoTry", "A crash uses up no try.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, 0))
		r.claimOne()
		r.pass(lease + time.Second)
		d, _ = r.claimOne()
		r.same("counters after an attempt and a crash", counters{Attempts: 2, Tries: 1, Crashes: 1}, countersOf(d))
	}},
}

// extend extends one lease to 30 s from now and reports whether the lease was
// still held.
func (r *run) extend(l webhook.Lease) bool {
	r.Helper()
	lost, err := r.store.Extend(r.Context(), r.now, []webhook.Lease{l}, lease)
	r.must("Extend", err)
	if len(lost) > 0 && !slices.Equal(lost, []string{l.DeliveryID}) {
		r.fatalf("Extend of %q returned lost %q", l.DeliveryID, lost)
	}
	return len(lost) == 0
}

// release gives leases back.
func (r *run) release(delay time.Duration, leases ...webhook.Lease) {
	r.Helper()
	r.must("Release", r.store.Release(r.Context(), r.now, leases, delay))
}

var extendChecks = []check{
	{"KeepsOthersAway", "Extend moves the expiry of the leases to d from now", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		for range 5 {
			r.pass(lease - time.Second)
			if !r.extend(l) {
				r.fatalf("a lease that holds was reported lost")
			}
			r.claimNone("the lease was extended")
		}
		r.pass(lease - time.Second)
		r.claimNone("a second before the extended lease ends")
		r.same("counters", counters{}, countersOf(r.delivery(d.ID)))
		r.pass(2 * time.Second)
		r.claimOne()
	}},
	{"CanShorten", "Extend moves the expiry of the leases to d from now", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, l := r.claimOne()
		lost, err := r.store.Extend(r.Context(), r.now, []webhook.Lease{l}, time.Second)
		r.must("Extend", err)
		if len(lost) != 0 {
			r.brokenf("a lease that holds was reported lost")
		}
		r.pass(2 * time.Second)
		r.claimOne()
	}},
	{"ExpiredUnclaimedLease", saysExpired, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, l := r.claimOne()
		r.pass(lease + time.Minute)
		if !r.extend(l) {
			r.fatalf("an expired lease that nobody claimed was reported lost")
		}
		r.claimNone("the expired lease was extended")
	}},
	{"LostToAnotherClaim", saysExtend, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, old := r.claimOne()
		r.pass(lease + time.Second)
		_, l := r.claimOne()
		if r.extend(old) {
			r.brokenf("the lease of an old claim was extended")
		}
		if !r.extend(l) {
			r.brokenf("the lease that holds was lost")
		}
	}},
	{"OldHolderMovesNothing", saysExtend, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, old := r.claimOne()
		r.pass(lease + time.Second)
		r.claimOne()
		r.pass(lease - time.Second)
		r.extend(old)
		r.pass(2 * time.Second)
		r.claimOne() // the second lease has expired in spite of the first holder's Extend
	}},
	{"NobodyHolds", saysExtend, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, first := r.claimOne()
		r.release(0, first)
		if r.extend(first) {
			r.brokenf("a released lease was extended")
		}
		if r.extend(webhook.Lease{DeliveryID: "missing", Token: first.Token}) {
			r.brokenf("the lease of a delivery that does not exist was extended")
		}
		d, l := r.claimOne()
		r.finish(r.success(d, l.Token))
		if r.extend(l) {
			r.brokenf("the lease of a completed delivery was extended")
		}
	}},
	{"SomeOfMany", saysExtend, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 4)...)
		ds, tok := r.claimN(4)
		var leases []webhook.Lease
		for _, d := range ds {
			leases = append(leases, webhook.Lease{DeliveryID: d.Delivery.ID, Token: tok})
		}
		r.finish(r.success(ds[1].Delivery, tok))
		leases[3].Token++
		r.pass(lease - time.Second)
		lost, err := r.store.Extend(r.Context(), r.now, leases, lease)
		r.must("Extend", err)
		slices.Sort(lost)
		want := []string{ds[1].Delivery.ID, ds[3].Delivery.ID}
		slices.Sort(want)
		r.same("lost", want, lost)
		r.pass(2 * time.Second)
		again, _ := r.claimOne() // only the lease with the wrong token has expired
		r.same("reclaimed", ds[3].Delivery.ID, again.ID)
	}},
}

var releaseChecks = []check{
	{"DueAgainAtOnce", saysRelease, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, l := r.claimOne()
		r.release(0, l)
		r.claimOne()
	}},
	{"DueAgainAfterDelay", saysRelease, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.release(time.Minute, l)
		got := r.delivery(d.ID)
		r.same("NextAttemptAt", r.now.Add(time.Minute), got.NextAttemptAt)
		r.same("State", webhook.StatePending, got.State)
		r.pass(time.Minute - time.Second)
		r.claimNone("a second before the delay ends")
		r.pass(2 * time.Second)
		r.claimOne()
	}},
	{"CountsNothing", saysRelease, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, 0))
		r.claimOne()
		r.pass(lease + time.Second)
		_, l = r.claimOne()
		want := counters{Attempts: 2, Tries: 1, Crashes: 1}
		r.release(0, l)
		r.same("counters after Release", want, countersOf(r.delivery(d.ID)))
		r.pass(lease + time.Hour)
		d, _ = r.claimOne()
		r.same("counters claimed after Release", want, countersOf(d))
	}},
	{"OldHolderIsIgnored", saysNotHeld, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, old := r.claimOne()
		r.pass(lease + time.Second)
		d, l := r.claimOne()
		r.release(0, old)
		r.release(0, webhook.Lease{Token: old.Token})
		r.claimNone("an old holder released")
		r.finish(r.success(d, l.Token))
	}},
	{"FinishedIsIgnored", saysNotHeld, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.success(d, l.Token))
		want := r.delivery(d.ID)
		r.release(0, l, webhook.Lease{Token: l.Token}, webhook.Lease{DeliveryID: "missing", Token: l.Token})
		r.same("a delivery that had succeeded", want, r.delivery(d.ID))
	}},
	{"RetryWaitsOn", saysNotHeld, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.retry(d, l.Token, time.Hour))
		r.release(0, l)
		r.release(0, webhook.Lease{Token: l.Token})
		r.claimNone("the lease had ended with its result")
	}},
	{"ByToken", saysByToken, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.publish(r.requests(t1, "e", "a.b", 4)...)
		ds, tok := r.claimN(5)
		others, _ := r.claimN(3)
		r.finish(r.success(ds[0].Delivery, tok))
		r.release(0, webhook.Lease{Token: tok})
		again, _ := r.claimN(4)
		held := map[string]bool{ds[0].Delivery.ID: true}
		for _, d := range others {
			held[d.Delivery.ID] = true
		}
		for _, d := range again {
			if held[d.Delivery.ID] {
				r.brokenf("delivery %s, which the token did not hold, was released", d.Delivery.ID)
			}
		}
		r.claimNone("all is claimed")
	}},
	{"Twice", saysRepeated, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		_, l := r.claimOne()
		r.release(time.Minute, l)
		r.pass(30 * time.Second)
		r.release(time.Minute, l) // no longer held, so no effect
		r.pass(31 * time.Second)
		r.claimOne()
	}},
}
