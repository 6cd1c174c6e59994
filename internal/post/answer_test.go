package post

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// endless answers with the start and then the same piece until nobody reads.
func endless(start, piece string) func(*peer, int64, net.Conn) {
	return func(p *peer, _ int64, conn net.Conn) {
		p.readRequest(bufio.NewReader(conn))
		io.WriteString(conn, start)
		for more := strings.Repeat(piece, 1+(32<<10)/len(piece)); ; {
			if _, err := io.WriteString(conn, more); err != nil {
				return
			}
		}
	}
}

// Not parallel: it measures memory.
func TestR1_BodiesCostNoMemory(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 8 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	handlers := []func(*peer, int64, net.Conn){
		endless("HTTP/1.1 200 OK\r\n\r\n", "x"),
		endless("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", "x"),
		endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		endless("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", bomb.String()),
		answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String())),
		answer("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\n\x0b\x02\x80ok"),
	}
	s := newTestSender(t, transportConfig{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for i := range 102 {
		handle := handlers[i%len(handlers)]
		p := newPeer(t, handle)
		all.Go(func() {
			a := attempt(t, s, post(t, p.url))
			if !a.Succeeded() || len(a.ResponseBody) > 4096 || len(a.ResponseBody) == 0 || a.ResponseTruncated == (i%len(handlers) == 5) {
				t.Errorf("answer %d: status %d, %d bytes kept, truncated %v, %s", i%len(handlers), a.Status, len(a.ResponseBody), a.ResponseTruncated, a.Error)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

func TestR1_NothingIsDecoded(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "hello")
	z.Close()
	p := newPeer(t, answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())))
	a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url))
	if !bytes.Equal(a.ResponseBody, packed.Bytes()) || a.ResponseHeaders["Content-Encoding"] != "gzip" {
		t.Errorf("%+v", a)
	}
}

func TestR2_ConnectionsAreUsedAgainWhenTheRestIsShort(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		length int
		conns  int64
	}{{0, 1}, {2, 1}, {4096, 1}, {8000, 1}, {9000, 3}, {1 << 20, 3}} {
		p := newPeer(t, answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", row.length, strings.Repeat("x", row.length))))
		s := newTestSender(t, transportConfig{})
		for range 3 {
			a := attempt(t, s, post(t, p.url))
			if !a.Succeeded() || len(a.ResponseBody) != min(row.length, 4096) || a.ResponseTruncated != (row.length > 4096) {
				t.Errorf("%d bytes: kept %d, truncated %v, %s", row.length, len(a.ResponseBody), a.ResponseTruncated, a.Error)
			}
		}
		if n := p.conns.Load(); n != row.conns {
			t.Errorf("three answers of %d bytes took %d connections, want %d", row.length, n, row.conns)
		}
	}
}

func TestR3_ABrokenBodyAfterA2xxIsASuccess(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"truncated":          "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
		"bad chunk size":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n",
		"chunks end early":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
		"huge chunk size":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nfffffffffffffffff\r\n",
		"endless extension":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n1;" + strings.Repeat("x", 1<<16),
		"malformed trailers": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n no trailer\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, answerOnce(raw))
			s := newTestSender(t, transportConfig{})
			for n := int64(1); n <= 2; n++ {
				a := attempt(t, s, post(t, p.url))
				if !a.Succeeded() || !a.ResponseTruncated || string(a.ResponseBody) != "short" {
					t.Errorf("%+v", a)
				}
				if p.conns.Load() != n {
					t.Errorf("%d connections after %d attempts", p.conns.Load(), n)
				}
			}
		})
	}
}

