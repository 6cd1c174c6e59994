package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

const saysHealth = "updates the health of the webhooks and their hourly statistics"

// health is the part of a webhook that the Store keeps up to date by itself.
type health struct{ LastTriggeredAt, LastSuccessAt, FailingSince time.Time }

func (r *run) health(id string) health {
	r.Helper()
	w := r.get(t1, id)
	return health{w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince}
}

// tries makes one attempt at the only delivery that is due.
func (r *run) tries(status int) time.Time {
	r.Helper()
	d, l := r.claimOne()
	res := r.retry(d, l.Token, 0)
	res.Attempt = r.attempt(d, status)
	began := r.now
	r.pass(time.Second)
	r.finish(res)
	return began
}

var healthChecks = []check{
	{"NoneAtFirst", "start of the latest attempt; zero before the first", func(r *run) {
		d, l := r.claimed()
		r.same("health before any attempt", health{}, r.health("wh_1"))
		r.finish(cancel(d.ID, l.Token))
		r.same("health after a result without attempt", health{}, r.health("wh_1"))
	}},
	{"Success", "start of the latest attempt that was answered 2xx", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", selecting("other"))
		r.emit(t1, "e1")
		at := r.tries(204)
		r.same("health", health{LastTriggeredAt: at, LastSuccessAt: at}, r.health("wh_1"))
		r.same("health of another webhook", health{}, r.health("wh_2"))
	}},
	{"FailingSinceTheFirstFailure", "start of the first failed attempt since the last success; zero while not failing", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		ok := r.tries(200)
		first := r.tries(500)
		r.same("health after one failure", health{first, ok, first}, r.health("wh_1"))
		last := r.tries(404)
		r.same("health after two failures", health{last, ok, first}, r.health("wh_1"))
		last = r.tries(200)
		r.same("health after a success", health{last, last, time.Time{}}, r.health("wh_1"))
		again := r.tries(500)
		r.same("health after failing again", health{again, last, again}, r.health("wh_1"))
	}},
	{"ManyResultsInOneCall", saysHealth, func(r *run) {
		r.create(t1, "wh_1", selecting("one"))
		r.create(t1, "wh_2", selecting("two"))
		r.publish(r.requests(t1, "one", "one", 3)...)
		r.publish(r.requests(t1, "two", "two", 2)...)
		ds, tok := r.claimN(5)
		at := map[string][]time.Time{}
		var results []webhook.Result
		for _, d := range ds {
			r.pass(time.Second)
			id := d.Delivery.WebhookID
			res := r.success(d.Delivery, tok)
			// wh_1 fails, succeeds and fails; wh_2 fails and succeeds.
			if len(at[id])%2 == 0 {
				res = r.failure(d.Delivery, tok)
			}
			at[id] = append(at[id], r.now)
			results = append(results, res)
		}
		r.complete(results...)
		one, two := at["wh_1"], at["wh_2"]
		r.same("health of wh_1", health{one[2], one[1], one[2]}, r.health("wh_1"))
		r.same("health of wh_2", health{two[1], two[1], time.Time{}}, r.health("wh_2"))
	}},
	{"LatestStartWins", "start of the latest attempt; zero before the first", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 3)...)
		ds, tok := r.claimN(3)
		var results []webhook.Result
		for i, d := range ds {
			res := r.success(d.Delivery, tok)
			res.Attempt.StartedAt = r.now.Add(-time.Duration(i) * time.Minute)
			results = append(results, res)
		}
		r.complete(results[1])
		r.complete(results[0], results[2])
		r.same("health", health{r.now, r.now, time.Time{}}, r.health("wh_1"))
	}},
	{"OldFailureIsNoNews", "a failure that started before the latest success does not change the webhook's health", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 2)...)
		ds, tok := r.claimN(2)
		slow := r.failure(ds[0].Delivery, tok)
		r.pass(time.Second)
		at := r.now
		r.finish(r.success(ds[1].Delivery, tok))
		r.finish(slow)
		r.same("health", health{at, at, time.Time{}}, r.health("wh_1"))
	}},
	{"UpdateLeavesItAlone", "CreatedAt and the health fields of w are ignored: the stored values stay", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		ok, bad := r.tries(200), r.tries(500)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Name = "renamed"
			w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince = time.Time{}, r.now, time.Time{}
		})
		r.same("health after a change of name", health{bad, ok, bad}, r.health("wh_1"))
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active, w.DisabledAt = false, r.now })
		r.same("health after disabling", health{bad, ok, bad}, r.health("wh_1"))
	}},
	{"EnablingClearsFailingSince", "the stored values stay, except that FailingSince becomes zero when an inactive webhook becomes active", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		ok, bad := r.tries(200), r.tries(500)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = true })
		r.same("health after enabling", health{bad, ok, time.Time{}}, r.health("wh_1"))
		bad = r.tries(500)
		r.same("health after failing anew", health{bad, ok, bad}, r.health("wh_1"))
	}},
	{"NoNewVersion", "Version counts the changes of its settings, from 1.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		before := r.get(t1, "wh_1")
		r.tries(500)
		after := r.get(t1, "wh_1")
		r.same("Version after an attempt", before.Version, after.Version)
		r.same("UpdatedAt after an attempt", before.UpdatedAt, after.UpdatedAt)
	}},
	{"InEveryReading", saysHealth, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		r.tries(200)
		at := r.tries(500)
		w := r.get(t1, "wh_1")
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		r.same("webhooks listed", []webhook.Webhook{w.Webhook}, p.Items)
		ds, _ := r.claimN(1)
		r.same("FailingSince of the claimed webhook", at, ds[0].Webhook.FailingSince)
	}},
}
