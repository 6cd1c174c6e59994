package webhook_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
)

// bodyOf publishes an event and returns the bytes that are sent for it.
func bodyOf(t *testing.T, d *webhook.Dispatcher, ev webhook.Event) string {
	t.Helper()
	p, err := d.Publish(t.Context(), ev)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := d.Event(t.Context(), ev.Tenant, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(webhook.Body(rec, webhook.Delivery{WebhookID: "wh_1", WebhookName: "n"}))
}

// body returns an event of type x at a fixed time as it is on the wire.
func body(data string) string {
	return `{"event":"x","webhook":{"id":"wh_1","name":"n"},"timestamp":"2026-01-02T03:04:05.000006Z","data":` + data + `}`
}

var fixedTime = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

type order struct {
	ID    int               `json:"id"`
	Note  string            `json:"note,omitempty"`
	Price float64           `json:"price"`
	Tags  map[string]string `json:"tags"`
	inner int
}

func (*order) EventType() string { return "order.paid" }

type panicky struct{ N *int }

func (p panicky) MarshalJSON() ([]byte, error) { return []byte{byte(*p.N)}, nil }

type panickyType struct{ *order }

func (p panickyType) EventType() string { return string(rune(p.ID)) }

func TestEventDataOfAllKinds(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	var cyclic struct {
		Self any `json:"self"`
	}
	cyclic.Self = &cyclic
	deep := func(n int) json.RawMessage {
		return json.RawMessage(`{"d":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`)
	}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	tests := []struct {
		name    string
		data    any
		want    string   // data on the wire, empty when it is refused
		refused []string // texts in the reason
	}{
		{"struct", order{ID: 1, Price: 1e21, Tags: map[string]string{"b": "<", "1": "&"}, inner: 5},
			`{"id":1,"price":1e+21,"tags":{"1":"&","b":"<"}}`, nil},
		{"map", map[string]any{"b": 1, "a": []int{1, 2}, "10": nil, "9": true}, `{"9":true,"10":null,"a":[1,2],"b":1}`, nil},
		{"empty map", map[string]any{}, `{}`, nil},
		{"pointer to a built-in type", &webhook.AgentMessage{Agent: webhook.Ref{"a", "A"}, Content: "<\u2028>"}, "", []string{"agent.message"}},
		{"raw", raw(" {\"b\" : 1.0, \"a\":\"\\u0041\"}\n"), `{"b":1,"a":"A"}`, nil},
		{"pointer to raw", new(raw(`{"a":1}`)), `{"a":1}`, nil},
		{"nil pointer to a typed value", (*order)(nil), "", []string{"object"}},
		{"nil pointer", (*struct{})(nil), "", []string{"object"}},
		{"nil map", map[string]any(nil), "", []string{"object"}},
		{"nothing", nil, "", []string{"missing"}},
		{"empty raw", raw(""), "", []string{"not valid JSON"}},
		{"nil raw", json.RawMessage(nil), "", []string{"not valid JSON"}},
		{"array", []int{1}, "", []string{"object"}},
		{"string", "text", "", []string{"object"}},
		{"number", 5, "", []string{"object"}},
		{"bytes", []byte(`{"a":1}`), "", []string{"object"}},
		{"NaN", map[string]float64{"a": math.NaN()}, "", []string{"NaN"}},
		{"infinity", map[string]float64{"a": math.Inf(1)}, "", []string{"Inf"}},
		{"channel", map[string]any{"a": make(chan int)}, "", []string{"chan int"}},
		{"cycle", &cyclic, "", []string{"cycle"}},
		{"panic while encoding", map[string]any{"a": panicky{}}, "", []string{"panicked"}},
		{"panic in EventType", panickyType{}, "", []string{"panicked"}},
		{"int64 beyond 2^53", map[string]any{"list": []int64{1, 1<<53 + 1}}, "", []string{"$.list[1]"}},
		{"the largest uint64", map[string]any{"n": uint64(math.MaxUint64)}, "", []string{"$.n"}},
		{"json.Number", map[string]any{"n": json.Number("1e400")}, "", []string{"$.n"}},
		{"__proto__", raw(`{"a":{"__proto__":1}}`), "", []string{"__proto__", "$.a"}},
		{"nested to the limit", deep(webhook.MaxEventDepth), string(deep(webhook.MaxEventDepth)), nil},
		{"nested too deeply", deep(webhook.MaxEventDepth + 1), "", []string{"256"}},
		{"two values", raw(`{}{}`), "", []string{"not valid JSON"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := webhook.Event{Tenant: tenant, Type: "x", Time: fixedTime, Data: tt.data}
			if tt.want != "" {
				if diff := cmp.Diff(body(tt.want), bodyOf(t, d, ev)); diff != "" {
					t.Errorf("body (-want +got):\n%s", diff)
				}
				return
			}
			_, err := d.Publish(t.Context(), ev)
			got := refusals(t, err)
			for _, part := range tt.refused {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if got["data"] == "" && got["type"] == "" {
				t.Errorf("refused %v, want data or type", got)
			}
		})
	}
}

// Table V-A of the reliability list, through Publish, for whole bodies.
func TestV2_TableVAThroughPublish(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	tests := []struct {
		row  string
		data any
		want string // data on the wire, empty when it is refused
	}{
		{"1 HTML", map[string]string{"h": "<a>&"}, `{"h":"<a>&"}`},
		{"1 HTML raw", json.RawMessage(`{"h":"\u003ca\u003e\u0026"}`), `{"h":"<a>&"}`},
		{"2 line separators", map[string]string{"s": "\u2028\u2029"}, "{\"s\":\"\u2028\u2029\"}"},
		{"3 trailing newline", json.RawMessage("{\"a\":1}\n"), `{"a":1}`},
		{"4 invalid UTF-8", map[string]string{"s": "a\xffb"}, "{\"s\":\"a\uFFFDb\"}"},
		{"5 invalid UTF-8 raw", json.RawMessage("{\"s\":\"a\xffb\"}"), "{\"s\":\"a\uFFFDb\"}"},
		{"6 negative zero", map[string]any{"f": math.Copysign(0, -1), "n": json.Number("-0")}, `{"f":0,"n":0}`},
		{"7 int64", map[string]int64{"n": math.MaxInt64}, ""},
		{"7 2^53-1", map[string]int64{"n": 1<<53 - 1}, `{"n":9007199254740991}`},
		{"8 spellings", json.RawMessage(`{"n":[1.0,1e2,1E+2,0.10,0.1e1,0.0000001,1000000000000000000000,1e21]}`), `{"n":[1,100,100,0.1,1,1e-7,1e+21,1e+21]}`},
		{"9 overflow", json.RawMessage(`{"n":1e400}`), ""},
		{"9 underflow", json.RawMessage(`{"n":1e-400}`), ""},
		{"10 integer-like keys", json.RawMessage(`{"b":1,"10":2,"01":3,"2":4,"4294967295":5,"4294967294":6}`), `{"2":4,"10":2,"4294967294":6,"b":1,"01":3,"4294967295":5}`},
		{"11 duplicate keys", json.RawMessage(`{"a":1,"b":2,"a":3}`), `{"a":3,"b":2}`},
		{"12 escapes", json.RawMessage(`{"s":"\/\u0041\u00e9\u0008\u007f\u001F\ud83d\ude00"}`), "{\"s\":\"/Aé\\b\x7f\\u001f😀\"}"},
		{"13 lone surrogate", json.RawMessage(`{"s":"\uD83D\u0041"}`), `{"s":"\ud83dA"}`},
		{"14 white space", json.RawMessage("{ \"a\" :\t[ 1 ] }"), `{"a":[1]}`},
		{"15 BOM", json.RawMessage("\xef\xbb\xbf{}"), ""},
		{"17 keys", json.RawMessage(`{"constructor":1,"toJSON":2,"":3}`), `{"constructor":1,"toJSON":2,"":3}`},
		{"same", map[string]any{"s": "\b\f\n\r\t\v\x7f\ufffe\U0001F600\x00"}, "{\"s\":\"\\b\\f\\n\\r\\t\\u000b\x7f\ufffe😀\\u0000\"}"},
		{"same floats", map[string]float64{"a": 1e-7, "b": 5e-324, "c": math.MaxFloat64}, `{"a":1e-7,"b":5e-324,"c":1.7976931348623157e+308}`},
		{"same float32", map[string]float32{"a": 0.1}, `{"a":0.1}`},
	}
	for _, tt := range tests {
		t.Run(tt.row, func(t *testing.T) {
			ev := webhook.Event{Tenant: tenant, Type: "x", Time: fixedTime, Data: tt.data}
			if tt.want == "" {
				_, err := d.Publish(t.Context(), ev)
				if got := refusals(t, err); got["data"] == "" {
					t.Errorf("refused %v, want data", got)
				}
				return
			}
			if diff := cmp.Diff(body(tt.want), bodyOf(t, d, ev)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestV13_TimesOfEvents(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 123456789, time.FixedZone("", -3600))
	d, _ := newIdle(t, webhook.Config{Now: func() time.Time { return now }})
	tests := []struct {
		name string
		at   time.Time
		want string // empty: refused
	}{
		{"zero is now", time.Time{}, "2030-01-01T01:00:00.123456Z"},
		{"whole second", time.Date(2024, 1, 15, 11, 45, 0, 0, time.UTC), "2024-01-15T11:45:00.000000Z"},
		{"cut, not rounded", time.Date(2024, 12, 31, 23, 59, 59, 999_999_999, time.UTC), "2024-12-31T23:59:59.999999Z"},
		{"another zone", time.Date(2024, 1, 1, 0, 30, 0, 1000, time.FixedZone("CET", 3600)), "2023-12-31T23:30:00.000001Z"},
		{"before 1970", time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC), "1969-12-31T23:59:59.999999Z"},
		{"a leap day", time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), "2024-02-29T12:00:00.000000Z"},
		{"year 1", time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), "0001-01-01T00:00:00.000001Z"},
		{"year 9999", time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), "9999-12-31T23:59:59.999999Z"},
		{"year 10000", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ""},
		{"year 10000 in UTC only", time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)), ""},
		{"year 0", time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC), ""},
		{"before year 0", time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := webhook.Event{Tenant: tenant, Type: "x", Time: tt.at, Data: map[string]any{}}
			if tt.want == "" {
				_, err := d.Publish(t.Context(), ev)
				if got := refusals(t, err); !strings.Contains(got["time"], "1–9999") {
					t.Errorf("refused %v, want time", got)
				}
				return
			}
			if got := bodyOf(t, d, ev); !strings.Contains(got, `"timestamp":"`+tt.want+`","data"`) {
				t.Errorf("body %s does not have the time %s", got, tt.want)
			}
		})
	}
}

