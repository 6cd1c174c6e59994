package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook/verify"
)

func verifyBody(t *testing.T, cfg verify.Config, body string) (*verify.Delivery, error) {
	t.Helper()
	h := signedHeader(body, testTime, testSecret)
	h.Del("X-Webhook-Event")
	return mustNew(t, cfg, testSecret).Verify([]byte(body), h)
}

func TestDeliveryFields(t *testing.T) {
	d, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), signedHeader(testBody, testTime, testSecret))
	if err != nil {
		t.Fatal(err)
	}
	want := &verify.Delivery{
		Body:      []byte(testBody),
		ID:        "msg_1",
		Type:      "agent.message",
		Attempt:   2,
		SentAt:    testTime,
		Timestamp: time.Date(2024, 1, 15, 11, 45, 0, 0, time.UTC),
		Webhook:   verify.Ref{ID: "wh_1", Name: "My hook"},
		Data:      json.RawMessage(`{"agent":{"id":"ag_1","name":"Ada"},"room":"r7Kq","content":"hello"}`),
		Scheme:    verify.SchemeV1,
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("Delivery (-want +got):\n%s", diff)
	}
}

func TestV8_EmptyBodyVerifiesAndFailsToDecode(t *testing.T) {
	if _, err := verifyBody(t, verify.Config{}, ""); !errors.Is(err, verify.ErrPayload) || errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("standard: %v, want ErrPayload", err)
	}
	v := mustNew(t, verify.Config{AllowPlain: true}, testSecret)
	if _, err := v.Verify(nil, plainHeader(signPlain(testSecret, ""))); !errors.Is(err, verify.ErrPayload) {
		t.Errorf("plain: %v, want ErrPayload", err)
	}
	if _, err := v.Verify(nil, plainHeader(signPlain(testSecret, " "))); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("plain, of another body: %v, want ErrSignatureMismatch", err)
	}
	other := signedHeader("hello", testTime, testSecret)
	other.Set("X-Webhook-Event", "anything")
	if _, err := mustNew(t, verify.Config{AnyBody: true}, testSecret).Verify([]byte("hello"), other); err != nil {
		t.Errorf("AnyBody, with a header about a type that the body does not have: %v", err)
	}
	d, err := verifyBody(t, verify.Config{AnyBody: true}, "")
	if err != nil || len(d.Body) != 0 || d.Type != "" {
		t.Errorf("AnyBody: %+v, %v", d, err)
	}
	if _, err := d.Event(); err != nil {
		t.Errorf("Event of an unknown type: %v", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, verify.ErrPayload) {
		t.Errorf("Decode of no data: %v, want ErrPayload", err)
	}
}

func TestV10_BodyForm(t *testing.T) {
	const form = `{"event":"a.b","webhook":{"id":"w","name":"n"},"timestamp":%q,"data":{}}`
	for _, tt := range []struct{ name, body, text string }{
		{"not JSON", `hello`, "byte 1"},
		{"cut off", testBody[:40], "not JSON"},
		{"two documents", testBody + testBody, "not JSON"},
		{"null", `null`, "event"},
		{"array", `[]`, "JSON type"},
		{"string", `"x"`, "JSON type"},
		{"no event", strings.Replace(testBody, `"event":`, `"ev":`, 1), `"event"`},
		{"empty event", strings.Replace(testBody, `"agent.message"`, `""`, 1), `"event"`},
		{"event is null", strings.Replace(testBody, `"agent.message"`, `null`, 1), `"event"`},
		{"event is a number", strings.Replace(testBody, `"agent.message"`, `1`, 1), `"event"`},
		{"no webhook", strings.Replace(testBody, `"webhook":`, `"wh":`, 1), `"webhook"`},
		{"webhook is a string", strings.Replace(testBody, `{"id":"wh_1","name":"My hook"}`, `"w"`, 1), `"webhook"`},
		{"webhook has a long ID", strings.Replace(testBody, "wh_1", strings.Repeat("w", 256), 1), `"webhook"`},
		{"no data", strings.Replace(testBody, `"data":`, `"da":`, 1), `"data"`},
		{"no timestamp", strings.Replace(testBody, `"timestamp":`, `"ts":`, 1), `"timestamp"`},
		{"timestamp is a number", strings.Replace(testBody, `"2024-01-15T11:45:00.000000Z"`, `1705320000`, 1), `"timestamp"`},
		{"timestamp empty", fmt.Sprintf(form, ""), "timestamp"},
		{"no fraction", fmt.Sprintf(form, "2024-01-15T11:45:00Z"), "timestamp"},
		{"3 digits", fmt.Sprintf(form, "2024-01-15T11:45:00.000Z"), "timestamp"},
		{"7 digits", fmt.Sprintf(form, "2024-01-15T11:45:00.0000000Z"), "timestamp"},
		{"9 digits", fmt.Sprintf(form, "2024-01-15T11:45:00.000000000Z"), "timestamp"},
		{"comma", fmt.Sprintf(form, "2024-01-15T11:45:00,000000Z"), "timestamp"},
		{"offset", fmt.Sprintf(form, "2024-01-15T11:45:00.000000+00:00"), "timestamp"},
		{"no zone", fmt.Sprintf(form, "2024-01-15T11:45:00.000000"), "timestamp"},
		{"lower case", fmt.Sprintf(form, "2024-01-15t11:45:00.000000z"), "timestamp"},
		{"space", fmt.Sprintf(form, "2024-01-15 11:45:00.000000Z"), "timestamp"},
		{"short hour", fmt.Sprintf(form, "2024-01-15T1:45:00.000000Z"), "timestamp"},
		{"no such day", fmt.Sprintf(form, "2023-02-29T11:45:00.000000Z"), "timestamp"},
		{"leap second", fmt.Sprintf(form, "2016-12-31T23:59:60.000000Z"), "timestamp"},
		{"trailing", fmt.Sprintf(form, "2024-01-15T11:45:00.000000Z "), "timestamp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := verifyBody(t, verify.Config{}, tt.body)
			if d != nil || !errors.Is(err, verify.ErrPayload) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("Verify = %v, %v; want ErrPayload naming %s", d, err, tt.text)
			}
			d, err = verifyBody(t, verify.Config{AnyBody: true}, tt.body)
			if err != nil || string(d.Body) != tt.body || d.Type != "" || d.Data != nil || !d.Timestamp.IsZero() {
				t.Errorf("AnyBody = %+v, %v; want the bytes and nothing else", d, err)
			}
		})
	}
	d, err := verifyBody(t, verify.Config{}, fmt.Sprintf(form, "2024-02-29T23:59:59.999999Z"))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2024, 2, 29, 23, 59, 59, 999999000, time.UTC); !d.Timestamp.Equal(want) {
		t.Errorf("Timestamp = %v, want %v", d.Timestamp, want)
	}
	if d, err = verifyBody(t, verify.Config{}, strings.Replace(testBody, "wh_1", strings.Repeat("w", 255), 1)); err != nil || len(d.Webhook.ID) != 255 {
		t.Fatalf("a webhook's ID of 255 bytes: %v", err)
	}
	// The event's own time has no window: a replay is days old.
	if d.SentAt.Equal(d.Timestamp) {
		t.Error("SentAt is the event's time")
	}
}

