// Quickstart shows the whole path of webhooks: a backend sends its customers'
// events, the customers' receiver checks them, a delivery fails and is retried,
// and a forged request is refused. It runs on this machine alone, ends by
// itself in a few seconds, and fails if a step went differently from its text.
// From the root of the repository:
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// tenant is the owner of the events: an agent of the platform.
const tenant = "agent-ada"

func run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	fmt.Fprint(out, intro)

	// The sender. In production, leave AllowHTTP and Guard out: then only https
	// URLs at public addresses are allowed. The retries of production are 15 s,
	// 1 min, 4 min… apart, which is too long to watch.
	log := newJournal()
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		AllowHTTP: true,
		Guard:     guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Retry:     webhook.ExponentialRetry{Initial: 700 * time.Millisecond},
		Hooks:     webhook.Hooks{Attempt: log.attempt},
	})
	if err != nil {
		return err
	}

	// A customer registers two webhooks, and is shown the secret of each, once.
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String()
	_, crmSecret, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{
		Name: "CRM", URL: base + "/crm", Events: []string{"agent.*"},
	})
	if err != nil {
		return err
	}
	_, inboxSecret, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{
		Name: "Inbox", URL: base + "/inbox", Events: []string{webhook.TypeUserMessage},
	})
	if err != nil {
		return err
	}

	// The customer's receiver, see receiver.go. Its inbox is down at first.
	receiver, err := newReceiver(log, crmSecret.Reveal(), inboxSecret.Reveal())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: receiver, ReadTimeout: 10 * time.Second}
	go server.Serve(ln) //nolint:errcheck // it ends with ErrServerClosed
	defer server.Close()

	// Run delivers in the background until its context ends.
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running) }()

	// The backend publishes events.
	ada, bob := webhook.Ref{ID: "a-17", Name: "Ada"}, webhook.Ref{ID: "u-42", Name: "Bob"}
	for _, data := range []any{
		webhook.UserMessage{Agent: ada, User: bob, Room: webhook.Ref{ID: "r5Kx", Name: "Support"}, Content: "Where is my order?"},
		webhook.AgentAction{Agent: ada, Room: "r5Kx", Action: "WARP_EXECUTE", Content: `{"warp":"order-status","order":4711}`},
		webhook.AgentMessage{Agent: ada, Room: "r5Kx", Content: "It arrives tomorrow."},
	} {
		if _, err := d.Publish(ctx, webhook.Event{Tenant: tenant, Data: data}); err != nil {
			return err
		}
	}

	// Meanwhile an attacker without the secret posts a forged event.
	forgeErr := forge(ctx, base+"/crm", log)

	// Wait until every delivery has succeeded, and stop in order.
	select {
	case <-log.allDelivered:
	case <-ctx.Done():
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	log.print(out)
	if forgeErr != nil {
		return forgeErr
	}
	if err := log.check(); err != nil {
		return err
	}
	fmt.Fprint(out, outro)
	return nil
}

const intro = `A backend publishes three events. A customer has two webhooks: "CRM" takes agent.*,
"Inbox" takes user.message and is down when the first delivery comes. Somebody without
the secret tries to pass off an event as real.

`

const outro = `
The failed attempt was made again by itself, with the same event ID, and the same body signed
anew. Both receivers checked every signature with the secret that was shown to the customer,
and the forged request got nowhere: 401.

Next: examples/receiver and examples/receiver-node are receivers to run on their own; in a
backend, replace the memstore.Store by one that survives a restart.
`
