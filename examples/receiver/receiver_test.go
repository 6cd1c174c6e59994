package main

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/examples/internal/program"
)

const body = `{"event":"agent.message","webhook":{"id":"wh_1","name":"x"},"timestamp":"2024-01-15T11:45:00.000000Z","data":{"content":"hi"}}`

// start runs the receiver on a free port and returns its URL.
func start(t *testing.T, env []string, args ...string) (p *program.Program, url string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program.Build(t, "."), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	p = program.Start(t, cmd)
	url = p.WaitFor(t, `Listening on (http://127\.0\.0\.1:\d+)`)[1]
	return p, url + "/any/path"
}

func TestReceiverShowsWhatArrives(t *testing.T) {
	p, url := start(t, []string{"WEBHOOK_SECRET="}, "-secret", "whsec_YW5vdGhlciBvbmUsIGZyb20gYmVmb3JlIHRoZSByb3RhdGlvbg==", "-secret", program.Secret)
	p.WaitFor(t, `tunnel`)

	id, a := program.Deliver(t, url, webhook.AgentMessage{Agent: webhook.Ref{ID: "a", Name: "Ada"}, Room: "r", Content: "hello \u202e\u009b31m"})
	if a.Status != 200 {
		t.Errorf("a real delivery was answered %d: %s", a.Status, a.Error)
	}
	p.WaitFor(t, `VERIFIED  agent.message  `+id+`  attempt 1  \(signature v1\), answered 200\n    \{"event":"agent.message".*hello \\u202e\\u009b31m`)

	// A flipped bit.
	status := program.Post(t, url, body, func(b []byte, _ http.Header) []byte { b[len(b)-4] ^= 1; return b })
	if status != 401 {
		t.Errorf("a changed body was answered %d", status)
	}
	p.WaitFor(t, `REFUSED   POST /any/path from .*, answered 401\n    verify: signature does not match.*\n    webhook-id: evt_1\n`)

	// Only the plain signature, and a body of another sender.
	status = program.Post(t, url, `{"hello":1}`, func(b []byte, h http.Header) []byte {
		h.Del("webhook-signature")
		h.Del("X-Webhook-Event")
		return b
	})
	if status != 200 {
		t.Errorf("the plain signature was answered %d", status)
	}
	p.WaitFor(t, `VERIFIED  \(no event type\)  evt_1  attempt 1  \(plain signature only.*\n    \{"hello":1\}`)

	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	p.WaitFor(t, `Stopped: 2 requests verified, 1 did not.`)
}

func TestReceiverTakesTheSecretFromItsEnvironmentAndAnswersAsTold(t *testing.T) {
	p, url := start(t, []string{"WEBHOOK_SECRET=" + program.Secret}, "-status", "503")
	_, a := program.Deliver(t, url, webhook.AgentMessage{Content: strings.Repeat("long ", 2000)})
	if a.Status != 503 {
		t.Errorf("answered %d, want 503", a.Status)
	}
	p.WaitFor(t, `VERIFIED .*, answered 503\n.*… \(\d+ bytes\)`)
}

func TestReceiverSaysWhatIsMissing(t *testing.T) {
	bin := program.Build(t, ".")
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{nil, `no secret.*-secret or in WEBHOOK_SECRET`, 1},
		{[]string{"-secret", "short"}, `unusable secret`, 1},
		{[]string{"-status", "42"}, `-status is 42, want 200–599`, 1},
		{[]string{"-secret", program.Secret, "-addr", "127.0.0.1:99999"}, `invalid port`, 1},
		{[]string{"-nonsense"}, `-nonsense`, 1},
		{[]string{"-h"}, `(?s)-addr.*-secret.*-status`, 0},
	} {
		cmd := exec.CommandContext(t.Context(), bin, c.args...)
		cmd.Env = append(os.Environ(), "WEBHOOK_SECRET=")
		p := program.Start(t, cmd)
		if code := p.Wait(t); code != c.code || !regexp.MustCompile(c.want).MatchString(p.Output()) {
			t.Errorf("%q: exit code %d and %q, want %d and %s", c.args, code, p.Output(), c.code, c.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 漢 😀":         "plain ü 漢 😀",
		"\x1b[31mred\a":       `\u001b[31mred\u0007`,
		"line\nbreak\u2028":   `line\u000abreak\u2028`,
		"bad \xff utf-8 \xc3": `bad \xff utf-8 \xc3`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