func TestR4_HeadsAreBounded(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(*peer, int64, net.Conn){
		"endless headers":     endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
		"one endless header":  endless("HTTP/1.1 200 OK\r\nX-A: ", "b"),
		"endless reason":      endless("HTTP/1.1 200 ", "O"),
		"endless 100":         endless("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"endless 102 and 103": endless("", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"65 KiB":              answer("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("b", 65<<10) + "\r\nContent-Length: 0\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, handle)
			r := post(t, p.url).within(time.Minute) // it is the bound that ends it, not the clock
			wantClass(t, attempt(t, newTestSender(t, transportConfig{}), r), ClassProtocol, "headers exceeded 65536 bytes")
		})
	}
	p := newPeer(t, answer("HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("b", 60<<10)+"\r\nContent-Length: 0\r\n\r\n"))
	wantStatus(t, attempt(t, newTestSender(t, transportConfig{}), post(t, p.url)), 200)
}

func TestR5_SuccessIs200To299AndNothingElse(t *testing.T) {
	t.Parallel()
	for status, success := range map[string]bool{
		"000": false, "001": false, "099": false, "101": false, "200": true, "201": true, "204": true, "205": true, "206": true, "226": true,
		"299": true, "300": false, "301": false, "304": false, "399": false, "400": false, "404": false, "410": false,
		"429": false, "500": false, "503": false, "599": false, "600": false, "999": false,
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, answerOnce("HTTP/1.1 "+status+" Whatever\r\nContent-Length: 0\r\n\r\n"))
			a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url))
			if got := fmt.Sprintf("%03d", a.Status); got != status || a.Succeeded() != success {
				t.Errorf("%+v", a)
			}
			if !success {
				wantClass(t, a, ClassStatus, "the receiver answered "+status)
			}
		})
	}
	// Neither a status nor the end of an exchange.
	for _, line := range []string{"HTTP/1.1 199 Almost", "HTTP/1.1 100 Continue", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 OK"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, answerOnce(line+"\r\n\r\n"))
			if a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url)); a.Succeeded() || a.Status != 0 {
				t.Errorf("%+v", a)
			}
		})
	}
	t.Run("204 with a body", func(t *testing.T) {
		t.Parallel()
		p := newPeer(t, answer("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"))
		s := newTestSender(t, transportConfig{})
		for range 2 {
			if a := attempt(t, s, post(t, p.url)); a.Status != 204 || len(a.ResponseBody) != 0 {
				t.Errorf("%+v", a)
			}
		}
	})
}

func TestR5_RetryAfterIsHandedOnWhereItCounts(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][]string{429: {"5", "6"}, 503: {"5", "6"}, 500: nil, 200: nil, 301: nil} {
		p := newPeer(t, answer(fmt.Sprintf("HTTP/1.1 %d X\r\nRetry-After: 5\r\nRetry-After: 6\r\nContent-Length: 0\r\n\r\n", status)))
		a := newTestSender(t, transportConfig{}).Do(t.Context(), post(t, p.url))
		if !slices.Equal(a.retryAfter, want) || a.ResponseHeaders["Retry-After"] != "5" {
			t.Errorf("%d: %q, %v", status, a.retryAfter, a.ResponseHeaders)
		}
	}
}

// Not parallel: it counts goroutines.
func TestR6_SwitchingProtocolsEndsTheConnection(t *testing.T) {
	settled := watchGoroutines(t)
	t.Run("101", func(t *testing.T) {
		closed := make(chan error, 1)
		p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
			r := bufio.NewReader(conn)
			p.readRequest(r)
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\nand then some")
			_, err := r.ReadByte()
			closed <- err
		})
		s := newClient(newClients(transportConfig{guard: loopback()}, nil))
		a := attempt(t, s, post(t, p.url))
		wantStatus(t, a, 101)
		wantClass(t, a, ClassStatus, "not an answer to a delivery")
		if err := <-closed; err == nil {
			t.Error("something was sent on the switched connection")
		}
	})
	settled()
}

