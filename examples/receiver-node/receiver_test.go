// Package receiver_test runs the Express receiver beside this file.
package receiver_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/examples/internal/program"
)

// node returns a command that runs the server with variables of its own.
func node(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	if _, err := os.Stat("node_modules/express"); err != nil {
		t.Fatalf("the packages are not installed: run 'npm ci' in examples/receiver-node, or 'make setup' (%v)", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "server.mjs")
	cmd.Env = append(os.Environ(), append([]string{"PORT=0"}, env...)...)
	return cmd
}

func TestNodeReceiverShowsWhatArrives(t *testing.T) {
	p := program.Start(t, node(t, "WEBHOOK_SECRET=whsec_YW5vdGhlciBvbmUsIGZyb20gYmVmb3JlIHRoZSByb3RhdGlvbg==  "+program.Secret))
	url := p.WaitFor(t, `Listening on (http://127\.0\.0\.1:\d+)`)[1] + "/hook"
	p.WaitFor(t, `tunnel`)

	id, a := program.Deliver(t, url, webhook.UserMessage{
		Agent: webhook.Ref{ID: "a", Name: "Ada"}, User: webhook.Ref{ID: "u", Name: "Bob"}, Room: webhook.Ref{ID: "r", Name: "Lobby"},
		Content: "<b>1 & 2</b> \u2028 \u009b31m 😀",
	})
	if a.Status != 200 {
		t.Errorf("a real delivery was answered %d: %s %s", a.Status, a.Error, a.ResponseBody)
	}
	p.WaitFor(t, `VERIFIED  user.message  `+id+`  attempt  1  \{"event":"user.message".*<b>1 & 2</b> \\u\{2028\} \\u\{9b\}31m 😀`)

	// An event above the limit that Express has by itself.
	if _, a := program.Deliver(t, url, webhook.AgentMessage{Content: strings.Repeat("x", 200_000)}); a.Status != 200 {
		t.Errorf("an event of 200 KB was answered %d", a.Status)
	}

	const body = `{"event":"agent.message","data":{"content":"hi"}}`
	for _, c := range []struct {
		name   string
		change func([]byte, http.Header) []byte
		want   int
	}{
		{"nothing", func(b []byte, _ http.Header) []byte { return b }, 200},
		{"a flipped bit", func(b []byte, _ http.Header) []byte { b[len(b)-5] ^= 1; return b }, 401},
		{"no signature", func(b []byte, h http.Header) []byte { h.Del("X-Webhook-Signature"); return b }, 401},
		{"a short signature", func(b []byte, h http.Header) []byte { h.Set("X-Webhook-Signature", "abcd"); return b }, 401},
		{"an empty signature", func(b []byte, h http.Header) []byte { h.Set("X-Webhook-Signature", ""); return b }, 401},
		{"no hex", func(b []byte, h http.Header) []byte {
			h.Set("X-Webhook-Signature", strings.Repeat("zz", 32))
			return b
		}, 401},
		{"upper case", func(b []byte, h http.Header) []byte {
			h.Set("X-Webhook-Signature", strings.ToUpper(h.Get("X-Webhook-Signature")))
			return b
		}, 401},
		{"two signatures", func(b []byte, h http.Header) []byte {
			h.Add("X-Webhook-Signature", h.Get("X-Webhook-Signature"))
			return b
		}, 401},
		{"no JSON", func(b []byte, h http.Header) []byte { return b[1:] }, 400},
		{"another content type", func(b []byte, h http.Header) []byte { h.Set("Content-Type", "text/plain"); return b }, 401},
		{"too large", func([]byte, http.Header) []byte { return []byte(`["` + strings.Repeat("x", 1<<20) + `"]`) }, 413},
	} {
		if got := program.Post(t, url, body, c.change); got != c.want {
			t.Errorf("%s: answered %d, want %d", c.name, got, c.want)
		}
	}
	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d after Ctrl-C:\n%s", code, p.Output())
	}
}

func TestNodeReceiverSaysThatItHasNoSecret(t *testing.T) {
	p := program.Start(t, node(t, "WEBHOOK_SECRET=  "))
	if code := p.Wait(t); code != 1 || !strings.Contains(p.Output(), "Set WEBHOOK_SECRET") {
		t.Errorf("exit code %d:\n%s", code, p.Output())
	}
}
