package portal

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/webhooktest"
)

// hostile is text that browsers, terminals or parsers might misinterpret.
var hostile = []string{
	`"><script>alert(1)</script>`, `</script><script>alert(1)</script>`, `<svg onload=alert(1)>`, `<img src=x onerror=alert(1)>`,
	`javascript:alert(1)`, `{{7*7}}`, `${7*7}`, "\u202egnp.exe", "a\u2028b\u2029c", "\ufeffx", `'; DROP TABLE webhooks; --`, `%3Cscript%3E`,
	`<!--`, `]]>`, `&lt;script&gt;`, `\u003cscript\u003e`,
}

// Text comes back unchanged, in answers that browsers treat only as JSON.
func TestP2_HostileTextStaysTextInTheAPI(t *testing.T) {
	x := newSite(t)
	plain := func(r reply) {
		t.Helper()
		for _, s := range []string{"<script", "<svg", "<img", "</", "<!--", "\u2028"} {
			if strings.Contains(r.text, s) {
				t.Errorf("the answer holds %q: %s", s, r.text)
			}
		}
		if ct := r.Header.Get("Content-Type"); ct != "application/json" && ct != "application/problem+json" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("Content-Type %q, nosniff %q", ct, r.Header.Get("X-Content-Type-Options"))
		}
	}
	for _, text := range hostile {
		body, err := json.Marshal(map[string]any{"name": text, "url": "https://crm.example.com/in", "events": []string{"*"}, "description": text})
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ ID, Name, Description string }
		r := x.do(asManager, http.MethodPost, "/api/webhooks", string(body)).want(http.StatusCreated).json(&got)
		plain(r)
		if got.Name != text || got.Description != text {
			t.Errorf("%q came back as %q, %q", text, got.Name, got.Description)
		}
		x.do(asManager, http.MethodPost, "/api/webhooks/"+got.ID+"/disable", `{"reason":`+quoteJSON(text)+`}`).want(http.StatusOK)
		plain(x.do(asManager, http.MethodGet, "/api/webhooks?search="+"crm", "").want(http.StatusOK))
		x.do(asManager, http.MethodDelete, "/api/webhooks/"+got.ID, "").want(http.StatusNoContent)
		// If it is refused, the refusal is as harmless.
		for _, field := range []string{"url", "events", "headers"} {
			v := any(text)
			switch field {
			case "events":
				v = []string{text}
			case "headers":
				v = map[string]string{text: "v"}
			}
			bad := map[string]any{"name": "x", "url": "https://crm.example.com/in", "events": []string{"*"}, field: v}
			body, err := json.Marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			r := x.do(asManager, http.MethodPost, "/api/webhooks", string(body))
			plain(r)
			if r.StatusCode != http.StatusCreated { // %3C is a header's name like any other
				r.fields()
			} else if field != "headers" {
				t.Errorf("%s: %q is taken", field, text)
			}
		}
		plain(x.do(asManager, http.MethodPost, "/api/webhooks", `{`+quoteJSON(text)+`:1}`))
		plain(x.do(asManager, http.MethodPost, "/api/webhooks/wh_none/test", `{"type":`+quoteJSON(text)+`}`))
	}
	// Control characters and NUL are refused in text that is shown.
	for _, text := range []string{"a\x00b", "a\nb", "\x1b[31m", "a\u0085b"} {
		if got := x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":`+quoteJSON(text)+`,"url":"https://crm.example.com","events":["*"]}`).fields(); got["name"] == "" {
			t.Errorf("%q is taken", text)
		}
	}
}

func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A receiver's answer is shown as text, whatever it contains, and never served
// as a document of its own.
func TestP2_HostileAnswersStayText(t *testing.T) {
	for name, answer := range map[string]string{
		"html": "<html><script>alert(1)</script>", "nul": "a\x00b", "bytes": "\xff\xfe\x00\x80", "long line": strings.Repeat("x", 1<<20), "json": `{"a":"</script>"}`,
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			w := x.create(asManager, newHook)
			x.env.Transport.Receiver("crm.example.com").Answer(webhooktest.Answer{
				Status: http.StatusBadGateway, Body: answer, Header: http.Header{"Content-Type": {`text/html"><script>`}, "Server": {"<svg onload=alert(1)>"}},
			})
			id := x.publish("acme", w.ID)
			var got struct {
				LastStatus int
				Attempts   []struct {
					ResponseBody, ResponseBodyBase64 string
					ResponseTruncated                bool
					ResponseHeaders                  map[string]string
				}
			}
			r := x.do(asManager, http.MethodGet, "/api/deliveries/"+id, "").want(http.StatusOK).json(&got)
			if strings.Contains(r.text, "<") || len(r.text) > 20<<10 || r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%d bytes: %.2000s", len(r.text), r.text)
			}
			at := got.Attempts[0]
			switch name {
			case "bytes":
				if at.ResponseBodyBase64 != "//4AgA==" || at.ResponseBody != "\ufffd\x00\ufffd" {
					t.Errorf("%+v", at)
				}
			case "long line":
				if len(at.ResponseBody) != 4096 || !at.ResponseTruncated {
					t.Errorf("%d bytes, truncated %v", len(at.ResponseBody), at.ResponseTruncated)
				}
			default:
				if at.ResponseBody != answer || at.ResponseBodyBase64 != "" {
					t.Errorf("%+v", at)
				}
			}
			if at.ResponseHeaders["Server"] != "<svg onload=alert(1)>" || got.LastStatus != http.StatusBadGateway {
				t.Errorf("%+v", got)
			}
		})
	}
}
