package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// impatient retries three times at once, and then once a day.
type impatient struct{}

func (impatient) Delay(n int) time.Duration {
	if n <= 3 {
		return 0
	}
	return 24 * time.Hour
}

// A schedule of the host's own, and hooks that report each result. DeliverDue, in
// place of Run, suits a cron job: it returns when no delivery is due any more.
func ExampleDispatcher_DeliverDue() {
	calls := 0
	receiver, cfg := exampleReceiver(func(*http.Request, []byte) int {
		if calls++; calls < 3 {
			return http.StatusServiceUnavailable
		}
		return http.StatusNoContent
	})
	defer receiver.Close()
	cfg.Retry = impatient{}
	cfg.Hooks = webhook.Hooks{
		Attempt: func(_ webhook.Delivery, a webhook.Attempt) {
			fmt.Printf("attempt %d: %d %q\n", a.Number, a.Status, a.Class)
		},
		Succeeded: func(d webhook.Delivery, _ webhook.Attempt) { fmt.Println("delivered after", d.Attempts) },
		Failed:    func(d webhook.Delivery) { fmt.Println("failed:", d.Reason) },
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	_, _, err = d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{Name: "CRM", URL: receiver.URL, Events: []string{"*"}})
	if err != nil {
		fmt.Println(err)
	}
	_, err = d.Publish(ctx, webhook.Event{Tenant: "agent-1", Data: webhook.AgentMessage{Content: "Hello"}})
	if err != nil {
		fmt.Println(err)
	}
	attempts, err := d.DeliverDue(ctx)
	fmt.Println(attempts, "attempts in all,", err)
	// Output:
	// attempt 1: 503 "status"
	// attempt 2: 503 "status"
	// attempt 3: 204 ""
	// delivered after 3
	// 3 attempts in all, <nil>
}
