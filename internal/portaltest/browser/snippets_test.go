package browser

import (
	"context"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/portal"
)

// The receivers that are shown beside a secret are run as they stand on the page:
// each takes what is signed with that secret, and nothing else.
func TestSnippetsVerify(t *testing.T) {
	t.Parallel()
	page, secret, d := secretPage(t)
	blocks := regexp.MustCompile(`(?s)<pre id="code-(\w+)"[^>]*>(.*?)</pre>`).FindAllStringSubmatch(page, -1)
	if len(blocks) != 3 {
		t.Fatalf("the page shows %d receivers, want 3", len(blocks))
	}
	for _, b := range blocks {
		t.Run(b[1], func(t *testing.T) {
			if _, output, err := startSnippet(t, b[1], html.UnescapeString(b[2]), "whsec_"); err == nil {
				t.Errorf("it begins without a secret: an empty key verifies anybody\n%s", output())
			}
			addr, output, err := startSnippet(t, b[1], html.UnescapeString(b[2]), secret)
			if err != nil {
				t.Fatalf("%v\n%s", err, output())
			}
			hook, _, err := d.CreateWebhook(t.Context(), "acme", webhook.WebhookSpec{Name: b[1], URL: "http://" + addr + "/webhooks", Events: []string{"none"}, Secret: secret, MaxRetries: new(0)})
			if err != nil {
				t.Fatal(err)
			}
			sent, err := d.SendTest(t.Context(), "acme", hook.ID, webhook.TestEvent{Type: webhook.TypeAgentMessage, Data: webhook.AgentMessage{Content: "grüße, \u2028 <&>"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.DeliverDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := d.Delivery(t.Context(), "acme", sent.ID)
			if err != nil || got.State != webhook.StateSucceeded || got.LastStatus != http.StatusNoContent {
				t.Fatalf("delivery: %+v, %v\n%s", got, err, output())
			}

			req, err := d.SentRequest(t.Context(), "acme", sent.ID, 1)
			if err != nil {
				t.Fatal(err)
			}
			for what, change := range map[string]func(h http.Header, body []byte) []byte{
				"another body": func(_ http.Header, b []byte) []byte { return []byte(strings.Replace(string(b), "gr", "xx", 1)) },
				"another id":   func(h http.Header, b []byte) []byte { h.Set("Webhook-Id", "evt_other"); return b },
				"no signature": func(h http.Header, b []byte) []byte { h.Del("Webhook-Signature"); return b },
				"too old": func(h http.Header, b []byte) []byte {
					h.Set("Webhook-Timestamp", fmt.Sprint(time.Now().Unix()-3600))
					return b
				},
				"no time":        func(h http.Header, b []byte) []byte { h.Del("Webhook-Timestamp"); return b },
				"an empty entry": func(h http.Header, b []byte) []byte { h.Set("Webhook-Signature", "v1,"); return b },
			} {
				h := req.Headers.Clone()
				for _, name := range []string{"Host", "Content-Length"} {
					h.Del(name)
				}
				body := change(h, req.Body)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/webhooks", strings.NewReader(string(body)))
				if err != nil {
					t.Fatal(err)
				}
				r.Header = h
				resp, err := (&http.Client{Timeout: 20 * time.Second}).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode < 400 || resp.StatusCode >= 500 {
					t.Errorf("%s: answered %d, want it refused", what, resp.StatusCode)
				}
			}
			if out := output(); strings.Count(out, sent.EventID) != 1 || !strings.Contains(out, webhook.TypeAgentMessage) {
				t.Errorf("it printed %q, want the event once", out)
			}
		})
	}
}

// secretPage creates a webhook by the form and returns the page that answers.
func secretPage(t *testing.T) (page, secret string, d *webhook.Dispatcher) {
	t.Helper()
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		AllowHTTP: true, Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := portal.New(d, portal.Config{Access: func(*http.Request) (portal.Access, error) { return portal.Access{Tenant: "acme", Manage: true}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"name": {"x"}, "url": {"https://example.com/"}, "events": {"none"}}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/new", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	page = rec.Body.String()
	m := regexp.MustCompile(`id="the-secret" readonly value="([^"]*)"`).FindStringSubmatch(page)
	if rec.Code != http.StatusOK || m == nil {
		t.Fatalf("the form was answered with %d", rec.Code)
	}
	return page, html.UnescapeString(m[1]), d
}

// startSnippet runs a receiver and returns its address, once it listens, and what
// it has printed; or an error when it ends instead.
func startSnippet(t *testing.T, language, code, secret string) (addr string, output func() string, err error) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var cmd *exec.Cmd
	switch dir := t.TempDir(); language {
	case "node":
		// Beside node_modules, where its imports are looked for.
		file := filepath.Join("node_modules", ".snippet-"+fmt.Sprint(os.Getpid())+".mjs")
		write(t, file, code)
		t.Cleanup(func() { os.Remove(file) })
		cmd = exec.CommandContext(ctx, "node", file)
	case "go":
		write(t, filepath.Join(dir, "main.go"), code)
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "receiver"), filepath.Join(dir, "main.go"))
		if out, err := build.CombinedOutput(); err != nil {
			cancel()
			t.Fatalf("go build: %v\n%s", err, out)
		}
		cmd = exec.CommandContext(ctx, filepath.Join(dir, "receiver"))
	case "python":
		write(t, filepath.Join(dir, "receiver.py"), code)
		cmd = exec.CommandContext(ctx, "python3", filepath.Join(dir, "receiver.py"))
	default:
		t.Fatalf("nothing is known of %s", language)
	}
	_, port, _ := net.SplitHostPort(addr)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "PORT="+port)
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended; f.Close() })
	output = func() string { text, _ := os.ReadFile(log); return string(text) }
	for end := time.Now().Add(30 * time.Second); ; {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			c.Close()
			return addr, output, nil
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %v\n%s", language, err, output())
		}
		select {
		case err := <-ended:
			return addr, output, fmt.Errorf("it ended: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
