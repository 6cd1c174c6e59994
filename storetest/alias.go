package storetest

import (
	"github.com/seed68722ecd/webhook"
)

const saysAlias = "a Store never keeps or returns memory that a later change by the other side could reach"

// scribble changes all memory that a webhook refers to.
func scribble(w *webhook.WebhookRecord) {
	for i := range w.Events {
		w.Events[i] = "scribble"
	}
	for k := range w.Headers {
		w.Headers[k] = "scribble"
	}
	if w.Headers != nil {
		w.Headers["X-Scribble"] = "scribble"
	}
	for i := range w.Secrets {
		w.Secrets[i].Value = "scribble"
	}
}

// scribbleBytes changes every byte.
func scribbleBytes(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}

var aliasChecks = []check{
	{"CreatedWebhook", saysAlias, func(r *run) {
		w := r.hook(t1, "wh_1")
		r.must("CreateWebhook", r.store.CreateWebhook(r.Context(), w, 0))
		scribble(&w)
		r.same("webhook", r.hook(t1, "wh_1"), r.get(t1, "wh_1"))
		r.same("deliveries of an event", 1, r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries)
	}},
	{"UpdatedWebhook", saysAlias, func(r *run) {
		w := r.create(t1, "wh_1", nil)
		update := r.hook(t1, "wh_1")
		r.must("UpdateWebhook", r.store.UpdateWebhook(r.Context(), update))
		scribble(&update)
		w.Version = 2
		r.same("webhook", w, r.get(t1, "wh_1"))
		r.same("deliveries of an event", 1, r.publish(r.request(t1, "e1", "a.b"))[0].Deliveries)
	}},
	{"ReadWebhook", saysAlias, func(r *run) {
		want := r.create(t1, "wh_1", nil)
		want.Events, want.Headers, want.Secrets = []string{"*"}, map[string]string{"X-Key": "v-wh_1"}, r.hook(t1, "wh_1").Secrets
		got := r.get(t1, "wh_1")
		scribble(&got)
		r.same("webhook", want, r.get(t1, "wh_1"))
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		for _, w := range p.Items {
			scribble(&webhook.WebhookRecord{Webhook: w})
		}
		r.same("webhook", want, r.get(t1, "wh_1"))
	}},
	{"ClaimedWebhookIsAsItWas", "Event and Webhook may be shared among the deliveries of a result and with the Store: they must not be modified.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		want := r.get(t1, "wh_1")
		ds, _ := r.claimN(1)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Name, w.Events, w.Headers["X-Key"], w.Secrets[0].Value = "renamed", []string{"c.d"}, "changed", "changed"
		})
		r.same("webhook claimed before the change", want, *ds[0].Webhook)
	}},
	{"DataIsNotChanged", "A Store may keep Event.Data itself instead of a copy: the caller and the Store do not change these bytes after the call.", func(r *run) {
		r.create(t1, "wh_1", nil)
		req, again := r.request(t1, "e1", "a.b"), r.request(t1, "e1", "a.b")
		want := string(req.Event.Data)
		r.publish(req)
		r.publish(again)
		ds, tok := r.claimN(1)
		ev, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		scribbleBytes(ev.Data)
		r.finish(r.success(ds[0].Delivery, tok))
		r.same("data of the caller", want, string(req.Event.Data))
		r.same("data of the second caller", want, string(again.Event.Data))
	}},
	{"PublishedRequest", saysAlias, func(r *run) {
		req := r.request(t1, "e1", "a.b")
		want := string(req.Event.Data)
		r.publish(req)
		for i := range req.Patterns {
			req.Patterns[i] = "scribble"
		}
		ev, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("data", want, string(ev.Data))
		r.same("result of publishing it again", webhook.PublishResult{Duplicate: true}, r.publish(r.request(t1, "e1", "a.b"))[0])
	}},
	{"ReadEvent", saysAlias, func(r *run) {
		r.emit(t1, "e1")
		ev, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		want := string(ev.Data)
		scribbleBytes(ev.Data)
		ev, err = r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("data", want, string(ev.Data))
	}},
	{"RecordedAttempt", saysAlias, func(r *run) {
		d, l := r.claimed()
		res := r.success(d, l.Token)
		res.Attempt.ResponseBody, res.Attempt.ResponseHeaders = []byte("body"), map[string]string{"Server": "x"}
		want := *res.Attempt
		want.ResponseBody, want.ResponseHeaders = []byte("body"), map[string]string{"Server": "x"}
		r.finish(res)
		scribbleBytes(res.Attempt.ResponseBody)
		res.Attempt.ResponseHeaders["Server"] = "scribble"
		res.Attempt.Status, res.Attempt.Error = 999, "scribble"
		as := r.attempts(d.ID)
		r.same("attempts", []webhook.Attempt{want}, as)
		scribbleBytes(as[0].ResponseBody)
		if as[0].ResponseHeaders == nil {
			r.fatalf("the headers of the answer are gone")
		}
		as[0].ResponseHeaders["Server"], as[0].Status = "scribble", 999
		r.same("attempts read again", []webhook.Attempt{want}, r.attempts(d.ID))
	}},
	{"LateAttemptOfTheCaller", saysAlias, func(r *run) {
		d, l := r.claimed()
		res := r.success(d, l.Token+1)
		r.complete(res)
		if res.Attempt.Late {
			r.brokenf("Complete set Late in the caller's own attempt")
		}
	}},
	{"ListedDeliveries", saysAlias, func(r *run) {
		r.claimed()
		q := webhook.DeliveryQuery{Tenant: t1, Limit: 10}
		want := r.deliveries(q)
		p, err := r.store.ListDeliveries(r.Context(), q)
		r.must("ListDeliveries", err)
		for i := range p.Items {
			p.Items[i] = webhook.Delivery{}
		}
		r.same("deliveries", want, r.deliveries(q))
	}},
	{"ArgumentsAreNotChanged", saysAlias, func(r *run) {
		w, again := r.hook(t1, "wh_1"), r.hook(t1, "wh_1")
		w.Events, again.Events = []string{"z", "a", "*"}, []string{"z", "a", "*"}
		r.must("CreateWebhook", r.store.CreateWebhook(r.Context(), w, 0))
		r.same("argument of CreateWebhook", again, w)
		reqs, same := r.requests(t1, "e", "a.b", 2), r.requests(t1, "e", "a.b", 2)
		r.publish(reqs...)
		r.same("argument of Publish", same, reqs)
		limits := map[string]int{"wh_1": 1, "wh_x": 0}
		r.claimReq(webhook.ClaimRequest{Limit: 1, PerWebhook: 1, Limits: limits})
		r.same("Limits", map[string]int{"wh_1": 1, "wh_x": 0}, limits)
	}},
}
