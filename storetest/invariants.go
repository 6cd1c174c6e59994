package storetest

import (
	"testing"

	"github.com/seed68722ecd/webhook"
)

// CheckInvariants reads all records of the tenants in a Store and reports
// states that must never occur, even after a crash: a delivery that is finished
// and yet due, a delivery that was created twice, a delivery without its event,
// an attempt that was logged but not counted, or counted but not logged. It
// reads every delivery with its attempts, so it takes a while on a large Store.
// It does not write, and no other process may write meanwhile.
func CheckInvariants(t testing.TB, s webhook.Store, tenants ...string) {
	t.Helper()
	r := newRun(t, "ListDeliveries returns deliveries that match q", s, false)
	for _, tenant := range tenants {
		r.invariants(tenant, t.Errorf)
	}
}

// invariants calls report for every state of a tenant's records that must never
// occur.
func (r *run) invariants(tenant string, report func(format string, args ...any)) {
	r.Helper()
	made := map[[2]string]string{}
	types := map[string]string{}
	for _, d := range r.deliveries(webhook.DeliveryQuery{Tenant: tenant}) {
		report := func(format string, args ...any) {
			r.Helper()
			report("delivery %s of event %s to webhook %s, %s: "+format, append([]any{d.ID, d.EventID, d.WebhookID, d.State}, args...)...)
		}
		if d.Tenant != tenant {
			report("belongs to tenant %q, listed for %q", d.Tenant, tenant)
		}
		pair := [2]string{d.EventID, d.WebhookID}
		if other, twice := made[pair]; twice {
			report("was made twice, the other is %s", other)
		}
		made[pair] = d.ID
		if _, known := types[d.EventID]; !known {
			ev, err := r.store.GetEvent(r.Context(), tenant, d.EventID)
			if err != nil {
				report("its event cannot be read: %v", err)
			}
			types[d.EventID] = ev.Type
		}
		if types[d.EventID] != d.EventType {
			report("is of type %q, its event of type %q", d.EventType, types[d.EventID])
		}
		stateInvariants(d, report)
		as, err := r.store.ListAttempts(r.Context(), tenant, d.ID)
		if err != nil {
			report("its attempts cannot be read: %v", err)
			continue
		}
		attemptInvariants(d, as, report)
	}
}

// stateInvariants checks the fields that depend on the delivery's state.
func stateInvariants(d webhook.Delivery, report func(format string, args ...any)) {
	switch d.State {
	case webhook.StatePending:
		if !d.FinishedAt.IsZero() || d.NextAttemptAt.IsZero() {
			report("finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
		}
	case webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled:
		if d.FinishedAt.IsZero() || !d.NextAttemptAt.IsZero() {
			report("finished at %v, next attempt at %v", d.FinishedAt, d.NextAttemptAt)
		}
	default:
		report("has no state that there is")
	}
	ended := d.State == webhook.StateFailed || d.State == webhook.StateCanceled
	if ended != (d.Reason != "") {
		report("has the reason %q", d.Reason)
	}
	if d.Tries < 0 || d.Crashes < 0 || d.Tries+d.Crashes > d.Attempts {
		report("counts %d attempts, %d tries and %d crashes", d.Attempts, d.Tries, d.Crashes)
	}
	if d.CreatedAt.IsZero() {
		report("has no creation time")
	}
}

// attemptInvariants compares a delivery with its logged attempts.
func attemptInvariants(d webhook.Delivery, as []webhook.Attempt, report func(format string, args ...any)) {
	numbers := map[int]bool{}
	status, class := 0, webhook.ErrorClass("")
	for _, a := range as {
		if a.DeliveryID != d.ID {
			report("has an attempt of delivery %s", a.DeliveryID)
		}
		if a.Number < 1 {
			report("has an attempt with number %d", a.Number)
		}
		if a.Late {
			continue
		}
		if numbers[a.Number] {
			report("has two attempts with number %d that are not late", a.Number)
		}
		numbers[a.Number] = true
		if a.Number > d.Attempts {
			report("has an attempt with number %d, but counts %d", a.Number, d.Attempts)
		}
		status, class = a.Status, a.Class
	}
	if d.Tries > len(numbers) {
		report("counts %d tries, but %d attempts are logged", d.Tries, len(numbers))
	}
	if status != d.LastStatus || class != d.LastClass {
		report("says that its last attempt ended with %d %q, the log says %d %q", d.LastStatus, d.LastClass, status, class)
	}
	if d.State == webhook.StateSucceeded && (class != "" || status < 200 || status > 299) {
		report("succeeded, but its last attempt ended with %d %q", status, class)
	}
}
