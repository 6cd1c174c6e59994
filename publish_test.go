package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/id"
	"github.com/seed68722ecd/webhook/memstore"
)

func TestD30_PublishIsIdempotent(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		w.hook("h.example.com")
		for _, name := range []webhook.Event{{ID: "order-1"}, {Key: "Bestellung 1 / größer"}} {
			name.Tenant, name.Type, name.Data = tenant, "order.paid", map[string]int{"n": 1}
			first, err := w.Publish(ctx, name)
			if err != nil || first.Duplicate || first.Deliveries != 1 || name.ID != "" && first.ID != name.ID || !webhook.ValidID(first.ID) {
				t.Fatalf("published %+v, %v", first, err)
			}
			again := name
			again.Time = time.Now().Add(-time.Hour) // the time does not make it another event
			want := webhook.Published{ID: first.ID, Duplicate: true}
			if got, err := w.Publish(ctx, again); err != nil || got != want {
				t.Errorf("published again: %+v, %v", got, err)
			}
			other := name
			other.Data = map[string]int{"n": 2}
			_, err = w.Publish(ctx, other)
			wantErr(t, err, webhook.ErrEventConflict, first.ID, "new id")
			other = name
			other.Type = "order.canceled"
			_, err = w.Publish(ctx, other)
			wantErr(t, err, webhook.ErrEventConflict)
			foreign := name
			foreign.Tenant = "other"
			if got, err := w.Publish(ctx, foreign); err != nil || got.Duplicate {
				t.Errorf("another tenant's event of the same name: %+v, %v", got, err)
			}
		}
		if n, err := w.DeliverDue(ctx); n != 2 || err != nil {
			t.Errorf("%d attempts, %v; want one for each event", n, err)
		}
	})
}

func TestD30_RacingPublishersStoreOneEvent(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	if _, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{Name: "n", URL: "https://h.example.com", Events: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	results := make([]webhook.Published, 16)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			results[i], err = d.Publish(t.Context(), webhook.Event{Tenant: tenant, Key: "k", Type: "x", Data: map[string]int{}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	fresh := 0
	for _, r := range results {
		if !r.Duplicate {
			fresh++
		}
	}
	if p, err := d.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant}); err != nil || fresh != 1 || len(p.Items) != 1 {
		t.Errorf("%d of 16 published something, %d deliveries, %v; want 1 and 1", fresh, len(p.Items), err)
	}
}

func TestPublishGeneratesIDsThatSort(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	last := ""
	for range 100 {
		p, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}})
		if err != nil || p.ID <= last || !strings.HasPrefix(p.ID, "evt_") || !webhook.ValidID(p.ID) {
			t.Fatalf("ID %q after %q, %v", p.ID, last, err)
		}
		last = p.ID
	}
}

func TestPublishAll(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	ctx := t.Context()
	if _, _, err := d.CreateWebhook(ctx, tenant, goodSpec()); err != nil {
		t.Fatal(err)
	}
	event := func(id string, n int) webhook.Event {
		return webhook.Event{ID: id, Tenant: tenant, Type: "agent.x", Data: map[string]int{"n": n}}
	}
	if out, err := d.PublishAll(ctx, nil); out != nil || err != nil {
		t.Errorf("no events: %v, %v", out, err)
	}
	bad := event("c", 1)
	bad.Type = ""
	out, err := d.PublishAll(ctx, []webhook.Event{event("a", 1), event("b", 1), bad})
	wantErr(t, err, webhook.ErrInvalid, "event 2: ", "type")
	if out != nil {
		t.Errorf("results of a refused call: %v", out)
	}
	if _, err := d.Event(ctx, tenant, "a"); !errors.Is(err, webhook.ErrNotFound) {
		t.Errorf("an event of a refused call was stored: %v", err)
	}
	out, err = d.PublishAll(ctx, []webhook.Event{event("a", 1), event("b", 1), event("a", 1)})
	want := []webhook.Published{{ID: "a", Deliveries: 1}, {ID: "b", Deliveries: 1}, {ID: "a", Duplicate: true}}
	if diff := cmp.Diff(want, out); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	unseen := event("d", 1)
	unseen.Type = "user.x"
	out, err = d.PublishAll(ctx, []webhook.Event{event("c", 1), event("a", 2), event("b", 1), unseen, event("b", 3)})
	wantErr(t, err, webhook.ErrEventConflict, `"a"`, `"b"`)
	want = []webhook.Published{{ID: "c", Deliveries: 1}, {ID: "a"}, {ID: "b", Duplicate: true}, {ID: "d"}, {ID: "b"}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("with conflicts (-want +got):\n%s", diff)
	}
	for _, id := range []string{"c", "d"} {
		if _, err := d.Event(ctx, tenant, id); err != nil {
			t.Errorf("event %s beside conflicts: %v", id, err)
		}
	}
}

