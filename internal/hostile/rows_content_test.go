package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// marker is the value of a custom header that a receiver echoes: it must be
// found nowhere.
const marker = "Bearer marker-of-a-customers-own-token"

// farAhead is how long Retry-After may be obeyed in these tests.
const farAhead = 3 * time.Second

// What answers ask for: redirects, waits, cookies, space in the log.
func init() {
	for _, status := range []int{301, 302, 303, 307, 308} {
		rows = append(rows, row{name: fmt.Sprintf("HR24 redirects with %d to the metadata service", status), want: strconv.Itoa(status),
			serve: answers(fmt.Sprintf("HTTP/1.1 %d Over there\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n", status))})
	}
	rows = append(rows,
		row{name: "HR24 redirects to itself", want: "302", serve: func(v *visit) {
			for v.next() {
				if v.request.Method != "POST" || v.request.URL.Path != "/hook" {
					v.e.mu.Lock()
					v.e.problem("a redirect was followed: %s %s", v.request.Method, v.request.URL)
					v.e.mu.Unlock()
				}
				v.say("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
			}
		}},
		row{name: "HR24 redirects nowhere", want: "301", serve: answers("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR24 redirects to a megabyte", want: "protocol", serve: once(func(v *visit) {
			v.say("HTTP/1.1 302 Found\r\nLocation: https://" + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 0\r\n\r\n")
		})},
	)

	for _, value := range []string{"0", "-1", "1.5", "1e3", "NaN", "Infinity", "+5", "soon", "Mon, 01 Jan 1990 00:00:00 GMT", "1\r\nRetry-After: 2"} {
		for _, status := range []int{429, 503} {
			if status == 503 && value != "0" {
				continue
			}
			rows = append(rows, row{name: fmt.Sprintf("HR27 asks with %d to wait %q", status, value), want: strconv.Itoa(status), serve: answers(
				fmt.Sprintf("HTTP/1.1 %d Later\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", status, value))})
		}
	}
	for _, value := range []string{"3153600000", "9223372037", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		rows = append(rows, row{name: fmt.Sprintf("HR27 asks to wait a century, %s", value), want: "503", delay: farAhead, serve: answers(
			"HTTP/1.1 503 Later\r\nRetry-After: " + value + "\r\nContent-Length: 0\r\n\r\n")})
	}

	rows = append(rows,
		row{name: "HR28 sends what no log likes", want: "500", serve: answers(
			"HTTP/1.1 500 \x1b[31mEVIL\xff\r\nServer: \xfe\xff</script>\r\nX-Request-Id: \xed\xa0\x80\r\nContent-Length: 43\r\n\r\n" +
				"\x00\xff\xed\xa0\x80</script>\x1b]0;EVIL\x07\r\nlevel=ERROR forged"), check: func(s seen) string {
			if len(s.attempt.ResponseBody) != 43 {
				return fmt.Sprintf("%d bytes of the body are kept, 43 were sent", len(s.attempt.ResponseBody))
			}
			return ""
		}},
		row{name: "HR28 sends a line of 1 MB", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("\x00", 1<<20))
		})},
		row{name: "HR28 has escapes in a header", want: "protocol", serve: answers("HTTP/1.1 200 OK\r\nServer: \x1b[2J\xfe\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR28 has NUL in a header", want: "protocol", serve: answers("HTTP/1.1 200 OK\r\nX-Nul: a\x00b\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR29 sets cookies and policies", want: "ok", serve: answers(
			"HTTP/1.1 200 OK\r\nSet-Cookie: id=1; Domain=example.com; Path=/\r\nAlt-Svc: h3=\":443\", h2=\"127.0.0.1:1\"\r\nStrict-Transport-Security: max-age=1\r\n" +
				"Clear-Site-Data: \"*\"\r\nRefresh: 0; url=http://127.0.0.1/\r\nLink: <http://127.0.0.1/>; rel=preload\r\nContent-Length: 0\r\n\r\n"), check: func(s seen) string {
			for name := range s.attempt.ResponseHeaders {
				if slices.Contains([]string{"Set-Cookie", "Alt-Svc", "Refresh", "Link"}, name) {
					return name + " was kept"
				}
			}
			return ""
		}},
		row{name: "HR34 echoes the request", want: "400", headers: map[string]string{"Authorization": marker, "X-Api-Key": marker}, serve: func(v *visit) {
			for v.next() {
				var echo strings.Builder
				for _, name := range slices.Sorted(maps.Keys(v.request.Header)) {
					fmt.Fprintf(&echo, "%s: %s\n", name, strings.Join(v.request.Header[name], ", "))
				}
				echo.Write(v.body)
				v.say(fmt.Sprintf("HTTP/1.1 400 %s\r\nServer: %s\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s", marker, v.request.Header.Get("X-Webhook-Signature"),
					marker, echo.Len(), echo.String()))
			}
		}, check: func(s seen) string {
			for _, text := range append(slices.Collect(maps.Values(s.attempt.ResponseHeaders)), string(s.attempt.ResponseBody), s.attempt.Error) {
				if strings.Contains(text, "marker-of") || signature.MatchString(text) {
					return fmt.Sprintf("what was echoed is kept: %.300q", text)
				}
			}
			return ""
		}},
		row{name: "HR35 sends an enormous JSON", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
			v.pour("36\r\n{\"secret\":\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\",\"x\":\r\n", 1_000_000)
		}), check: func(s seen) string { return s.truncated() }},
	)
}
