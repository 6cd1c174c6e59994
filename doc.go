// Package webhook sends webhooks from inside a Go backend: customers register a
// URL, the backend publishes events, and every event is sent to every matching
// URL at least once, signed, with retries, by a bounded number of goroutines,
// from a queue in the backend's own database.
//
// # A sender
//
// A [Dispatcher] is made from a [Store]. [Dispatcher.CreateWebhook] registers a
// customer's URL and returns the secret, once. [Dispatcher.Publish] stores an
// event and one delivery per matching webhook, and returns when both are as
// durable as the Store makes them. [Dispatcher.Run] delivers until its context
// ends, then drains.
//
//	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
//	go d.Run(ctx) // before the process ends, end ctx and wait for Run to return
//	w, secret, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
//		Name: "CRM", URL: "https://crm.example.com/hook", Events: []string{"agent.*"},
//	})
//	_, err = d.Publish(ctx, webhook.Event{Tenant: "agent-1", Data: webhook.AgentMessage{…}})
//
// Receivers need only the package verify.
//
// # The guarantee
//
// Delivery is at least once and unordered. An event that Publish has accepted
// is attempted until the receiver answers 2xx, the webhook's retries are used
// up, or the webhook is disabled or deleted. Each of these ends is recorded,
// and the delivery can be resent. A crash at any moment uses up no retry: the
// delivery is claimed again when its lease expires, and the receiver may then
// get it twice, with the same webhook-id.
//
// # On the wire
//
// Every attempt is one POST with a JSON body whose bytes never change, and
// headers that sign it twice with the secret that the customer was shown: a
// plain hex HMAC-SHA256 of the body in X-Webhook-Signature, and the scheme of
// Standard Webhooks (https://www.standardwebhooks.com) in webhook-id,
// webhook-timestamp and webhook-signature. The body is canonical: parsing it in
// a JavaScript engine and writing it again gives the same bytes.
//
// # Safety
//
// The default client connects to public addresses only, which it checks after
// name resolution at the moment of dialing. It follows no redirects and uses no
// proxy from the environment. See [guard.Guard] to protect a client of your own.
package webhook
