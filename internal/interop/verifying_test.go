package interop

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Secrets of the receivers of docs/verifying.md: the new one, and the old one
// while they change over. The third is an imported one.
const (
	newSecret   = "whsec_bmV3LCB0aGlydHktdHdvIGJ5dGVzIG9mIGEga2V5ISE="
	oldSecret   = "whsec_b2xkLCB0aGlydHktdHdvIGJ5dGVzIG9mIGEga2V5ISE="
	otherSecret = "imported-from-another-sender-0001"
)

// recipesOf reads a document's files.
func recipesOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/verifying.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filesOf(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if language := strings.Split(name, "/")[0]; !slices.ContainsFunc(recipes, func(r recipe) bool { return r.language == language }) {
			t.Errorf("no test runs %s", name)
		}
	}
	return files
}

// Every receiver of the document, as it stands there, takes what a Dispatcher
// sends, whatever is in it, and nothing that only looks like it.
func TestDocumentedReceivers(t *testing.T) {
	t.Parallel()
	files := recipesOf(t)
	for _, r := range recipes {
		t.Run(r.language, func(t *testing.T) {
			t.Parallel()
			at := r.serve(t, r.unpack(t, files, false), newSecret+" "+oldSecret+"\n"+otherSecret)
			takesDeliveries(t, at, nil)
			for name, secret := range map[string]string{"new": newSecret, "old": oldSecret, "imported": otherSecret} {
				if status := at.send(t, signed(secret)); !ok(status) {
					t.Errorf("signed with the %s secret: %d\n%s", name, status, at.output)
				}
			}
			refusesForgeries(t, at, forgeries(), accepted())
		})
		t.Run(r.language+" plain", func(t *testing.T) {
			t.Parallel()
			at := r.serve(t, r.unpack(t, files, true), newSecret+" "+oldSecret)
			takesDeliveries(t, at, webhook.PlainSigner{})
			refusesForgeries(t, at, plainForgeries(), nil)
		})
	}
}

// takesDeliveries has a Dispatcher deliver payloads of every kind, all of which
// have to be accepted, and flips bits in some of them.
func takesDeliveries(t *testing.T, at endpoint, signer webhook.Signer) {
	t.Helper()
	s := newSender(t, nil, webhook.Config{Signer: signer})
	w, _ := s.hook(at.url, newSecret)
	var payloads []any
	for i, data := range corpus(t) {
		if i%10 == 0 {
			payloads = append(payloads, data)
		}
	}
	n := s.publishAll(append(payloads, newGenerator(11).payloads(generated(30))...))
	if n < 10 {
		t.Fatalf("%d payloads", n)
	}
	id := s.publish(webhook.AgentMessage{Content: "the last one"})
	s.deliver()
	s.wantAccepted("the receiver of the document", w, n+1)
	if t.Failed() {
		t.Logf("it wrote:\n%.4000s", at.output)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(at.output.String(), id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("event %s was accepted, and not handled:\n%.4000s", id, at.output)
		}
	}
	for i, r := range s.sentTo(w.URL)[:10] {
		if status, _ := again(t, nil, r.flipped(len(r.body)*i/10)); status != http.StatusUnauthorized {
			t.Errorf("with a flipped bit: %d, want 401", status)
		}
	}
}

// raw is a request that a test makes by itself.
type raw struct {
	method string // empty: POST
	header map[string]string
	body   []byte
}

// signed is a request such as a Dispatcher sends, with one signature.
func signed(secret string) raw {
	return standard(secret, "evt_1", strconv.FormatInt(time.Now().Unix(), 10))
}

const document = `{"event":"agent.message","webhook":{"id":"wh_1","name":"test"},"timestamp":"2024-01-15T11:45:00.000000Z","data":{"content":"hello"}}`

// standard signs what it is told, also what no sender would.
func standard(secret, id, at string) raw {
	return raw{"", map[string]string{"webhook-id": id, "webhook-timestamp": at, "webhook-signature": "v1," + mac(secret, id, at, document)}, []byte(document)}
}

