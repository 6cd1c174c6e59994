package post

import (
	"net/http"
	"net/url"
	"strings"
)

// redirectTarget returns where a redirect points, for the log: an absolute URL,
// without user name, query and fragment, in which login pages and the like
// carry tokens. It is empty when the answer is no redirect or does not say.
//
// Most redirects of webhooks are a mistake in the URL: http for https, a slash
// at the end too many or too few, a host without its www. The target tells the
// customer which URL to save.
func redirectTarget(status int, h http.Header, from *url.URL, m *masker) string {
	values := h["Location"]
	if status < 300 || status > 399 || len(values) == 0 || values[0] == "" {
		return ""
	}
	shown, _, _ := strings.Cut(values[0], "#")
	shown, _, query := strings.Cut(shown, "?")
	if to, err := from.Parse(shown); err == nil {
		to.User, to.RawQuery, to.ForceQuery, to.Fragment = nil, "", false, ""
		shown = to.String()
	} else if at := strings.LastIndexByte(shown, '@'); at >= 0 {
		shown = "…" + shown[at:] // an unparsable URL may have a password before it
	}
	if query {
		shown += "?…"
	}
	return printable(m.maskString(shown), keptValue)
}

// redirectText advises a customer about a redirect to target, a result of
// redirectTarget. Like every error's text it holds no URL: the target is among the
// headers of the answer.
func redirectText(target string, from *url.URL) string {
	const refused = "; redirects are not followed"
	bare, _, _ := strings.Cut(target, "?")
	to, err := url.Parse(bare)
	if target == "" || err != nil {
		return refused
	}
	host, path := strings.EqualFold(to.Host, from.Host), to.EscapedPath() == from.EscapedPath()
	what := "another path"
	switch {
	case host && path && to.Scheme == "https" && from.Scheme == "http":
		what = "the same URL with https"
	case host && path && to.Scheme == from.Scheme:
		what = "the same URL, perhaps with another query"
	case host && to.EscapedPath() == from.EscapedPath()+"/":
		what = "the same URL with a slash at the end"
	case host && to.EscapedPath()+"/" == from.EscapedPath():
		what = "the same URL without the slash at the end"
	case strings.EqualFold(to.Host, "www."+from.Host):
		what = "the host with www"
	case strings.EqualFold("www."+to.Host, from.Host):
		what = "the host without www"
	case !host:
		what = "another host"
	}
	return refused + "; it points to " + what + ": if that is where deliveries belong, save the URL in its Location for the webhook"
}
