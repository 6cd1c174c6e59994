package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/examples/internal/program"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// backendProcess is the program, running.
type backendProcess struct {
	*program.Program
	t    *testing.T
	cmd  *exec.Cmd
	base string
}

// start runs the program on a free port and waits until it listens.
func start(t *testing.T, bin string, args ...string) *backendProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	p := &backendProcess{Program: program.Start(t, cmd), t: t, cmd: cmd}
	p.base = "http://" + p.WaitFor(t, `listening on (\S+) \(`)[1]
	return p
}

// kill ends it as a power cut would.
func (p *backendProcess) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	p.Wait(p.t)
}

func (p *backendProcess) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// do makes a request and returns status and answer.
func (p *backendProcess) do(method, path, body string, options ...func(*http.Request)) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, o := range options {
		o(req)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.Output())
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// want is do with a check of the status, and returns the decoded answer.
func (p *backendProcess) want(status int, method, path, body string, options ...func(*http.Request)) map[string]any {
	p.t.Helper()
	got, text := p.do(method, path, body, options...)
	if got != status {
		p.t.Fatalf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil && text != "" {
		p.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return v
}

// register creates a webhook for the demo tenant that sends to rx.
func (p *backendProcess) register(url string, rx *webhooktest.Receiver) string {
	p.t.Helper()
	w := p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks", `{"name":"test","url":"`+url+`","events":["*"]}`, with("Content-Type", "application/json"))
	secret, _ := w["secret"].(string)
	rx.Trust(webhook.NewSecret(secret))
	id, _ := w["id"].(string)
	return id
}

// eventually waits until ok, at most for half a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

// TestBackend builds the program once and runs it as its users do.
func TestBackend(t *testing.T) {
	bin := program.Build(t, ".")
	for name, test := range map[string]func(*testing.T, string){
		"what was accepted survives a kill": whatWasAcceptedSurvivesAKill,
		"SIGTERM drains":                    sigtermDrains,
		"chat shows all three events":       chatShowsAllThreeEvents,
		"secrets are encrypted with keys":   secretsAreEncryptedWithKeys,
		"refusals and tenants":              refusalsAndTenants,
		"metrics tell what happens":         metricsTellWhatHappens,
		"the start explains itself":         theStartExplainsItself,
	} {
		t.Run(name, func(t *testing.T) { test(t, bin) })
	}
}

var local = []string{"-allow-http", "-allow-private"}

// gate is a receiver on loopback that holds its answers until it is released.
type gate struct {
	*webhooktest.Receiver
	began, release chan struct{}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.began <- struct{}{}
	<-g.release
	g.Receiver.ServeHTTP(w, r)
}

// An event that was answered with 202 is delivered, even if the process is
// killed right after.
func whatWasAcceptedSurvivesAKill(t *testing.T, bin string) {
	rx := webhooktest.NewReceiver()
	srv := rx.Serve(t)
	args := append(slices.Clone(local), "-store", "sqlite:"+filepath.Join(t.TempDir(), "hooks.db"))
	p := start(t, bin, append(args, "-no-dispatch")...)
	p.register(srv.URL, rx)
	var ids []string
	for range 20 {
		ids = append(ids, p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":1}}`)["id"].(string))
	}
	p.kill()
	if n := len(rx.Requests()); n != 0 {
		t.Errorf("-no-dispatch has sent %d requests", n)
	}

	p = start(t, bin, args...)
	eventually(t, "every event arrived", func() bool { return len(rx.Deliveries()) == len(ids) })
	for _, d := range rx.Deliveries() {
		if !slices.Contains(ids, d.Delivery.ID) {
			t.Errorf("%s was never accepted", d.Delivery.ID)
		}
	}
	// A repeated request is the same event.
	again := p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":1},"id":"`+ids[0]+`"}`)
	if again["duplicate"] != true || again["id"] != ids[0] {
		t.Errorf("%v", again)
	}
	conflict := p.want(http.StatusBadRequest, http.MethodPost, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":2},"id":"`+ids[0]+`"}`)
	if reason := conflict["error"].(string); !strings.Contains(reason, webhook.ErrEventConflict.Error()) {
		t.Errorf("an ID that another event has: %q", reason)
	}
	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Output())
	}
	if n := len(rx.Requests()); n != len(ids) {
		t.Errorf("%d requests for %d events", n, len(ids))
	}
}

// With keys in the environment the file holds no plain secret.
func secretsAreEncryptedWithKeys(t *testing.T, bin string) {
	t.Setenv("WEBHOOK_KEYS", "k1:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	file := filepath.Join(t.TempDir(), "hooks.db")
	p := start(t, bin, append(slices.Clone(local), "-store", "sqlite:"+file)...)
	rx := webhooktest.NewReceiver()
	w := p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks", `{"name":"test","url":"`+rx.Serve(t).URL+`","events":["*"],"headers":{"X-Api-Key":"hunter2"}}`, with("Content-Type", "application/json"))
	secret := w["secret"].(string)
	rx.Trust(webhook.NewSecret(secret))
	p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"demo","type":"a.b","data":{}}`)
	eventually(t, "the event arrived", func() bool { return len(rx.Deliveries()) == 1 })
	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{file, file + "-wal"} {
		raw, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(secret)) || bytes.Contains(raw, []byte("hunter2")) {
			t.Errorf("%s holds a secret as it is", name)
		}
	}
	t.Setenv("WEBHOOK_KEYS", "nonsense")
	q := program.Start(t, exec.CommandContext(t.Context(), bin, "-addr", "127.0.0.1:0"))
	if code := q.Wait(t); code != 1 || !strings.Contains(q.Output(), "backend: WEBHOOK_KEYS: ") {
		t.Errorf("exit code %d, %s", code, q.Output())
	}
}

// SIGTERM lets the attempt in flight finish and records it, so that the next
// process does not send it again.
func sigtermDrains(t *testing.T, bin string) {
	g := &gate{webhooktest.NewReceiver(), make(chan struct{}, 1), make(chan struct{})}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	args := append(slices.Clone(local), "-store", "sqlite:"+filepath.Join(t.TempDir(), "hooks.db"), "-v")
	p := start(t, bin, args...)
	p.register(srv.URL, g.Receiver)
	p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":1}}`)
	<-g.began
	p.signal(syscall.SIGTERM)
	p.WaitFor(t, `no more requests are taken`)
	close(g.release)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := p.Output(); !strings.Contains(out, "everything that was begun is recorded") || !strings.Contains(out, "status=200") {
		t.Errorf("it does not say that the attempt was recorded:\n%s", out)
	}
	p = start(t, bin, args...)
	list := p.want(http.StatusOK, http.MethodGet, "/webhooks/api/webhooks", "")
	id := list["items"].([]any)[0].(map[string]any)["id"].(string)
	eventually(t, "the delivery is recorded as made", func() bool {
		return len(p.want(http.StatusOK, http.MethodGet, "/webhooks/api/webhooks/"+id+"/deliveries?state=succeeded", "")["items"].([]any)) == 1
	})
	if n := len(g.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// A user who talks to the agent sees all three events arrive.
func chatShowsAllThreeEvents(t *testing.T, bin string) {
	rx := webhooktest.NewReceiver()
	srv := rx.Serve(t)
	p := start(t, bin, local...)
	p.register(srv.URL, rx)
	if got := p.want(http.StatusOK, http.MethodPost, "/chat", `{"message":"Where is my order?"}`); len(got["events"].([]any)) != 3 || !strings.Contains(got["reply"].(string), "tomorrow") {
		t.Errorf("%v", got)
	}
	eventually(t, "three events arrived", func() bool { return len(rx.Deliveries()) == 3 })
	var types []string
	for _, d := range rx.Deliveries() {
		types = append(types, d.Delivery.Type)
	}
	slices.Sort(types)
	if !slices.Equal(types, []string{"agent.action", "agent.message", "user.message"}) {
		t.Errorf("%v", types)
	}
	// As the page sends it, and as curl does.
	form := with("Content-Type", "application/x-www-form-urlencoded")
	if status, text := p.do(http.MethodPost, "/chat", "message=%3Cscript%3Ealert(1)%3C%2Fscript%3E", form); status != http.StatusOK || strings.Contains(text, "<script") || !strings.Contains(text, "&lt;script&gt;") {
		t.Errorf("%d %s", status, text)
	}
	p.want(http.StatusOK, http.MethodPost, "/chat", `{"message":"hi"}`, form)
	eventually(t, "nine events arrived", func() bool { return len(rx.Deliveries()) == 9 })
	if status, text := p.do(http.MethodGet, "/", ""); status != http.StatusOK || !strings.Contains(text, `tenant <b>demo</b>`) || !strings.Contains(text, `href="/webhooks/"`) {
		t.Errorf("%d %s", status, text)
	}
}

// An invalid event is answered with the reason, and tenants see only their own
// webhooks.
func refusalsAndTenants(t *testing.T, bin string) {
	p := start(t, bin)
	for _, c := range []struct{ body, reason string }{
		{``, "empty"},
		{`x`, "invalid character"},
		{`[]`, "cannot unmarshal"},
		{`{"type":"a.b","data":{}}`, "tenant: is required"},
		{`{"tenant":"demo","data":{}}`, "type: is required"},
		{`{"tenant":"demo","type":"a b","data":{}}`, "type: must be"},
		{`{"tenant":"demo","type":"a.b"}`, "data: is missing"},
		{`{"tenant":"demo","type":"a.b","data":[]}`, "data"},
		{`{"tenant":"demo","type":"a.b","data":{"n":9007199254740993}}`, "n"},
		{`{"tenant":"demo","type":"a.b","data":{},"id":"a.b"}`, "id: must be"},
		{`{"tenant":"demo","type":"a.b","data":{},"oops":1}`, "oops"},
		{`{"tenant":"demo","type":"a.b","data":{}}{}`, "more after"},
		{`{"tenant":"demo","type":"a.b","data":{"a":"` + strings.Repeat("x", 300_000) + `"}}`, "too large"},
		{`{"tenant":"demo","type":"a.b","data":{"a":"` + strings.Repeat("x", 2_000_000) + `"}}`, "too large"},
	} {
		if got := p.want(http.StatusBadRequest, http.MethodPost, "/events", c.body); !strings.Contains(got["error"].(string), c.reason) {
			t.Errorf("%.80s: %v, want %q", c.body, got, c.reason)
		}
	}
	p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"demo","type":"a.b","data":{}}`)

	json := with("Content-Type", "application/json")
	hook := `{"name":"a","url":"https://a.example.com/in","events":["*"]}`
	p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks", hook, json)
	p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks", hook, json, with("X-Tenant", "acme"))
	p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks", hook, json, with("Cookie", "tenant=acme"))
	for n, options := range map[int][]func(*http.Request){1: nil, 2: {with("X-Tenant", "acme")}, 0: {with("Cookie", "tenant=other")}} {
		if got := p.want(http.StatusOK, http.MethodGet, "/webhooks/api/webhooks", "", options...); len(got["items"].([]any)) != n {
			t.Errorf("%d webhooks, want %d", len(got["items"].([]any)), n)
		}
	}
	// Pages of other origins are refused, and so are local receivers without
	// -allow-private.
	foreign := with("Origin", "https://evil.example")
	for _, path := range []string{"/events", "/chat"} {
		if status, _ := p.do(http.MethodPost, path, `{"tenant":"demo","type":"a.b","data":{}}`, foreign); status != http.StatusForbidden {
			t.Errorf("%s from another origin: %d", path, status)
		}
	}
	if status, _ := p.do(http.MethodGet, "/webhooks/api/webhooks", "", func(r *http.Request) { r.Host = "evil.example" }); status != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", status)
	}
	if got := p.want(http.StatusBadRequest, http.MethodPost, "/webhooks/api/webhooks", `{"name":"a","url":"http://127.0.0.1:9000/","events":["*"]}`, json); got["code"] != "invalid" {
		t.Errorf("%v", got)
	}
	if got := p.want(http.StatusOK, http.MethodGet, "/healthz", ""); got["status"] != "ok" || got["delivering"] != true {
		t.Errorf("%v", got)
	}
}

// A start prints what to try, and a start with wrong flags explains the error.
func theStartExplainsItself(t *testing.T, bin string) {
	p := start(t, bin)
	p.WaitFor(t, `There is no login here`)
	for _, line := range []string{p.base + "/webhooks/", p.base + "/chat", p.base + "/events", p.base + "/metrics", "-allow-http -allow-private", "-store sqlite:FILE", "examples/receiver"} {
		if !strings.Contains(p.Output(), line) {
			t.Errorf("it does not speak of %s:\n%s", line, p.Output())
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-store", "mysql://root:hunter2@x"}, 1, "give memory, sqlite:FILE or postgres://"},
		{[]string{"-store", "sqlite:"}, 1, "give memory, sqlite:FILE or postgres://"},
		{[]string{"-store", "sqlite:/nowhere/at/all/x.db"}, 1, "backend: "},
		{[]string{"-store", "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1"}, 1, "backend: postgres://u:xxxxx@127.0.0.1:1/x: "},
		{[]string{"-workers"}, 1, "belongs to one process"},
		{[]string{"-workers", "-no-dispatch", "-store", "sqlite:x"}, 1, "exclude each other"},
		{[]string{"-addr", strings.TrimPrefix(p.base, "http://")}, 1, "address already in use"},
		{[]string{"-addr", "127.0.0.1:0", "-metrics-addr", strings.TrimPrefix(p.base, "http://")}, 1, "address already in use"},
		{[]string{"memory"}, 2, "is not a flag"},
	} {
		q := program.Start(t, exec.CommandContext(t.Context(), bin, c.args...))
		if code := q.Wait(t); code != c.code || !strings.Contains(q.Output(), c.want) || strings.Contains(q.Output(), "hunter2") {
			t.Errorf("%q: exit code %d, %s", c.args, code, q.Output())
		}
	}
	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
