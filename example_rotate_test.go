package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/verify"
)

// While a receiver changes over, each delivery verifies with the old secret
// and with the new one.
func ExampleDispatcher_RotateSecret() {
	var secrets []webhook.Secret
	receiver, cfg := exampleReceiver(func(r *http.Request, body []byte) int {
		fmt.Println(strings.Count(r.Header.Get("Webhook-Signature"), "v1,"), "signatures")
		for _, s := range secrets {
			_, err := verify.Verify(body, r.Header, s.Reveal())
			fmt.Println("verified:", err == nil)
		}
		return http.StatusOK
	})
	defer receiver.Close()
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	w, before, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{Name: "CRM", URL: receiver.URL, Events: []string{"*"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, after, err := d.RotateSecret(ctx, "agent-1", w.ID, webhook.Rotation{})
	if err != nil {
		fmt.Println(err)
		return
	}
	secrets = []webhook.Secret{before, after}
	fmt.Println(after) // never the text

	if _, err := d.SendTest(ctx, "agent-1", w.ID, webhook.TestEvent{}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(d.DeliverDue(ctx))
	// Output:
	// [secret]
	// 2 signatures
	// verified: true
	// verified: true
	// 1 <nil>
}
