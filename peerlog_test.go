package webhook_test

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/nettest"
	"github.com/seed68722ecd/webhook/memstore"
)

// A receiver's bytes never reach the host's logger, or Go's own, as they are, and
// a receiver cannot make an attempt log more than a few lines.
func TestR18_LogsHoldNoRawBytesOfTheReceiver(t *testing.T) {
	const evil = "\x1b[31mEVIL\x1b[0m\r\nlevel=ERROR msg=forged"
	answers := []string{
		"HTTP/1.1 500 " + "\x1b[31mEVIL\x1b[0m" + "\r\nContent-Length: " + "36\r\nServer: \x1b[31mEVIL\r\n\r\n" + evil[:36],
		"HTTP/1.1 2000 \x1b[31mEVIL\r\n\r\n",
		"\x1b[31mEVIL nonsense\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + strings.Repeat("\x1b[31mEVIL unsolicited\r\n", 1000),
		"HTTP/1.1 302 Found\r\nLocation: https://x/\x1b[31mEVIL\r\nContent-Length: 0\r\n\r\n",
	}
	var stdlog nettest.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&stdlog)
	for _, answer := range answers {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 64<<10)
				if _, err := c.Read(buf); err == nil {
					_, _ = io.WriteString(c, answer)
				}
				if tcp, ok := c.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
					_, _ = io.Copy(io.Discard, c)
				}
				c.Close()
			}
		}()
		var logged bytes.Buffer
		d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
			AllowHTTP: true, Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if _, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "n", URL: "http://" + ln.Addr().String(), Events: []string{"*"}, MaxRetries: new(0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Publish(ctx, webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.DeliverDue(ctx); n != 1 || err != nil {
			t.Fatalf("DeliverDue = %d, %v", n, err)
		}
		ln.Close()
		<-served
		if bytes.ContainsRune(logged.Bytes(), 0x1b) || strings.Contains(logged.String(), "\nlevel=ERROR msg=forged") {
			t.Errorf("the log holds the receiver's bytes as they are:\n%q", logged.String())
		}
		if n := strings.Count(logged.String(), "\n"); n == 0 || n > 5 {
			t.Errorf("one attempt logged %d lines:\n%s", n, logged.String())
		}
	}
	if text := stdlog.String(); strings.ContainsRune(text, 0x1b) || strings.Count(text, "\n") > 2*len(answers) {
		t.Errorf("Go's standard logger got the receiver's bytes: %q", text)
	}
}
