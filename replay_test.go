package webhook_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// replayAll replays in steps of the given size and adds up the results.
func (w *world) replayAll(req webhook.ReplayRequest) (resent, created, steps int) {
	w.t.Helper()
	req.Tenant = tenant
	for {
		res, err := w.Replay(context.Background(), req)
		if err != nil {
			w.t.Fatalf("replay: %v", err)
		}
		if res.Resent+res.Created > req.Limit && req.Limit > 0 {
			w.t.Errorf("a step did %+v, the limit is %d", res, req.Limit)
		}
		resent, created, steps = resent+res.Resent, created+res.Created, steps+1
		if res.Next == "" {
			return resent, created, steps
		}
		req.Cursor = res.Next
	}
}

// outage makes a webhook that fails for a while, is disabled for a while and is
// enabled again: 10 events failed, 10 were missed, 10 succeeded.
func (w *world) outage() (wh webhook.Webhook, began, disabled, enabled time.Time) {
	w.t.Helper()
	ctx := context.Background()
	w.rx.status("h.example.com", 500)
	wh = w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0); s.Events = []string{"agent.*"} })
	w.start()
	tenEvents := func() time.Time {
		began := time.Now()
		for range 10 {
			w.publish()
			w.pass(time.Minute)
		}
		return began
	}
	began = tenEvents()
	if _, err := w.DisableWebhook(ctx, tenant, wh.ID, "maintenance"); err != nil {
		w.t.Fatal(err)
	}
	disabled = tenEvents()
	if _, err := w.EnableWebhook(ctx, tenant, wh.ID); err != nil {
		w.t.Fatal(err)
	}
	w.rx.status("h.example.com", 200)
	enabled = tenEvents()
	if _, err := w.Publish(ctx, webhook.Event{Tenant: tenant, Type: "user.joined", Data: map[string]int{}}); err != nil {
		w.t.Fatal(err)
	}
	return wh, began, disabled, enabled
}

func TestReplayBringsWhatWasNeverDelivered(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh, began, _, _ := w.outage()
		dry := webhook.ReplayRequest{WebhookID: wh.ID, Since: began, DryRun: true}
		if resent, created, _ := w.replayAll(dry); resent != 10 || created != 10 {
			t.Errorf("a dry run counts %d and %d, want 10 and 10", resent, created)
		}
		w.pass(time.Minute)
		if n := len(w.rx.at("h.example.com")); n != 20 {
			t.Fatalf("%d requests after a dry run, want 20 as before", n)
		}
		resent, created, steps := w.replayAll(webhook.ReplayRequest{WebhookID: wh.ID, Since: began, Limit: 3})
		if resent != 10 || created != 10 || steps < 7 {
			t.Errorf("replayed %d and %d in %d steps, want 10 and 10 in 7 or so", resent, created, steps)
		}
		w.pass(time.Minute)
		ids := map[string]int{}
		for _, r := range w.rx.at("h.example.com") {
			ids[r.header.Get("webhook-id")]++
		}
		twice := 0
		for _, n := range ids {
			if n == 2 {
				twice++
			}
		}
		if len(ids) != 30 || twice != 10 {
			t.Errorf("%d events arrived, %d of them twice; want 30 and 10", len(ids), twice)
		}
		if ds := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateSucceeded}); len(ds) != 30 {
			t.Errorf("%d deliveries succeeded, want 30", len(ds))
		}
		if resent, created, _ := w.replayAll(webhook.ReplayRequest{WebhookID: wh.ID}); resent+created != 0 {
			t.Errorf("replayed again: %d and %d", resent, created)
		}
	})
}

func TestReplayByStateTypeAndTime(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		wh, began, disabled, enabled := w.outage()
		hour := time.Hour
		tests := []struct {
			name            string
			req             webhook.ReplayRequest
			resent, created int
		}{
			{"failed", webhook.ReplayRequest{States: []webhook.State{webhook.StateFailed}}, 10, 0},
			{"succeeded", webhook.ReplayRequest{States: []webhook.State{webhook.StateSucceeded}}, 10, 0},
			{"every state", webhook.ReplayRequest{States: []webhook.State{webhook.StateFailed, webhook.StateSucceeded, webhook.StateCanceled, webhook.StatePending}}, 20, 0},
			{"missing", webhook.ReplayRequest{Missing: true}, 0, 10},
			{"since the disabling", webhook.ReplayRequest{Since: disabled}, 0, 10},
			{"until the disabling", webhook.ReplayRequest{Until: disabled}, 10, 0},
			{"the middle five", webhook.ReplayRequest{Since: began.Add(5 * time.Minute), Until: disabled.Add(5 * time.Minute)}, 5, 5},
			{"since a time with nanoseconds", webhook.ReplayRequest{Since: enabled.Add(-time.Minute + 999)}, 0, 1},
			{"later", webhook.ReplayRequest{Since: enabled.Add(hour)}, 0, 0},
			{"another type", webhook.ReplayRequest{EventType: "user.joined"}, 0, 0},
			{"its type", webhook.ReplayRequest{EventType: webhook.TypeAgentMessage}, 10, 10},
		}
		for _, tt := range tests {
			tt.req.WebhookID, tt.req.DryRun = wh.ID, true
			if resent, created, _ := w.replayAll(tt.req); resent != tt.resent || created != tt.created {
				t.Errorf("%s: %d resent, %d created; want %d and %d", tt.name, resent, created, tt.resent, tt.created)
			}
		}
	})
}