func TestEventFieldsHaveLimits(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	long := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name    string
		ev      webhook.Event
		field   string
		reasons []string
	}{
		{"longest ID", webhook.Event{ID: long(64), Type: "x"}, "", nil},
		{"ID of all characters", webhook.Event{ID: "AZaz09_-", Type: "x"}, "", nil},
		{"ID too long", webhook.Event{ID: long(65), Type: "x"}, "id", []string{"1–64", long(65)}},
		{"ID with a dot", webhook.Event{ID: "a.b", Type: "x"}, "id", []string{`"a.b"`}},
		{"ID with a line break", webhook.Event{ID: "a\n", Type: "x"}, "id", []string{`"a\n"`}},
		{"ID that is not ASCII", webhook.Event{ID: "ä", Type: "x"}, "id", []string{`"\u00e4"`}},
		{"longest key", webhook.Event{Key: long(512), Type: "x"}, "", nil},
		{"key of any form", webhook.Event{Key: "Zahlung 7 – \x00\xff", Type: "x"}, "", nil},
		{"key too long", webhook.Event{Key: long(513), Type: "x"}, "key", []string{"512", "513"}},
		{"ID and key", webhook.Event{ID: "a", Key: "b", Type: "x"}, "key", []string{"not both"}},
		{"longest type", webhook.Event{Type: long(128)}, "", nil},
		{"type too long", webhook.Event{Type: long(129)}, "type", []string{"128", "129"}},
		{"no type", webhook.Event{}, "type", []string{"required"}},
		{"type that is a selection", webhook.Event{Type: "a.*"}, "type", []string{`"a.*"`}},
		{"type with an empty part", webhook.Event{Type: "a."}, "type", []string{`"a."`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.ev.Tenant, tt.ev.Data = tenant, map[string]string{"of": tt.name}
			_, err := d.Publish(t.Context(), tt.ev)
			if tt.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			got := refusals(t, err)
			if len(got) != 1 {
				t.Errorf("refused %v, want %s only", got, tt.field)
			}
			for _, part := range tt.reasons {
				if !strings.Contains(got[tt.field], part) {
					t.Errorf("reason %q does not say %q", got[tt.field], part)
				}
			}
		})
	}
	_, err := d.Publish(t.Context(), webhook.Event{ID: ".", Type: ".", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)})
	if got := refusals(t, err); len(got) != 5 {
		t.Errorf("refused %v, want tenant, id, type, time and data", got)
	}
}