func TestR7_AnswersThatAreNotHTTP(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"garbage":                       "\x00\x01\x02\xff\xfe garbage\r\n\r\n",
		"HTTP/0.9":                      "<html>hello</html>\r\n\r\n",
		"HTTP/9.9":                      "HTTP/9.x 200 OK\r\n\r\n",
		"two lengths":                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
		"negative length":               "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"huge length":                   "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"length with a plus":            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"unknown transfer encoding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: evil\r\n\r\nok",
		"two transfer encodings":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"bad length beside chunks":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
		"header without a colon":        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
		"header that starts with space": "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
		"NUL in a header's name":        "HTTP/1.1 200 OK\r\nX\x00Y: a\r\n\r\n",
		"NUL in a header's value":       "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, answer(raw))
			s := newTestSender(t, transportConfig{})
			for n := int64(1); n <= 2; n++ {
				a := attempt(t, s, post(t, p.url))
				wantClass(t, a, ClassProtocol, "")
				wantPrintable(t, a.Error)
				if p.conns.Load() != n || p.requests.Load() != n {
					t.Errorf("%d connections, %d requests after %d attempts", p.conns.Load(), p.requests.Load(), n)
				}
			}
		})
	}
}

// net/http takes the chunks for the body, as RFC 9112 has it, and forgets the
// length, so this cannot be refused here. Nobody sits between us and the
// receiver on this connection who could have seen it the other way.
func TestR7_LengthBesideChunksIsReadByTheChunks(t *testing.T) {
	t.Parallel()
	p := newPeer(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	s := newTestSender(t, transportConfig{})
	for range 2 {
		if a := attempt(t, s, post(t, p.url)); string(a.ResponseBody) != "ok" || a.ResponseHeaders["Content-Length"] != "" {
			t.Errorf("%+v", a)
		}
	}
}

// Not parallel: it reads what is written to the standard logger.
func TestR8_R18_ASecondAnswerIsNobodys(t *testing.T) {
	var mu sync.Mutex
	var logged bytes.Buffer
	log.SetOutput(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return logged.Write(p)
	}))
	defer log.SetOutput(os.Stderr)
	const first = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
	evil := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison\x1b[31m\x00\n" + strings.Repeat("A", 100_000)
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		for r := bufio.NewReader(conn); p.readRequest(r) != nil; {
			io.WriteString(conn, first+evil)
		}
	})
	s := newTestSender(t, transportConfig{})
	const attempts = 10
	for range attempts {
		if a := attempt(t, s, post(t, p.url)); string(a.ResponseBody) != "first" {
			t.Fatalf("%+v", a)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if logged.Len() > attempts*32<<10 {
		t.Errorf("%d bytes logged for %d attempts", logged.Len(), attempts)
	}
	for line := range strings.Lines(logged.String()) {
		wantPrintable(t, strings.TrimSuffix(line, "\n"))
	}
	if n := p.conns.Load(); n != attempts {
		t.Errorf("%d connections for %d attempts", n, attempts)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func wantPrintable(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not printable: %q", s)
	}
}

func TestR9_NoByteOfAnAnswerMakesTheAttemptUnrecordable(t *testing.T) {
	t.Parallel()
	nasty := map[string]string{
		"NUL": "a\x00b", "invalid UTF-8": "\xff\xfe\xc0\xaf", "lone surrogate": "\xed\xa0\x80", "ANSI": "\x1b[2J\x1b[31mred",
		"C1": "\u0085\u009b", "bidi": "\u202eevil\u2066", "line separators": "\u2028\u2029", "BOM": "\ufeff", "DEL": "\x7f", "long": strings.Repeat("é", 10_000),
		"script": "</script><script>alert(1)</script>", "many lines": strings.Repeat("\r\n", 500_000),
	}
	for name, bad := range nasty {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inHeader := strings.NewReplacer("\r", "", "\n", "").Replace(bad)
			for i, raw := range []string{
				fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(bad), bad),
				fmt.Sprintf("HTTP/1.1 500 %s\r\nServer: %s\r\nContent-Type: %s\r\nContent-Length: 0\r\n\r\n", inHeader, inHeader, inHeader),
				inHeader + "\r\n\r\n",
				"HTTP/1.1 " + inHeader + "\r\n\r\n",
				"HTTP/1.1 200 OK\r\n" + inHeader + "\r\n\r\n",
			} {
				p := newPeer(t, answerOnce(raw))
				a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url))
				wantPrintable(t, a.Error)
				if len(a.Error) > 400 {
					t.Errorf("an error of %d bytes", len(a.Error))
				}
				for name, value := range a.ResponseHeaders {
					wantPrintable(t, name)
					wantPrintable(t, value)
					if len(value) > 300 {
						t.Errorf("%s kept with %d bytes", name, len(value))
					}
				}
				if i == 0 && !bytes.Equal(a.ResponseBody, []byte(bad)[:min(len(bad), 4096)]) {
					t.Errorf("body %q, want the bytes that were sent", a.ResponseBody)
				}
			}
		})
	}
}

