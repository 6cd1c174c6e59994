package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysReplay  = "Replay resends many deliveries, as Resend does one, in one bounded step, and creates missing deliveries"
	saysStates  = "States selects existing deliveries by state; each is made pending again."
	saysMissing = "Missing also creates deliveries for events that the webhook selects and that have no delivery to it, because it was inactive or did not exist yet."
	saysStep    = "ReplayRequest asks for one step of a replay: at most Limit deliveries, from Cursor on."
	saysPending = "Deliveries that are pending already stay as they are."
)

// replay runs all steps of a replay to wh_1 and returns how many deliveries it
// resent and created.
func (r *run) replay(req webhook.ReplayRequest) (resent, created int) {
	r.Helper()
	return r.replaySteps(req, nil)
}

func (r *run) replaySteps(req webhook.ReplayRequest, between func()) (resent, created int) {
	r.Helper()
	req.Tenant, req.WebhookID = t1, "wh_1"
	if req.Limit == 0 {
		req.Limit = 100
	}
	for range 1000 {
		req.Now = r.now
		res, err := r.store.Replay(r.Context(), req)
		r.must("Replay", err)
		if n := res.Resent + res.Created; n > req.Limit {
			r.brokenf("one step replayed %d deliveries, Limit is %d", n, req.Limit)
		}
		resent, created = resent+res.Resent, created+res.Created
		if res.Next == "" {
			return resent, created
		}
		req.Cursor = res.Next
		if between != nil {
			between()
		}
	}
	r.fatalf("the replay does not end")
	return 0, 0
}

