package browser

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed68722ecd/webhook"
)

// seed gives a tenant webhooks with a day behind them, as a customer's pages look
// after a while. What happened then is written into the store as a dispatcher
// would have done it at the time. It returns the IDs by name.
func seed(ctx context.Context, w *world, tenant string) (map[string]string, error) {
	ids := make(map[string]string)
	now := time.Now().UTC()
	before, err := webhook.New(w.store, webhook.Config{Now: func() time.Time { return now.Add(-40 * 24 * time.Hour) }})
	if err != nil {
		return nil, err
	}
	chance := rand.New(rand.NewPCG(7, 11))
	for _, h := range []struct {
		key    string
		spec   webhook.WebhookSpec
		perH   int     // attempts an hour
		fails  float64 // part of them
		mean   time.Duration
		broken time.Duration // it has failed for this long
	}{
		{"dev", webhook.WebhookSpec{Name: "Staging", URL: "https://staging.example.com/hook", Events: []string{"user.message"}, VerifyTLS: new(false)}, 0, 0, 0, 0},
		{"old", webhook.WebhookSpec{Name: "Old backend", URL: "https://legacy.example.com/incoming", Events: []string{"agent.*", "order.paid", "invoice.sent", "invoice.paid"}}, 3, 1, 40 * time.Millisecond, 0},
		{"lake", webhook.WebhookSpec{Name: "Data warehouse", URL: "https://ingest.example.org/v2/events?source=agents", Events: []string{"*"}, MaxRetries: new(5), Timeout: new(10 * time.Second)}, 22, 0.05, 340 * time.Millisecond, 3 * time.Hour},
		{"slack", webhook.WebhookSpec{Name: "Slack alerts", URL: "https://hooks.example.net/services/T024/B7", Events: []string{"agent.action"}}, 6, 0, 210 * time.Millisecond, 0},
		{"crm", webhook.WebhookSpec{Name: "CRM", URL: "https://crm.example.com/hooks/agents", Events: []string{"agent.message", "user.message"}, Description: "Keeps the customer's timeline up to date.", Headers: map[string]string{"X-Api-Key": "top secret", "X-Team": "support"}}, 14, 0.02, 84 * time.Millisecond, 0},
	} {
		hook, _, err := before.CreateWebhook(ctx, tenant, h.spec)
		if err != nil {
			return nil, err
		}
		ids[h.key] = hook.ID
		for hour := 23; hour >= 0; hour-- {
			start := now.Add(-time.Duration(hour)*time.Hour - 20*time.Minute)
			n := int(float64(h.perH) * (0.35 + chance.Float64()*0.9))
			for i := range n {
				at := start.Add(time.Duration(i+1) * time.Hour / time.Duration(3*n+3)).Truncate(time.Microsecond)
				fails := h.fails
				if h.broken > 0 && now.Sub(at) < h.broken {
					fails = 1
				}
				types := []string{webhook.TypeAgentMessage, webhook.TypeUserMessage, webhook.TypeAgentAction}
				failed := chance.Float64() < fails
				id, err := past(ctx, w, hook, types[chance.IntN(3)], at, h.mean/2+time.Duration(chance.Int64N(int64(h.mean))), failed)
				if err != nil {
					return nil, err
				}
				if failed {
					ids[h.key+"-failed"] = id
				} else {
					ids[h.key+"-ok"] = id
				}
			}
		}
	}
	if _, err := w.d.DisableWebhook(ctx, tenant, ids["old"], "the receiver answered 410 Gone"); err != nil {
		return nil, err
	}
	return ids, nil
}

// past makes one delivery that was attempted at a time in the past: once when it
// succeeded, and until nothing was left when it failed.
func past(ctx context.Context, w *world, hook webhook.Webhook, eventType string, at time.Time, took time.Duration, failed bool) (string, error) {
	var data any = webhook.AgentMessage{Agent: webhook.Ref{ID: "agent_7", Name: "Ada"}, Room: "r0omHash", Content: "Your order 4711 has been shipped. It arrives on Thursday, between 9 and 12."}
	switch eventType {
	case webhook.TypeUserMessage:
		data = webhook.UserMessage{Agent: webhook.Ref{ID: "agent_7", Name: "Ada"}, User: webhook.Ref{ID: "user_4", Name: "Grace"}, Room: webhook.Ref{ID: "room_9", Name: "Orders"}, Content: "Where is my parcel?"}
	case webhook.TypeAgentAction:
		data = webhook.AgentAction{Agent: webhook.Ref{ID: "agent_7", Name: "Ada"}, Room: "r0omHash", Action: "WARP_EXECUTE", Content: `{"tool":"track_parcel","order":"4711","status":"done"}`}
	}
	req, err := w.d.Prepare(webhook.Event{Tenant: hook.Tenant, Type: eventType, Data: data, Time: at})
	if err != nil {
		return "", err
	}
	req.WebhookID = hook.ID
	if _, err := w.store.Publish(ctx, at, []webhook.PublishRequest{req}); err != nil {
		return "", err
	}
	answers := []webhook.Attempt{{
		Status: 200, ResponseHeaders: map[string]string{"Content-Type": "application/json", "Server": "nginx"}, ResponseBody: []byte(`{"received":true}`),
	}}
	if failed {
		answers = []webhook.Attempt{
			{Class: webhook.ClassTimeout, Error: fmt.Sprintf("no answer within %v", hook.Timeout)},
			{
				Status: 503, Class: webhook.ClassStatus, Error: "the receiver answered 503 Service Unavailable",
				ResponseHeaders: map[string]string{"Content-Type": "text/html", "Retry-After": "30", "Server": "nginx"},
				ResponseBody:    []byte("<html>\n<head><title>503 Service Temporarily Unavailable</title></head>\n<body><center><h1>503 Service Temporarily Unavailable</h1></center></body>\n</html>\n"),
			},
		}
	}
	id := ""
	for i, a := range answers {
		token := rand.Int64N(1<<62) + 1
		now := at.Add(time.Duration(i) * (16*time.Second + took))
		got, err := w.store.Claim(ctx, webhook.ClaimRequest{Token: token, Now: now, Lease: time.Minute, Limit: 1, PerWebhook: 1})
		if err != nil {
			return "", err
		}
		if len(got.Deliveries) != 1 {
			return "", fmt.Errorf("claimed %d deliveries, want the one just published", len(got.Deliveries))
		}
		d := got.Deliveries[0].Delivery
		id = d.ID
		a.DeliveryID, a.Number, a.StartedAt, a.Duration = d.ID, d.Attempts+1, now, took
		res := webhook.Result{DeliveryID: d.ID, Token: token, State: webhook.StateSucceeded, Attempt: &a}
		switch {
		case failed && i == len(answers)-1:
			res.State, res.Reason = webhook.StateFailed, webhook.ReasonRetriesExhausted
		case failed:
			res.State, res.Delay = webhook.StatePending, 15*time.Second
		}
		if _, err := w.store.Complete(ctx, now.Add(took), []webhook.Result{res}); err != nil {
			return "", err
		}
	}
	return id, nil
}
