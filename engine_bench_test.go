package webhook_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// instant answers every request at once, so that the benchmark measures the
// dispatcher and not net/http.
type instant struct{}

var instantHeader = http.Header{}

func (instant) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: instantHeader, Body: http.NoBody, Request: r}, nil
}

// BenchmarkDispatcher measures a delivery from Publish, in batches of 100, to
// its recorded result, without the network.
func BenchmarkDispatcher(b *testing.B) {
	var done atomic.Int64
	room := make(chan struct{}, 1)
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		Client: &http.Client{Transport: instant{}},
		Hooks: webhook.Hooks{Succeeded: func(webhook.Delivery, webhook.Attempt) {
			if done.Add(1)%100 == 0 {
				select {
				case room <- struct{}{}:
				default:
				}
			}
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	if _, _, err := d.CreateWebhook(ctx, "t", webhook.WebhookSpec{Name: "n", URL: "https://h.example.com/", Events: []string{"*"}}); err != nil {
		b.Fatal(err)
	}
	evs := make([]webhook.Event, 100)
	for i := range evs {
		evs[i] = webhook.Event{Tenant: "t", Data: webhook.AgentMessage{Agent: webhook.Ref{"a", "b"}, Room: "r", Content: strings.Repeat("x", 900)}}
	}
	b.ReportAllocs()
	b.ResetTimer()
	published := int64(0)
	for published < int64(b.N) {
		if _, err := d.PublishAll(ctx, evs); err != nil {
			b.Fatal(err)
		}
		published += int64(len(evs))
		for published-done.Load() > 5000 {
			<-room
		}
	}
	for done.Load() < published {
		<-room
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
