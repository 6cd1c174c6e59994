//go:build !race

package webhook_test

import (
	"context"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// Allocations of one delivery from the claim to the recorded result, on a
// memstore.Store, without publishing.
const (
	// maxOwnAllocs bounds those of the dispatcher and the store: the body, the
	// headers (2), their values with the request (1), the signatures (1), the entry
	// in the log, and now and then a worker's start.
	maxOwnAllocs = 8
	// maxSendAllocs bounds the allocations for the request: its context, its timer
	// and the arguments of net/http.
	maxSendAllocs = 12
)

// TestAllocationsOfADelivery is a test and not only a benchmark so that it
// fails when somebody adds to them. The race detector makes other allocations.
func TestAllocationsOfADelivery(t *testing.T) {
	const deliveries = 5000
	d, err := webhook.New(memstore.New(memstore.Config{Retain: -1}), webhook.Config{Client: &http.Client{Transport: instant{}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, _, err := d.CreateWebhook(ctx, "t", webhook.WebhookSpec{Name: "n", URL: "https://h.example.com/", Events: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	due := 0
	publish := func(n int) {
		due = n
		evs := make([]webhook.Event, n)
		for i := range evs {
			evs[i] = webhook.Event{Tenant: "t", Data: webhook.AgentMessage{Content: strconv.Itoa(i)}}
		}
		if _, err := d.PublishAll(ctx, evs); err != nil {
			t.Fatal(err)
		}
	}
	run := func() {
		for left := due; left > 0; {
			n, err := d.DeliverDue(ctx)
			if err != nil || n == 0 {
				t.Fatalf("%d of %d were not delivered, %v", left, due, err)
			}
			left -= n
		}
	}
	publish(1000)
	run() // pools are filled
	publish(deliveries)
	all := mallocs(run) / deliveries

	u, err := url.Parse("https://h.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	send := webhook.SenderOf(d, u)
	sending := mallocs(func() {
		for range deliveries {
			if a := send(context.Background()); !a.Succeeded() {
				t.Fatal(a)
			}
		}
	}) / deliveries
	t.Logf("%.1f allocations, %.1f of them for sending", all, sending)
	if sending > maxSendAllocs+0.5 {
		t.Errorf("%.1f allocations for sending, want at most %d", sending, maxSendAllocs)
	}
	if own := all - sending; own > maxOwnAllocs+0.5 {
		t.Errorf("%.1f allocations of the dispatcher itself, want at most %d", own, maxOwnAllocs)
	}
}

// mallocs counts the allocations of f. The test must not be parallel.
func mallocs(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}
