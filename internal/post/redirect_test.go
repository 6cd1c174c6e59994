package post

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestRedirectTargetIsKeptAndExplained(t *testing.T) {
	t.Parallel()
	const from = "http://example.com/hooks/a?token=s3cr3t-token"
	for _, tt := range []struct{ location, kept, says string }{
		{"https://example.com/hooks/a?token=s3cr3t-token", "https://example.com/hooks/a?…", "with https"},
		{"https://example.com/hooks/a", "https://example.com/hooks/a", "with https"},
		{"HTTPS://Example.com/hooks/a", "https://Example.com/hooks/a", "with https"},
		{"/hooks/a/?token=s3cr3t-token", "http://example.com/hooks/a/?…", "with a slash at the end"},
		{"a/", "http://example.com/hooks/a/", "with a slash at the end"},
		{"https://example.com/hooks/a/", "https://example.com/hooks/a/", "with a slash at the end"},
		{"//www.example.com/hooks/a", "http://www.example.com/hooks/a", "the host with www"},
		{"/login?next=%2Fhooks%2Fa&state=abcdef#top", "http://example.com/login?…", "another path"},
		{"https://sso.example.net/authorize?client_id=1", "https://sso.example.net/authorize?…", "another host"},
		{"?again=1", "http://example.com/hooks/a?…", "another query"},
		{"https://user:passw0rd@example.com/hooks/a", "https://example.com/hooks/a", "with https"},
		{"https://user:passw0rd@exa mple.com/", "…@exa mple.com/", "are not followed"},
		{"/s3cr3t-token/x", "http://example.com/************/x", "another path"},
		{"/\x1b[31mred", `…`, ""},
		{"javascript:alert(1)", "javascript:alert(1)", "another host"},
		{"/" + strings.Repeat("long/", 100), "http://example.com/" + strings.Repeat("long/", 47) + "lo…", "points to"},
		{"", "", "redirects are not followed"},
	} {
		u, err := url.Parse(from)
		if err != nil {
			t.Fatal(err)
		}
		m := masker{header: http.Header{}, url: u}
		kept := redirectTarget(http.StatusFound, http.Header{"Location": {tt.location}}, u, &m)
		if tt.kept != "…" && kept != tt.kept {
			t.Errorf("%q: kept %q, want %q", tt.location, kept, tt.kept)
		}
		text := statusText(http.StatusFound, kept, u)
		if !strings.Contains(text, tt.says) || strings.Contains(text, "example") {
			t.Errorf("%q: %q does not say %q", tt.location, text, tt.says)
		}
		for _, never := range []string{"s3cr3t", "passw0rd", "abcdef", "\x1b"} {
			if strings.Contains(kept+text, never) {
				t.Errorf("%q: %q is shown in %q, %q", tt.location, never, kept, text)
			}
		}
	}
}

func TestRedirectTargetOfOtherAnswersIsNotKept(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"HTTP/1.1 308 Permanent Redirect\r\nLocation: /b\r\nLocation: /c\r\nContent-Length: 0\r\n\r\n": "/b",
		"HTTP/1.1 201 Created\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n":                            "",
		"HTTP/1.1 400 Bad\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n":                                "",
		"HTTP/1.1 304 Not Modified\r\n\r\n":                                                            "",
	} {
		p := newPeer(t, answerOnce(raw))
		base := "http://" + p.Addr().String()
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, base+"/a"))
		if got := strings.TrimPrefix(a.ResponseHeaders["Location"], base); got != want {
			t.Errorf("%.20q: kept %q, want %q (%+v)", raw, got, want, a)
		}
		if want != "" && !strings.Contains(a.Error, "it points to another path") {
			t.Errorf("%.20q: %q", raw, a.Error)
		}
		if p.requests.Load() != 1 {
			t.Errorf("%.20q: %d requests, want 1", raw, p.requests.Load())
		}
	}
}