func TestReplayRefuses(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("h.example.com")
		_, err := w.Replay(ctx, webhook.ReplayRequest{WebhookID: wh.ID, States: []webhook.State{"odd"}, EventType: "*", Limit: -1})
		got := refusals(t, err)
		if len(got) != 4 || !strings.Contains(got["states"], `"odd"`) || !strings.Contains(got["limit"], "1–1000, got -1") {
			t.Errorf("refused %v, want tenant, states, eventType and limit", got)
		}
		_, err = w.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: wh.ID, Cursor: "forged"})
		wantErr(t, err, webhook.ErrCursor, "webhook: replay: ")
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, ""); err != nil {
			t.Fatal(err)
		}
		w.publish()
		_, err = w.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: wh.ID})
		wantErr(t, err, webhook.ErrInactive)
		if _, created, _ := w.replayAll(webhook.ReplayRequest{WebhookID: wh.ID, DryRun: true}); created != 1 {
			t.Errorf("a dry run for a disabled webhook counts %d, want 1", created)
		}
		_, err = w.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: "wh_none", DryRun: true})
		wantErr(t, err, webhook.ErrNotFound)
	})
}

func TestDeliveriesByFilter(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh, began, _, enabled := w.outage()
		other := w.hook("other.example.com")
		id := w.publish()
		w.pass(time.Second)
		tests := []struct {
			name string
			q    webhook.DeliveryQuery
			want int
		}{
			{"all", webhook.DeliveryQuery{}, 22},
			{"webhook", webhook.DeliveryQuery{WebhookID: other.ID}, 1},
			{"event", webhook.DeliveryQuery{EventID: id}, 2},
			{"webhook and event", webhook.DeliveryQuery{EventID: id, WebhookID: wh.ID}, 1},
			{"type", webhook.DeliveryQuery{EventType: webhook.TypeAgentMessage}, 22},
			{"another type", webhook.DeliveryQuery{EventType: "user.joined"}, 0},
			{"state", webhook.DeliveryQuery{State: webhook.StateFailed}, 10},
			{"since", webhook.DeliveryQuery{Since: enabled}, 12},
			{"since, in another zone", webhook.DeliveryQuery{Since: enabled.In(time.FixedZone("", 3600))}, 12},
			{"until", webhook.DeliveryQuery{Until: began.Add(3 * time.Minute)}, 3},
			{"no such webhook", webhook.DeliveryQuery{WebhookID: "wh_none"}, 0},
		}
		for _, tt := range tests {
			ds := w.deliveries(tt.q)
			if len(ds) != tt.want {
				t.Errorf("%s: %d deliveries, want %d", tt.name, len(ds), tt.want)
			}
			for i, d := range ds {
				if i > 0 && d.CreatedAt.After(ds[i-1].CreatedAt) {
					t.Errorf("%s: not newest first", tt.name)
				}
				if got, err := w.Delivery(ctx, tenant, d.ID); err != nil || got != d {
					t.Errorf("%s: read alone it is %+v, %v; in the list %+v", tt.name, got, err, d)
				}
			}
		}
		_, err := w.Deliveries(ctx, webhook.DeliveryQuery{WebhookID: "a b", EventID: "\x00", EventType: "*", State: "odd", Limit: -5, Scan: -1})
		if got := refusals(t, err); len(got) != 7 || !strings.Contains(got["state"], `pending, succeeded, failed, canceled, got "odd"`) {
			t.Errorf("refused %v", got)
		}
		_, err = w.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, Cursor: "forged"})
		wantErr(t, err, webhook.ErrCursor)
		failed := w.deliveries(webhook.DeliveryQuery{State: webhook.StateFailed})[0]
		as := w.attemptsOf(failed)
		if len(as) != 1 || as[0].DeliveryID != failed.ID || as[0].Number != 1 || as[0].Status != 500 || as[0].Class != webhook.ClassStatus || as[0].Error == "" || as[0].Succeeded() {
			t.Errorf("attempts of a failed delivery: %+v", as)
		}
	})
}

