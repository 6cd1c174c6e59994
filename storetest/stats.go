package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysStats      = "Stats returns counts per webhook and hour, ordered by webhook ID, then hour ascending."
	saysStatsPages = "The answer has the first q.Limit buckets after q.After; fewer buckets mean that there are no more."
)

// stats reads statistics.
func (r *run) stats(q webhook.StatsQuery) []webhook.StatsBucket {
	r.Helper()
	st, err := r.store.Stats(r.Context(), q)
	r.must("Stats", err)
	return st
}

// threeHours records attempts over three hours and returns the start of the
// first: for both webhooks in the first hour, without any in the second, and
// only for wh_b in the third.
func (r *run) threeHours() time.Time {
	r.Helper()
	first := r.now.Truncate(time.Hour)
	r.create(t1, "wh_b", selecting("b"))
	r.create(t1, "wh_a", selecting("a"))
	for hour, statuses := range [][]int{{200, 500, 503}, nil, {200, 204}} {
		for i, status := range statuses {
			for _, typ := range []string{"b", "a"} {
				r.publish(r.request(t1, "e"+itoa(hour)+itoa(i)+typ, typ))
				d, l := r.claimOne()
				res := webhook.Result{DeliveryID: d.ID, Token: l.Token, State: webhook.StateSucceeded, Attempt: r.attempt(d, status)}
				if !res.Attempt.Succeeded() {
					res.State, res.Reason = webhook.StateFailed, webhook.ReasonRetriesExhausted
				}
				res.Attempt.Duration = time.Duration(i+1) * 10 * time.Millisecond
				r.finish(res)
				if hour == 2 {
					break // only wh_b
				}
			}
		}
		r.pass(time.Hour)
	}
	return first
}

var statsChecks = []check{
	{"CountsPerWebhookAndHour", saysStats, func(r *run) {
		h := r.threeHours()
		r.same("statistics", []webhook.StatsBucket{
			{WebhookID: "wh_a", Hour: h, Succeeded: 1, Failed: 2, Duration: 60 * time.Millisecond},
			{WebhookID: "wh_b", Hour: h, Succeeded: 1, Failed: 2, Duration: 60 * time.Millisecond},
			{WebhookID: "wh_b", Hour: h.Add(2 * time.Hour), Succeeded: 2, Duration: 30 * time.Millisecond},
		}, r.stats(webhook.StatsQuery{Tenant: t1, Since: h}))
	}},
	{"OfNamedWebhooks", "empty selects every webhook of the tenant", func(r *run) {
		h := r.threeHours()
		one := r.stats(webhook.StatsQuery{Tenant: t1, WebhookIDs: []string{"wh_a"}, Since: h})
		if len(one) != 1 || one[0].WebhookID != "wh_a" {
			r.brokenf("statistics of wh_a are %+v, want one hour", one)
		}
		r.same("statistics of both and a missing one", r.stats(webhook.StatsQuery{Tenant: t1, Since: h}),
			r.stats(webhook.StatsQuery{Tenant: t1, WebhookIDs: []string{"wh_b", "missing", "wh_a"}, Since: h}))
		r.same("statistics of a missing one", 0, len(r.stats(webhook.StatsQuery{Tenant: t1, WebhookIDs: []string{"missing"}})))
	}},
	{"Since", "from the hour that contains it", func(r *run) {
		h := r.threeHours()
		r.same("hours since minute 59", 3, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h.Add(59 * time.Minute)})))
		r.same("hours since the next hour", 1, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h.Add(time.Hour)})))
		r.same("hours since a zero time", 3, len(r.stats(webhook.StatsQuery{Tenant: t1})))
	}},
	{"Until", "hours that start before it; zero for all", func(r *run) {
		h := r.threeHours()
		third := h.Add(2 * time.Hour)
		r.same("hours until the third", 2, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h, Until: third})))
		r.same("hours until just after the third", 3, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h, Until: third.Add(time.Second)})))
	}},
	{"InPages", saysStatsPages, func(r *run) {
		h := r.threeHours()
		for _, ids := range [][]string{nil, {"wh_b", "wh_a"}, {"wh_b"}} {
			q := webhook.StatsQuery{Tenant: t1, WebhookIDs: ids, Since: h}
			all := r.stats(q)
			for q.Limit = range 4 {
				q.After = webhook.StatsBucket{}
				for from := 0; from <= len(all) && q.Limit > 0; from += q.Limit {
					page := r.stats(q)
					r.same("statistics in pages of "+itoa(q.Limit), append([]webhook.StatsBucket(nil), all[from:min(from+q.Limit, len(all))]...), page)
					if len(page) > 0 {
						q.After = page[len(page)-1]
					}
				}
			}
		}
		// A cursor may also name an hour or a webhook without statistics.
		third := webhook.StatsBucket{WebhookID: "wh_b", Hour: h.Add(2 * time.Hour), Succeeded: 2, Duration: 30 * time.Millisecond}
		for _, after := range []webhook.StatsBucket{{WebhookID: "wh_b", Hour: h.Add(time.Hour)}, {WebhookID: "wh_b", Hour: h.Add(time.Minute)}} {
			r.same("statistics behind a place without", []webhook.StatsBucket{third}, r.stats(webhook.StatsQuery{Tenant: t1, Since: h, After: after}))
		}
		r.same("statistics behind a missing webhook", 2, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h, After: webhook.StatsBucket{WebhookID: "wh_aa", Hour: r.now}})))
		r.same("statistics behind a later hour of one", 2, len(r.stats(webhook.StatsQuery{Tenant: t1, Since: h, After: webhook.StatsBucket{WebhookID: "wh_a", Hour: r.now}})))
	}},
	{"NoAttempts", "Hours without attempts are left out.", func(r *run) {
		d, l := r.claimed()
		r.finish(cancel(d.ID, l.Token))
		if st := r.stats(webhook.StatsQuery{Tenant: t1}); len(st) != 0 {
			r.brokenf("statistics %+v, want none", st)
		}
	}},
}
