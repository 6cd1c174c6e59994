package webhook_test

import (
	"context"
	"fmt"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// OrderPaid is an event type of the host's own.
type OrderPaid struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

// EventType names the type, so that Publish need not be told.
func (OrderPaid) EventType() string { return "order.paid" }

// The host invents its own event types. A value that receivers would read
// differently is refused at once, with its place.
func ExampleDispatcher_Publish() {
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	for range 2 { // the second time, as after an error whose outcome is open
		p, err := d.Publish(ctx, webhook.Event{Tenant: "shop", ID: "paid-4711", Data: OrderPaid{"4711", 1999}})
		fmt.Println(p.ID, "duplicate:", p.Duplicate, err)
	}
	_, err = d.Publish(ctx, webhook.Event{Tenant: "shop", Type: "order.paid", Data: map[string]any{
		"order": map[string]any{"id": int64(9007199254740993)},
	}})
	fmt.Println(err != nil)
	// Output:
	// paid-4711 duplicate: false <nil>
	// paid-4711 duplicate: true <nil>
	// true
}
