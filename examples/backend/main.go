// Backend is a small agent platform with all parts of a webhook sender: the
// page on which customers manage webhooks, its JSON API, an endpoint to publish
// events, and the deliveries. From the root of the repository:
//
//	go run ./examples/backend -addr 127.0.0.1:8080 -store memory -allow-http -allow-private
//
// At its start it prints what to try. There is no login: the tenant comes from
// the header X-Tenant or the cookie "tenant", or is "demo". A real backend uses
// its own login instead, see access in server.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook"
)

// options are the flags.
type options struct {
	addr         string
	store        string
	allowHTTP    bool
	allowPrivate bool
	workers      bool
	noDispatch   bool
	metricsAddr  string
	verbose      bool
}

// metricsHere reports whether /metrics is served on the main address: only if
// it has no address of its own and the main address is on loopback. The metrics
// hold no tenant's data, but tenants should not see the volume and success of
// all deliveries.
func (o *options) metricsHere() bool {
	host, _, err := net.SplitHostPort(o.addr)
	return err == nil && o.metricsAddr == "" && loopback(host)
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "`address` to listen on")
	flag.StringVar(&o.store, "store", "memory", "where webhooks and events are kept: memory, sqlite:`FILE`, or postgres://user:password@host/database")
	flag.BoolVar(&o.allowHTTP, "allow-http", false, "take http:// URLs too: for receivers that you try out")
	flag.BoolVar(&o.allowPrivate, "allow-private", false, "send to loopback and private addresses too: for receivers on your machine")
	flag.BoolVar(&o.workers, "workers", false, "only deliver: serve only /healthz and /metrics")
	flag.BoolVar(&o.noDispatch, "no-dispatch", false, "only publish and manage: another process on the same store, with -workers, delivers")
	flag.StringVar(&o.metricsAddr, "metrics-addr", "", "`address` to serve /metrics on, apart from the rest; without it /metrics is at -addr, if that is a loopback address, and nowhere otherwise")
	flag.BoolVar(&o.verbose, "v", false, "log every attempt")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "backend: %q is not a flag\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Stdout, os.Stderr, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "backend:", err)
		os.Exit(1)
	}
}

// private are the networks that -allow-private opens: loopback and the private
// networks of RFC 1918 and RFC 4193. Link-local addresses, where clouds serve
// credentials, stay blocked.
var private = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

