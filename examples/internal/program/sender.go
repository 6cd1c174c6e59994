package program

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// Secret is the secret of the webhooks that tests of receivers make.
const Secret = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMgb2YgZXhhbXBsZXM=" //nolint:gosec // made up

// Deliver sends one real delivery of data to a receiver, through a Dispatcher
// and a socket, and returns the event's ID and the attempt.
func Deliver(t *testing.T, url string, data any) (eventID string, a webhook.Attempt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := webhook.New(memstore.New(memstore.Config{}), webhooktest.AllowLoopback(webhook.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.CreateWebhook(ctx, "agent-1", webhook.WebhookSpec{
		Name: "example", URL: url, Events: []string{"*"}, Secret: Secret, MaxRetries: new(0),
	}); err != nil {
		t.Fatal(err)
	}
	p, err := d.Publish(ctx, webhook.Event{Tenant: "agent-1", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := webhooktest.UntilIdle(ctx, d, "agent-1"); n != 1 || err != nil {
		t.Fatalf("%d attempts, %v; want 1", n, err)
	}
	page, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "agent-1"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d deliveries, %v", len(page.Items), err)
	}
	attempts, err := d.Attempts(ctx, "agent-1", page.Items[0].ID)
	if err != nil || len(attempts) != 1 {
		t.Fatalf("%d attempts in the log, %v", len(attempts), err)
	}
	return p.ID, attempts[0]
}

// Post posts a signed body, changed by change after it was signed, and returns
// the status of the answer.
func Post(t *testing.T, url, body string, change func(body []byte, h http.Header) []byte) int {
	t.Helper()
	m := webhook.Message{ID: "evt_1", Time: time.Now(), Body: []byte(body)}
	h := http.Header{"Content-Type": {"application/json"}, "X-Webhook-Event": {"agent.message"}, "X-Webhook-Attempt": {"1"}}
	h.Set("webhook-id", m.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(m.Time.Unix(), 10))
	if err := webhook.DefaultSigner().Sign(h, m, []webhook.Secret{webhook.NewSecret(Secret)}); err != nil {
		t.Fatal(err)
	}
	sent := change(bytes.Clone(m.Body), h)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	client := &http.Client{Transport: new(http.Transport), Timeout: patience}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