func TestPublishToAFullStore(t *testing.T) {
	store := memstore.New(memstore.Config{MaxPending: 3})
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.CreateWebhook(t.Context(), tenant, goodSpec()); err != nil {
		t.Fatal(err)
	}
	ev := webhook.Event{Tenant: tenant, Type: "agent.x", Data: map[string]int{}}
	if _, err := d.PublishAll(t.Context(), []webhook.Event{ev, ev, ev, ev}); !errors.Is(err, webhook.ErrBacklogFull) {
		t.Errorf("four where three have room: %v", err)
	}
	if out, err := d.PublishAll(t.Context(), []webhook.Event{ev, ev, ev}); err != nil || len(out) != 3 {
		t.Errorf("three: %v, %v", out, err)
	}
	_, err = d.Publish(t.Context(), ev)
	wantErr(t, err, webhook.ErrBacklogFull)
	ev.Type = "user.x" // no webhook selects it
	if _, err := d.Publish(t.Context(), ev); err != nil {
		t.Errorf("an event without deliveries: %v", err)
	}
}

func TestPublishWithAContextThatHasEnded(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Publish(ctx, webhook.Event{ID: "a", Tenant: tenant, Type: "x", Data: map[string]int{}})
	wantErr(t, err, context.Canceled)
	if _, err := d.Event(t.Context(), tenant, "a"); !errors.Is(err, webhook.ErrNotFound) {
		t.Errorf("the event was stored: %v", err)
	}
}

// A store that breaks its contract is an error, not a crash.
type shortStore struct{ webhook.Store }

func (shortStore) Publish(context.Context, time.Time, []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	return nil, nil
}

func TestPublishToAStoreThatForgetsResults(t *testing.T) {
	d, err := webhook.New(shortStore{memstore.New(memstore.Config{})}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}}); err == nil || !strings.Contains(err.Error(), "0 results for 1") {
		t.Errorf("published: %v", err)
	}
}

func TestD31_NobodySubscribedMeansNoDelivery(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		off := w.hook("off.example.com", func(s *webhook.WebhookSpec) { s.Active = new(false) })
		w.hook("user.example.com", func(s *webhook.WebhookSpec) { s.Events = []string{"user.*"} })
		id := w.publish() // agent.message
		if n, err := w.DeliverDue(ctx); n != 0 || err != nil {
			t.Errorf("%d attempts, %v", n, err)
		}
		ev, err := w.Event(ctx, tenant, id)
		if err != nil || ev.Type != webhook.TypeAgentMessage || len(w.deliveries(webhook.DeliveryQuery{})) != 0 {
			t.Errorf("the event: %+v, %v", ev, err)
		}
		if m := webhook.MatchEvent(off, webhook.TypeAgentMessage); m.Matched || !strings.Contains(m.Reason, "created disabled") {
			t.Errorf("explained as %+v", m)
		}
	})
}

// Prepare returns the request that Publish would store.
func TestPrepare(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	raw := []byte(`{"a":1}`)
	req, err := d.Prepare(webhook.Event{Key: "k", Tenant: tenant, Type: "a.b", Time: fixedTime, Data: jsonRaw(raw)})
	clear(raw)
	want := webhook.PublishRequest{
		Event:    webhook.EventRecord{ID: id.FromKey(tenant, "k"), Tenant: tenant, Type: "a.b", Time: fixedTime, Data: []byte(`{"a":1}`)},
		Patterns: []string{"a.b", "a.*", "*"},
	}
	if diff := cmp.Diff(want, req); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = d.Prepare(webhook.Event{})
	wantErr(t, err, webhook.ErrInvalid, "webhook: prepare: ")
	d.Wake() // never blocks, whether anyone listens or not
	d.Wake()
}