// due returns the sorted events of wh_1's due deliveries. It claims the
// deliveries and gives the leases back.
func (r *run) due() string {
	r.Helper()
	tok := token()
	var ids []string
	for calls := 0; ; calls++ {
		res := r.claimReq(webhook.ClaimRequest{Token: tok, Limit: 1000, PerWebhook: 1000})
		if len(res.Deliveries) == 0 {
			break
		}
		if calls > 100 {
			r.fatalf("Claim goes on returning deliveries that were claimed")
		}
		for _, d := range res.Deliveries {
			if d.Delivery.WebhookID == "wh_1" {
				ids = append(ids, d.Delivery.EventID)
			}
		}
	}
	r.release(0, webhook.Lease{Token: tok})
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// history publishes five events to wh_1 and wh_2, a minute apart: s1 and s2
// succeeded, f1 failed, c1 was canceled, p1 waits for a retry.
func (r *run) history() {
	r.Helper()
	r.create(t1, "wh_1", nil)
	r.create(t1, "wh_2", nil)
	for _, id := range []string{"s1", "f1", "c1", "s2", "p1"} {
		typ := "a.b"
		if id == "s2" {
			typ = "a.c"
		}
		r.publish(r.request(t1, id, typ))
		ds, tok := r.claimN(2)
		for _, d := range ds {
			switch id[0] {
			case 's':
				r.finish(r.success(d.Delivery, tok))
			case 'f':
				r.finish(r.failure(d.Delivery, tok))
			case 'c':
				r.finish(cancel(d.Delivery.ID, tok))
			default:
				r.finish(r.retry(d.Delivery, tok, 24*time.Hour))
			}
		}
		r.pass(time.Minute)
	}
}

var (
	final = []webhook.State{webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled}
	every = append([]webhook.State{webhook.StatePending}, final...)
)

var replayChecks = []check{
	{"ByState", saysStates, func(r *run) {
		r.history()
		for _, c := range []struct {
			states []webhook.State
			resent int
			due    string
		}{
			{nil, 0, ""},
			{[]webhook.State{webhook.StateFailed}, 1, "f1"},
			{[]webhook.State{webhook.StateFailed, webhook.StateCanceled}, 1, "c1 f1"},
			{[]webhook.State{webhook.StateSucceeded}, 2, "c1 f1 s1 s2"},
		} {
			resent, created := r.replay(webhook.ReplayRequest{States: c.states})
			if resent != c.resent || created != 0 {
				r.brokenf("replay of %v: resent %d and created %d, want %d and 0", c.states, resent, created, c.resent)
			}
			r.same("events due", c.due, r.due())
		}
	}},
	{"IsLikeResend", saysReplay, func(r *run) {
		r.history()
		before := r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_1", EventID: "f1"})[0]
		r.replay(webhook.ReplayRequest{States: final})
		want := before
		want.State, want.Reason, want.Tries, want.Crashes = webhook.StatePending, "", 0, 0
		want.NextAttemptAt, want.FinishedAt = r.now, time.Time{}
		r.same("delivery", want, r.delivery(before.ID))
	}},
	{"OnlyThisWebhook", saysReplay, func(r *run) {
		r.history()
		before := r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_2"})
		r.replay(webhook.ReplayRequest{States: every, Missing: true})
		r.same("deliveries of another webhook", before, r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_2"}))
	}},
	{"PendingIsLeftAlone", saysPending, func(r *run) {
		r.history()
		q := webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_1", State: webhook.StatePending}
		before := r.deliveries(q)
		resent, created := r.replay(webhook.ReplayRequest{States: []webhook.State{webhook.StatePending}, Missing: true})
		if resent != 0 || created != 0 {
			r.brokenf("resent %d and created %d, want none", resent, created)
		}
		r.same("pending deliveries", before, r.deliveries(q))
	}},
	{"Twice", saysPending, func(r *run) {
		r.history()
		r.replay(webhook.ReplayRequest{States: final, Missing: true})
		before := r.deliveries(webhook.DeliveryQuery{Tenant: t1})
		resent, created := r.replay(webhook.ReplayRequest{States: final, Missing: true})
		if resent != 0 || created != 0 {
			r.brokenf("the second replay resent %d and created %d, want none", resent, created)
		}
		r.same("deliveries", before, r.deliveries(webhook.DeliveryQuery{Tenant: t1}))
	}},
	{"SinceAndUntil", "events stored at or after; zero for all", func(r *run) {
		r.history() // s1 at 0, f1 at 1, c1 at 2, s2 at 3 minutes
		_, _ = r.replay(webhook.ReplayRequest{States: final, Since: start.Add(time.Minute), Until: start.Add(3 * time.Minute)})
		r.same("events replayed", "c1 f1", r.due())
		r.replay(webhook.ReplayRequest{States: final, Since: start.Add(3 * time.Minute)})
		r.same("events replayed", "c1 f1 s2", r.due())
		r.replay(webhook.ReplayRequest{States: final, Until: start.Add(time.Microsecond)})
		r.same("events replayed", "c1 f1 s1 s2", r.due())
	}},
	{"AgeIsThatOfThePublish", "Since and Until are compared with the now of the Publish that stored the event, not with the time that the event carries.", func(r *run) {
		r.create(t1, "wh_1", nil)
		for id, carries := range map[string]time.Time{"past": r.now.Add(-8760 * time.Hour), "future": r.now.Add(8760 * time.Hour)} {
			req := r.request(t1, id, "a.b")
			req.Event.Time = carries
			r.publish(req)
		}
		ds, tok := r.claimN(2)
		r.finish(r.success(ds[0].Delivery, tok))
		r.finish(r.success(ds[1].Delivery, tok))
		r.replay(webhook.ReplayRequest{States: final, Until: r.now})
		r.same("events replayed of those stored before", "", r.due())
		r.replay(webhook.ReplayRequest{States: final, Since: r.now, Until: r.now.Add(time.Second)})
		r.same("events replayed of those stored since", "future past", r.due())
	}},
	{"NotWhatWasForAnother", "Events that were published to another webhook only (PublishRequest.WebhookID) are left out.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.publish(target(r.request(t1, "e1", "a.b"), "wh_2"), target(r.request(t1, "e2", "a.b"), "wh_missing"))
		_, created := r.replay(webhook.ReplayRequest{Missing: true})
		r.same("deliveries created", 0, created)
		r.same("events due", "", r.due())
	}},
	{"EventType", "exact; empty for all", func(r *run) {
		r.history()
		r.create(t1, "wh_0", nil)
		r.replay(webhook.ReplayRequest{States: final, EventType: "a"})
		r.same("events of type a replayed", "", r.due())
		r.replay(webhook.ReplayRequest{States: final, EventType: "a.c"})
		r.same("events of type a.c replayed", "s2", r.due())
	}},
	{"MissingDeliveries", saysMissing, func(r *run) {
		for _, typ := range []string{"agent", "agent.message", "agent.message.sent", "agents.x", "agentXmessage", "user", "Agent.message", "a_b.c", "axb.c"} {
			r.publish(r.request(t1, "ev-"+typ2id(typ), typ))
		}
		r.publish(r.request(t2, "foreign", "user"))
		r.pass(time.Minute)
		w := r.create(t1, "wh_1", selecting("agent.*", "user", "a_b.*"))
		resent, created := r.replay(webhook.ReplayRequest{Missing: true, States: final})
		if resent != 0 || created != 4 {
			r.brokenf("resent %d and created %d, want 0 and 4", resent, created)
		}
		r.same("events due", "ev-a_b-c ev-agent-message ev-agent-message-sent ev-user", r.due())
		ds := r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventID: "ev-user"})
		if len(ds) != 1 {
			r.fatalf("%d deliveries of one event, want 1", len(ds))
		}
		r.same("delivery", webhook.Delivery{
			ID: ds[0].ID, Tenant: t1, EventID: "ev-user", EventType: "user", WebhookID: "wh_1", WebhookName: w.Name,
			State: webhook.StatePending, CreatedAt: r.now, NextAttemptAt: r.now,
		}, ds[0])
	}},
	{"MissedWhileInactive", saysMissing, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.emit(t1, "e1")
		d, l := r.claimOne()
		r.finish(r.success(d, l.Token))
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		r.publish(r.requests(t1, "missed", "a.b", 3)...)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = true })
		resent, created := r.replay(webhook.ReplayRequest{})
		if resent != 0 || created != 0 {
			r.brokenf("without Missing: resent %d and created %d, want none", resent, created)
		}
		resent, created = r.replay(webhook.ReplayRequest{Missing: true})
		if resent != 0 || created != 3 {
			r.brokenf("with Missing: resent %d and created %d, want 0 and 3", resent, created)
		}
		r.same("events due", "missed0 missed1 missed2", r.due())
	}},
	{"StatesAndMissing", saysMissing, func(r *run) {
		r.history()
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		r.publish(r.requests(t1, "m", "a.b", 2)...)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = true })
		resent, created := r.replay(webhook.ReplayRequest{States: final, Missing: true, Limit: 1})
		if resent != 4 || created != 2 {
			r.brokenf("resent %d and created %d, want 4 and 2", resent, created)
		}
		r.same("events due", "c1 f1 m0 m1 s1 s2", r.due())
	}},
	{"DryRun", "DryRun counts the deliveries of the step without making a change.", func(r *run) {
		r.history()
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = false })
		r.publish(r.requests(t1, "m", "a.b", 3)...)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active = true })
		before := r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_1"})
		for _, limit := range []int{2, 100} {
			resent, created := r.replay(webhook.ReplayRequest{States: final, Missing: true, DryRun: true, Limit: limit})
			if resent != 4 || created != 3 {
				r.brokenf("in steps of %d it counted %d to resend and %d to create, want 4 and 3", limit, resent, created)
			}
		}
		r.same("deliveries", before, r.deliveries(webhook.DeliveryQuery{Tenant: t1, WebhookID: "wh_1"}))
	}},
	{"InSteps", saysStep, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 10)...)
		ds, tok := r.claimN(10)
		for _, d := range ds {
			r.finish(r.failure(d.Delivery, tok))
		}
		resent, _ := r.replay(webhook.ReplayRequest{States: final, Limit: 3})
		r.same("resent in steps of 3", 10, resent)
	}},
	{"EndsThoughDeliveriesFailAgain", "Repeat it with the returned cursor until the cursor is empty.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 10)...)
		fail := func() {
			ds, tok := r.claim(100)
			for _, d := range ds {
				r.finish(r.failure(d.Delivery, tok))
			}
		}
		fail()
		r.pass(time.Minute)
		resent, _ := r.replaySteps(webhook.ReplayRequest{States: final, Limit: 2}, fail)
		r.same("resent", 10, resent)
	}},
	{"ForeignCursor", "ErrCursor: the cursor was not issued by this list.", func(r *run) {
		r.history()
		for _, cursor := range garbage {
			_, err := r.store.Replay(r.Context(), webhook.ReplayRequest{
				Tenant: t1, WebhookID: "wh_1", Now: r.now, States: final, Limit: 10, Cursor: cursor})
			r.wantErr("Replay with a cursor of "+short(cursor), err, webhook.ErrCursor)
		}
		r.same("events due", "", r.due())
	}},
	{"MissingWebhook", "ErrNotFound when the webhook does not exist.", func(r *run) {
		r.history()
		r.remove(t1, "wh_1")
		for _, id := range []string{"missing", "wh_1"} {
			_, err := r.store.Replay(r.Context(), webhook.ReplayRequest{
				Tenant: t1, WebhookID: id, Now: r.now, States: final, Missing: true, Limit: 10})
			r.wantErr("Replay at "+id, err, webhook.ErrNotFound)
		}
	}},
}

// typ2id makes an event ID of an event type.
func typ2id(typ string) string { return strings.ReplaceAll(typ, ".", "-") }