// run serves until ctx ends, and then shuts down in order: it stops taking
// requests, lets the attempts in flight finish and records their results.
func run(ctx context.Context, out, errOut io.Writer, o options) (err error) {
	if o.workers && o.noDispatch {
		return errors.New("-workers and -no-dispatch exclude each other")
	}
	if o.store == "memory" && (o.workers || o.noDispatch) {
		return errors.New("-store memory belongs to one process: -workers and -no-dispatch need a store that two can share")
	}
	store, closeStore, err := openStore(ctx, o.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()

	log := slog.New(slog.NewTextHandler(errOut, nil))
	m, err := newMetrics(log)
	if err != nil {
		return err
	}
	cfg := webhook.Config{AllowHTTP: o.allowHTTP, Logger: log, Hooks: hooks(log, o.verbose), Observer: m.telemetry.Observer()}
	if o.allowPrivate {
		cfg.Guard.AllowNetworks = private
	}
	// With keys, secrets and header values are encrypted before the store sees them.
	if text := os.Getenv("WEBHOOK_KEYS"); text != "" {
		if cfg.Keys, err = webhook.ParseKeyring(text); err != nil {
			return fmt.Errorf("WEBHOOK_KEYS: %w", err)
		}
	}
	d, err := webhook.New(store, cfg)
	if err != nil {
		return err
	}
	stopMeasuring, err := m.watch(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopMeasuring()) }()
	handler, err := newServer(d, log, m, o)
	if err != nil {
		return err
	}
	site, err := listen(ctx, o.addr, handler, log)
	if err != nil {
		return err
	}
	defer site.abandon()
	var metricsSite *listener
	if o.metricsAddr != "" {
		if metricsSite, err = listen(ctx, o.metricsAddr, m.handler(o.metricsAddr), log); err != nil {
			return err
		}
		defer metricsSite.abandon()
	}
	explain(out, site, metricsSite, o)

	// The first part to end stops the others.
	ctx, end := context.WithCancel(ctx)
	defer end()
	site.serve(end)
	if metricsSite != nil {
		metricsSite.serve(end)
	}
	dispatching := make(chan error, 1)
	delivering, stopDelivering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopDelivering()
	if o.noDispatch {
		dispatching <- nil
	} else {
		go func() { dispatching <- d.Run(delivering); end() }()
	}
	<-ctx.Done()

	fmt.Fprintln(out, "ending: no more requests are taken, attempts in flight may finish")
	// Stop the requests first, which may still publish; then the deliveries;
	// then the metrics, which show the progress.
	err = site.shutdown(ctx)
	stopDelivering()
	err = errors.Join(err, <-dispatching)
	if metricsSite != nil {
		err = errors.Join(err, metricsSite.shutdown(ctx))
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ended: everything that was begun is recorded")
	return nil
}

// hooks logs events of interest to an operator.
func hooks(log *slog.Logger, verbose bool) webhook.Hooks {
	h := webhook.Hooks{
		Failed: func(d webhook.Delivery) {
			log.Warn("a delivery has failed", "tenant", d.Tenant, "delivery", d.ID, "event", d.EventID, "reason", string(d.Reason), "attempts", d.Attempts)
		},
		Disabled: func(w webhook.Webhook) { log.Warn("a webhook was disabled", "webhook", w, "reason", w.DisabledReason) },
	}
	if verbose {
		h.Attempt = func(d webhook.Delivery, a webhook.Attempt) {
			log.Info("attempt", "tenant", d.Tenant, "delivery", d.ID, "type", d.EventType, "number", a.Number, "status", a.Status, "error", a.Error, "took", a.Duration.Round(time.Microsecond))
		}
	}
	return h
}

// explain prints at the start what to try.
func explain(out io.Writer, site, metricsSite *listener, o options) {
	base := site.base()
	numbers := base + "/metrics (for this machine only; -metrics-addr gives them a place of their own)"
	if metricsSite != nil {
		numbers = metricsSite.base() + "/metrics"
	} else if !o.metricsHere() {
		numbers = "not served, as others than this machine reach " + o.addr + "; -metrics-addr gives them a place of their own"
	}
	fmt.Fprintf(out, "listening on %s (store: %s)\n\n", site.ln.Addr(), storeName(o.store))
	if o.workers {
		fmt.Fprintf(out, "delivering only; %s/healthz says how it is. Ctrl-C ends it.\nMetrics for Prometheus:    %s\n", base, numbers)
		return
	}
	fmt.Fprintf(out, `1. Create a webhook:       %[1]s/webhooks/
2. Talk to the agent:      %[1]s/   (or: curl -d '{"message":"Where is my order?"}' %[1]s/chat)
3. See what was delivered: on the webhook's page.

Publish your own events:   curl -d '{"tenant":"demo","type":"order.paid","data":{"order":1}}' %[1]s/events
The page's API:            curl %[1]s/webhooks/api/webhooks   (described by %[1]s/webhooks/api/openapi.json)
Metrics for Prometheus:    %[2]s
Another tenant:            curl -H 'X-Tenant: acme' …          (or the cookie "tenant")

A receiver to try it with: go run ./examples/receiver -addr 127.0.0.1:9000 -secret whsec_… (its URL is http://127.0.0.1:9000/)
`, base, numbers)
	if !o.allowHTTP || !o.allowPrivate {
		fmt.Fprintln(out, "Only https URLs at public addresses are taken, as in production. For a receiver on this machine, start with -allow-http -allow-private.")
	}
	if o.store == "memory" {
		fmt.Fprintln(out, "Everything is in memory and gone when this ends; -store sqlite:FILE keeps it.")
	}
	if os.Getenv("WEBHOOK_KEYS") == "" && o.store != "memory" {
		fmt.Fprintln(out, "Secrets are stored as they are; WEBHOOK_KEYS=k1:<base64 of 32 bytes> encrypts them.")
	}
	if o.noDispatch {
		fmt.Fprintln(out, "This process does not deliver: start another with -workers on the same store.")
	}
	fmt.Fprintln(out, "There is no login here. Ctrl-C ends it in order.")
}
