package interop

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/ecmajson"
)

// corpus returns the encoder's regression set, each document as the value of
// one key, as an event's data has to be an object.
func corpus(t *testing.T) []any {
	t.Helper()
	file, err := os.ReadFile("../ecmajson/testdata/corpus.base64")
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	for line := range bytes.Lines(file) {
		doc, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil {
			t.Fatalf("line %d of the corpus: %v", len(out)+1, err)
		}
		out = append(out, json.RawMessage(`{"v":`+string(doc)+`}`))
	}
	return out
}

// publishAll publishes every payload that can be, checks that the others are
// refused for what is wrong with them, and returns how many were published.
func (s *sender) publishAll(payloads []any) (accepted int) {
	s.t.Helper()
	kinds := map[error]int{}
	for _, data := range payloads {
		_, err := s.Publish(s.t.Context(), event(data))
		if err == nil {
			accepted++
		}
		reason, kind := wrong(data)
		if kind != nil {
			kinds[kind]++
		}
		invalid, ok := errors.AsType[*webhook.ValidationError](err)
		switch {
		case kind == nil && err != nil:
			s.t.Errorf("%.300q was refused: %v", data, err)
		case kind != nil && err == nil:
			s.t.Errorf("%.300q was published: %s", data, reason)
		case kind != nil && (!ok || len(invalid.Fields) != 1 || invalid.Fields[0].Field != "data" || !strings.Contains(invalid.Fields[0].Reason, reason)):
			s.t.Errorf("%.300q was refused with %v, want %s", data, err, reason)
		}
	}
	s.t.Logf("%d payloads published, refused: %v", accepted, kinds)
	return accepted
}

// wrong says why data cannot be sent so that JavaScript sees the same, and nil
// when it can.
func wrong(data any) (reason string, kind error) {
	switch data.(type) {
	case webhook.AgentAction, webhook.AgentMessage, webhook.UserMessage:
		return "", nil // nothing but strings
	}
	src, ok := data.(json.RawMessage)
	if !ok {
		var err error
		if src, err = json.Marshal(data); err != nil {
			return err.Error(), err
		}
	}
	_, err := ecmajson.AppendObject(nil, src, ecmajson.Limits{MaxDepth: webhook.MaxEventDepth})
	if err == nil {
		if !json.Valid(src) {
			return "the encoder takes what encoding/json does not", ecmajson.ErrSyntax
		}
		return "", nil
	}
	for _, kind := range []error{ecmajson.ErrNumber, ecmajson.ErrKey, ecmajson.ErrDepth} {
		if errors.Is(err, kind) {
			return err.Error(), kind
		}
	}
	if errors.Is(err, ecmajson.ErrSyntax) && !json.Valid(src) {
		return err.Error(), ecmajson.ErrSyntax
	}
	return "no such refusal is known: " + err.Error(), err
}

// generator makes event data of every kind that a host can publish.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 0x1e7e))} }

func (g generator) payloads(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = g.data()
	}
	return out
}

func (g generator) data() any {
	ref := func() webhook.Ref { return webhook.Ref{ID: g.text(), Name: g.text()} }
	switch g.IntN(8) {
	case 0:
		return webhook.AgentAction{Agent: ref(), Room: g.text(), Action: g.text(), Content: g.text()}
	case 1:
		return webhook.AgentMessage{Agent: ref(), Room: g.text(), Content: g.text()}
	case 2:
		return webhook.UserMessage{Agent: ref(), User: ref(), Room: ref(), Content: g.text()}
	case 3, 4: // as a host's own type would be
		return struct {
			B      string          `json:"b"`
			Nine   any             `json:"9"`
			Ten    map[string]any  `json:"10"`
			Floats []float64       `json:"floats"`
			Raw    json.RawMessage `json:"raw"`
			Bytes  []byte          `json:"bytes,omitempty"`
			Int    int64           `json:"int"`
			Single float32         `json:"single"`
		}{g.text(), g.value(3), g.object(3), []float64{g.double(), g.double()}, g.raw(2), []byte(g.text()), g.integer(), float32(g.NormFloat64())}
	case 5:
		return g.object(4)
	default:
		return json.RawMessage(g.rawObject(4))
	}
}

