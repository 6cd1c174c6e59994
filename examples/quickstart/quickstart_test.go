package main

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/examples/internal/program"
	"github.com/seed68722ecd/webhook/verify"
)

// The first command of the README prints the output shown there, and ends by
// itself with exit code 0.
func TestQuickstart(t *testing.T) {
	bin := program.Build(t, ".")
	start := time.Now()
	p := program.Start(t, exec.CommandContext(t.Context(), bin))
	if code := p.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.Output())
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v, want less than 10 s", took)
	}
	out := p.Output()
	for _, line := range []string{
		`EVENT +WEBHOOK +ATTEMPT +STATUS +TOOK +VERIFIED +THEN +WHAT IT SAYS`,
		`agent.action +CRM +1 +204 +[\d.]+ms +yes +done +Ada did WARP_EXECUTE`,
		`agent.message +CRM +1 +204 +[\d.]+ms +yes +done +Ada: It arrives tomorrow.`,
		`user.message +Inbox +1 +503 +[\d.]+ms +yes +retry in [\d.]+s +Bob: Where is my order\?`,
		`user.message +Inbox +2 +204 +[\d.]+ms +yes +done +Bob: Where is my order\?`,
		`agent.message +\(forged\) +1 +401 +[\d.]+ms +WRONG SIGNATURE +nothing +nobody said this`,
	} {
		if n := len(regexp.MustCompile(`(?m)^`+line+`$`).FindAllString(out, -1)); n != 1 {
			t.Errorf("%d lines like %q, want 1", n, line)
		}
	}
	for line := range strings.Lines(out) {
		if n := len([]rune(line)); n > 120 {
			t.Errorf("%d characters are too wide for a screen: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestQuickstartFailsWhenItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := run(ctx, &out); err == nil {
		t.Errorf("no error:\n%s", out.String())
	}
	if strings.Contains(out.String(), "got nowhere") {
		t.Error("it says that all went well")
	}
}

// Every way in which the story can go wrong is an error.
func TestQuickstartChecksItsStory(t *testing.T) {
	good := func() *journal {
		j := newJournal()
		add := func(id, event, webhookName string, attempt, status int, verdict string) {
			j.lines = append(j.lines, line{eventID: id, event: event, webhook: webhookName, attempt: attempt, status: status})
			j.verdicts[id+"/"+string(rune('0'+attempt))] = verdict
		}
		add("1", "agent.action", "CRM", 1, 204, "yes")
		add("2", "agent.message", "CRM", 1, 204, "yes")
		add("3", "user.message", "Inbox", 1, 503, "yes")
		add("3", "user.message", "Inbox", 2, 204, "yes")
		add("f", "agent.message", "(forged)", 1, 401, "WRONG SIGNATURE")
		return j
	}
	if err := good().check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*journal){
		"a delivery is missing":   func(j *journal) { j.lines = j.lines[1:] },
		"no retry":                func(j *journal) { j.lines[3] = j.lines[4]; j.lines = j.lines[:4] },
		"one attempt too many":    func(j *journal) { j.lines = append(j.lines, j.lines[3]) },
		"not verified":            func(j *journal) { delete(j.verdicts, "2/1") },
		"the forged one verifies": func(j *journal) { j.verdicts["f/1"], j.lines[4].status = "yes", 204 },
		"the receiver was up":     func(j *journal) { j.lines[2].status = 204 },
	} {
		j := good()
		spoil(j)
		if j.check() == nil {
			t.Errorf("%s, and that is no error", name)
		}
	}
}

func TestJournalNamesTheEndOfADelivery(t *testing.T) {
	j := newJournal()
	j.attempt(webhook.Delivery{State: webhook.StateFailed, Reason: webhook.ReasonGone}, webhook.Attempt{})
	if got := j.lines[0].next; got != "failed: gone" {
		t.Errorf("a failed delivery is shown as %q", got)
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		d    verify.Delivery
		want string
	}{
		{verify.Delivery{Type: "agent.message", Data: []byte(`{"agent":{"id":"1","name":"A"},"content":"x"}`)}, "A: x"},
		{verify.Delivery{Type: "order.paid", Data: []byte(`{"order":1}`)}, `{"order":1}`},
	} {
		if got := summary(&c.d); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	bad := verify.Delivery{Type: "agent.message", Data: []byte(`{"agent":7}`)}
	if _, err := bad.Event(); !errors.Is(err, verify.ErrPayload) || summary(&bad) != err.Error() {
		t.Errorf("data that does not fit: %q, %v", summary(&bad), err)
	}
}