func TestEvents(t *testing.T) {
	envelope := func(typ, data string) string {
		return `{"event":"` + typ + `","webhook":{"id":"w","name":"n","added":1},"timestamp":"2024-01-15T11:45:00.000000Z","data":` + data + `,"added":{}}`
	}
	for _, tt := range []struct {
		typ, data string
		want      any
	}{
		{
			verify.TypeAgentAction, `{"agent":{"id":"a","name":"Ada"},"room":"r","action":"WARP_EXECUTE","content":"{\"x\":1}","added":true}`,
			verify.AgentAction{Agent: verify.Ref{ID: "a", Name: "Ada"}, Room: "r", Action: "WARP_EXECUTE", Content: `{"x":1}`},
		},
		{
			verify.TypeAgentMessage, `{"agent":{"id":"a","name":"Ada"},"room":"r","content":"<b>\u2028"}`,
			verify.AgentMessage{Agent: verify.Ref{ID: "a", Name: "Ada"}, Room: "r", Content: "<b>\u2028"},
		},
		{
			verify.TypeUserMessage, `{"agent":{"id":"a","name":"Ada"},"user":{"id":"u","name":"Una"},"room":{"id":"r","name":"Lobby"},"content":"hi"}`,
			verify.UserMessage{Agent: verify.Ref{ID: "a", Name: "Ada"}, User: verify.Ref{ID: "u", Name: "Una"}, Room: verify.Ref{ID: "r", Name: "Lobby"}, Content: "hi"},
		},
		{"invoice.paid", `{"total":"12.50"}`, json.RawMessage(`{"total":"12.50"}`)},
		{"invoice.void", `null`, json.RawMessage(`null`)},
	} {
		t.Run(tt.typ, func(t *testing.T) {
			d, err := verifyBody(t, verify.Config{}, envelope(tt.typ, tt.data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Event()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Event (-want +got):\n%s", diff)
			}
		})
	}
	for _, data := range []string{`null`, `[]`, `"x"`, `{"agent":"Ada"}`, `{"content":1}`} {
		d, err := verifyBody(t, verify.Config{}, envelope(verify.TypeAgentMessage, data))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := d.Event(); v != nil || !errors.Is(err, verify.ErrPayload) {
			t.Errorf("%s: Event = %v, %v; want ErrPayload", data, v, err)
		}
	}
	d, err := verifyBody(t, verify.Config{}, envelope("invoice.paid", `{"total":"12.50","added":1}`))
	if err != nil {
		t.Fatal(err)
	}
	var invoice struct{ Total string }
	if err := d.Decode(&invoice); err != nil || invoice.Total != "12.50" {
		t.Errorf("Decode = %+v, %v", invoice, err)
	}
}

func TestUnsignedHeaders(t *testing.T) {
	v := mustNew(t, verify.Config{}, testSecret)
	for _, tt := range []struct {
		name, header string
		values       []string
		want         error
		attempt      int
	}{
		{"event absent", "X-Webhook-Event", nil, nil, 2},
		{"another event", "X-Webhook-Event", []string{"agent.action"}, verify.ErrEventHeader, 0},
		{"case of event", "X-Webhook-Event", []string{"Agent.message"}, verify.ErrEventHeader, 0},
		{"empty event", "X-Webhook-Event", []string{""}, verify.ErrEventHeader, 0},
		{"second event", "X-Webhook-Event", []string{"agent.message", "x"}, verify.ErrEventHeader, 0},
		{"attempt absent", "X-Webhook-Attempt", nil, nil, 0},
		{"attempt 11", "X-Webhook-Attempt", []string{"11"}, nil, 11},
		{"the last attempt there is", "X-Webhook-Attempt", []string{"2147483647"}, nil, 2147483647},
		{"attempt beyond 31 bits", "X-Webhook-Attempt", []string{"2147483648"}, nil, 0},
		{"attempt negative", "X-Webhook-Attempt", []string{"-1"}, nil, 0},
		{"attempt huge", "X-Webhook-Attempt", []string{"99999999999999999999"}, nil, 0},
		{"attempt twice", "X-Webhook-Attempt", []string{"1", "2"}, nil, 0},
		{"attempt text", "X-Webhook-Attempt", []string{"one"}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := signedHeader(testBody, testTime, testSecret)
			delete(h, tt.header)
			if tt.values != nil {
				h[tt.header] = tt.values
			}
			d, err := v.Verify([]byte(testBody), h)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if err == nil && (d.Attempt != tt.attempt || d.Type != "agent.message") {
				t.Errorf("attempt %d, type %q", d.Attempt, d.Type)
			}
		})
	}
}