func mac(secret, id, at, body string) string {
	key := []byte(secret)
	if rest, whsec := strings.CutPrefix(secret, "whsec_"); whsec {
		key, _ = base64.StdEncoding.DecodeString(rest)
	}
	h := hmac.New(sha256.New, key)
	io.WriteString(h, id+"."+at+"."+body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// plain signs the body alone.
func plain(secret string) string {
	h := hmac.New(sha256.New, []byte(secret))
	io.WriteString(h, document)
	return hex.EncodeToString(h.Sum(nil))
}

// with replaces a header; an empty value removes it.
func (r raw) with(name, value string) raw {
	r.header = maps.Clone(r.header)
	r.header[name] = value
	if value == "" {
		delete(r.header, name)
	}
	return r
}

// send returns the status that was answered, or 0 when the connection was
// closed in place of an answer.
func (e endpoint) send(t *testing.T, r raw) (status int) {
	t.Helper()
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, e.url, bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func ok(status int) bool { return status >= 200 && status <= 299 }

// refusesForgeries sends what has to be refused as the client's fault: neither
// taken, nor the end of the receiver. What has to be accepted comes between.
func refusesForgeries(t *testing.T, at endpoint, bad, good map[string]raw) {
	t.Helper()
	for name, r := range bad {
		if status := at.send(t, r); status < 400 || status > 499 {
			t.Errorf("%s: answered with %d, want 400–499\n%.4000s", name, status, at.output)
		}
	}
	for name, r := range good {
		if status := at.send(t, r); !ok(status) {
			t.Errorf("%s: answered with %d, want 2xx\n%.4000s", name, status, at.output)
		}
	}
	huge := signed(newSecret).with("x-webhook-signature", plain(newSecret))
	huge.body = bytes.Repeat([]byte("x"), 3<<20)
	if status := at.send(t, huge); status != http.StatusRequestEntityTooLarge && status != 0 {
		t.Errorf("a body of 3 MiB: answered with %d, want 413 or a closed connection", status)
	}
	get := signed(newSecret).with("x-webhook-signature", plain(newSecret))
	get.method, get.body = http.MethodGet, nil
	if status := at.send(t, get); ok(status) {
		t.Errorf("GET was answered with %d", status)
	}
	last := signed(newSecret)
	if good == nil {
		last = raw{"", map[string]string{"x-webhook-signature": plain(newSecret)}, []byte(document)}
	}
	if status := at.send(t, last); !ok(status) {
		t.Errorf("after all of this, a delivery is answered with %d\n%.4000s", status, at.output)
	}
}

// forgeries are requests that are not as a Dispatcher makes them. Some are signed
// with the right key, so that nothing but the one fault is wrong with them.
func forgeries() map[string]raw {
	now := time.Now().Unix()
	at := func(d time.Duration) string { return strconv.FormatInt(now+int64(d/time.Second), 10) }
	right := signed(newSecret)
	signature := strings.TrimPrefix(right.header["webhook-signature"], "v1,")
	sum, _ := base64.StdEncoding.DecodeString(signature)
	changed := right.with
	other := right
	other.body = bytes.Replace(right.body, []byte("hello"), []byte("hullo"), 1)
	empty := right
	empty.body = nil
	// The dots that divide what is signed also stand in it: moved by one, the same
	// text is an event that nobody sent.
	inner := at(0)
	text := `{"content":"x.` + inner + `.y"}`
	id := `evt_1.` + at(0) + `.{"content":"x`
	return map[string]raw{
		"no header at all":                     {"", nil, []byte(document)},
		"no webhook-id":                        changed("webhook-id", ""),
		"no webhook-timestamp":                 changed("webhook-timestamp", ""),
		"no webhook-signature":                 changed("webhook-signature", ""),
		"another body":                         other,
		"no body":                              empty,
		"another id":                           changed("webhook-id", "evt_2"),
		"another time":                         changed("webhook-timestamp", at(time.Second)),
		"another secret":                       signed("whsec_" + base64.StdEncoding.EncodeToString([]byte("not the secret, but as long"))),
		"an empty key":                         signed(""),
		"the plain signature alone":            {"", map[string]string{"webhook-id": "evt_1", "webhook-timestamp": at(0), "x-webhook-signature": plain(newSecret)}, []byte(document)},
		"a version and nothing":                changed("webhook-signature", "v1,"),
		"no version":                           changed("webhook-signature", signature),
		"commas":                               changed("webhook-signature", "v1,,,,"+signature),
		"another version":                      changed("webhook-signature", "v2,"+signature),
		"v1a with an HMAC":                     changed("webhook-signature", "v1a,"+signature),
		"upper case":                           changed("webhook-signature", strings.ToUpper("v1,"+signature)),
		"in hex":                               changed("webhook-signature", "v1,"+hex.EncodeToString(sum)),
		"cut off by one":                       changed("webhook-signature", "v1,"+signature[:len(signature)-1]),
		"cut off by half":                      changed("webhook-signature", "v1,"+signature[:len(signature)/2]),
		"longer by one":                        changed("webhook-signature", "v1,"+signature+"="),
		"very long":                            changed("webhook-signature", "v1,"+strings.Repeat("A", 6000)),
		"very many":                            changed("webhook-signature", strings.Repeat("v1,AAAA ", 700)),
		"not ASCII":                            changed("webhook-signature", "v1,\xe9\xff\u2028é"),
		"an id that is not ASCII":              changed("webhook-id", "evt_\xff"),
		"a time that is not ASCII":             changed("webhook-timestamp", "\xd9\xa1"),
		"two signatures as one":                changed("webhook-signature", "v1,AAAA, v1,"+signature[:20]),
		"signed, and six minutes old":          standard(newSecret, "evt_1", at(-6*time.Minute)),
		"signed, and six minutes ahead":        standard(newSecret, "evt_1", at(6*time.Minute)),
		"signed, and of 1970":                  standard(newSecret, "evt_1", "0"),
		"signed, in a far future":              standard(newSecret, "evt_1", "999999999999"),
		"signed, with a time of many digits":   standard(newSecret, "evt_1", strings.Repeat("9", 400)),
		"signed, with a time that is a word":   standard(newSecret, "evt_1", "NaN"),
		"signed, with a plus":                  standard(newSecret, "evt_1", "+"+at(0)),
		"signed, with a minus":                 standard(newSecret, "evt_1", "-"+at(0)),
		"signed, with a fraction":              standard(newSecret, "evt_1", at(0)+".0"),
		"signed, with an exponent":             standard(newSecret, "evt_1", at(0)+"e0"),
		"signed, in hex":                       standard(newSecret, "evt_1", "0x"+strconv.FormatInt(now, 16)),
		"signed, with an underscore":           standard(newSecret, "evt_1", at(0)[:1]+"_"+at(0)[1:]),
		"signed, with a dot in its id":         standard(newSecret, "evt.1", at(0)),
		"signed, with an id of 300 characters": standard(newSecret, strings.Repeat("a", 300), at(0)),
		"signed, with its parts moved": {"", map[string]string{"webhook-id": id, "webhook-timestamp": inner, "webhook-signature": "v1," + mac(newSecret, "evt_1", at(0), text)},
			[]byte(`y"}`)},
	}
}

// accepted are requests that are unusual and right.
func accepted() map[string]raw {
	at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	right := signed(newSecret)
	signature := right.header["webhook-signature"]
	return map[string]raw{
		"four minutes old":     standard(newSecret, "evt_1", at(-4*time.Minute)),
		"four minutes ahead":   standard(newSecret, "evt_1", at(4*time.Minute)),
		"with unknown entries": right.with("webhook-signature", "v9,AAAA v1a,AAAA "+signature),
		"during a rotation": right.with("webhook-signature", "v1,"+mac("whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("z"), 32)), "evt_1",
			right.header["webhook-timestamp"], document)+" "+signature),
		"an id of 64 characters": standard(newSecret, strings.Repeat("aB3-_xyz", 8), at(0)),
	}
}

func plainForgeries() map[string]raw {
	right := plain(newSecret)
	header := func(value string) raw {
		return raw{"", map[string]string{"x-webhook-signature": value}, []byte(document)}.with("webhook-id", "evt_1")
	}
	other := header(right)
	other.body = bytes.Replace(other.body, []byte("hello"), []byte("hullo"), 1)
	return map[string]raw{
		"no header":                    {"", nil, []byte(document)},
		"another body":                 other,
		"another secret":               header(plain(strings.Repeat("x", 40))),
		"an empty key":                 header(plain("")),
		"keyed with what base64 holds": header(hex.EncodeToString(decoded(mac(newSecret, "", "", document)))),
		"in base64":                    header(base64.StdEncoding.EncodeToString(decodedHex(right))),
		"cut off by one":               header(right[:63]),
		"cut off by two":               header(right[:62]),
		"longer by one":                header(right + "0"),
		"twice":                        header(right + ", " + right),
		"after another":                header("good, " + right),
		"with a prefix":                header("sha256=" + right),
		"very long":                    header(strings.Repeat("0", 6000)),
		"not hex":                      header(strings.Repeat("z", 64)),
		"not ASCII":                    header(right[:60] + "é\xff"),
		"not ASCII, 64 characters":     header(strings.Repeat("é", 64)),
	}
}

func decoded(s string) []byte { b, _ := base64.StdEncoding.DecodeString(s); return b }

func decodedHex(s string) []byte { b, _ := hex.DecodeString(s); return b }

// A receiver without a usable secret accepts nothing: an empty key would verify
// what anybody signs.
func TestDocumentedReceiversNeedASecret(t *testing.T) {
	t.Parallel()
	files := recipesOf(t)
	for _, r := range recipes {
		t.Run(r.language, func(t *testing.T) {
			t.Parallel()
			folder := r.unpack(t, files, false)
			for _, secret := range []string{"", " \n", "whsec_", "whsec_AAAA"} {
				port := freePort(t)
				p := r.launch(t, folder, secret, port)
				at := endpoint{"http://127.0.0.1:" + port + "/webhooks", p.output}
				deadline := time.Now().Add(patience)
				for !p.ended(10 * time.Millisecond) {
					if status := at.send(t, signed(strings.TrimSpace(secret))); status >= 500 {
						break // as PHP does, which has nothing to end
					} else if status != 0 {
						t.Errorf("with the secret %q, a request signed with it is answered with %d", secret, status)
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("with the secret %q it neither ends nor answers:\n%s", secret, p.output)
					}
				}
				for out := p.output.String(); !strings.Contains(out, "set WEBHOOK_SECRET") && !strings.Contains(out, "verify: "); out = p.output.String() {
					if p.ended(10*time.Millisecond) || time.Now().After(deadline) {
						t.Errorf("with the secret %q it does not say what is wrong:\n%s", secret, out)
						break
					}
				}
			}
		})
	}
}

// What cannot be a block of the document is not taken for one.
func TestFilesOfADocument(t *testing.T) {
	files, err := filesOf("text\n\n<!-- file: node/a.mjs -->\n```js\none\ntwo\n```\n\n```\nnot this\n```\n<!-- file: go/main.go -->\n\n```go\nthree\n```\n")
	if err != nil || len(files) != 2 || files["node/a.mjs"] != "one\ntwo\n" || files["go/main.go"] != "three\n" {
		t.Errorf("%q, %v", files, err)
	}
	for _, bad := range []string{
		"<!-- file: node/a.mjs -->\ntext\n```js\none\n```\n",
		"<!-- file: a.mjs -->\n```js\none\n```\n",
		"<!-- file: node/a.mjs -->\n```js\none\n",
		"<!-- file: node/a.mjs -->\n```js\none\n```\n<!-- file: node/a.mjs -->\n```js\none\n```\n",
	} {
		if files, err := filesOf(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, files)
		}
	}
}

// The request that docs/receiving.md signs in a shell is taken, and refused once
// it is changed as the document says.
func TestDocumentedRequestByHand(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/receiving.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "<!-- run: curl -->\n```bash\n")
	script, _, end := strings.Cut(rest, "\n```\n")
	if !found || !end {
		t.Fatal("docs/receiving.md has no script to run")
	}
	secret := regexp.MustCompile(`(?m)^secret=(\S+)$`).FindStringSubmatch(script)
	if secret == nil {
		t.Fatal("the script has no secret")
	}
	r := recipes[slices.IndexFunc(recipes, func(r recipe) bool { return r.language == "python" })]
	at := r.serve(t, r.unpack(t, recipesOf(t), false), secret[1])
	run := func(want string, changes ...string) {
		t.Helper()
		text := strings.NewReplacer(append(changes, "http://127.0.0.1:8000/webhooks", at.url)...).Replace(script)
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
		cmd.Env = append(os.Environ(), "no_proxy=*")
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("with %q it printed %q, %v; want %s", changes, got, err, want)
		}
	}
	run("204")
	run("401", secret[1], "whsec_"+base64.StdEncoding.EncodeToString([]byte("another secret of thirty-two byt")))
	run("401", "time=$(date +%s)", "time=1")
	run("401", `data-binary "$body"`, `data-binary "${body/hello/hallo}"`)
}
