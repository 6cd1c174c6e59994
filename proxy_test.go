package webhook_test

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/nettest"
	"github.com/seed68722ecd/webhook/memstore"
)

// unsentText begins the text that customers read when the sender could not send.
const unsentText = "the sender could not send"

// loopback lets tests reach their own receivers, and no other private address.
func loopback() guard.Guard {
	return guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// connectProxy is a proxy that opens every tunnel to one target. It answers CONNECT
// with the refusals first.
func connectProxy(t *testing.T, target string, refusals ...string) *url.URL {
	t.Helper()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if n := int(asked.Add(1)); n <= len(refusals) {
			io.WriteString(conn, refusals[n-1])
			return
		}
		out, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer out.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(out, rw); out.Close() }()
		io.Copy(conn, out)
	}))
	t.Cleanup(srv.Close)
	return &url.URL{Scheme: "http", Host: srv.Listener.Addr().String()}
}

// Through a whole dispatcher: a webhook without retries, and a proxy that is down,
// refuses and answers 410, and at last connects.
func TestProxyFaultsCostNoEventAndNoWebhook(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
			receiver.Config.ErrorLog = log.New(io.Discard, "", 0)
			if scheme == "https" {
				receiver.StartTLS()
			} else {
				receiver.Start()
			}
			t.Cleanup(receiver.Close)
			proxy := connectProxy(t, receiver.Listener.Addr().String(),
				"HTTP/1.1 407 x\r\n\r\n", "HTTP/1.1 410 Gone\r\n\r\n", "HTTP/1.1 502 x\r\n\r\n")
			logged := new(nettest.Buffer)
			now := time.Now()
			var told []webhook.Unsent
			d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
				AllowHTTP: true, Guard: loopback(), Proxy: proxy, Now: func() time.Time { return now },
				Logger: slog.New(slog.NewTextHandler(logged, nil)), Hooks: webhook.Hooks{Unsent: func(u webhook.Unsent) { told = append(told, u) }},
			})
			if err != nil {
				t.Fatal(err)
			}
			wh, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
				Name: "a", URL: scheme + "://receiver.example/", Events: []string{"*"}, MaxRetries: new(0), VerifyTLS: new(scheme == "http"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: struct{}{}}); err != nil {
				t.Fatal(err)
			}
			one := func() webhook.Delivery {
				t.Helper()
				if _, err := d.DeliverDue(t.Context()); err != nil {
					t.Fatal(err)
				}
				p, err := d.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant})
				if err != nil || len(p.Items) != 1 {
					t.Fatal(p, err)
				}
				return p.Items[0]
			}
			for range 3 {
				del := one()
				if del.State != webhook.StatePending || del.Tries != 0 || del.LastClass != webhook.ClassUnsent {
					t.Errorf("after a refusal: %+v", del)
				}
				now = now.Add(2 * webhook.UnsentWaitMax)
			}
			del := one()
			if del.State != webhook.StateSucceeded || del.Tries != 1 {
				t.Errorf("in the end: %+v", del)
			}
			as, err := d.Attempts(t.Context(), tenant, del.ID)
			if err != nil || len(as) != 2 || !strings.HasPrefix(as[0].Error, unsentText) || as[1].Status != 204 {
				t.Errorf("attempts %+v, %v; want one that was not sent and the one that was", as, err)
			}
			w, err := d.Webhook(t.Context(), tenant, wh.ID)
			if err != nil || !w.Active || !w.FailingSince.IsZero() || w.DisabledReason != "" {
				t.Errorf("webhook %+v, %v", w, err)
			}
			stats, err := d.HourlyStats(t.Context(), webhook.StatsQuery{Tenant: tenant})
			if err != nil || len(stats) != 1 || stats[0].Failed != 0 || stats[0].Succeeded != 1 {
				t.Errorf("statistics %+v, %v", stats, err)
			}
			if n := strings.Count(logged.String(), "level=ERROR"); n < 1 || !strings.Contains(logged.String(), proxy.Host+" refused to connect, with status 407") {
				t.Errorf("the host's log has %d errors:\n%s", n, logged)
			}
			if len(told) == 0 || told[0].Kind != "proxy" || !strings.Contains(told[0].Fault, "407") || told[0].Delivery.ID != del.ID {
				t.Errorf("the hook was told %+v", told)
			}
		})
	}
}

func TestProxyThatCannotBeDialedIsRefusedByNew(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://10.0.0.5:3128":           "add 10.0.0.5/32 to Guard.AllowNetworks",
		"https://127.0.0.1":              "127.0.0.1/32",
		"http://[::1]:3128":              "::1/128",
		"http://[::ffff:192.168.1.1]:80": "192.168.1.1/32",
		"http://169.254.169.254":         "169.254.169.254/32",
		"http://192.0.2.77:1":            "192.0.2.77/32",
		"http://0x7f.1:3128":             "malformed",
		"http://2130706433":              "malformed",
		"http://proxy.test:0":            "port",
		"http://proxy.test:65536":        "port",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		_, err = webhook.New(memstore.New(memstore.Config{}), webhook.Config{Proxy: u})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "config: Proxy") {
			t.Errorf("New with the proxy %s: %v; want %q", raw, err, want)
		}
	}
	private := guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32")}, AllowPorts: []int{443}}
	for raw, judge := range map[string]guard.Guard{"http://10.0.0.5:3128": private, "http://93.184.216.34:3128": {}, "http://inside.corp:3128": {}} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Proxy: u, Guard: judge}); err != nil {
			t.Errorf("New with the proxy %s: %v", raw, err)
		}
	}
}

// Run closes the idle connections of the library's own transport when it returns,
// and leaves the connections of the host's transport to the host.
func TestRunClosesTheIdleConnectionsThatAreItsOwn(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		client func(trusted *httptest.Server) *http.Client
		verify bool
		closed bool
	}{
		"the clone of a host's transport":    {func(*httptest.Server) *http.Client { return &http.Client{Transport: new(http.Transport)} }, false, true},
		"no transport, not verifying":        {func(*httptest.Server) *http.Client { return &http.Client{Timeout: 20 * time.Second} }, false, true},
		"a host's transport, in use by both": {(*httptest.Server).Client, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{}, 10)
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					ended <- struct{}{}
				}
			}
			srv.StartTLS()
			t.Cleanup(srv.Close)
			client := row.client(srv)
			d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Client: client, Guard: loopback()})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := d.CreateWebhook(t.Context(), "t", webhook.WebhookSpec{Name: "n", URL: srv.URL, Events: []string{"*"}, VerifyTLS: &row.verify}); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", Type: "a", Data: struct{}{}}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- d.Run(ctx) }()
			for state := webhook.StatePending; state != webhook.StateSucceeded; time.Sleep(time.Millisecond) {
				p, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "t"})
				if err != nil || len(p.Items) != 1 {
					t.Fatal(p, err)
				}
				state = p.Items[0].State
			}
			cancel()
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			// Half of the 4 s after which an idle connection is closed anyway.
			wait := time.NewTimer(2 * time.Second)
			defer wait.Stop()
			select {
			case <-ended:
				if !row.closed {
					t.Error("Run closed a connection of the host's")
				}
			case <-wait.C:
				if row.closed {
					t.Error("a connection is left open after Run")
				}
			}
		})
	}
}
