package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// A customer registers a webhook, the backend publishes, the receiver gets it.
func Example() {
	receiver, cfg := exampleReceiver(func(r *http.Request, body []byte) int {
		fmt.Println("received", r.Header.Get("X-Webhook-Event"), r.Header.Get("Webhook-Id"))
		_, rest, _ := bytes.Cut(body, []byte(`},"timestamp"`))
		fmt.Println(`"timestamp"` + string(rest))
		return http.StatusOK
	})
	defer receiver.Close()
	succeeded := make(chan struct{})
	cfg.Hooks.Succeeded = func(webhook.Delivery, webhook.Attempt) { close(succeeded) }

	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()

	w, secret, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
		Name: "CRM", URL: receiver.URL + "/hook", Events: []string{"agent.*"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("created", w.Name, "with a secret of", len(secret.Reveal()), "characters, shown once")

	_, err = d.Publish(ctx, webhook.Event{
		ID: "evt-1", Tenant: "agent-1", Time: time.Date(2024, 1, 15, 11, 45, 0, 0, time.UTC),
		Data: webhook.AgentMessage{Agent: webhook.Ref{ID: "a1", Name: "Ada"}, Room: "h4sh", Content: "Hello"},
	})
	if err != nil {
		fmt.Println(err)
	}
	<-succeeded
	stop()
	fmt.Println("stopped:", <-ended)
	// Output:
	// created CRM with a secret of 50 characters, shown once
	// received agent.message evt-1
	// "timestamp":"2024-01-15T11:45:00.000000Z","data":{"agent":{"id":"a1","name":"Ada"},"room":"h4sh","content":"Hello"}}
	// stopped: <nil>
}
