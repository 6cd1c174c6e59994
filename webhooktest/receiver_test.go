package webhooktest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/verify"
	"github.com/seed68722ecd/webhook/webhooktest"
)

var hello = webhook.Event{Tenant: "agent-1", Data: webhook.AgentMessage{Agent: webhook.Ref{ID: "a", Name: "Ada"}, Room: "r", Content: "hello"}}

// inBubble runs f in fake time with an Env, one webhook and its Receiver.
func inBubble(t *testing.T, cfg webhook.Config, f func(*testing.T, *webhooktest.Env, webhook.Webhook, *webhooktest.Receiver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Retry == nil {
			cfg.Retry = webhook.ExponentialRetry{Jitter: -1}
		}
		env := webhooktest.New(t, cfg)
		w, rx := env.Register("agent-1", webhook.WebhookSpec{})
		f(t, env, w, rx)
	})
}

func publish(t *testing.T, env *webhooktest.Env) string {
	t.Helper()
	p, err := env.Publish(t.Context(), hello)
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// only returns the tenant's only delivery and its attempts.
func only(t *testing.T, env *webhooktest.Env) (webhook.Delivery, []webhook.Attempt) {
	t.Helper()
	page, err := env.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: "agent-1"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d deliveries, %v, want 1", len(page.Items), err)
	}
	as, err := env.Attempts(t.Context(), "agent-1", page.Items[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return page.Items[0], as
}

func TestReceiverRecordsWhatVerified(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		id := publish(t, env)
		if n := env.UntilIdle(); n != 1 {
			t.Errorf("made %d attempts, want 1", n)
		}
		got, ok := rx.Last()
		if !ok {
			t.Fatal("nothing was recorded")
		}
		type fields struct {
			N                  int
			Method, Host, Path string
			Status             int
			At                 time.Time
		}
		want := fields{1, "POST", "receiver.example.com", "/webhook", 200, time.Now()}
		if diff := cmp.Diff(want, fields{got.N, got.Method, got.Host, got.Path, got.Status, got.At}); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if got.Delivery == nil || got.Delivery.ID != id || got.Delivery.Attempt != 1 || !bytes.Equal(got.Delivery.Body, got.Body) {
			t.Errorf("delivery is %+v", got.Delivery)
		}
		ev, err := got.Delivery.Event()
		if m, ok := ev.(verify.AgentMessage); err != nil || !ok || m.Content != "hello" {
			t.Errorf("event is %#v, %v", ev, err)
		}
		if !got.Accepted() || got.Err != nil || got.Header.Get("Webhook-Id") != id || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request is %+v", got)
		}

		// Returned requests belong to the caller.
		got.Body[0], got.Header["Webhook-Id"][0] = 'X', "changed"
		again := rx.Requests()[0]
		if again.Body[0] != '{' || again.Header.Get("Webhook-Id") != id {
			t.Error("a change of a returned request reached the recorded one")
		}
	})
}

func TestReceiverRefusesWhatIsNotSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rx := webhooktest.NewReceiver(webhook.NewSecret("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="))
		rx.Answer(webhooktest.Status(204))
		for _, c := range []struct {
			name   string
			method string
			header map[string]string
			want   error
			status int
		}{
			{"no signature", "POST", nil, verify.ErrNoSignature, 401},
			{"get", "GET", nil, verify.ErrMethod, 405},
			{"wrong", "POST", map[string]string{
				"webhook-id": "m", "webhook-timestamp": "946684800", "webhook-signature": "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
			}, verify.ErrSignatureMismatch, 401},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), c.method, "https://x.example/p?q=1", strings.NewReader(`{"a":1}`))
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			resp, err := rx.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := rx.Last()
			if resp.StatusCode != c.status || got.Status != c.status || !errors.Is(got.Err, c.want) || got.Accepted() || got.Delivery != nil {
				t.Errorf("%s: answered %d, recorded %+v, want %d and %v", c.name, resp.StatusCode, got, c.status, c.want)
			}
			if string(got.Body) != `{"a":1}` || got.Path != "/p?q=1" || got.Host != "x.example" {
				t.Errorf("%s: recorded body %q, host %q, path %q", c.name, got.Body, got.Host, got.Path)
			}
		}
		if rx.Deliveries() != nil || len(rx.Requests()) != 3 {
			t.Errorf("%d deliveries and %d requests", len(rx.Deliveries()), len(rx.Requests()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := rx.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, verify.ErrSignatureMismatch) {
			t.Errorf("waiting ended with %v, want the deadline and the reason of the refusal", err)
		}
	})
}

func TestReceiverWithoutSecretSaysWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rx webhooktest.Receiver
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://x.example/", nil)
		if resp, err := rx.RoundTrip(req); err != nil || resp.StatusCode != 500 {
			t.Fatalf("answered %v, %v", resp, err)
		}
		got, _ := rx.Last()
		if !errors.Is(got.Err, verify.ErrNoSecret) || !strings.Contains(got.Err.Error(), "Trust") {
			t.Errorf("the reason is %q", got.Err)
		}
		bad := webhooktest.Receiver{Verify: verify.Config{MaxBody: -1}}
		req, _ = http.NewRequestWithContext(t.Context(), "POST", "https://x.example/", nil)
		bad.RoundTrip(req)
		if got, _ := bad.Last(); !errors.Is(got.Err, verify.ErrConfig) {
			t.Errorf("the reason is %q, want that of the setting", got.Err)
		}
	})
}

func TestReceiverUnverifiedTakesAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rx := webhooktest.Receiver{Unverified: true}
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", "https://x.example/", strings.NewReader("anything"))
		resp, err := rx.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("answered %v, %v", resp, err)
		}
		if got := rx.Deliveries(); len(got) != 1 || string(got[0].Body) != "anything" || got[0].Delivery != nil {
			t.Errorf("recorded %+v", got)
		}
	})
}

func TestReceiverGoesThroughARotation(t *testing.T) {
	inBubble(t, webhook.Config{SecretOverlap: time.Hour}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, old *webhooktest.Receiver) {
		_, secret, err := env.RotateSecret(t.Context(), "agent-1", w.ID, webhook.Rotation{})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, env)
		env.UntilIdle()
		if len(old.Deliveries()) != 1 {
			t.Fatal("the old secret did not verify during the overlap")
		}
		<-time.After(2 * time.Hour)
		publish(t, env)
		env.DeliverDue(t.Context())
		if last, _ := old.Last(); !errors.Is(last.Err, verify.ErrSignatureMismatch) {
			t.Errorf("the old secret alone after the overlap: %v", last.Err)
		}
		old.Trust(secret, secret)
		env.UntilIdle()
		if last, _ := old.Last(); !last.Accepted() {
			t.Errorf("with the new secret: %v", last.Err)
		}
		old.Distrust(secret)
		publish(t, env)
		env.DeliverDue(t.Context())
		if last, _ := old.Last(); !errors.Is(last.Err, verify.ErrSignatureMismatch) {
			t.Errorf("after the new secret was distrusted: %v", last.Err)
		}
	})
}

func TestReceiverReset(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		rx.AnswerAlways(webhooktest.Status(500))
		rx.Answer(webhooktest.Status(201), webhooktest.Status(202))
		publish(t, env)
		env.UntilIdle()
		rx.Reset()
		if _, ok := rx.Last(); ok || rx.Requests() != nil {
			t.Error("requests are left after Reset")
		}
		publish(t, env)
		env.UntilIdle()
		if got := rx.Deliveries(); len(got) != 1 || got[0].Status != 200 || got[0].N != 1 {
			t.Errorf("after Reset: %+v", got)
		}
	})
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("cable cut") }
func (brokenBody) Close() error             { return nil }

func TestReceiverRecordsABodyThatBroke(t *testing.T) {
	rx := webhooktest.Receiver{Unverified: true}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://x.example/", brokenBody{})
	resp, err := rx.RoundTrip(req)
	if err != nil || resp.StatusCode != 400 {
		t.Fatalf("answered %v, %v", resp, err)
	}
	body, _ := io.ReadAll(resp.Body)
	if got, _ := rx.Last(); !errors.Is(got.Err, verify.ErrBodyRead) || !strings.Contains(string(body), "cable cut") {
		t.Errorf("the reason is %v, the answer %q", got.Err, body)
	}
}

func TestWaitForARunningDispatcher(t *testing.T) {
	inBubble(t, webhook.Config{}, func(t *testing.T, env *webhooktest.Env, w webhook.Webhook, rx *webhooktest.Receiver) {
		rx.Answer(webhooktest.Times(2, webhooktest.Status(503))...)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- env.Run(ctx) }()

		publish(t, env)
		if got, err := rx.WaitRequests(t.Context(), 2); err != nil || len(got) != 2 || got[1].Status == 200 {
			t.Errorf("two requests: %+v, %v", got, err)
		}
		got, err := rx.Wait(t.Context(), 1)
		if err != nil || len(got) != 1 || got[0].N != 3 || got[0].Delivery.Attempt != 3 {
			t.Errorf("the accepted one: %+v, %v", got, err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := rx.WaitRequests(short, 4); !errors.Is(err, context.DeadlineExceeded) || len(got) != 3 {
			t.Errorf("a fourth request: %d, %v", len(got), err)
		}
		// UntilIdle waits for a dispatcher that runs.
		rx.Answer(webhooktest.Status(500))
		publish(t, env)
		if n := env.UntilIdle(); n != 0 {
			t.Errorf("counted %d attempts of somebody else", n)
		}
		if len(rx.Deliveries()) != 2 {
			t.Errorf("%d deliveries, want 2", len(rx.Deliveries()))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
