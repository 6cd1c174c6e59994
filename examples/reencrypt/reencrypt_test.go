package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

func key(id string) string {
	return id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(id[:1]), 32))
}

// register creates n webhooks with the marker in secret and header in a
// database, through a dispatcher with these keys; without keys they are stored
// plain.
func register(t *testing.T, file, keys string, n int) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := sqlitestore.New(db, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var cfg webhook.Config
	if keys != "" {
		if cfg.Keys, err = webhook.ParseKeyring(keys); err != nil {
			t.Fatal(err)
		}
	}
	d, err := webhook.New(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		_, _, err := d.CreateWebhook(t.Context(), fmt.Sprintf("tenant-%d", i%2), webhook.WebhookSpec{
			Name: "n", URL: "https://h.example.com/", Events: []string{"*"},
			Secret: "marker-secret-of-at-least-24", Headers: map[string]string{"X-Token": "marker-token"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReencryptsAndScrubs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "webhook.db")
	register(t, file, "", 5)
	reencrypt := func(o options, keys string) (string, error) {
		o.store, o.batch = "sqlite:"+file, 2
		var out strings.Builder
		err := run(t.Context(), &out, o, keys)
		return out.String(), err
	}
	out, err := reencrypt(options{scrub: true}, key("a"))
	if err != nil || !strings.Contains(out, "2 webhooks, 2 written, 0 left\n") || !strings.HasSuffix(out, "5 webhooks, 5 written, 0 left\nscrubbed\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []string{file, file + "-wal"} {
		if b, err := os.ReadFile(f); err != nil && !errors.Is(err, os.ErrNotExist) || bytes.Contains(b, []byte("marker")) {
			t.Errorf("%s still holds what was overwritten, or %v", f, err)
		}
	}
	if out, err = reencrypt(options{}, key("a")); err != nil || !strings.Contains(out, "5 webhooks, 0 written, 0 left") {
		t.Errorf("again: %v\n%s", err, out)
	}
	if out, err = reencrypt(options{tenant: "tenant-1"}, key("b")+" "+key("a")); err != nil || !strings.Contains(out, "2 webhooks, 2 written, 0 left") {
		t.Errorf("one tenant: %v\n%s", err, out)
	}
	// Webhooks that need a missing key are named, and the run ends with an
	// error.
	out, err = reencrypt(options{}, key("b"))
	if !errors.Is(err, errLeft) || strings.Count(out, `needs key "a"`) != 3 || !strings.Contains(out, "5 webhooks, 0 written, 3 left") {
		t.Errorf("without the old key: %v\n%s", err, out)
	}
	if strings.Contains(out, "marker") {
		t.Errorf("a secret is printed:\n%s", out)
	}
}

func TestInterruptedRunSaysWhereToGoOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "webhook.db")
	register(t, file, "", 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out strings.Builder
	err := run(ctx, &after{&out, "2 webhooks", cancel}, options{store: "sqlite:" + file, batch: 2}, key("a"))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	_, cursor, _ := strings.Cut(err.Error(), `go on with -cursor "`)
	cursor, _, _ = strings.Cut(cursor, `"`)
	out.Reset()
	if err := run(t.Context(), &out, options{store: "sqlite:" + file, batch: 2, cursor: cursor}, key("a")); err != nil || out.String() != "1 webhooks, 1 written, 0 left\n" {
		t.Errorf("from %q: %v\n%s", cursor, err, out.String())
	}
}

// after calls then once text has been written.
type after struct {
	*strings.Builder
	text string
	then func()
}

func (a *after) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(a.text)) {
		a.then()
	}
	return a.Builder.Write(p)
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for want, o := range map[string]options{
		"WEBHOOK_KEYS":     {store: "sqlite:" + dir},
		"must be sqlite":   {store: "mysql://x"},
		"no such file":     {store: "sqlite:" + filepath.Join(dir, "none.db")},
		"dial":             {store: "postgres://u:marker@127.0.0.1:1/x"},
		"invalid":          {store: "postgres://u:marker@127.0.0.1:1/x", schema: "x; DROP"},
		"cannot be opened": {store: "sqlite:" + dir},
	} {
		keys := key("a")
		if want == "WEBHOOK_KEYS" {
			keys = ""
		}
		var out strings.Builder
		err := run(t.Context(), &out, o, keys)
		if err == nil {
			t.Errorf("%+v: no error", o)
			continue
		}
		if want != "cannot be opened" && want != "invalid" && !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "marker") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a refused run created %v, %v", left, err)
	}
}
