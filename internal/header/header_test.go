package header

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusedHeaders demands an error that holds each of the texts and no value.
func refusedHeaders(t *testing.T, h map[string]string, texts ...string) {
	t.Helper()
	got, err := Check(h)
	if err == nil || got != nil || strings.HasPrefix(err.Error(), "headers") {
		t.Errorf("Check(%.200q) = %q, %v, want an error", h, got, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("Check(%.200q): %v, want the error to hold %q", h, err, text)
		}
	}
	if strings.Contains(err.Error(), "hunter2") || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") || len(err.Error()) > 300 {
		t.Errorf("the error holds what it should not: %q", err)
	}
}

func TestH1_ReservedHeaders(t *testing.T) {
	reserved := []string{
		"Host", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "TE", "Trailer", "Connection", "Keep-Alive",
		"Proxy-Authorization", "Proxy-Connection", "Proxy-X", "Upgrade", "HTTP2-Settings", "Expect", "Accept-Encoding", "Idempotency-Key",
		"X-Idempotency-Key", "User-Agent", "Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything",
		// Who sent the request.
		"X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "X-Client-IP", "Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP",
		"Fly-Client-IP", "X-Forwarded", "Forwarded-For", "X-Original-Forwarded-For", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "Remote-Addr", "X-Remote-User",
		"X-Envoy-External-Address", "X-Azure-ClientIP", "X-Azure-SocketIP", "X-Appengine-User-Ip", "X-Vercel-Forwarded-For", "X-Nf-Client-Connection-Ip",
		"DO-Connecting-IP", "WL-Proxy-Client-IP", "Proxy-Client-IP", "X-ProxyUser-Ip", "X-Sucuri-ClientIP", "Incap-Client-IP", "X-User-IP", "X-Akamai-Edgescape",
		"X-Amzn-Oidc-Identity", "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "X-MS-Client-Principal", "X-Auth-Request-User", "X-WebAuth-User",
		"CF-Access-Authenticated-User-Email", "CF-IPCountry", "Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-SSL-Client-Verify", "SSL-Client-Cert", "X-ARR-ClientCert",
		"Sec-Fetch-Site", "CDN-Loop",
		// What the request is, and where it goes.
		"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host",
		"X-HTTP-Host-Override", "X-Script-Name", "X-Sendfile-Type", "X-Accel-Mapping", "X-Accel-Redirect", "X-Middleware-Subrequest", "Range", "If-Range", "Max-Forwards", "Early-Data",
		"Content-Language", "Content-MD5", "Content-Digest", "Content-Location", "Content-Range", "Content-Disposition", "Content-Security-Policy", "Content-Anything",
		"Digest", "Repr-Digest", "Want-Digest",
		// Whose trace it is.
		"Traceparent", "Tracestate", "Baggage", "B3", "X-B3-TraceId", "Uber-Trace-Id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "X-Datadog-Trace-Id", "Sentry-Trace",
		"X-Webhook-Signature", "X-Webhook-Event", "X-Webhook-Attempt", "X-Webhook-New", "webhook-id", "webhook-timestamp", "webhook-signature", "webhook-x",
	}
	for _, name := range reserved {
		mixed := []byte(strings.ToLower(name))
		for i := 0; i < len(mixed); i += 2 {
			mixed[i] = strings.ToUpper(string(mixed[i]))[0]
		}
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), string(mixed), http.CanonicalHeaderKey(name),
			strings.ReplaceAll(name, "-", "_"), strings.ToUpper(strings.Replace(name, "-", "_", 1)),
			strings.Replace(name, "-", ".", 1)} {
			if !Reserved(spelling) {
				t.Errorf("Reserved(%q) = false", spelling)
			}
			refusedHeaders(t, map[string]string{spelling: "hunter2"}, "reserved", spelling)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Webhooks", "Webhooks-Id", "Proxy", "Accept", "Accept-Language", "Cookie", "Hosts", "X-Host", "Date", "Contents",
		"CF-Access-Client-Id", "CF-Access-Client-Secret", "X-Client", "X-Client-Id", "X-Client-Secret", "X-Ms-Client-Request-Id", "X-Real", "X-Request-Id", "X-Hub-Signature-256", "X-Goog-Channel-Token", "X-Amz-Security-Token", "Origin", "Signature-Key", "Prefer", "DPoP"} {
		if Reserved(name) {
			t.Errorf("Reserved(%q) = true", name)
		}
		if _, err := Check(map[string]string{name: "x"}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestH1_TwoSpellingsOfOneHeader(t *testing.T) {
	refusedHeaders(t, map[string]string{"X-Api-Key": "hunter2", "x-api-key": "hunter2"}, "X-Api-Key", "x-api-key", "same header")
	refusedHeaders(t, map[string]string{"X-Api-Key": "hunter2", "X_Api_Key": "hunter2"}, "same header")
	if _, err := Check(map[string]string{"X-Api-Key": "1", "X-Api-Keys": "2"}); err != nil {
		t.Error(err)
	}
}

func TestH2_InvalidNamesAndValues(t *testing.T) {
	for _, name := range []string{"", " ", "X Api", "X-Api ", " X-Api", "X-Api:", ":path", "X\rA", "X\nA", "X\r\nHost: a", "X\x00A", "X(A)", "X/A", "X[A]", "X@A", "X=A",
		"X\"A", "X,A", "X;A", "X<A", "X{A", "X\\A", "X?A", "X\tA", "X\x7fA", "Ünicode", "X-\xff", "X-Ａ", "\u212aeep-alive"} {
		refusedHeaders(t, map[string]string{name: "hunter2"}, "name")
	}
	for _, value := range []string{"a\rb", "a\nb", "a\r\nX: y", "a\n", "\ra", "a\x00", "a\x01b", "a\tb", "a\x1b[0m", "a\x7f", "ä", "\xff", "a\u2028b", "ａ", "a\u00a0"} {
		refusedHeaders(t, map[string]string{"X-Api-Key": "hunter2" + value}, "X-Api-Key", "printable ASCII")
		refusedHeaders(t, map[string]string{"X-Api-Key": value}, "X-Api-Key", "printable ASCII")
	}
	want := map[string]string{"X!#$%&'*+.^_`|~9": " !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~x"[1:]}
	if got, err := Check(want); err != nil || len(got) != 1 || !slices.Equal(slices.Collect(maps.Values(got)), slices.Collect(maps.Values(want))) {
		t.Errorf("every byte that is allowed: %q, %v", got, err)
	}
}

func TestH3_Limits(t *testing.T) {
	many := func(n int) map[string]string {
		h := make(map[string]string)
		for i := range n {
			h[fmt.Sprintf("X-%d", i)] = "v"
		}
		return h
	}
	value := func(n int) string { return strings.Repeat("v", n) }
	for _, h := range []map[string]string{
		nil, {}, many(20), {strings.Repeat("n", 128): "v"}, {"X-A": value(4096)}, {"X-A": " " + value(4096) + " "}, {"X-A": ""},
		{"X-A": value(4093), "X-B": value(4093)}, // 8192 with the names
	} {
		if got, err := Check(h); err != nil || len(got) != len(h) {
			t.Errorf("at the limit: %d headers, %v, want %d", len(got), err, len(h))
		}
	}
	refusedHeaders(t, many(21), "21", "20")
	refusedHeaders(t, map[string]string{strings.Repeat("n", 129): "hunter2"}, "129", "128")
	refusedHeaders(t, map[string]string{"X-A": value(4097)}, "X-A", "4097", "4096")
	refusedHeaders(t, map[string]string{"X-A": value(4093), "X-B": value(4094)}, "8193", "8192")
}

func TestH4_ValuesAreTrimmedAndNamesCanonical(t *testing.T) {
	given := map[string]string{"x-api-KEY": " \t a  b \t ", "authorization": "Bearer x", "X-Blank": "   "}
	got, err := Check(given)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"X-Api-Key": "a  b", "Authorization": "Bearer x", "X-Blank": ""}, got); diff != "" {
		t.Error(diff)
	}
	if given["x-api-KEY"] != " \t a  b \t " {
		t.Error("the caller's map was changed")
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range [][4]string{
		{"X-Api-Key", " v ", "x-api-key", "w"}, {"X_Webhook_Signature", "good", "Accept", "*/*"}, {"transfer-encoding", "chunked", "", ""},
		{"A", "a\r\nB: c", "\u212aeep-Alive", "x"}, {"Cookie", "a=b; c=d", "X-B", "ü"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		given := map[string]string{name1: value1, name2: value2}
		got, err := Check(given)
		if err != nil {
			lines := strings.Split(err.Error(), "\n") // one for each refused header
			if got != nil || len(lines) > len(given) {
				t.Fatalf("%q: %q, %q", given, got, err)
			}
			for _, line := range lines {
				if line == "" || strings.HasPrefix(line, "headers") || strings.ContainsAny(line, "\r\x00") {
					t.Fatalf("%q: %q", given, err)
				}
			}
			return
		}
		if again, err := Check(got); err != nil || !maps.Equal(got, again) || len(got) != len(given) {
			t.Fatalf("%q became %q, which becomes %q, %v", given, got, again, err)
		}
		// The wire carries exactly what is stored, one line each.
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("User-Agent", "")
		for name, value := range got {
			if Reserved(name) {
				t.Fatalf("%q holds the reserved %q", got, name)
			}
			request.Header[name] = []string{value}
		}
		var wire strings.Builder
		if err := request.Write(&wire); err != nil {
			t.Fatalf("%q cannot be sent: %v", got, err)
		}
		lines := strings.Split(strings.TrimSuffix(wire.String(), "\r\n\r\n"), "\r\n")
		for name, value := range got {
			if i := slices.Index(lines, name+": "+value); i < 0 {
				t.Fatalf("%q: %q is not on the wire:\n%s", got, name, wire.String())
			}
		}
		if own := 2 + 1; len(lines) != own+len(got) { // request line, Host, Content-Length
			t.Fatalf("%q makes %d lines:\n%s", got, len(lines), wire.String())
		}
	})
}
