package storetest

import (
	"go/parser"
	gotoken "go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// words brings a text onto one line.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// contract returns the comments of the contract's files.
func contract(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, file := range []string{"store.go", "store_types.go", "delivery.go", "errors.go", "webhook.go"} {
		src, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), file, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Comments {
			text.WriteString(c.Text() + "\n")
		}
	}
	return words(text.String())
}

// TestChecksQuoteTheContract makes sure that checks quote the contract word for
// word, so that an edit of a sentence leads to its checks.
func TestChecksQuoteTheContract(t *testing.T) {
	text := contract(t)
	names := map[string]bool{}
	eachCheck(func(name string, c check) {
		if names[name] {
			t.Errorf("two checks are called %s", name)
		}
		names[name] = true
		if c.says == "" || !strings.Contains(text, words(c.says)) {
			t.Errorf("%s quotes a sentence that is not in the contract: %q", name, c.says)
		}
	})
}

// unchecked are the parts of the contract that cannot be checked from outside a
// Store, or not in a test of this kind.
var unchecked = []string{
	"The cost of a call depends on the deliveries", // measured by the benchmarks of each Store
	"A call reads at most q.Scan deliveries",       // counted by the tests of each Store, beside a million
	"Claim is not idempotent, but after an error",  // takes a connection that breaks: the Stores' own tests
	"It never returns secrets",                     // the returned type has no field for them
	"stores w, whose Version is 1",                 // ComesBackAsCreated, with other words
	// Introductions and consequences of sentences that are checked.
	"A cursor stays valid while webhooks are created and deleted", "It makes Publish idempotent", "The Dispatcher encodes them for one call only",
	"It does not depend on the backlog", "how many deliveries wait for the webhooks that it passes", "It serves the tenants that have such deliveries in turn", "Complete records the results of claimed deliveries", "Release gives leases back unused",
	"GetEvent returns one event, or ErrNotFound", "GetDelivery returns one delivery, or ErrNotFound",
	"WebhookWalker is an optional interface", "needs it to reach the webhooks of all tenants", "The stores of this module implement it", "QueueStore is the queue", "LogStore reads the log",
}

// TestEveryMethodIsChecked finds methods whose comment has a sentence that no
// check quotes.
func TestEveryMethodIsChecked(t *testing.T) {
	src, err := os.ReadFile("../store.go")
	if err != nil {
		t.Fatal(err)
	}
	var quotes []string
	eachCheck(func(_ string, c check) { quotes = append(quotes, words(c.says)) })
	_, methods, _ := strings.Cut(string(src), "type WebhookStore interface {")
	comments := regexp.MustCompile(`(?m)^[ \t]*//[ \t]?(.*)$`)
	sentenceEnd := regexp.MustCompile(`[.:] `)
	for _, block := range regexp.MustCompile(`(?m)^\s*\n|^\t\w+\(.*$`).Split(methods, -1) {
		var text []string
		for _, m := range comments.FindAllStringSubmatch(block, -1) {
			text = append(text, m[1])
		}
		for _, sentence := range sentenceEnd.Split(words(strings.Join(text, " "))+" ", -1) {
			if len(strings.Fields(sentence)) < 4 || covered(sentence, quotes) {
				continue
			}
			t.Errorf("no check quotes any part of %q", sentence)
		}
	}
}

// covered reports whether a check quotes the sentence or a part of it.
func covered(sentence string, quotes []string) bool {
	for _, q := range append(quotes, unchecked...) {
		if strings.Contains(q, sentence) || strings.Contains(sentence, strings.TrimRight(q, ".")) {
			return true
		}
	}
	return false
}

// TestInvariantsAreSeen shows that violated invariants are reported.
func TestInvariantsAreSeen(t *testing.T) {
	for name, x := range map[string]*twisted{
		"finished and due": reading(func(d *webhook.Delivery) {
			if d.State != webhook.StatePending {
				d.NextAttemptAt = d.FinishedAt
			}
		})(),
		"pending and finished":   reading(func(d *webhook.Delivery) { d.State = webhook.StatePending })(),
		"no such state":          reading(func(d *webhook.Delivery) { d.State = "sent" })(),
		"no reason":              reading(func(d *webhook.Delivery) { d.Reason = "" })(),
		"uncounted attempts":     reading(func(d *webhook.Delivery) { d.Attempts, d.Tries = 0, 0 })(),
		"unlogged attempts":      logging(func([]webhook.Attempt) []webhook.Attempt { return nil })(),
		"attempts logged twice":  logging(func(as []webhook.Attempt) []webhook.Attempt { return append(as, as...) })(),
		"another tenant's":       reading(func(d *webhook.Delivery) { d.Tenant = t2 })(),
		"two of one event":       reading(func(d *webhook.Delivery) { d.EventID = "s1" })(),
		"an event of other type": reading(func(d *webhook.Delivery) { d.EventType = "other" })(),
	} {
		rec := &recorder{ctx: t.Context()}
		r := newRun(rec, "", fresh(""), true)
		r.history()
		if r.invariants(t1, r.brokenf); len(rec.messages) != 0 {
			t.Fatalf("an intact Store: %v", rec.messages)
		}
		x.Store = r.store
		r.store = x
		if r.invariants(t1, r.brokenf); len(rec.messages) == 0 {
			t.Errorf("%s: nothing was reported", name)
		}
	}
}

func TestInvariantsOfAnIntactStore(t *testing.T) {
	r := newRun(t, "", fresh(""), true)
	r.history()
	CheckInvariants(t, r.store, t1, t2)
}
