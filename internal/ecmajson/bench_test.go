package ecmajson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// typical is a body of about 1 KiB as an agent platform sends it, canonical.
const typical = `{"event":"agent.message","webhook":{"id":"wh_01HQ3M7Z8K4T2N6P9R5S1V0W","name":"Production endpoint"},` +
	`"timestamp":"2024-01-15T11:45:00.000000Z","data":{"agent":{"id":"agt_8f14e45fceea167a5a36dedd4bea2543","name":"Support assistant"},` +
	`"room":"Xk9dLm2P","content":"Thanks for reaching out! I had a look at your order and it left our warehouse this morning. ` +
	`You should receive it by Thursday; the tracking page is updated every few hours.\n\nIs there anything else I can do for you?",` +
	`"usage":{"input_tokens":1532,"output_tokens":87,"cost":0.004821,"cached":true},"model":"large-2","temperature":0.7,` +
	`"tags":["support","orders","shipping","first-contact"],"attachments":[{"id":901,"kind":"image","size":48213,"url":"https://cdn.example.com/f/901.png"},` +
	`{"id":902,"kind":"pdf","size":1048576,"url":"https://cdn.example.com/f/902.pdf"}],"reply_to":null,"score":-12.5,"language":"en",` +
	`"trace":{"span":"b7ad6b7169203331","parent":"00f067aa0ba902b7","sampled":false},"note":"Grüße aus Köln – bis bald"}}`

func BenchmarkAppend(b *testing.B) {
	numbers := func(format string) string {
		var s strings.Builder
		g := newGenerator(1)
		for range 100 {
			fmt.Fprintf(&s, format+",", g.Float64()*1000)
		}
		return "[" + s.String() + "0]"
	}
	var keys strings.Builder
	for i := range 40 {
		fmt.Fprintf(&keys, `"some_key_%d":%d,`, i, i)
	}
	var indented strings.Builder
	enc := json.NewEncoder(&indented)
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(typical)); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct{ name, doc string }{
		{"typical", typical},
		{"indented", indented.String()},
		{"ascii", `"` + strings.Repeat("All work and no play. ", 50) + `"`},
		{"chinese", `"` + strings.Repeat("漢字仮名交じり文", 50) + `"`},
		{"escapes", `"` + strings.Repeat(`\u003cb\u003e\n\/`, 50) + `"`},
		{"integers", "[" + strings.Repeat("1705319100,42,-7,", 50) + "0]"},
		{"prices", numbers("%.2f")},
		{"doubles", numbers("%v")},
		{"doubles17", numbers("%.17g")},
		{"40keys", "{" + keys.String() + `"last":0}`},
		{"reordered", "{" + keys.String() + `"7":0,"some_key_3":1}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			src := []byte(bench.doc)
			dst := make([]byte, 0, 2*len(src))
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Append(dst, src, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendString(b *testing.B) {
	s := strings.Repeat("All work and \"no\" play. ", 40)
	dst := make([]byte, 0, 2*len(s))
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		dst = AppendString(dst[:0], s)
	}
}
