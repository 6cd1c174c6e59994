package post

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A receiver that echoes its request must not show people who read the log what
// is hidden from them on the page: the query of the webhook's URL.
func TestCatalogue34_TheQueryOfTheURLIsMaskedInAnEcho(t *testing.T) {
	t.Parallel()
	const query = "token=s3cr3t%2Fto+ken%26x&plain&k=shrt&sig=%22quo%5Cted%22%3C%3E;tenant=blue-whale&u=j%C3%BCrgen-m%C3%BCller"
	hidden := []string{"s3cr3t/to ken&x", "s3cr3t/to+ken&x", "s3cr3t%2Fto+ken%26x", "token=s3cr", `"quo\ted"<>`, "blue-whale", "jürgen-müller", "k=shrt"}
	decoded := map[string]any{}
	for i, value := range hidden {
		decoded[fmt.Sprint("arg", i)] = value
	}
	asJSON, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	echoes := map[string]string{
		"the request line": "POST /hook?" + query + " HTTP/1.1",
		"Go's JSON":        string(asJSON),
		"PHP's JSON":       `{"a":"s3cr3t\/to ken&x","b":"\"quo\\ted\"<>","c":"j\u00fcrgen-m\u00fcller"}`,
		"Python's JSON":    `{"a":"s3cr3t/to ken&x","b":"\"quo\\ted\"<>","c":"j\u00fcrgen-m\u00fcller"}`,
		"HTML":             html.EscapeString("s3cr3t/to ken&x " + `"quo\ted"<> ` + "jürgen-müller"),
		"HTML elsewhere":   "&quot;quo\\ted&quot;&lt;&gt;",
		"a URL in a URL":   "/login?next=" + url.QueryEscape("/hook?"+query),
		"a cut echo":       "POST /hook?token=s3cr3t%2Fto+k",
	}
	for name, echo := range echoes {
		for _, where := range []string{"body", "header", "status line"} {
			raw := "HTTP/1.1 500 No\r\nContent-Length: " + fmt.Sprint(len(echo)) + "\r\n\r\n" + echo
			switch where {
			case "header":
				raw = "HTTP/1.1 500 No\r\nX-Request-Id: " + echo + "\r\nServer: a\r\nVia: b" + echo + "\r\nContent-Length: 0\r\n\r\n"
			case "status line":
				raw = echo + "\r\n\r\n"
			}
			p := newPeer(t, answerOnce(raw))
			a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url+"/hook?"+query))
			stored := string(a.ResponseBody) + fmt.Sprint(a.ResponseHeaders) + a.Error
			for _, text := range []string{"s3cr3t", "quo", "ted", "blue-w", "gen-m", "whale"} {
				if strings.Contains(stored, text) {
					t.Errorf("%s in the %s: %q was stored in %s", name, where, text, stored)
				}
			}
			if name == "the request line" && where == "body" && !strings.HasPrefix(string(a.ResponseBody), "POST /hook?***") {
				t.Errorf("the path was masked too: %s", a.ResponseBody)
			}
		}
	}
}

func TestCatalogue34_MasksWhatReceiversMakeOfCredentials(t *testing.T) {
	t.Parallel()
	m := masker{header: http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("customer:pa\"ss/word"))},
		"Cookie":        {`session=abcdef123456; theme="lightblue"; x=1`},
	}}
	for in, want := range map[string]string{
		`{"user":"customer","pass":"pa\"ss\/word"}`:      `{"user":"customer","pass":"************"}`,
		`customer:pa"ss/word`:                            "*******************",
		`{"session":"abcdef123456","theme":"lightblue"}`: `{"session":"************","theme":"*********"}`,
		"session expired, theme unknown, x=1":            "session expired, theme unknown, x=1",
	} {
		if got := m.maskString(in); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

// maskedOneByOne is what masking has to come to, written without regard to its cost.
func maskedOneByOne(data string, secrets []string) string {
	hide := make([]bool, len(data))
	for _, secret := range secrets {
		for at := range len(data) {
			rest := data[at:]
			if strings.HasPrefix(rest, secret) || len(rest) >= leastSecret && strings.HasPrefix(secret, rest) {
				for i := at; i < min(len(data), at+len(secret)); i++ {
					hide[i] = true
				}
			}
		}
	}
	out := []byte(data)
	for i := range out {
		if hide[i] {
			out[i] = '*'
		}
	}
	return string(out)
}

func checkAutomaton(t *testing.T, data string, secrets []string) {
	t.Helper()
	secrets = sortedSecrets(slices.Clone(secrets))
	want := maskedOneByOne(data, secrets)
	got := []byte(data)
	newAutomaton(secrets).mask(got)
	if string(got) != want {
		t.Fatalf("automaton of %q\n on %q\ngot  %q\nwant %q", secrets, data, got, want)
	}
	got = []byte(data)
	(&matcher{secrets: secrets}).mask(got)
	if string(got) != want {
		t.Fatalf("matcher of %q\n on %q\ngot  %q\nwant %q", secrets, data, got, want)
	}
}

func TestCatalogue34_AutomatonAgainstOneByOne(t *testing.T) {
	t.Parallel()
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	text := func(n, letters int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(rnd.IntN(letters))
		}
		return string(b)
	}
	for range 3000 {
		letters := 1 + rnd.IntN(3)
		secrets := make([]string, rnd.IntN(40))
		for i := range secrets {
			secrets[i] = text(rnd.IntN(14), letters)
		}
		checkAutomaton(t, text(rnd.IntN(60), letters), secrets)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("a secret-one and secret-o", "secret-one secret-two")
	f.Add("aaaaaaaaaaaaaaa", "aaaaaa aaaaaaa aaaaaaab")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, data, secrets string) {
		if len(data) > 300 || len(secrets) > 300 {
			return
		}
		checkAutomaton(t, data, strings.Fields(secrets))
		m := masker{header: http.Header{"X-A": {secrets}}, url: &url.URL{Path: "/", RawQuery: secrets}}
		masked := m.maskString(data)
		if len(masked) != len(data) {
			t.Fatalf("%q became %q", data, masked)
		}
		for _, secret := range sortedSecrets(m.secrets()) {
			if !strings.Contains(secret, "*") && strings.Contains(masked, secret) {
				t.Fatalf("%q is left in %q", secret, masked)
			}
		}
	})
}
