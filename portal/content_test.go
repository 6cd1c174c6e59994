package portal

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/webhooktest"
)

var tags = regexp.MustCompile(`<[^>]*>`)

// seen returns the text of a page, with one space between words.
func (r reply) seen() string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(r.text, " "))), " ")
}

// shows checks that the page shows texts, and that its source contains sources.
func (r reply) shows(what string, texts, sources []string) {
	r.t.Helper()
	seen := r.seen()
	for _, s := range texts {
		if !strings.Contains(seen, s) {
			r.t.Errorf("%s: %q is not to be seen in %s", what, s, seen)
		}
	}
	for _, s := range sources {
		if !strings.Contains(r.text, s) {
			r.t.Errorf("%s: %s is not there in %s", what, s, r.text)
		}
	}
}

// The list shows every webhook with its statistics, can be searched, and
// explains the next step when it is empty.
func TestTheListShowsHowEachDoes(t *testing.T) {
	x := newSite(t)
	x.do(asManager, http.MethodGet, "/", "").want(http.StatusOK).shows("empty", []string{"Add your first webhook", "Add a webhook"}, []string{`href="./new"`})
	w := x.create(asManager, `{"name":"CRM","url":"https://crm.example.com/in","events":["agent.message","user.*","a.b","c.d"]}`)
	x.create(asManager, `{"name":"Data lake","url":"https://lake.example.com/in","events":["*"],"active":false}`)
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/disable", `{"reason":"moving house"}`).want(http.StatusOK)
	x.do(asManager, http.MethodGet, "/", "").want(http.StatusOK).shows("disabled", []string{"CRM Disabled", "moving house", "Last triggered never", "no attempts"}, nil)
	x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/enable", "").want(http.StatusOK)
	x.publish("acme", w.ID)
	x.env.Transport.Receiver("crm.example.com").Answer(webhooktest.Status(500))
	x.publish("acme", w.ID)
	page := x.do(asManager, http.MethodGet, "/", "").want(http.StatusOK)
	page.shows("list", []string{
		"CRM Active", "https://crm.example.com/in", "agent.message", "user.*", "+1 more", "Last triggered just now", "50 % 2 attempts", "Data lake Disabled",
	}, []string{`<svg class="spark"`, `title="agent.message, user.*, a.b, c.d"`, `role="search"`})
	found := x.do(asManager, http.MethodGet, "/?q=LAKE", "").want(http.StatusOK)
	if found.shows("found", []string{"Data lake"}, nil); strings.Contains(found.text, "CRM") {
		t.Error("the search finds everything")
	}
	x.do(asManager, http.MethodGet, "/?q=none", "").want(http.StatusOK).shows("not found", []string{"Nothing matches “ none ”", "Show all webhooks"}, nil)
}

// The form has every setting, with its default filled in and its limits beside it,
// and the host's event types each with a sample.
func TestTheFormShowsEverySettingWithDefaultAndLimits(t *testing.T) {
	x := newSite(t, func(c *Config) {
		c.EventTypes = append(BuiltinEventTypes(), EventType{Name: "order.paid", Description: "An order was paid.", Sample: map[string]any{"order": 4711}})
	})
	x.do(asManager, http.MethodGet, "/new", "").want(http.StatusOK).shows("new", []string{
		fmt.Sprintf("Up to %d bytes", webhook.MaxNameLength), fmt.Sprintf("Up to %d bytes", webhook.MaxURLLength), fmt.Sprintf("Up to %d bytes", webhook.MaxDescriptionLength),
		"At least one.", fmt.Sprintf("Up to %d selections", webhook.MaxEventPatterns),
		"Up to 20, names of up to 128 bytes, values of up to 4,096, 8 KiB in all.",
		"1 to 300, 30 by default", "0 to 10, 3 by default", "0.01 to 10,000, empty for no limit, which is the default",
		"Send only to a receiver with a valid certificate. The default.", "24 to 512 printable characters", "By default it is active at once.",
		"order.paid An order was paid.", `{ "order" : 4711 }`, "agent.action", "agent.message", "user.message",
	}, []string{
		`name="name"`, `name="url"`, `name="description"`, `name="patterns"`, `name="headerName.0"`, `name="headerValue.0"`, `name="secret"`,
		`name="timeout" inputmode="decimal" value="30"`, `name="maxRetries" inputmode="numeric" value="3"`, `name="rateLimit" inputmode="decimal" value=""`,
		`name="active" value="no" aria`, `name="sslVerification" value="on" checked`, `aria-label="Sample of order.paid"`,
	})
	w := x.create(asManager, `{"name":"CRM","url":"https://crm.example.com/in","description":"d","events":["order.paid","x.*"],"headers":{"X-Token":"v"},"timeout":12.5,"maxRetries":0,"rateLimit":2}`)
	x.do(asManager, http.MethodGet, "/webhooks/"+w.ID+"/edit", "").want(http.StatusOK).shows("edit", []string{"X-Token set", "30 by default", "3 by default"}, []string{
		`value="CRM"`, `value="https://crm.example.com/in"`, `name="description" value="d"`, `value="order.paid" checked`, "x.*</textarea>", `value="12.5"`, `value="0"`, `value="2"`,
	})
	// The test page has the same samples.
	x.do(asManager, http.MethodGet, "/webhooks/"+w.ID+"/test", "").want(http.StatusOK).shows("test", []string{"order.paid An order was paid.", `{ "order" : 4711 }`}, []string{`value="agent.action"`})
}

