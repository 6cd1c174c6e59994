package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A parsed is what became of an answer's bytes.
type parsed struct {
	Status int
	Header http.Header
	Body   string // the first 8 KiB
	Whole  bool   // and that was all
	reuse  bool
}

const bodyRead = 8 << 10

// parseOurs reads an answer as a Client does.
func parseOurs(src io.Reader) (p parsed, err error) {
	x := &exchange{said: -1}
	x.open(src)
	defer x.release()
	if err := x.readHead(); err != nil {
		return p, err
	}
	body, bodyErr := io.ReadAll(io.LimitReader(x, bodyRead))
	p = parsed{Status: x.resp.StatusCode, Header: x.resp.Header, Body: string(body)}
	p.Whole = bodyErr == nil && x.bodyErr == io.EOF
	p.reuse = x.keep && p.Whole && x.buffered() == 0
	return p, nil
}

// parseTheirs reads it as net/http does.
func parseTheirs(raw []byte) (p parsed, err error) {
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			return p, err
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		var body []byte
		var bodyErr error
		if resp.StatusCode != http.StatusSwitchingProtocols { // its "body" is the connection
			body, bodyErr = io.ReadAll(io.LimitReader(resp.Body, bodyRead+1))
		}
		p = parsed{Status: resp.StatusCode, Header: resp.Header, Body: string(body[:min(len(body), bodyRead)])}
		p.Whole = bodyErr == nil && len(body) <= bodyRead
		p.reuse = !resp.Close && p.Whole
		return p, nil
	}
}

// compared leaves out the headers that net/http takes out of an answer or adds.
func compared(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Transfer-Encoding", "Trailer", "Cache-Control", "Connection"} {
		delete(h, name)
	}
	return h
}

