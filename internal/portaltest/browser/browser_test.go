package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

var shots = flag.String("shots", "", "write screenshots of every page into this folder")

// chromium finds the browser.
func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium in PATH: install it (Debian: apt-get install chromium)")
	return ""
}

// drive runs a file of scenarios against a world. Each becomes a test of its own.
// With axe, pages are also read by it: once is enough, whatever the store.
func (w *world) drive(t *testing.T, file string, axe bool) {
	t.Helper()
	dir, err := filepath.Abs(*shots)
	if err != nil {
		t.Fatal(err)
	}
	if *shots == "" {
		dir = ""
	}
	values := map[string]any{
		"chromium": chromium(t), "origin": w.host.URL, "mount": mount, "receiver": w.receiver.url(), "shots": dir, "axe": axe, "short": testing.Short(),
	}
	maps.Copy(values, w.more)
	cfg, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", file, string(cfg))
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ran, ended := 0, false
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Name, Error string
			Millis      int
			End         int
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Logf("%s", lines.Text())
			continue
		}
		if r.End > 0 {
			ended = r.End == ran
			continue
		}
		ran++
		t.Run(r.Name, func(t *testing.T) {
			if t.Logf("%d ms in the browser", r.Millis); r.Error != "" {
				t.Error(r.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("node %s: %v\n%s", file, err, stderr.String())
	}
	if !ended || ran == 0 {
		t.Fatalf("node %s ended after %d scenarios, and not as it should\n%s", file, ran, stderr.String())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(w.logs.String(), "panic") || strings.Contains(w.logs.String(), "a request failed") {
		t.Errorf("the host's log:\n%s", w.logs.String())
	}
	if strings.Contains(w.logs.String(), "whsec_") {
		t.Error("the host's log holds a secret")
	}
}

// A customer's way through the pages, on both durable stores.
func TestCustomer(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) webhook.Store{"SQLite": sqliteStore, "PostgreSQL": postgresStore} {
		if testing.Short() && name != "SQLite" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, open(t), false).drive(t, "customer.mjs", name == "SQLite")
		})
	}
}

// foreignPage is a page of another site that sends a form to the portal.
var foreignPage = template.Must(template.New("").Parse(`<!doctype html><meta name="referrer" content="{{.policy}}">
<form method="post" action="{{.to}}"><input name="name" value="x"><input name="url" value="https://a.example.com"><input name="events" value="*"><button>Win</button></form>`))

// Over plain http at a name, browsers say less of where a form comes from: the
// portal's own forms are taken, and those of another site are not.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteStore(t), false)
	foreign := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		foreignPage.Execute(rw, map[string]string{"policy": r.FormValue("policy"), "to": r.FormValue("to")})
	}))
	t.Cleanup(foreign.Close)
	at := func(name, raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return "http://" + name + ":" + u.Port()
	}
	w.more = map[string]any{
		"site": at("app.test", w.host.URL), "foreign": at("evil.test", foreign.URL), "args": []string{"--host-resolver-rules=MAP *.test 127.0.0.1"},
	}
	w.drive(t, "plainhttp.mjs", false)
}

// P2: whatever names, payloads and answers hold, it is shown as text, no script
// of it runs, nothing is asked of another host, and the policy has nothing to report.
func TestP2_Hostile(t *testing.T) {
	t.Parallel()
	newWorld(t, sqliteStore(t), false).drive(t, "hostile.mjs", true)
}

// Every page in light, in dark and on a phone: axe finds nothing, nothing sticks
// out. With -shots DIR it also takes the pictures of the documentation.
func TestLook(t *testing.T) {
	t.Parallel()
	newWorld(t, sqliteStore(t), true).drive(t, "look.mjs", true)
	if *shots != "" && !t.Failed() {
		shrink(t, *shots)
	}
}
