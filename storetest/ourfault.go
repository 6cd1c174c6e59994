package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysOurFault = "An attempt whose class is the sender's own fault (ErrorClass.OurFault) is logged and leaves health and statistics as they are."
	saysUnsent   = "An attempt of ClassUnsent leaves Tries as it is, too."
)

// ours records one attempt that failed on the sender's side.
func (r *run) ours(class webhook.ErrorClass) {
	r.Helper()
	d, l := r.claimOne()
	res := r.retry(d, l.Token, 0)
	res.Attempt.Status, res.Attempt.Class = 0, class
	r.pass(time.Second)
	r.finish(res)
}

var ourFaultChecks = []check{
	{"LeavesHealthAlone", saysOurFault, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		for _, class := range []webhook.ErrorClass{webhook.ClassUnsent, webhook.ClassInternal} {
			r.ours(class)
			r.same("health after "+string(class), health{}, r.health("wh_1"))
		}
		ok := r.tries(200)
		r.ours(webhook.ClassUnsent)
		r.same("health after a success", health{ok, ok, time.Time{}}, r.health("wh_1"))
		bad := r.tries(500)
		r.ours(webhook.ClassInternal)
		r.same("health after a failure", health{bad, ok, bad}, r.health("wh_1"))
	}},
	{"LeavesStatisticsAlone", saysOurFault, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.ours(webhook.ClassUnsent)
		r.ours(webhook.ClassInternal)
		if st := r.stats(webhook.StatsQuery{Tenant: t1}); len(st) != 0 {
			r.brokenf("statistics are %+v, want none", st)
		}
	}},
	{"IsLogged", saysOurFault, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.ours(webhook.ClassUnsent)
		r.ours(webhook.ClassInternal)
		p, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1})
		r.must("ListDeliveries", err)
		as := r.attempts(p.Items[0].ID)
		if len(as) != 2 || as[0].Class != webhook.ClassUnsent || as[1].Class != webhook.ClassInternal {
			r.brokenf("attempts %+v, want one of each class", as)
		}
	}},
	{"UnsentUsesUpNoTry", saysUnsent, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.ours(webhook.ClassUnsent)
		r.ours(webhook.ClassUnsent)
		d, l := r.claimOne()
		r.same("counters after two", counters{Attempts: 2}, countersOf(d))
		r.same("LastClass", webhook.ClassUnsent, d.LastClass)
		r.finish(r.retry(d, l.Token, 0))
		r.ours(webhook.ClassUnsent)
		d, l = r.claimOne()
		r.same("counters after a failure of the receiver and another", counters{Attempts: 4, Tries: 1}, countersOf(d))
		r.finish(r.success(d, l.Token))
		r.same("Tries of a success", 2, r.delivery(d.ID).Tries)
	}},
	{"OthersUseUpATry", saysUnsent, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.ours(webhook.ClassInternal)
		d, _ := r.claimOne()
		r.same("counters", counters{Attempts: 1, Tries: 1}, countersOf(d))
	}},
}