// The page of a webhook has its settings, its actions and two charts. The page
// of a delivery has the requests and the answers.
func TestPagesShowWhatWasSentAndAnswered(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, `{"name":"CRM","url":"https://crm.example.com/in","events":["*"],"headers":{"X-Token":"hunter2"},"maxRetries":2}`)
	answer := webhooktest.Answer{Status: 503, Header: http.Header{"X-Request-Id": {"b7"}}, Body: "try later"}
	x.env.Transport.Receiver("crm.example.com").Answer(answer)
	id := x.publish("acme", w.ID)
	x.do(asManager, http.MethodGet, "/webhooks/"+w.ID, "").want(http.StatusOK).shows("webhook", []string{
		"CRM Active", "30 s for one attempt", "up to 2 retries", "X-Token", "Rotate the secret…", "Disable…", "Delete…", "Edit", "Send test event", "Replay…",
		"Success rate 0 %", "Attempts 1 1 failed", "Last triggered just now", "Retrying", "503", "next try",
	}, []string{`aria-labelledby="health-h"`, `class="bar-bad"`, `class="latency`, `name="state"`, `name="type"`, `name="time"`, `name="from"`, `data-every=`})
	sent := x.env.Transport.Receiver("crm.example.com").Requests()[0]
	page := x.do(asManager, http.MethodGet, "/deliveries/"+id, "").want(http.StatusOK)
	page.shows("delivery", []string{
		"Attempts 1 2 attempts left", "The next attempt is made", "#1", "503", "and took", "Response headers X-Request-Id b7", "try later", "Send now", "POST https://crm.example.com/in", "X-Token hidden", string(sent.Body),
	}, []string{`aria-label="Body, pretty"`, `id="raw"`})
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Webhook-Signature", "X-Webhook-Event", "X-Webhook-Attempt", "User-Agent", "Content-Type"} {
		page.shows("header", []string{name + " " + sent.Header.Get(name)}, nil)
	}
	if strings.Contains(page.text, "hunter2") {
		t.Error("the value of a header is shown")
	}
	x.form(asManager, "/deliveries/"+id+"/resend", url.Values{}).want(http.StatusSeeOther)
}

// These are the API's names of a webhook's fields.
func TestTheAPIsNamesOfAWebhook(t *testing.T) {
	x := newSite(t)
	var hook map[string]any
	x.do(asManager, http.MethodPost, "/api/webhooks", newHook).want(http.StatusCreated).json(&hook)
	for _, name := range strings.Fields("id name url events description active headers sslVerification timeout maxRetries createdAt updatedAt lastTriggeredAt disabledReason secret") {
		if _, ok := hook[name]; !ok {
			t.Errorf("no %s in %v", name, hook)
		}
	}
	if created, err := time.Parse(time.RFC3339, fmt.Sprint(hook["createdAt"])); err != nil || created.IsZero() {
		t.Error(hook["createdAt"], err)
	}
	var again map[string]any
	x.do(asManager, http.MethodGet, "/api/webhooks/"+fmt.Sprint(hook["id"]), "").want(http.StatusOK).json(&again)
	if _, ok := again["secret"]; ok {
		t.Error("the secret is shown again")
	}
}