func TestEventTypeOfTypedData(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	typed := map[string]any{
		"agent.action": webhook.AgentAction{}, "agent.message": &webhook.AgentMessage{}, "user.message": webhook.UserMessage{}, "order.paid": &order{},
	}
	for want, data := range typed {
		for _, given := range []string{"", want} {
			req, err := d.Prepare(webhook.Event{Tenant: tenant, Type: given, Data: data})
			if err != nil || req.Event.Type != want {
				t.Errorf("%T published as %q is of type %q, %v; want %q", data, given, req.Event.Type, err, want)
			}
		}
		_, err := d.Prepare(webhook.Event{Tenant: tenant, Type: "other", Data: data})
		if got := refusals(t, err); !strings.Contains(got["type"], `"other"`) || !strings.Contains(got["type"], want) {
			t.Errorf("%T published as other: %v", data, got)
		}
	}
	// A struct without pointer receiver knows no type of its own.
	_, err := d.Prepare(webhook.Event{Tenant: tenant, Data: order{}})
	if got := refusals(t, err); got["type"] == "" {
		t.Errorf("refused %v, want type", got)
	}
}

// The three types are written without reflection: the bytes must equal the
// canonical form of the result of encoding/json.
func TestTypedEventsAreEncodedAsTheirTagsSay(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	nasty := "<&>\"\\/\u2028\xff\x00\b\n😀"
	ref := webhook.Ref{ID: "1" + nasty, Name: nasty}
	for _, data := range []any{
		webhook.AgentAction{Agent: ref, Room: nasty, Action: "WARP_EXECUTE", Content: `{"a":"` + nasty + `"}`}, webhook.AgentAction{},
		webhook.AgentMessage{Agent: ref, Room: nasty, Content: nasty}, webhook.AgentMessage{},
		webhook.UserMessage{Agent: ref, User: ref, Room: ref, Content: nasty}, webhook.UserMessage{},
	} {
		direct, err := d.Prepare(webhook.Event{ID: "a", Tenant: tenant, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		viaJSON, err := d.Prepare(webhook.Event{ID: "a", Tenant: tenant, Type: direct.Event.Type, Data: json.RawMessage(encoded)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(viaJSON.Event.Data), string(direct.Event.Data)); diff != "" {
			t.Errorf("%T (-encoding/json +own):\n%s", data, diff)
		}
	}
}

func TestD28_EventSizeIsBounded(t *testing.T) {
	for _, limit := range []int{100, 256 << 10} {
		d, _ := newIdle(t, webhook.Config{MaxEventSize: limit})
		ofSize := func(n int) map[string]string { return map[string]string{"a": strings.Repeat("x", n-len(`{"a":""}`))} }
		if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: ofSize(limit)}); err != nil {
			t.Errorf("%d bytes are refused: %v", limit, err)
		}
		large := []any{ofSize(limit + 1), ofSize(40 * limit), webhook.AgentMessage{Content: strings.Repeat("x", limit)},
			webhook.AgentAction{Content: strings.Repeat("x", limit)}, webhook.UserMessage{Content: strings.Repeat("x", limit)}}
		for _, data := range large {
			ev := webhook.Event{Tenant: tenant, Data: data}
			if _, ok := data.(webhook.Typed); !ok {
				ev.Type = "x"
			}
			_, err := d.Publish(t.Context(), ev)
			wantErr(t, err, webhook.ErrEventTooLarge, "at most")
			_, err = d.PublishAll(t.Context(), []webhook.Event{ev})
			wantErr(t, err, webhook.ErrEventTooLarge, "event 0")
		}
		// White space does not count, and escapes that are not needed hardly do.
		spaced := json.RawMessage("{" + strings.Repeat(" ", 5*limit) + "}")
		if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: spaced}); err != nil {
			t.Errorf("white space counts: %v", err)
		}
	}
	// With other fields refused too, the size is one of them.
	d, _ := newIdle(t, webhook.Config{MaxEventSize: 10})
	_, err := d.Publish(t.Context(), webhook.Event{Type: "x", Data: map[string]string{"a": "0123456789"}})
	if got := refusals(t, err); len(got) != 2 || !strings.Contains(got["data"], "10") || errors.Is(err, webhook.ErrEventTooLarge) {
		t.Errorf("refused %v", got)
	}
}

func TestBodyKeepsNoMemory(t *testing.T) {
	ev := webhook.EventRecord{Type: "x", Time: fixedTime, Data: []byte(`{}`)}
	b := webhook.Body(ev, webhook.Delivery{WebhookID: "wh_1", WebhookName: "n"})
	clear(b)
	if string(ev.Data) != "{}" || string(webhook.Body(ev, webhook.Delivery{WebhookID: "wh_1", WebhookName: "n"})) != body("{}") {
		t.Error("writing to a body changes the event")
	}
}
