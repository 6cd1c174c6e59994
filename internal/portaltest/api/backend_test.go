package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/dbtest"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// On one PostgreSQL, a process of the example backend that only publishes and
// another that only delivers make one backend; what is published after the latter was
// killed is delivered by the next one.
func TestBackendsShareAPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	bin := filepath.Join(t.TempDir(), "backend")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = "../../../examples/backend"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	store := []string{"-addr", "127.0.0.1:0", "-allow-http", "-allow-private", "-store", fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", pg.Port)}
	front := startBackend(t, bin, append(store, "-no-dispatch")...)
	rx := webhooktest.NewReceiver()
	srv := rx.Serve(t)
	made := front.post(http.StatusCreated, "/webhooks/api/webhooks", `{"name":"test","url":"`+srv.URL+`","events":["*"]}`)
	rx.Trust(webhook.NewSecret(made["secret"].(string)))
	for range 10 {
		front.post(http.StatusAccepted, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":1}}`)
	}
	if n := len(rx.Requests()); n != 0 {
		t.Errorf("-no-dispatch has sent %d requests", n)
	}
	worker := startBackend(t, bin, append(store, "-workers")...)
	worker.until("ten events arrived", func() bool { return len(rx.Deliveries()) == 10 })
	if resp, err := http.Get(worker.base + "/webhooks/"); err != nil || resp.StatusCode != http.StatusNotFound { //nolint:forbidigo // a test's client, on loopback
		t.Errorf("-workers serves pages: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	// Published while nobody delivers, delivered by the next worker.
	worker.end(syscall.SIGKILL)
	front.post(http.StatusAccepted, "/events", `{"tenant":"demo","type":"order.paid","data":{"order":2}}`)
	worker = startBackend(t, bin, append(store, "-workers")...)
	worker.until("the eleventh arrived", func() bool { return len(rx.Deliveries()) >= 11 })
	for _, p := range []*backendProcess{worker, front} {
		if err := p.end(syscall.SIGTERM); err != nil {
			t.Errorf("it did not end in order: %v\n%s", err, p.output())
		}
	}
}

// backendProcess is a running example backend.
type backendProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	base  string
	ended chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func startBackend(t *testing.T, bin string, args ...string) *backendProcess {
	t.Helper()
	p := &backendProcess{t: t, cmd: exec.CommandContext(t.Context(), bin, args...), ended: make(chan error, 1)}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() {
		at := regexp.MustCompile(`listening on (\S+) \(`)
		for in := bufio.NewScanner(r); in.Scan(); {
			p.mu.Lock()
			p.out.WriteString(in.Text() + "\n")
			p.mu.Unlock()
			if m := at.FindStringSubmatch(in.Text()); m != nil {
				listening <- m[1]
			}
		}
	}()
	go func() { p.ended <- p.cmd.Wait(); w.Close() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case addr := <-listening:
		p.base = "http://" + addr
	case err := <-p.ended:
		t.Fatalf("%v\n%s", err, p.output())
	case <-time.After(time.Minute):
		t.Fatalf("it does not listen:\n%s", p.output())
	}
	return p
}

func (p *backendProcess) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *backendProcess) end(s syscall.Signal) error {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("not a minute after %v", s)
	}
}

func (p *backendProcess) post(status int, path, body string) map[string]any {
	p.t.Helper()
	resp, err := http.Post(p.base+path, "application/json", bytes.NewReader([]byte(body))) //nolint:forbidigo // a test's client, on loopback
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.output())
	}
	defer resp.Body.Close()
	var v map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != status {
		p.t.Fatalf("%s: %d %v, %v", path, resp.StatusCode, v, err)
	}
	return v
}

func (p *backendProcess) until(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("not within a minute: %s\n%s", what, p.output())
		case <-tick.C:
		}
	}
}
