package main

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook"
)

// forge posts an event that is right except for its signature.
func forge(ctx context.Context, url string, j *journal) error {
	body := []byte(`{"event":"agent.message","webhook":{"id":"wh_1","name":"CRM"},"timestamp":"2024-01-15T11:45:00.000000Z","data":{}}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	header := make(http.Header)
	message := webhook.Message{ID: "evt_forged", Time: time.Now(), Body: body}
	guessed := webhook.NewSecret("whsec_Z3Vlc3NlZCBndWVzc2VkIGd1ZXNzZWQgZ3Vlc3NlZCE=")
	if err := webhook.DefaultSigner().Sign(header, message, []webhook.Secret{guessed}); err != nil {
		return err
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", message.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(message.Time.Unix(), 10))
	req.Header.Set("X-Webhook-Attempt", "1")
	start := time.Now()
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line{
		at: start, took: time.Since(start), eventID: message.ID, event: "agent.message",
		webhook: "(forged)", attempt: 1, status: resp.StatusCode, next: "nothing",
	})
	j.summaries[message.ID] = "nobody said this"
	return nil
}
