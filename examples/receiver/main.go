// Receiver prints the requests that arrive at a webhook's URL, and whether or
// why not they verify. It is for trying out webhooks of any sender that signs
// with Standard Webhooks or X-Webhook-Signature:
//
//	go run ./examples/receiver -addr 127.0.0.1:9000 -secret whsec_…
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv("WEBHOOK_SECRET"), os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1) //nolint:gocritic // the process ends here, and deferred calls need not run
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, secretsFromEnv string, out io.Writer) error {
	secrets := strings.Fields(secretsFromEnv)
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`address` to listen on")
	status := flags.Int("status", http.StatusOK, "`code` to answer verified requests with, such as 503 to see retries")
	flags.Func("secret", "the webhook's secret; several times, for a rotation (default $WEBHOOK_SECRET, divided by spaces)",
		func(s string) error { secrets = append(secrets, s); return nil })
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *status < 200 || *status > 599 {
		return fmt.Errorf("-status is %d, want 200–599", *status)
	}

	screen := &screen{out: out}
	// This receiver only prints requests, so it accepts other senders' bodies
	// and the plain signature. A receiver in production should accept neither.
	v, err := verify.New(verify.Config{AnyBody: true, AllowPlain: true, OnError: screen.refused}, secrets...)
	if errors.Is(err, verify.ErrNoSecret) {
		return fmt.Errorf("%w: give the secret that was shown when the webhook was created, with -secret or in WEBHOOK_SECRET", err)
	}
	if err != nil {
		return err
	}
	handler := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		screen.verified(r, *status)
		w.WriteHeader(*status)
	}))

	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	fmt.Fprintf(out, welcome, ln.Addr(), len(secrets), port, port)
	server := &http.Server{Handler: handler, ReadTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Requests in progress are answered before the end.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(grace)
	fmt.Fprintf(out, "Stopped: %d requests verified, %d did not.\n", screen.good, screen.bad)
	return err
}

const welcome = `Listening on http://%s, checking signatures with %d secret(s). Ctrl-C ends it.

A sender elsewhere cannot reach this address. Open a tunnel to it in another terminal,
	cloudflared tunnel --url http://127.0.0.1:%d
	ngrok http %d
or any other, and register the https URL that it shows as the webhook's URL. A sender on
this machine can use the address above if it allows http and loopback.

`
