package portal

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// clock is the portal's clock.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// Tests, resends and replays are bounded per webhook and per tenant, and a
// refused one is not sent.
func TestP8_TrafficByHandIsBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit Limits
		path  func(w created, d string) string
		body  string
		code  int
	}{
		{"tests", Limits{Tests: 3}, func(w created, _ string) string { return "/api/webhooks/" + w.ID + "/test" }, "", http.StatusAccepted},
		{"resends", Limits{Resends: 3}, func(_ created, d string) string { return "/api/deliveries/" + d + "/resend" }, "", http.StatusAccepted},
		{"replays", Limits{ReplaySteps: 3}, func(w created, _ string) string { return "/api/webhooks/" + w.ID + "/replay" }, `{"since":"2024-01-01T00:00:00Z"}`, http.StatusOK},
		{"counts", Limits{ReplaySteps: 3}, func(w created, _ string) string { return "/api/webhooks/" + w.ID + "/replay" }, `{"since":"2024-01-01T00:00:00Z","dryRun":true}`, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			clk := &clock{t: time.Now()}
			x := newSite(t, func(cfg *Config) { cfg.Limits, cfg.Now = c.limit, clk.now })
			type target struct {
				w created
				d string
			}
			var targets []target
			for range 6 {
				w := x.create(asManager, newHook)
				targets = append(targets, target{w: w})
			}
			for i := range targets {
				targets[i].d = x.publish("acme", targets[i].w.ID)
			}
			send := func(i int) reply {
				return x.do(asManager, http.MethodPost, c.path(targets[i].w, targets[i].d), c.body)
			}
			attempts := func() int {
				if _, err := x.env.DeliverDue(t.Context()); err != nil {
					t.Fatal(err)
				}
				return len(x.env.Transport.Receiver("crm.example.com").Requests())
			}
			for range 3 {
				send(0).want(c.code)
			}
			sent, audited := attempts(), len(x.recorded())
			r := send(0)
			r.problem(http.StatusTooManyRequests, codeRateLimited)
			if s, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || s != 20 {
				t.Errorf("Retry-After is %q, want 20", r.Header.Get("Retry-After"))
			}
			if n := attempts(); n != sent || len(x.recorded()) != audited {
				t.Errorf("what was refused led to %d requests and %d records", n-sent, len(x.recorded())-audited)
			}
			// Other webhooks have budgets of their own, up to four times as
			// much together.
			for i := 1; i <= 3; i++ {
				for range 3 {
					send(i).want(c.code)
				}
			}
			send(4).problem(http.StatusTooManyRequests, codeRateLimited)
			clk.pass(21 * time.Second)
			send(0).want(c.code)
			send(0).problem(http.StatusTooManyRequests, codeRateLimited)
			clk.pass(time.Minute)
			for range 3 {
				send(0).want(c.code)
			}
			send(0).problem(http.StatusTooManyRequests, codeRateLimited)
			// Another tenant has budgets of its own.
			other := x.create(asOther, newHook)
			x.do(asOther, http.MethodPost, c.path(other, x.publish("other", other.ID)), c.body).want(c.code)
		})
	}
}

