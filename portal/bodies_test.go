package portal

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// A body that is not exactly of the route's form is refused with the field and
// the reason, and has no effect.
func TestP7_BodiesAreReadStrictly(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	before := x.everything("acme")
	create := func(rest string) string {
		return `{"name":"a","url":"https://a.example.com","events":["*"]` + rest + `}`
	}
	for name, c := range map[string]struct {
		body, field string // field empty: the body is malformed
	}{
		"empty":             {"", ""},
		"blank":             {" ", ""},
		"null":              {"null", ""},
		"a list":            {"[]", ""},
		"a string":          {`"x"`, ""},
		"broken off":        {`{"name":"a"`, ""},
		"trailing data":     {create("") + `{}`, ""},
		"trailing comma":    {create(","), ""},
		"a comment":         {create("/*x*/"), ""},
		"byte order mark":   {"\ufeff" + create(""), ""},
		"bad UTF-8":         {"{\"name\":\"\xff\"}", ""},
		"bare NUL":          {"{\"name\":\"a\x00\"}", ""},
		"two values":        {create("") + create(""), ""},
		"deep":              {strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), ""},
		"deeper":            {strings.Repeat(`[`, 500_000), ""},
		"unknown":           {create(`,"colour":"x"`), "colour"},
		"another case":      {create(`,"Timeout":30`), "Timeout"},
		"twice":             {create(`,"timeout":30,"timeout":300`), "timeout"},
		"twice, escaped":    {create(`,"timeout":30,"time\u006fut":300`), "timeout"},
		"twice inside":      {create(`,"headers":{"A":"1","A":"2"}`), "headers.A"},
		"header twice":      {create(`,"headers":{"X-A":"1","x-a":"2"}`), "headers"},
		"read-only":         {create(`,"createdAt":"2024-01-01T00:00:00Z"`), "createdAt"},
		"null setting":      {create(`,"timeout":null`), "timeout"},
		"name a number":     {`{"name":1,"url":"https://a.example.com","events":["*"]}`, "name"},
		"events a string":   {`{"name":"a","url":"https://a.example.com","events":"*"}`, "events"},
		"events of numbers": {`{"name":"a","url":"https://a.example.com","events":["*",1]}`, "events[1]"},
		"events empty":      {`{"name":"a","url":"https://a.example.com","events":[]}`, "events"},
		"events missing":    {`{"name":"a","url":"https://a.example.com"}`, "events"},
		"bad event":         {`{"name":"a","url":"https://a.example.com","events":["*","a b"]}`, "events[1]"},
		"headers a list":    {create(`,"headers":["a"]`), "headers"},
		"header a number":   {create(`,"headers":{"A":1}`), `headers["A"]`},
		"reserved header":   {create(`,"headers":{"Host":"x"}`), "headers"},
		"line in header":    {create(`,"headers":{"A":"x\r\nB: y"}`), "headers"},
		"active a string":   {create(`,"active":"false"`), "active"},
		"timeout a string":  {create(`,"timeout":"30"`), "timeout"},
		"timeout 0":         {create(`,"timeout":0`), "timeout"},
		"timeout below 0":   {create(`,"timeout":-1`), "timeout"},
		"timeout too long":  {create(`,"timeout":300.000001`), "timeout"},
		"timeout huge":      {create(`,"timeout":1e400`), "timeout"},
		"timeout wraps":     {create(`,"timeout":1e12`), "timeout"},
		"timeout tiny":      {create(`,"timeout":1e-400`), "timeout"},
		"rate a string":     {create(`,"rateLimit":"1"`), "rateLimit"},
		"rate too high":     {create(`,"rateLimit":10001`), "rateLimit"},
		"rate too low":      {create(`,"rateLimit":0.001`), "rateLimit"},
		"rate below 0":      {create(`,"rateLimit":-1`), "rateLimit"},
		"rate huge":         {create(`,"rateLimit":1e400`), "rateLimit"},
		"retries a half":    {create(`,"maxRetries":1.5`), "maxRetries"},
		"retries 11":        {create(`,"maxRetries":11`), "maxRetries"},
		"retries -1":        {create(`,"maxRetries":-1`), "maxRetries"},
		"retries wrap":      {create(`,"maxRetries":18446744073709551617`), "maxRetries"},
		"retries exponent":  {create(`,"maxRetries":1e0`), "maxRetries"},
		"private address":   {`{"name":"a","url":"https://127.0.0.1/","events":["*"]}`, "url"},
		"metadata address":  {`{"name":"a","url":"http://169.254.169.254/latest","events":["*"]}`, "url"},
		"decimal address":   {`{"name":"a","url":"https://2130706433/","events":["*"]}`, "url"},
		"private network":   {`{"name":"a","url":"https://10.1.2.3/","events":["*"]}`, "url"},
		"localhost":         {`{"name":"a","url":"https://localhost/","events":["*"]}`, "url"},
		"a script":          {`{"name":"a","url":"javascript:alert(1)","events":["*"]}`, "url"},
		"a file":            {`{"name":"a","url":"file:///etc/passwd","events":["*"]}`, "url"},
	} {
		r := x.do(asManager, http.MethodPost, "/api/webhooks", c.body, with("Content-Type", "application/json"))
		if c.field == "" {
			if c.body == "" {
				r.problem(http.StatusBadRequest, codeMalformed)
				continue
			}
			if r.StatusCode != http.StatusBadRequest || !strings.Contains(r.text, `"code":"malformed"`) {
				t.Errorf("%s: %d %s", name, r.StatusCode, r.text)
			}
			continue
		}
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.text)
			continue
		}
		if got := r.fields(); got[c.field] == "" || len(got) > 1 {
			t.Errorf("%s: refused %v, want %s", name, got, c.field)
		}
	}
	// Every refused field is named at once.
	got := x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"","url":"x","events":[],"timeout":0,"maxRetries":11}`).fields()
	for _, f := range []string{"name", "url", "events", "timeout", "maxRetries"} {
		if got[f] == "" {
			t.Errorf("%s is missing: %v", f, got)
		}
	}
	for _, c := range []struct{ method, path, body, field string }{
		{http.MethodPatch, "", `{"name":null}`, "name"},
		{http.MethodPatch, "", `{"events":[]}`, "events"},
		{http.MethodPatch, "", `{"id":"x"}`, "id"},
		{http.MethodPatch, "", `{"url":"https://10.1.2.3/"}`, "url"},
		{http.MethodPost, "/disable", `{"why":"x"}`, "why"},
		{http.MethodPost, "/disable", `{"reason":1}`, "reason"},
		{http.MethodPost, "/enable", `{"reason":"x"}`, "reason"},
		{http.MethodPost, "/test", `{"type":"no.such"}`, "type"},
		{http.MethodPost, "/test", `{"data":{"amount":1}}`, "data"},
		{http.MethodPost, "/rotate-secret", `{"Secret":"x"}`, "Secret"},
		{http.MethodPost, "/replay", `{}`, "since"},
		{http.MethodPost, "/replay", `{"since":"yesterday"}`, "since"},
		{http.MethodPost, "/replay", `{"since":"0000-01-01T00:00:00Z"}`, "since"},
		{http.MethodPost, "/replay", `{"since":1}`, "since"},
		{http.MethodPost, "/replay", `{"since":"2024-01-01T00:00:00Z","states":["odd"]}`, "states"},
		{http.MethodPost, "/replay", `{"since":"2024-01-01T00:00:00Z","limit":0}`, "limit"},
		{http.MethodPost, "/replay", `{"since":"2024-01-01T00:00:00Z","limit":1001}`, "limit"},
		{http.MethodPost, "/replay", `{"since":"2024-01-01T00:00:00Z","cursor":"forged"}`, "cursor"},
		{http.MethodDelete, "", `{"really":true}`, "really"},
	} {
		r := x.do(asManager, c.method, "/api/webhooks/"+w.ID+c.path, c.body, with("If-Match", "*"))
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, r.StatusCode, r.text)
		} else if got := r.fields(); got[c.field] == "" {
			t.Errorf("%s %s %s: %v", c.method, c.path, c.body, got)
		}
	}
	if diff := cmp.Diff(before, x.everything("acme")); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// A body may have 1 MiB and no more, whether its length is announced or not.
func TestP7_BodiesAreBounded(t *testing.T) {
	x := newSite(t)
	fill := func(n int) string {
		const rest = `{"name":""}`
		return `{"name":"` + strings.Repeat("a", n-len(rest)) + `"}`
	}
	for _, chunked := range []bool{false, true} {
		length := func(r *http.Request) {
			if chunked {
				r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
			}
		}
		x.do(asManager, http.MethodPost, "/api/webhooks", fill(maxBody), length).problem(http.StatusBadRequest, codeInvalid)
		r := x.do(asManager, http.MethodPost, "/api/webhooks", fill(maxBody+1), length)
		r.problem(http.StatusRequestEntityTooLarge, codeTooLarge)
		if len(r.text) > 1000 {
			t.Errorf("the refusal is %d bytes", len(r.text))
		}
	}
}

// Refusals stay short for any input.
func TestP7_RefusalsAreBounded(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	long := strings.Repeat("ab", 100_000)
	for _, r := range []reply{
		x.do(asManager, http.MethodPost, "/api/webhooks", `{"`+long+`":1}`),
		x.do(asManager, http.MethodPost, "/api/webhooks", `{"headers":{"`+long+`":"1","`+long+`":"1"}}`),
		x.do(asManager, http.MethodPost, "/api/webhooks", `{"name":"`+long+`","url":"`+long+`","events":["`+long+`"],"description":"`+long+`","secret":"`+long+`","timeout":`+strings.Repeat("1", 100_000)+`}`),
		x.do(asManager, http.MethodPost, "/api/webhooks/"+w.ID+"/test", `{"type":"`+long+`"}`),
		x.do(asManager, http.MethodGet, "/api/webhooks?cursor="+long+"&search="+long+"&limit="+long+"&x"+long+"=1", ""),
		x.do(asManager, http.MethodGet, "/api/webhooks/"+long, ""),
		x.do(asManager, long[:2000], "/api/webhooks", ""),
	} {
		if r.StatusCode < 400 || r.StatusCode > 499 || len(r.text) > 4000 {
			t.Errorf("%d, %d bytes: %.300s", r.StatusCode, len(r.text), r.text)
		}
	}
}

// Any bytes as a body are refused or understood, and never cause an internal
// error.
func FuzzBody(f *testing.F) {
	for _, s := range []string{newHook, `{}`, `{"timeout":1e309}`, `{"headers":{"a":null}}`, `{"events":[[[[]]]]}`, `{"a":1,"\u0061":2}`, "{\"name\":\"\\ud800\"}", `[`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := readObject(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body))), true)
		if err != nil {
			if p := problemOf(err); p.Status != http.StatusBadRequest && p.Status != http.StatusRequestEntityTooLarge {
				t.Fatalf("%v", err)
			}
			return
		}
		_, _, _, _, _, _, _ = o.text("name"), o.texts("events"), o.flag("active"), o.integer("maxRetries"), o.seconds("timeout"), o.headers("headers"), o.moment("since")
		err = o.done()
		if known := len(o.listed) == 0; known != (err == nil) {
			t.Fatalf("%v, %v", o.listed, err)
		}
		if err != nil && problemOf(err).Status != http.StatusBadRequest {
			t.Fatal(err)
		}
	})
}

// A time in a body or a query is refused, or can be shown, stored and read
// again.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2024-01-15T11:45:00Z", "2024-01-15T11:45:00.123456789+05:30", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
		"2024-02-30T00:00:00Z", "2024-01-15", "1705318800", "2024-01-15t11:45:00z", "2024-01-15T11:45:00,5Z", "2024-01-15T24:00:00Z", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseTime(s)
		if err != nil {
			if !at.IsZero() || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v, %v", s, at, err)
			}
			return
		}
		again, err := parseTime(at.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(at) || at.Location() != time.UTC {
			t.Fatalf("%q is %v, which becomes %v, %v", s, at, again, err)
		}
	})
}

// Any bytes as a form are refused, or understood so that the form can be shown
// again, and never cause an internal error.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"name=a&url=https%3A%2F%2Fa.example.com&event=*", "header-name-0=X-A&header-value-0=b", "op=add-header", "timeout=1e9&maxRetries=-1",
		"name=%zz", "a;b", "name=%00%ff", "=", "", "rateLimit=NaN"} {
		f.Add([]byte(s))
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		f.Fatal(err)
	}
	h, err := New(d, Config{Access: testLogin})
	if err != nil {
		f.Fatal(err)
	}
	x := h.(*server)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := parseForm(r); err != nil {
			if p := problemOf(err); p.Status != http.StatusBadRequest && p.Status != http.StatusRequestEntityTooLarge {
				t.Fatal(err)
			}
			return
		}
		form := x.readForm(r.PostForm)
		form.New = true
		form.settings()
		w := httptest.NewRecorder()
		x.showForm(w, r, Access{Tenant: "acme", Manage: true}, http.StatusOK, form)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "</html>") {
			t.Fatalf("%q: status %d, %d bytes of page", body, w.Code, w.Body.Len())
		}
	})
}

// Invalid cursors, filters and limits are refused with a reason.
func TestP9_QueriesAreReadStrictly(t *testing.T) {
	x := newSite(t)
	w := x.create(asManager, newHook)
	x.publish("acme", w.ID)
	for path, queries := range map[string]map[string]string{
		"/api/webhooks": {
			"limit=-1": "limit", "limit=0": "limit", "limit=1e9": "limit", "limit=1000000000": "limit", "limit=501": "limit", "limit=": "limit",
			"limit=99999999999999999999": "limit", "limit=1&limit=2": "limit", "limit=%31%30%30%30": "limit", "limit=+1+": "limit", "limit=0x10": "limit",
			"cursor=forged": "cursor", "cursor=%00": "cursor", "cursor=%27+OR+1=1--": "cursor", "cursor=%ff": "cursor",
			"search=%00": "search", "search=%ff": "search", "search=%zz": "query", "a;b": "query", "sort=id": "sort", "order=desc": "order", "Limit=1": "Limit",
			"search=a&search=b": "search",
		},
		"/api/webhooks/" + w.ID + "/deliveries": {
			"state=odd": "state", "state=PENDING": "state", "eventType=*": "eventType", "eventType=a%00": "eventType", "eventId=%27": "eventId",
			"since=yesterday": "since", "since=1705318800": "since", "until=2024-01-15": "until", "since=0000-01-01T00:00:00Z": "since", "webhookId=" + w.ID: "webhookId",
			"cursor=" + strings.Repeat("A", 5000): "cursor", "state=failed&state=pending": "state",
		},
		"/api/webhooks/" + w.ID + "/stats": {
			"since=2024-01-01T00:00:00Z": "since", "since=2024-02-01T00:00:00Z&until=2024-01-01T00:00:00Z": "since", "hours=5": "hours",
		},
		"/api/webhooks/" + w.ID: {"secret=1": "secret"},
		"/api/event-types":      {"x": "x"},
	} {
		for q, field := range queries {
			r := x.do(asManager, http.MethodGet, path+"?"+q, "")
			if r.StatusCode != http.StatusBadRequest {
				t.Errorf("%s?%s: %d %s", path, q, r.StatusCode, r.text)
			} else if got := r.fields(); got[field] == "" {
				t.Errorf("%s?%s: refused %v, want %s", path, q, got, field)
			}
		}
	}
	// Text that looks like SQL is only text.
	var page struct{ Items []created }
	for _, q := range []string{"%25", "_", "%27%3B+DROP+TABLE+webhooks%3B--", "C_M", "%5C", "%25CRM%25"} {
		x.do(asManager, http.MethodGet, "/api/webhooks?search="+q, "").want(http.StatusOK).json(&page)
		if len(page.Items) != 0 {
			t.Errorf("search=%s finds %d webhooks", q, len(page.Items))
		}
	}
	x.do(asManager, http.MethodGet, "/api/webhooks?search=cRm&limit=500", "").want(http.StatusOK).json(&page)
	if len(page.Items) != 1 {
		t.Errorf("the search finds %d webhooks", len(page.Items))
	}
	for _, q := range []string{"?since=2024-01-15T11:45:00%2B01:00", "?since=2024-01-15T11:45:00+01:00"} {
		x.do(asManager, http.MethodGet, "/api/webhooks/"+w.ID+"/deliveries"+q, "").want(http.StatusOK)
	}
	// Page by page, every webhook is listed once.
	for range 6 {
		x.create(asManager, newHook)
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		var p struct {
			Items []created
			Next  *string
		}
		x.do(asManager, http.MethodGet, "/api/webhooks?limit=3&cursor="+cursor, "").want(http.StatusOK).json(&p)
		for _, w := range p.Items {
			if seen[w.ID] {
				t.Errorf("%s is there twice", w.ID)
			}
			seen[w.ID] = true
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	if len(seen) != 7 {
		t.Errorf("%d webhooks were listed, want 7", len(seen))
	}
	if _, err := x.env.Webhook(t.Context(), "acme", w.ID); err != nil {
		t.Error(err)
	}
}