// answers are heads and bodies as receivers send them, well or badly. Where ours is
// not "as net/http", it says what becomes of them here.
var answers = []struct{ name, raw, ours string }{
	{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
	{"nothing but a status", "HTTP/1.1 204 No Content\r\n\r\n", ""},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ""},
	{"an empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", ""},
	{"bare line feeds", "HTTP/1.1 200 OK\nServer: x\nContent-Length: 2\n\nok", ""},
	{"until the connection ends", "HTTP/1.1 200 OK\r\n\r\nall of this", ""},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
	{"HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", ""},
	{"HTTP/1.7", "HTTP/1.7 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
	{"HTTP/2.0 in text", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "refused"},
	{"HTTP/9.9", "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n", "refused"},
	{"HTTP/1.10", "HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
	{"lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
	{"not HTTP", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", ""},
	{"HTTP/0.9", "<html>ok</html>", ""},
	{"empty", "", ""},
	{"an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", ""},
	{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", ""},
	{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", ""},
	{"negative status", "HTTP/1.1 -20 OK\r\n\r\n", ""},
	{"status 000", "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", ""},
	{"status 999", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", ""},
	{"100 and then 200", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
	{"100 and no more", "HTTP/1.1 100 Continue\r\n\r\n", ""},
	{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\x81\x05hello", "closed afterwards"},
	{"204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nextra", "closed afterwards"},
	{"304 with a body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nextra", "closed afterwards"},
	{"close", "HTTP/1.1 200 OK\r\nConnection: foo , Close\r\nContent-Length: 0\r\n\r\n", ""},
	{"more than promised", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", "closed afterwards"},
	{"less than promised", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", ""},
	{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", ""},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", ""},
	{"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", ""},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ""},
	{"length with a plus", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", ""},
	{"length in hexadecimal", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", ""},
	{"no length in the length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", ""},
	{"length of 2^63", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok", ""},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", ""},
	{"chunks and a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", ""},
	{"chunks and a bad trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n no\r\n\r\n", ""},
	{"chunk extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nok\r\n0;c\r\n\r\n", ""},
	{"chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", ""},
	{"chunk size with a sign", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", ""},
	{"chunk size of 17 digits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n", ""},
	{"chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", ""},
	{"chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", ""},
	{"chunks with bare line feeds", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", ""},
	{"more behind the chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 500 Poison\r\n\r\n", "closed afterwards"},
	{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "closed afterwards"},
	{"bad length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
	{"HTTP/1.0 with chunks", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
	{"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", ""},
	{"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ""},
	{"coding twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
	{"folded", "HTTP/1.1 200 OK\r\nServer: one\r\n two\r\n\tthree\r\nContent-Length: 0\r\n\r\n", ""},
	{"folded length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok", ""},
	{"space first", "HTTP/1.1 200 OK\r\n X: a\r\n\r\n", ""},
	{"no colon", "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", ""},
	{"space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", ""},
	{"spaces in a name", "HTTP/1.1 200 OK\r\nMy Header: a\r\nContent-Length: 2\r\n\r\nok", ""},
	{"no name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n", ""},
	{"NUL in a name", "HTTP/1.1 200 OK\r\nX\x00Y: a\r\n\r\n", ""},
	{"NUL in a value", "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n", ""},
	{"CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", ""},
	{"DEL in a value", "HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n", ""},
	{"bytes above ASCII in a value", "HTTP/1.1 200 OK\r\nServer: \xff\xfe é\r\nContent-Length: 0\r\n\r\n", ""},
	{"odd case of names", "HTTP/1.1 200 OK\r\ncONTENT-lENGTH: 2\r\nx-rEQUEST-id: 7\r\n\r\nok", ""},
	{"tabs around a value", "HTTP/1.1 200 OK\r\nServer:\t x \t\r\nContent-Length: 0\r\n\r\n", ""},
	{"a header in parts", "HTTP/1.1 200 OK\r\nVia: a\r\nServer: s\r\nVia: b\r\nContent-Length: 0\r\n\r\n", ""},
}

// What the parser makes of answers is what net/http makes of them, but where the
// table says otherwise.
func TestAnswers_AreReadAsNetHTTPReadsThem(t *testing.T) {
	t.Parallel()
	for _, row := range answers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ours, ourErr := parseOurs(strings.NewReader(row.raw))
			theirs, theirErr := parseTheirs([]byte(row.raw))
			switch {
			case row.ours == "refused":
				if ourErr == nil || theirErr != nil {
					t.Errorf("ours: %v, net/http: %v; want only ours to refuse it", ourErr, theirErr)
				}
				return
			case (ourErr == nil) != (theirErr == nil):
				t.Fatalf("ours: %v, net/http: %v", ourErr, theirErr)
			case ourErr != nil:
				return
			}
			agree(t, ours, theirs)
			if want := theirs.reuse && row.ours != "closed afterwards"; ours.reuse != want {
				t.Errorf("used again: %v, want %v", ours.reuse, want)
			}
		})
	}
}

func agree(t *testing.T, ours, theirs parsed) {
	t.Helper()
	ours.Header, theirs.Header = compared(ours.Header), compared(theirs.Header)
	ours.reuse, theirs.reuse = false, false
	if diff := cmp.Diff(theirs, ours, cmp.AllowUnexported(parsed{})); diff != "" {
		t.Errorf("net/http's and ours (-net/http +ours):\n%s", diff)
	}
}

// However the bytes come in, they mean the same.
func TestAnswers_MeanTheSameInAnyPieces(t *testing.T) {
	t.Parallel()
	for _, row := range answers {
		whole, wholeErr := parseOurs(strings.NewReader(row.raw))
		for name, src := range map[string]io.Reader{
			"byte by byte":      iotest.OneByteReader(strings.NewReader(row.raw)),
			"in halves":         iotest.HalfReader(strings.NewReader(row.raw)),
			"the end with data": iotest.DataErrReader(strings.NewReader(row.raw)),
		} {
			got, err := parseOurs(src)
			if (err == nil) != (wholeErr == nil) {
				t.Errorf("%s, %s: %v; at once: %v", row.name, name, err, wholeErr)
			}
			got.reuse, whole.reuse = false, false // what comes behind the answer may not be here yet
			if diff := cmp.Diff(whole, got, cmp.AllowUnexported(parsed{})); diff != "" {
				t.Errorf("%s, %s (-at once +in pieces):\n%s", row.name, name, diff)
			}
		}
	}
}

// FuzzAnswer holds the parser to two things, for any bytes: it reads nothing that
// net/http refuses, and what it reads is what net/http reads.
func FuzzAnswer(f *testing.F) {
	for _, row := range answers {
		f.Add([]byte(row.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours, err := parseOurs(bytes.NewReader(raw))
		if err != nil {
			return
		}
		theirs, err := parseTheirs(raw)
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return // of a header that says what may come behind the body; nobody here reads either
			}
			t.Fatalf("net/http refuses it: %v", err)
		}
		if ours.reuse && !theirs.reuse {
			t.Errorf("used again, and not by net/http: %+v", ours)
		}
		if !ours.Whole {
			// A body that breaks off may do so at another byte.
			short := min(len(ours.Body), len(theirs.Body))
			ours.Body, theirs.Body, theirs.Whole = ours.Body[:short], theirs.Body[:short], false
		}
		agree(t, ours, theirs)
	})
}

func TestHeads_AreBounded(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"one line":          "HTTP/1.1 200 " + strings.Repeat("O", maxHead),
		"many lines":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxHead/6),
		"many 1xx":          strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxHead/27+1),
		"1xx and then long": "HTTP/1.1 103 x\r\nA: " + strings.Repeat("b", maxHead/2) + "\r\n\r\nHTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", maxHead/2) + "\r\n\r\n",
	} {
		if _, err := parseOurs(strings.NewReader(raw + strings.Repeat("z", maxHead))); !errors.Is(err, errHeadTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	exact := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: "
	exact += strings.Repeat("b", maxHead-len(exact)-4) + "\r\n\r\n"
	if _, err := parseOurs(strings.NewReader(exact)); err != nil {
		t.Errorf("a head of %d bytes: %v", len(exact), err)
	}
	if _, err := parseOurs(strings.NewReader(strings.Replace(exact, "A: ", "A: b", 1))); !errors.Is(err, errHeadTooLarge) {
		t.Errorf("a head of one byte more: %v", err)
	}
}

func TestChunks_AreBounded(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
	for name, rest := range map[string]string{
		"one extension":   "1;x=" + strings.Repeat("y", 2*maxChunkLine) + "\r\n!\r\n0\r\n\r\n",
		"many extensions": strings.Repeat("1;"+strings.Repeat("y", 1000)+"\r\n!\r\n", 20) + "0\r\n\r\n",
		"one trailer":     "0\r\nX: " + strings.Repeat("y", 2*maxTrailer) + "\r\n\r\n",
		"many trailers":   "0\r\n" + strings.Repeat("X: y\r\n", maxTrailer) + "\r\n",
	} {
		p, err := parseOurs(strings.NewReader(head + rest))
		if err != nil || p.Whole || p.reuse || !strings.HasPrefix(p.Body, "ok") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"timeout=5":                  5 * time.Second,
		"timeout=5, max=100":         5 * time.Second,
		"max=100, Timeout = 15":      15 * time.Second,
		`timeout="7"`:                7 * time.Second,
		"timeout=0":                  0,
		"":                           -1,
		"timeout":                    -1,
		"timeout=-1":                 -1,
		"timeout=x":                  -1,
		"timeout=99999999999999999":  -1,
		"xtimeout=5, timeoutx=6":     -1,
		"timeout=x, timeout=4294967": 4294967 * time.Second,
	} {
		if got := keepAlive([]string{value}); got != want {
			t.Errorf("Keep-Alive: %q is %v, want %v", value, got, want)
		}
	}
	for said, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: time.Second / 2, 2 * time.Second: time.Second, 3 * time.Second: 2 * time.Second, 75 * time.Second: 74 * time.Second,
	} {
		if got := lessMargin(said); got != want {
			t.Errorf("of %v %v is trusted, want %v", said, got, want)
		}
	}
}