func TestR9_Printable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                  "plain",
		"":                       "",
		"é 日本":                   "é 日本",
		"a\x00b\r\n":             `a\x00b\r\n`,
		"\xff":                   `\xff`,
		"\x1b[31m":               `\x1b[31m`,
		"\u202e":                 `\u202e`,
		strings.Repeat("a", 21):  strings.Repeat("a", 20) + "…",
		strings.Repeat("a", 20):  strings.Repeat("a", 20),
		strings.Repeat("é", 11):  strings.Repeat("é", 10) + "…",
		"aaaaaaaaaaaaaaaaaa\x00": "aaaaaaaaaaaaaaaaaa…", // an escape is not cut in two
	} {
		if got := printable(in, 20); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestR17_OnlyHarmlessHeadersAreKept(t *testing.T) {
	t.Parallel()
	p := newPeer(t, answer("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 2\r\nServer: nginx\r\nServer: second\r\n"+
		"Date: Thu, 15 Jan 2026 11:45:00 GMT\r\nX-Request-ID: req_1\r\nSet-Cookie: session=secret\r\nAuthorization: Bearer secret\r\n"+
		"WWW-Authenticate: Basic\r\nX-Auth-Token: secret\r\nLocation: https://example.com/?token=secret\r\nX-Anything: else\r\n\r\nok"))
	a := attempt(t, newTestSender(t, transportConfig{}), post(t, p.url))
	want := map[string]string{
		"Content-Type": "text/plain", "Content-Length": "2", "Server": "nginx", "Date": "Thu, 15 Jan 2026 11:45:00 GMT", "X-Request-Id": "req_1",
	}
	if diff := cmp.Diff(want, a.ResponseHeaders); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestCatalogue34_AnEchoOfTheRequestIsMasked(t *testing.T) {
	t.Parallel()
	var r *Request
	echo := func(filler int, headers bool) func(*peer, int64, net.Conn) {
		return func(p *peer, _ int64, conn net.Conn) {
			request := p.readRequest(bufio.NewReader(conn))
			body := strings.Repeat("x", filler) + string(request)
			fields := ""
			if headers {
				for _, values := range r.Header {
					for _, value := range values {
						fields += "Server: " + value + "\r\nX-Request-Id: pre" + value + "post\r\nVia: " + value[:len(value)-1] + "\r\n"
						break
					}
				}
				fields = "Server: " + r.Header.Get("X-Api-Key") + "\r\nX-Request-Id: a" + r.Header.Get("X-Webhook-Signature") + "\r\n"
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%sConnection: close\r\n\r\n%s", fields, body)
		}
	}
	r = post(t, "http://x/")
	r.Header["Authorization"] = []string{"Bearer tok_live_1234567890"}
	secrets := []string{"custom-header-value", "tok_live_1234567890", "c2lnbmF0dXJlLW9uZQ==", "c2lnbmF0dXJlLXR3bw==", r.Header.Get("X-Webhook-Signature")}
	for _, filler := range []int{0, 3700, 3800, 3850, 3900, 4000, 4090, 7700, 7800, 7900, 8000, 8100} {
		p := newPeer(t, echo(filler, true))
		r.URL = post(t, p.url).URL
		a := attempt(t, newTestSender(t, transportConfig{}), r)
		stored := string(a.ResponseBody) + fmt.Sprint(a.ResponseHeaders) + a.Error
		for _, secret := range secrets {
			for n := len(secret); n >= 10; n-- {
				if strings.Contains(stored, secret[:n]) {
					t.Errorf("after %d bytes: %d bytes of %q were stored", filler, n, secret)
					break
				}
			}
		}
		if filler == 0 && (!strings.Contains(stored, "evt_1") || !strings.Contains(stored, testBody) || !strings.Contains(stored, "Content-Type: application/json")) {
			t.Errorf("more was masked than should be: %s", stored)
		}
	}
	// As an answer that is not HTTP, and cut in the middle of a secret.
	for name, raw := range map[string]string{
		"in the error":     "custom-header-value tok_live_1234567890\r\n\r\n",
		"cut in the body":  "HTTP/1.1 200 OK\r\n\r\n" + r.Header.Get("X-Webhook-Signature")[:40],
		"cut in the error": "HTTP/1.1 " + r.Header.Get("X-Webhook-Signature")[:40],
	} {
		p := newPeer(t, answerOnce(raw))
		r.URL = post(t, p.url).URL
		a := attempt(t, newTestSender(t, transportConfig{}), r)
		if stored := string(a.ResponseBody) + a.Error; strings.Contains(stored, "custom-h") || strings.Contains(stored, "tok_live") || strings.Contains(stored, "5ec2e75ec2e7") {
			t.Errorf("%s: %q", name, stored)
		}
	}
}

func TestCatalogue34_Mask(t *testing.T) {
	t.Parallel()
	m := masker{header: http.Header{
		"X-A": {"secret-one"}, "X-B": {"short"}, "Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass"))},
		"Content-Type": {"application/json"}, "webhook-id": {"evt_public"},
	}}
	for in, want := range map[string]string{
		"secret-one":                      "**********",
		"a secret-one, secret-one.":       "a **********, **********.",
		"short":                           "short",
		"application/json evt_public":     "application/json evt_public",
		"Basic dXNlcjpwYXNz":              "******************",
		"token dXNlcjpwYXNz":              "token ************",
		"ends in secret-o":                "ends in ********",
		"ends in secr":                    "ends in secr",
		"secret-on":                       "*********",
		"":                                "",
		"nothing of the kind in here":     "nothing of the kind in here",
		"secret-secret-one secret-secret": "secret-********** secret-******",
	} {
		if got := m.maskString(in); got != want {
			t.Errorf("mask(%q) = %q, want %q", in, got, want)
		}
		data := []byte(in)
		if m.mask(data); string(data) != want {
			t.Errorf("mask of the bytes of %q = %q, want %q", in, data, want)
		}
	}
}

func TestCatalogue9_AnswerBeforeTheRequestWasRead(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		conn.Read(make([]byte, 100)) // some of it
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		<-p.done
	})
	r := post(t, p.url)
	r.Body = make([]byte, 16<<20)
	s := newTestSender(t, transportConfig{})
	for n := int64(1); n <= 2; n++ {
		if a := attempt(t, s, r); !a.Succeeded() || p.conns.Load() != n {
			t.Errorf("%d connections, %+v", p.conns.Load(), a)
		}
	}
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		500: "the receiver answered 500 Internal Server Error",
		302: "the receiver answered 302 Found; redirects are not followed",
		0:   "the receiver answered 000, which is not an answer to a delivery",
		999: "the receiver answered 999",
	} {
		if got := statusText(status, "", nil); got != want {
			t.Errorf("statusText(%d) = %q, want %q", status, got, want)
		}
	}
}