func TestP8_BudgetsAreForgotten(t *testing.T) {
	var b budgets
	now := time.Now()
	for i := range 10_000 {
		if err := b.spend(now, "test", 10, fmt.Sprint("t", i), "w"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if n := len(b.buckets); n > 300 {
		t.Errorf("%d buckets are kept", n)
	}
	// A clock that goes back does not change the budgets.
	for range 10 {
		_ = b.spend(now, "test", 10, "t", "w")
	}
	if err := b.spend(now.Add(-time.Hour), "test", 10, "t", "w"); err == nil {
		t.Error("going back in time fills the budget")
	}
	for range 100 {
		if err := b.spend(now, "test", -1, "t", "w"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestP8_WebhooksOfATenantAreBounded(t *testing.T) {
	x := newSite(t, func(c *Config) { c.MaxWebhooks = 2 })
	x.create(asManager, newHook)
	w := x.create(asManager, newHook)
	x.do(asManager, http.MethodPost, "/api/webhooks", newHook).problem(http.StatusConflict, codeTooMany)
	x.create(asOther, newHook)
	x.do(asManager, http.MethodDelete, "/api/webhooks/"+w.ID, "").want(http.StatusNoContent)
	x.create(asManager, newHook)

	y := newSite(t)
	for range 100 {
		y.create(asManager, newHook)
	}
	y.do(asManager, http.MethodPost, "/api/webhooks", newHook).problem(http.StatusConflict, codeTooMany)
	many := y.portal(y.env.Dispatcher, func(c *Config) { c.MaxWebhooks = -1 })
	ask(t, many, asManager, http.MethodPost, "/api/webhooks", newHook).want(http.StatusCreated)
}

// A replay goes on in bounded steps, and a repeated step does not send a
// delivery twice.
func TestP8_ReplaysAreBoundedAndResumable(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	rx := x.env.Transport.Receiver("crm.example.com")
	rx.Distrust(webhook.NewSecret(w.Secret)) // every attempt is refused
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for range 7 {
		x.publish("acme", w.ID)
	}
	rx.Trust(webhook.NewSecret(w.Secret))
	path := "/api/webhooks/" + w.ID + "/replay"
	type step struct {
		Resent, Created int
		DryRun          bool
		Next            *string
	}
	run := func(body string) step {
		t.Helper()
		var s step
		x.do(asManager, http.MethodPost, path, body).want(http.StatusOK).json(&s)
		return s
	}
	if s := run(`{"since":"` + since + `","dryRun":true,"states":["failed"]}`); s.Resent != 7 || !s.DryRun || s.Next != nil {
		t.Errorf("counted %+v", s)
	}
	if n, more, err := x.s.countReplay(t.Context(), Access{Tenant: "acme", Manage: true}, webhook.ReplayRequest{WebhookID: w.ID}); n != 7 || more || err != nil {
		t.Errorf("counted %d, %v, %v", n, more, err)
	}
	total := 0
	for cursor := ""; ; {
		body := `{"since":"` + since + `","states":["failed"],"limit":3,"cursor":"` + cursor + `"}`
		s := run(body)
		if s.Resent > 3 {
			t.Errorf("a step of %d", s.Resent)
		}
		total += s.Resent
		if again := run(body); again.Resent > 3 || total+again.Resent > 7 {
			t.Errorf("the step repeated resends %d more", again.Resent)
		} else {
			total += again.Resent
		}
		if s.Next == nil {
			break
		}
		cursor = *s.Next
	}
	if total != 7 {
		t.Errorf("%d were resent, want 7", total)
	}
	if n, err := x.env.DeliverDue(t.Context()); n != 7 || err != nil {
		t.Errorf("%d attempts, %v", n, err)
	}
	if n := len(rx.Deliveries()); n != 7 {
		t.Errorf("%d deliveries arrived", n)
	}
}

// A replay or a resend sends an event only to the webhooks that it was
// published for, and a request cannot change that.
func TestP10_EventsCannotBeRetargeted(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	only := x.create(asManager, `{"name":"b","url":"https://b.example.com/in","events":["order.paid"]}`)
	theirs := x.create(asOther, `{"name":"c","url":"https://c.example.com/in","events":["*"]}`)
	x.env.Transport.Receiver("b.example.com").Trust(webhook.NewSecret(only.Secret))
	x.env.Transport.Receiver("c.example.com").Trust(webhook.NewSecret(theirs.Secret))
	d := x.publish("acme", w.ID)
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/test", `{"type":"agent.message"}`).want(http.StatusAccepted)
	for path, fields := range map[string][]string{
		"/api/webhooks/" + only.ID + "/replay": {"webhookId", "tenant", "eventId", "id", "ids", "deliveryIds", "url"},
		"/api/deliveries/" + d + "/resend":     {"webhookId", "tenant", "url"},
		"/api/webhooks/" + only.ID + "/test":   {"webhookId", "tenant", "eventId", "data", "url"},
	} {
		for _, f := range fields {
			if got := x.do(asManager, http.MethodPost, path, `{"since":"2024-01-01T00:00:00Z","`+f+`":"x"}`).fields(); got[f] == "" {
				t.Errorf("%s takes %q: %v", path, f, got)
			}
		}
	}
	// No request sends an event to a webhook that does not select its type, or
	// to another tenant's webhook, and a test event goes only to the webhook
	// that it is for.
	all := `{"since":"2024-01-01T00:00:00Z","states":["succeeded","failed","canceled","pending"],"missing":true}`
	x.do(asManager, http.MethodPost, "/api/webhooks/"+only.ID+"/replay", all).want(http.StatusOK)
	x.do(asOther, http.MethodPost, "/api/webhooks/"+theirs.ID+"/replay", all).want(http.StatusOK)
	x.do(asManager, http.MethodPost, "/api/deliveries/"+d+"/resend", "").want(http.StatusAccepted)
	if _, err := x.env.DeliverDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"b.example.com", "c.example.com"} {
		if n := len(x.env.Transport.Receiver(host).Requests()); n != 0 {
			t.Errorf("%s got %d requests", host, n)
		}
	}
	if got := x.env.Transport.Receiver("crm.example.com").Requests(); len(got) != 3 {
		t.Errorf("%d requests, want the event, the test, and the event again", len(got))
	}
}
