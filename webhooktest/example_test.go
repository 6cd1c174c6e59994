package webhooktest_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/verify"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// A Dispatcher whose network is in this process: the first attempt fails, the
// second is accepted.
func ExampleTransport() {
	ctx := context.Background()
	var network webhooktest.Transport
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		Client: network.Client(),
		Retry:  webhook.ExponentialRetry{Initial: time.Millisecond},
	})
	if err != nil {
		panic(err)
	}
	_, secret, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
		Name: "CRM", URL: "https://crm.example.com/hook", Events: []string{"agent.*"},
	})
	if err != nil {
		panic(err)
	}
	crm := network.Receiver("crm.example.com")
	crm.Trust(secret)
	crm.Answer(webhooktest.Status(503))

	_, err = d.Publish(ctx, webhook.Event{Tenant: "agent-1", Data: webhook.AgentMessage{
		Agent: webhook.Ref{ID: "a1", Name: "Ada"}, Room: "lobby", Content: "Good morning",
	}})
	if err != nil {
		panic(err)
	}
	attempts, err := webhooktest.UntilIdle(ctx, d, "agent-1")
	fmt.Println(attempts, "attempts,", err)
	for _, r := range crm.Requests() {
		fmt.Println(r.Delivery.Type, "attempt", r.Delivery.Attempt, "was answered", r.Status)
	}
	// Output:
	// 2 attempts, <nil>
	// agent.message attempt 1 was answered 503
	// agent.message attempt 2 was answered 200
}

// Example receiver code for customers, tested with a real delivery.
func ExampleTransport_Handle() {
	ctx := context.Background()
	var network webhooktest.Transport
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Client: network.Client()})
	if err != nil {
		panic(err)
	}
	w, secret, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
		Name: "sample", URL: "https://sample.example.com/", Events: []string{"*"},
	})
	if err != nil {
		panic(err)
	}
	handler, err := verify.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		delivery, _ := verify.FromContext(r.Context())
		fmt.Println("handled", delivery.Type)
	}), secret.Reveal())
	if err != nil {
		panic(err)
	}
	network.Handle("sample.example.com", handler)

	if _, err := d.SendTest(ctx, "agent-1", w.ID, webhook.TestEvent{}); err != nil {
		panic(err)
	}
	fmt.Println(webhooktest.DeliverDue(ctx, d))
	// Output:
	// handled webhook.test
	// 1 <nil>
}

// A receiver fails twice, asking once for a later retry, and then works.
func ExampleReceiver_Answer() {
	var rx webhooktest.Receiver
	rx.Answer(
		webhooktest.RetryAfter(http.StatusTooManyRequests, 90*time.Second),
		webhooktest.Reset(),
		webhooktest.Status(http.StatusNoContent).After(200*time.Millisecond),
	)
	rx.AnswerFunc(func(r webhooktest.Request) webhooktest.Answer {
		if r.Delivery.Type == webhook.TypeUserMessage {
			return webhooktest.Status(http.StatusGone)
		}
		return webhooktest.Answer{}
	})
	fmt.Println(len(rx.Requests()))
	// Output: 0
}