func TestHourlyStatsAndSuccessRate(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		w.pass(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
		first := time.Now().UTC()
		wh, _, _, _ := w.outage()
		w.pass(40 * time.Minute)
		w.publish()
		w.pass(time.Second)
		got, err := w.HourlyStats(ctx, webhook.StatsQuery{Tenant: tenant})
		for i := range got {
			got[i].Duration = 0
		}
		want := []webhook.StatsBucket{
			{WebhookID: wh.ID, Hour: first, Succeeded: 10, Failed: 10},
			{WebhookID: wh.ID, Hour: first.Add(time.Hour), Succeeded: 1},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("statistics: %v (-want +got):\n%s", err, diff)
		}
		if rate, n := webhook.SuccessRate(got); n != 21 || rate != 11.0/21 {
			t.Errorf("rate %v of %d attempts", rate, n)
		}
		if rate, n := webhook.SuccessRate(nil); rate != 0 || n != 0 {
			t.Errorf("rate of nothing: %v of %d", rate, n)
		}
		for _, q := range []webhook.StatsQuery{
			{Since: first.Add(90 * time.Minute)}, {Since: first.Add(time.Hour)}, {Since: first.Add(time.Hour), WebhookIDs: []string{wh.ID, wh.ID}},
		} {
			q.Tenant = tenant
			if got, err := w.HourlyStats(ctx, q); err != nil || len(got) != 1 || got[0].Hour != first.Add(time.Hour) {
				t.Errorf("%+v: %+v, %v", q, got, err)
			}
		}
		if got, err := w.HourlyStats(ctx, webhook.StatsQuery{Tenant: tenant, Until: first.Add(time.Hour)}); err != nil || len(got) != 1 || got[0].Hour != first {
			t.Errorf("until: %+v, %v", got, err)
		}
		_, err = w.HourlyStats(ctx, webhook.StatsQuery{WebhookIDs: []string{"ok", "\x00"}})
		if got := refusals(t, err); len(got) != 2 || got["webhookIds[1]"] == "" {
			t.Errorf("refused %v", got)
		}
	})
}

func TestPruneByHand(t *testing.T) {
	inBubble(t, webhook.Config{Retention: time.Hour}, func(w *world) {
		ctx := context.Background()
		w.rx.status("down.example.com", 500)
		w.hook("ok.example.com")
		down := w.hook("down.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
		for range 1200 { // more than one step
			w.publish()
		}
		if n, err := w.DeliverDue(ctx); n != 2400 || err != nil {
			t.Fatal(n, err)
		}
		<-time.After(59 * time.Minute)
		if n, err := w.Prune(ctx); n != 0 || err != nil {
			t.Errorf("pruned %d within the retention, %v", n, err)
		}
		<-time.After(2 * time.Minute)
		if n, err := w.Prune(ctx); n != 1200 || err != nil {
			t.Errorf("pruned %d, %v; want the 1200 that are finished", n, err)
		}
		if ds := w.deliveries(webhook.DeliveryQuery{}); len(ds) != 1200 || ds[0].WebhookID != down.ID || ds[0].State != webhook.StatePending {
			t.Errorf("%d deliveries are left, want the 1200 that wait", len(ds))
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := w.Prune(ended)
		wantErr(t, err, context.Canceled, "webhook: prune: ")
	})
	d, _ := newIdle(t, webhook.Config{Retention: -1})
	if n, err := d.Prune(t.Context()); n != 0 || err != nil {
		t.Errorf("kept for ever, yet pruned %d, %v", n, err)
	}
}

// However many states a replay names, the store gets each once, and a refusal
// names one.
func TestReplay_NamesEachStateOnce(t *testing.T) {
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]webhook.State, 0, 10_002)
	for range 5000 {
		many = append(many, webhook.StateFailed, webhook.StateCanceled)
	}
	var bad webhook.ValidationError
	if got := webhook.CheckStates(&bad, many); len(got) != 2 || len(bad.Fields) > 0 {
		t.Errorf("%v, %v", got, bad)
	}
	for i := range many {
		many[i] = webhook.State("odd" + strings.Repeat("x", i%7))
	}
	_, err = d.Replay(t.Context(), webhook.ReplayRequest{Tenant: tenant, WebhookID: "wh_1", States: many})
	if v, ok := errors.AsType[*webhook.ValidationError](err); !ok || len(v.Fields) != 1 || v.Fields[0].Field != "states" {
		t.Errorf("%v", err)
	}
}
