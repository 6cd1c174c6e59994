package webhooktest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// quickly is a schedule for tests in real time.
var quickly = webhook.ExponentialRetry{Initial: time.Millisecond, Multiplier: 1, Jitter: -1}

func TestServeOverSockets(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(*webhooktest.Receiver, testing.TB) *webhooktest.Server
	}{
		{"http", (*webhooktest.Receiver).Serve},
		{"https and http/2", (*webhooktest.Receiver).ServeTLS},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			rx := new(webhooktest.Receiver)
			srv := c.serve(rx, t)
			cfg := webhook.Config{Retry: quickly}
			if strings.HasPrefix(srv.URL, "https:") {
				cfg.Client = srv.Client
			}
			d, err := webhook.New(memstore.New(memstore.Config{}), webhooktest.AllowLoopback(cfg))
			if err != nil {
				t.Fatal(err)
			}
			_, secret, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
				Name: "local", URL: srv.URL + "/in", Events: []string{"*"}, Timeout: new(time.Second),
			})
			if err != nil {
				t.Fatal(err)
			}
			rx.Trust(secret)
			rx.Answer(webhooktest.Status(503), webhooktest.Reset(), webhooktest.Hang())
			p, err := d.Publish(ctx, hello)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := webhooktest.UntilIdle(ctx, d, "agent-1"); n != 4 || err != nil {
				t.Errorf("%d attempts, %v; want 4", n, err)
			}
			got := rx.Deliveries()
			if len(got) != 1 || got[0].Delivery.ID != p.ID || got[0].Delivery.Attempt != 4 || got[0].Path != "/in" || got[0].Host == "" {
				t.Errorf("accepted %+v", got)
			}
			page, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "agent-1"})
			if err != nil || len(page.Items) != 1 {
				t.Fatal(err)
			}
			as, err := d.Attempts(ctx, "agent-1", page.Items[0].ID)
			if err != nil || len(as) != 4 || as[0].Class != webhook.ClassStatus || as[1].Status != 0 || as[2].Class != webhook.ClassTimeout {
				t.Errorf("attempts %+v, %v", as, err)
			}
		})
	}
}

// A test that ends while a request hangs does not wait for it.
func TestServeLetsGoOfWhatHangs(t *testing.T) {
	rx := &webhooktest.Receiver{Unverified: true}
	rx.AnswerAlways(webhooktest.Hang())
	failed := make(chan error, 1)
	t.Run("inner", func(t *testing.T) {
		srv := rx.Serve(t)
		go func() {
			resp, err := srv.Client.Post(srv.URL, "text/plain", nil)
			if err == nil {
				resp.Body.Close()
			}
			failed <- err
		}()
		if _, err := rx.WaitRequests(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
	if err := <-failed; err == nil {
		t.Error("the request that hung was answered")
	}
}

// failures records the messages with which a helper would fail a test.
type failures struct {
	testing.TB
	fatal string
}

type stopped struct{}

func (f *failures) Helper() {}

func (f *failures) Fatal(args ...any) { f.stop("%v", args) }

func (f *failures) Fatalf(format string, args ...any) { f.stop(format, args) }

func (f *failures) stop(format string, args []any) {
	f.fatal = format
	panic(stopped{})
}

func fatal(t *testing.T, call func(testing.TB)) bool {
	t.Helper()
	f := &failures{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(stopped); !ok {
					panic(p)
				}
			}
		}()
		call(f)
	}()
	return f.fatal != ""
}

func TestEnvFailsTheTest(t *testing.T) {
	if !fatal(t, func(tb testing.TB) { webhooktest.New(tb, webhook.Config{MaxInFlight: -1}) }) {
		t.Error("a bad Config went unnoticed")
	}
	if !fatal(t, func(tb testing.TB) {
		webhooktest.New(tb, webhook.Config{}).Register("agent-1", webhook.WebhookSpec{URL: "nonsense"})
	}) {
		t.Error("a bad webhook went unnoticed")
	}
	if !fatal(t, func(tb testing.TB) {
		env := webhooktest.New(tb, webhook.Config{})
		_, rx := env.Register("agent-1", webhook.WebhookSpec{})
		rx.AnswerAlways(webhooktest.Status(500))
		if _, err := env.Publish(t.Context(), hello); err != nil {
			t.Fatal(err)
		}
		tb.(*failures).TB = ended{tb}
		env.UntilIdle()
	}) {
		t.Error("a context that had ended went unnoticed")
	}
}

// ended is a test whose context has ended.
type ended struct{ testing.TB }

func (ended) Context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestEnvKeepsAClientOfTheCallers(t *testing.T) {
	var network webhooktest.Transport
	env := webhooktest.New(t, webhook.Config{Client: network.Client()})
	w, secret, err := env.CreateWebhook(t.Context(), "agent-1", webhook.WebhookSpec{Name: "x", URL: "http://a.example.com/", Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	rx := network.Receiver("a.example.com")
	rx.Trust(secret)
	publish(t, env)
	env.UntilIdle()
	if got := rx.Deliveries(); len(got) != 1 || got[0].Delivery.Webhook.ID != w.ID {
		t.Errorf("the caller's client was not used: %+v", got)
	}
}