// Frameworks hand over header maps in any spelling.
func TestHeaderSpelling(t *testing.T) {
	v := mustNew(t, verify.Config{AllowPlain: true}, testSecret)
	for name, change := range map[string]func(string) string{
		"lower": strings.ToLower, "upper": strings.ToUpper, "canonical": http.CanonicalHeaderKey,
	} {
		h := map[string][]string{}
		for k, vs := range signedHeader(testBody, testTime, testSecret) {
			h[change(k)] = vs
		}
		d, err := v.Verify([]byte(testBody), h)
		if err != nil || d.Attempt != 2 || d.Scheme != verify.SchemeV1 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	// A second spelling is a second value, and a name that only looks like
	// the header's is another name.
	for name, want := range map[string]error{
		"webhook-signature":      verify.ErrHeaderRepeated,
		"WEBHOOK-ID":             verify.ErrHeaderRepeated,
		"webhook-Timestamp":      verify.ErrHeaderRepeated,
		"webhook_signature":      nil,
		"web\u212aook-signature": nil,
		"webhoo\u212a-signature": nil,
		"webhook-signature\t":    nil,
	} {
		h := signedHeader(testBody, testTime, testSecret)
		h[name] = []string{"v1,AAAA"}
		if _, err := v.Verify([]byte(testBody), h); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	missing := signedHeader(testBody, testTime, testSecret)
	missing.Del("webhook-timestamp")
	if _, err := v.Verify([]byte(testBody), missing); !errors.Is(err, verify.ErrNoTimestamp) {
		t.Errorf("no timestamp: %v, want ErrNoTimestamp", err)
	}
	if _, err := v.Verify([]byte(testBody), nil); !errors.Is(err, verify.ErrNoSignature) {
		t.Errorf("nil header: %v, want ErrNoSignature", err)
	}
}

// The plain signature counts only if the receiver allows it.
func TestPlainIsOptIn(t *testing.T) {
	h := plainHeader(signPlain(testSecret, testBody))
	if _, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), h); !errors.Is(err, verify.ErrPlainOnly) {
		t.Errorf("by default: %v, want ErrPlainOnly", err)
	}
	if _, err := verify.Verify([]byte(testBody), h, testSecret); !errors.Is(err, verify.ErrPlainOnly) {
		t.Errorf("by Verify: %v, want ErrPlainOnly", err)
	}
	d, err := mustNew(t, verify.Config{AllowPlain: true}, testSecret).Verify([]byte(testBody), h)
	if err != nil || d.ID != "" || d.DedupKey() != "" || !d.SentAt.IsZero() || d.Type != "agent.message" {
		t.Errorf("allowed: %+v, %v", d, err)
	}
}

// Frameworks reuse the memory of a request for the next one.
func TestDeliverySharesNoMemory(t *testing.T) {
	body := []byte(testBody)
	d, err := mustNew(t, verify.Config{}, testSecret).Verify(body, signedHeader(testBody, testTime, testSecret))
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if string(d.Body) != testBody || !json.Valid(d.Data) {
		t.Error("the Delivery changed with the caller's slice")
	}
	clear(d.Body)
	if !json.Valid(d.Data) {
		t.Error("Data shares memory with Body")
	}
}
