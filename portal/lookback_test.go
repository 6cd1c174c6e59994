package portal

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// The search for a rare filter goes on in bounded steps: the page and the API
// say how far the search went, and how to go on.
func TestRareDeliveriesAreLookedForInPieces(t *testing.T) {
	x := newSite(t)
	hook := x.create(asManager, newHook)
	publish := func(eventType string, n int) {
		t.Helper()
		events := make([]webhook.Event, n)
		for i := range events {
			events[i] = webhook.Event{Tenant: "acme", Type: eventType, Data: struct{}{}}
		}
		if _, err := x.env.PublishAll(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	publish("rare.old", 2)
	for range webhook.MaxScan / 500 {
		publish("common.type", 500)
	}
	publish("rare.new", 3)

	further := regexp.MustCompile(`rel="next" href="([^"]*)">Look further back`)
	look := func(query string) (text, next string) {
		t.Helper()
		text = x.do(asManager, http.MethodGet, "/webhooks/"+hook.ID+query, "").want(http.StatusOK).text
		if m := further.FindStringSubmatch(text); m != nil {
			next = html.UnescapeString(m[1])
		}
		return text, next
	}
	rows := func(text string) int { return strings.Count(text, `data-row>`) }

	text, next := look("?type=rare.old")
	if rows(text) != 0 || next == "" || !strings.Contains(text, "No match so far") || !strings.Contains(text, "10,000 deliveries, back to <time") {
		t.Fatalf("%d rows, next %q: %s", rows(text), next, text)
	}
	if text, next = look(next); rows(text) != 2 || next != "" || strings.Contains(text, "Looked through") {
		t.Errorf("further back: %d rows, next %q", rows(text), next)
	}
	// Some, and perhaps more.
	text, next = look("?type=rare.new")
	if rows(text) != 3 || next == "" || !strings.Contains(text, "10,000 deliveries, back to <time") {
		t.Errorf("%d rows, next %q", rows(text), next)
	}
	if text, next = look(next); rows(text) != 0 || next != "" || !strings.Contains(text, "No older delivery matches these filters") {
		t.Errorf("further back: %d rows, next %q", rows(text), next)
	}
	// A full page does not mention it.
	if text, next = look(""); rows(text) != perPage || next != "" || strings.Contains(text, "Looked through") || !strings.Contains(text, ">Older</a>") {
		t.Errorf("without a filter: %d rows, next %q", rows(text), next)
	}

	type listed struct {
		Items   []struct{ EventType string }
		Next    *string
		Reached *string
	}
	path := "/api/webhooks/" + hook.ID + "/deliveries?eventType=rare.old"
	var first, second listed
	x.do(asManager, http.MethodGet, path, "").want(http.StatusOK).json(&first)
	if len(first.Items) != 0 || first.Next == nil || first.Reached == nil {
		t.Fatalf("%+v", first)
	}
	x.do(asManager, http.MethodGet, path+"&cursor="+*first.Next, "").want(http.StatusOK).json(&second)
	if len(second.Items) != 2 || second.Next != nil || second.Reached != nil {
		t.Errorf("%+v", second)
	}
}