func TestSendTest(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		w.start()
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.Events = []string{"nothing.else"} })
		w.hook("bystander.example.com")
		for want, ev := range map[string]webhook.TestEvent{
			`"data":{"test":true,"message":"This is a test event. If you can read it, your webhook works."}}`: {},
			`{"event":"own.type",`:           {Type: "own.type"},
			`"data":{"n":5}}`:                {Type: "x", Data: map[string]int{"n": 5}},
			`{"event":"agent.message","webh`: {Data: webhook.AgentMessage{}},
		} {
			d, err := w.SendTest(ctx, tenant, wh.ID, ev)
			if err != nil || d.State != webhook.StatePending || d.WebhookID != wh.ID {
				t.Fatalf("delivery %+v, %v", d, err)
			}
			w.pass(time.Second)
			if d, err = w.Delivery(ctx, tenant, d.ID); err != nil || d.State != webhook.StateSucceeded {
				t.Errorf("later %+v, %v", d, err)
			}
			got := w.rx.at("h.example.com")
			if last := got[len(got)-1]; !strings.Contains(last.body, want) || last.header.Get("webhook-id") != d.EventID {
				t.Errorf("sent %s, want %s", last.body, want)
			}
		}
		if n := len(w.rx.at("bystander.example.com")); n != 0 {
			t.Errorf("%d tests went to another webhook", n)
		}
		_, err := w.SendTest(ctx, tenant, wh.ID, webhook.TestEvent{Data: 5})
		wantErr(t, err, webhook.ErrInvalid, "data")
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, ""); err != nil {
			t.Fatal(err)
		}
		_, err = w.SendTest(ctx, tenant, wh.ID, webhook.TestEvent{})
		wantErr(t, err, webhook.ErrInactive)
		if err := w.DeleteWebhook(ctx, tenant, wh.ID); err != nil {
			t.Fatal(err)
		}
		_, err = w.SendTest(ctx, tenant, wh.ID, webhook.TestEvent{})
		wantErr(t, err, webhook.ErrNotFound)
	})
}

func TestResend(t *testing.T) {
	inBubble(t, webhook.Config{Retry: noJitter}, func(w *world) {
		ctx := context.Background()
		w.start()
		answer := http.StatusTeapot
		w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) { return answer, nil, nil })
		wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(1) })
		w.publish()
		w.pass(time.Minute)
		d := w.wantState(wh.ID, webhook.StateFailed, webhook.ReasonRetriesExhausted)
		resend := func(state webhook.State, reason webhook.Reason, attempts int) {
			t.Helper()
			got, err := w.Resend(ctx, tenant, d.ID)
			if err != nil || got.State != webhook.StatePending || got.Reason != "" || got.Tries != 0 || got.ID != d.ID {
				t.Errorf("resent: %+v, %v", got, err)
			}
			w.pass(time.Minute)
			if d = w.wantState(wh.ID, state, reason); d.Attempts != attempts {
				t.Errorf("%d attempts, want %d", d.Attempts, attempts)
			}
		}
		resend(webhook.StateFailed, webhook.ReasonRetriesExhausted, 4) // all its retries again
		answer = 200
		resend(webhook.StateSucceeded, "", 5)
		resend(webhook.StateSucceeded, "", 6) // also a delivery that has succeeded
		got := w.rx.at("h.example.com")
		for i, r := range got {
			if r.body != got[0].body || r.header.Get("webhook-id") != d.EventID || r.header.Get("X-Webhook-Attempt") != fmt.Sprint(i+1) {
				t.Errorf("attempt %d: %v %s", i+1, r.header, r.body)
			}
		}
		if _, err := w.DisableWebhook(ctx, tenant, wh.ID, ""); err != nil {
			t.Fatal(err)
		}
		_, err := w.Resend(ctx, tenant, d.ID)
		wantErr(t, err, webhook.ErrInactive, "webhook: resend: ")
		if err := w.DeleteWebhook(ctx, tenant, wh.ID); err != nil {
			t.Fatal(err)
		}
		_, err = w.Resend(ctx, tenant, d.ID)
		wantErr(t, err, webhook.ErrNotFound)
		w.wantState(wh.ID, webhook.StateSucceeded, "")
	})
}

// A delivery that is being attempted stays as it is: it is not sent twice at a time.
func TestResendOfWhatIsInFlight(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
			<-time.After(10 * time.Second)
			return 200, nil, nil
		})
		wh := w.hook("h.example.com")
		w.start()
		w.publish()
		w.pass(time.Second)
		if _, err := w.Resend(context.Background(), tenant, w.only(wh.ID).ID); err != nil {
			t.Error(err)
		}
		w.pass(time.Minute)
		if n := len(w.rx.at("h.example.com")); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
}

func jsonRaw(b []byte) json.RawMessage { return b }