// text is a string with what strings can hold, broken UTF-8 among it.
func (g generator) text() string {
	var b strings.Builder
	for range g.IntN(12) {
		switch g.IntN(7) {
		case 0:
			b.WriteString(`plain <script>&"'\/ text`)
		case 1:
			b.WriteByte(byte(g.IntN(0x20)))
		case 2:
			b.WriteRune(rune(g.IntN(0x11_0000)))
		case 3:
			b.WriteRune(rune(0x1F300 + g.IntN(0x300)))
		case 4:
			b.WriteString([]string{"\u2028", "\u2029", "\u007f", "\u0085", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\u202e", "e\u0301"}[g.IntN(10)])
		case 5:
			b.WriteString([]string{"\xff", "\xc0\xaf", "\xed\xa0\xbd", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\x80"}[g.IntN(6)])
		default:
			b.WriteString(`{"a":[1,2]}` + "\r\n\t\b\f")
		}
	}
	return b.String()
}

func (g generator) key() string {
	return []string{"0", "1", "10", "2", "01", "-1", "1.5", "4294967294", "4294967295", "9007199254740993", "a", "b", "",
		"constructor", "toJSON", "hasOwnProperty", "length", "\u2028", strconv.Itoa(g.IntN(300)), g.text()}[g.IntN(20)]
}

func (g generator) integer() int64 {
	switch g.IntN(40) {
	case 0:
		return g.Int64() - g.Int64() // mostly beyond 2^53, and then refused
	case 1:
		return []int64{1<<53 - 1, -(1<<53 - 1), 1 << 53, 1 << 60}[g.IntN(4)]
	}
	return g.Int64N(1<<50) >> g.IntN(50)
}

// double is a finite float64 of any magnitude.
func (g generator) double() float64 {
	switch g.IntN(4) {
	case 0:
		return []float64{0, math.Copysign(0, -1), 1e21, 1e20, 1e-6, 1e-7, 5e-324, math.MaxFloat64, 0.1 + 0.2, 1 << 53, 123456789012345680000}[g.IntN(11)]
	case 1:
		return g.NormFloat64()
	}
	for {
		if f := math.Float64frombits(g.Uint64()); !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
	}
}

func (g generator) value(depth int) any {
	if depth == 0 {
		depth = 1
	}
	switch g.IntN(9) {
	case 0:
		return g.text()
	case 1:
		return g.integer()
	case 2:
		return g.double()
	case 3:
		return g.IntN(2) == 0
	case 4:
		return nil
	case 5:
		return g.raw(depth - 1)
	case 6:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(depth - 1)
		}
		return list
	}
	return g.object(depth - 1)
}

func (g generator) object(depth int) map[string]any {
	m := make(map[string]any)
	if depth < 0 {
		return m
	}
	for range g.IntN(5) {
		m[g.key()] = g.value(depth - 1)
	}
	return m
}

// raw is a JSON text spelled as nobody would.
func (g generator) raw(depth int) json.RawMessage {
	var b strings.Builder
	g.write(&b, depth)
	return json.RawMessage(b.String())
}

func (g generator) rawObject(depth int) string {
	var b strings.Builder
	g.members(&b, depth)
	return b.String()
}

func (g generator) write(b *strings.Builder, depth int) {
	space := func() { b.WriteString([]string{"", "", "", " ", "\n\t", "\r\n"}[g.IntN(6)]) }
	space()
	defer space()
	switch n := g.IntN(6); {
	case n == 0:
		g.quote(b, g.text())
	case n == 1:
		b.WriteString([]string{"true", "false", "null", "[]", "{ }", `""`}[g.IntN(6)])
	case n == 2 || depth <= 0:
		b.WriteString([]string{"1.0", "1e2", "1E+2", "0.10", "0.1e1", "0.0000001", "1000000000000000000000", "1e21", "-0", "-0.0e9",
			"3.14", "5e-324", "9007199254740991", "1e23", "0.30000000000000004", "100e-2"}[g.IntN(16)])
	case n == 3:
		b.WriteByte('[')
		for i := range g.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			g.write(b, depth-1)
		}
		b.WriteByte(']')
	default:
		g.members(b, depth)
	}
}

// members writes an object, some of whose keys are there twice.
func (g generator) members(b *strings.Builder, depth int) {
	b.WriteByte('{')
	for i := range g.IntN(7) {
		if i > 0 {
			b.WriteByte(',')
		}
		g.quote(b, g.key())
		b.WriteByte(':')
		g.write(b, depth-1)
	}
	b.WriteByte('}')
}

// quote writes a JSON string, with escapes where none are needed.
func (g generator) quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r < 0x1_0000 && g.IntN(6) == 0:
			hex := strconv.FormatInt(int64(r), 16)
			if g.IntN(2) == 0 {
				hex = strings.ToUpper(hex)
			}
			b.WriteString(`\u` + strings.Repeat("0", 4-len(hex)) + hex)
		case r == '/':
			b.WriteString(`\/`)
		default:
			b.WriteRune(r)
		}
	}
	if g.IntN(6) == 0 {
		b.WriteString([]string{`\ud83d`, `\uDE00`, `\uD83D\uDE00`, `\uDE00\uD83D`, `\u0000`, `\b\f\n\r\t`}[g.IntN(6)])
	}
	b.WriteByte('"')
}
