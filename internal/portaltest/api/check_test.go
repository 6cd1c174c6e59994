package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	verrors "github.com/pb33f/libopenapi-validator/errors"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// checker is a client's transport that holds every request and every answer
// against the OpenAPI document, and notes what it has seen.
type checker struct {
	t     testing.TB
	below string // path of api/, without the slash at the end
	v     validator.Validator
	model *v3.Document

	mu   sync.Mutex
	seen map[string]map[bool]int // by "GET /webhooks/{id}": how often with success, how often without
}

func newChecker(t testing.TB, document []byte, below string) *checker {
	t.Helper()
	doc, err := libopenapi.NewDocument(document)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		t.Fatalf("the document is not OpenAPI 3.1: %v", explain(errs))
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	return &checker{t: t, below: below, v: v, model: &model.Model, seen: map[string]map[bool]int{}}
}

// RoundTrip makes a request and checks both ways. What the document does not
// allow must be refused; the answer must be one that the document has for it.
func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := http.DefaultTransport.RoundTrip(r) //nolint:forbidigo // a test's client, on loopback
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	c.check(r, body, resp, answer)
	return resp, nil
}

// check reports what differs from the document.
func (c *checker) check(r *http.Request, body []byte, resp *http.Response, answer []byte) {
	c.t.Helper()
	path := c.pattern(r.URL.EscapedPath())
	op := r.Method + " " + path
	known := path != "" && c.has(path, r.Method)
	// As the document knows it: its paths are relative to api/.
	plain := r.Clone(r.Context())
	plain.URL = &url.URL{Scheme: "http", Host: "api", Path: strings.TrimPrefix(r.URL.Path, c.below), RawQuery: r.URL.RawQuery}
	plain.Body = io.NopCloser(bytes.NewReader(body))
	wellFormed := false
	var why []*verrors.ValidationError
	if known {
		wellFormed, why = c.v.ValidateHttpRequest(plain)
	}
	success := resp.StatusCode >= 200 && resp.StatusCode < 300 || resp.StatusCode == http.StatusNotModified
	if success && !wellFormed {
		c.t.Errorf("%s was carried out (%d) and the document does not allow it: %s\n%s", op, resp.StatusCode, explain(why), body)
	}
	if resp.StatusCode >= 500 {
		c.t.Errorf("%s: %d %s", op, resp.StatusCode, answer)
	}
	if !known {
		// No route: the answer is a problem all the same.
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Content-Type") != "application/problem+json" {
			c.t.Errorf("%s is not in the document: %d %s", op, resp.StatusCode, answer)
		}
		return
	}
	copied := *resp
	copied.Body = io.NopCloser(bytes.NewReader(answer))
	plain.Body = io.NopCloser(bytes.NewReader(body))
	if r.Method != http.MethodHead {
		if ok, errs := c.v.ValidateHttpResponse(plain, &copied); !ok {
			c.t.Errorf("%s: the document has no such answer: %s\n%d %s", op, explain(errs), resp.StatusCode, answer)
		}
	}
	c.headers(op, resp)
	if success && len(answer) > 0 && (resp.Header.Get("Content-Type") != "application/json" || !json.Valid(answer)) {
		c.t.Errorf("%s: %q is not JSON: %.200s", op, resp.Header.Get("Content-Type"), answer)
	}
	if !success && resp.Header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%s: %d is no problem: %.200s", op, resp.StatusCode, answer)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[op] == nil {
		c.seen[op] = map[bool]int{}
	}
	c.seen[op][success]++
}

// headers checks that an answer has the headers that the document promises, and
// no Location or ETag that it does not mention.
func (c *checker) headers(op string, resp *http.Response) {
	method, path, _ := strings.Cut(op, " ")
	item, _ := c.model.Paths.PathItems.Get(path)
	o, ok := item.GetOperations().Get(strings.ToLower(method))
	if !ok {
		return
	}
	promised := map[string]bool{}
	if r, ok := o.Responses.Codes.Get(fmt.Sprint(resp.StatusCode)); ok && r.Headers != nil {
		for name := range r.Headers.KeysFromOldest() {
			promised[http.CanonicalHeaderKey(name)] = true
		}
	}
	for _, name := range []string{"Location", "Etag"} {
		if promised[name] != (resp.Header.Get(name) != "") {
			c.t.Errorf("%s (%d): header %s is %q, promised: %v", op, resp.StatusCode, name, resp.Header.Get(name), promised[name])
		}
	}
}

// pattern returns the path of the document that a request's path is one of.
func (c *checker) pattern(path string) string {
	rest, ok := strings.CutPrefix(path, c.below)
	if !ok {
		return ""
	}
	got := strings.Split(rest, "/")
	best := ""
	for p := range c.model.Paths.PathItems.KeysFromOldest() {
		want := strings.Split(p, "/")
		if len(want) != len(got) {
			continue
		}
		match := true
		for i := range want {
			match = match && (want[i] == got[i] || strings.HasPrefix(want[i], "{") && got[i] != "")
		}
		if match {
			best = p
		}
	}
	return best
}

func (c *checker) has(path, method string) bool {
	item, ok := c.model.Paths.PathItems.Get(path)
	if !ok {
		return false
	}
	_, ok = item.GetOperations().Get(strings.ToLower(method))
	return ok
}

// operations returns everything that the document describes, as "GET /webhooks".
func (c *checker) operations() []string {
	var out []string
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().KeysFromOldest() {
			out = append(out, strings.ToUpper(method)+" "+path)
		}
	}
	return out
}

func explain(errs []*verrors.ValidationError) string {
	var b strings.Builder
	for _, e := range errs {
		fmt.Fprintf(&b, "%s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&b, " [%s %s]", s.FieldPath, s.Reason)
		}
		b.WriteString("; ")
	}
	return b.String()
}
