package interop

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// Every body, as it is sent, is what JavaScript makes of it when it parses it
// and writes it again: the corpus, and thousands of random payloads, judged by
// one Node process.
func TestV2_BodySurvivesJavaScript(t *testing.T) {
	t.Parallel()
	rx := &webhooktest.Receiver{Unverified: true}
	s := newSender(t, nil, webhook.Config{})
	network := new(webhooktest.Transport)
	network.Handle("bodies.example.com", rx)
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Client: network.Client()})
	if err != nil {
		t.Fatal(err)
	}
	s.Dispatcher = d
	for _, name := range []string{"plain", "<&> \u2028 \u2029 😀 \" \\"} {
		if _, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{Name: name, URL: "https://bodies.example.com/", Events: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(20240115)
	n := s.publishAll(append(corpus(t), newGenerator(seed).payloads(generated(3000))...))
	s.deliver()
	got := rx.Deliveries()
	if len(got) != 2*n {
		t.Fatalf("%d bodies for %d payloads and two webhooks", len(got), n)
	}
	bodies := make([][]byte, len(got))
	for i, r := range got {
		bodies[i] = r.Body
	}
	t.Logf("seed %d", seed)
	for at, result := range judge(t, bodies) {
		t.Errorf("JavaScript makes %.300s of %.300q", result, bodies[at])
	}
}

// The judge finds what is not in that form.
func TestV2_JudgeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	bodies := [][]byte{
		[]byte(`{"a":1}`), []byte(`{"a": 1}`), []byte(`{"a":1.0}`), []byte(`{"b":1,"1":2}`), []byte(`{"a":"\u003c"}`), []byte(`{"a":"\uD83D"}`),
		[]byte(`{"a":-0}`), []byte(`{"a":1,"a":2}`), []byte("{\"a\":\"\xff\"}"), []byte(`{"a":`), []byte(`{"a":9007199254740993}`), []byte(`{"__proto__":1}`),
		[]byte("\ufeff{}"),
	}
	found := judge(t, bodies)
	for i, b := range bodies {
		good := i == 0 || i == 11
		if _, bad := found[i]; bad == good {
			t.Errorf("%q: judged wrong is %v", b, bad)
		}
	}
}

// judge returns what JavaScript makes of the bodies that it changes, by their
// index.
func judge(t *testing.T, bodies [][]byte) map[int]string {
	t.Helper()
	node := start(t, ".", "judge.mjs")
	var in bytes.Buffer
	for _, b := range bodies {
		in.WriteString(base64.StdEncoding.EncodeToString(b))
		in.WriteByte('\n')
	}
	if _, err := in.WriteTo(node.in); err != nil {
		t.Fatal(err)
	}
	node.in.Close()
	found := make(map[int]string)
	for {
		line, err := node.next()
		if err != nil {
			t.Fatal(err)
		}
		number, result, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number == "read" {
			if result != strconv.Itoa(len(bodies)) {
				t.Fatalf("Node has read %s bodies of %d", result, len(bodies))
			}
			return found
		}
		at, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("Node said %s %s", number, result)
		}
		found[at-1] = result
	}
}
