package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"
)

// Answers without end, answers that lie, and no answers, in HTTP/1.
func init() {
	rows = append(rows,
		row{name: "HR8 reads a byte a second", want: "timeout", serve: func(v *visit) {
			v.raw.SetReadBuffer(1)
			one := make([]byte, 1)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for range 30 {
				if _, err := v.Read(one); err != nil {
					return
				}
				<-tick.C
			}
		}},
		row{name: "HR8 reads nothing", want: "timeout", serve: func(v *visit) {
			v.raw.SetReadBuffer(1)
			<-time.After(2 * limit)
		}},
		row{name: "HR9 answers without reading and closes", want: "ok connect protocol", serve: func(v *visit) { v.say(okAnswer) }},
		row{name: "HR9 answers without reading", want: "ok connect protocol", serve: func(v *visit) {
			v.say(okAnswer)
			v.hang()
		}},
		row{name: "HR10 never answers", want: "timeout", serve: once((*visit).hang)},
		row{name: "HR11 drips its head", want: "timeout", serve: once(func(v *visit) {
			v.drip("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Slow: and slower\r\n", 50), 1, 100*time.Millisecond)
		})},
		row{name: "HR12 sends headers without end", want: "protocol", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\n")
			v.pour("X-More: and more and more\r\n", 10_000_000)
		})},
		row{name: "HR12 sends one header of 100 MB", want: "protocol", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nX-Big: ")
			v.pour("0123456789", 10_000_000)
			v.say("\r\n\r\n")
		})},
		row{name: "HR13 sends 100 Continue without end", want: "protocol timeout", serve: once(func(v *visit) { v.pour("HTTP/1.1 100 Continue\r\n\r\n", 10_000_000) })},
		row{name: "HR13 sends 103 Early Hints without end", want: "protocol timeout", serve: once(func(v *visit) {
			v.drip("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n", 53, 20*time.Millisecond)
		})},
		row{name: "HR14 switches protocols", want: "101", serve: once(func(v *visit) {
			v.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			v.pour("\x81\x05hello", 1000)
			v.hang()
		})},
		row{name: "HR17 drips its body", want: "ok timeout", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
			v.drip("o", 1, 100*time.Millisecond)
		}), check: func(s seen) string { return s.truncated() }},
		row{name: "HR18 sends 10 GiB", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
			v.pour("0123456789abcdef", 10737418240/16)
		}), check: func(s seen) string { return s.truncated() }},
		row{name: "HR18 sends chunks without end", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			v.pour("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 10_000_000)
		}), check: func(s seen) string { return s.truncated() }},
		row{name: "HR19 sends a bomb in gzip", want: "ok", serve: answers(encoded("gzip", bomb())), check: raw(0x1f)},
		row{name: "HR19 sends gzip that is none", want: "ok", serve: answers(encoded("gzip", "not compressed at all")), check: raw('n')},
		row{name: "HR19 says br", want: "ok", serve: answers(encoded("br", "neither is this")), check: raw('n')},

		row{name: "HR20 promises more than it sends", want: "ok", serve: once(func(v *visit) { v.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort") }),
			check: func(s seen) string { return s.truncated() }},
		row{name: "HR20 sends more than it promises", want: "ok", serve: answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and a lot more")},
		row{name: "HR20 has a negative length", want: "protocol", serve: answers("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
		row{name: "HR20 has two lengths", want: "protocol", serve: answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")},
		row{name: "HR20 has a length of 2^63", want: "protocol", serve: answers("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok")},
		row{name: "HR20 has a length and chunks", want: "ok", serve: answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")},
		row{name: "HR20 has a chunk size that is none", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n")
		}), check: func(s seen) string { return s.truncated() }},
		row{name: "HR20 sends ten million chunks of a byte", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			v.pour("1\r\nx\r\n", 10_000_000)
		}), check: func(s seen) string { return s.truncated() }},
		row{name: "HR20 sends an extension of 1 MB", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=" + strings.Repeat("y", 1<<20) + "\r\nok\r\n0\r\n\r\n")
		})},
		row{name: "HR20 sends trailers without end", want: "ok", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
			v.pour("X-Trailer: of many\r\n", 1_000_000)
		})},
		row{name: "HR21 sends a second answer", want: "ok", serve: func(v *visit) {
			for v.next() && v.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Poison\r\nContent-Length: 0\r\n\r\n") {
			}
		}},
		row{name: "HR22 closes after every answer", want: "ok connect", serve: once(func(v *visit) { v.say(okAnswer) })},
		row{name: "HR22 closes what was idle for 20 ms", want: "ok connect", serve: func(v *visit) {
			for v.next() && v.say(okAnswer) {
				v.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			}
		}},
		row{name: "HR23 closes after reading the second request", want: "+ok +connect", serve: func(v *visit) {
			if v.next() && v.say(okAnswer) {
				v.next()
			}
		}},

		row{name: "HR30 answers 200 and 500 in turn", want: "+ok +500", serve: func(v *visit) {
			for n := v.n; v.next() && v.say([]string{okAnswer, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"}[n%2]); n++ {
			}
		}},
		row{name: "HR31 answers one in ten", want: "+503 ok", serve: func(v *visit) {
			if v.next() && v.n%10 == 0 {
				v.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			} else {
				v.say("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			}
		}},
		row{name: "HR32 answers before the timeout", want: "ok", serve: late(limit / 2)},
		row{name: "HR32 answers at the timeout", want: "timeout ok", serve: late(limit)},
		row{name: "HR32 answers just after the timeout", want: "timeout", serve: late(limit + 100*time.Millisecond)},
		row{name: "HR38 is up and down every second", want: "+ok +connect", serve: func(v *visit) {
			for v.next() {
				if v.e.age()/(730*time.Millisecond)%2 == 1 { // no multiple of what attempts are apart
					v.reset()
					return
				}
				v.say(okAnswer)
			}
		}},
		row{name: "HR40 is away, then returns", want: "+connect +ok", serve: func(v *visit) {
			if v.e.age() < 3*time.Second {
				v.reset()
				return
			}
			for v.next() && v.say(okAnswer) {
			}
		}},
	)
	for _, status := range []string{"000", "099", "300", "304", "404", "500", "599", "600", "999"} {
		want := strings.TrimLeft(status, "0")
		if want == "" {
			want = "0"
		}
		rows = append(rows, row{name: "HR15 answers " + status, want: want, serve: answers("HTTP/1.1 " + status + " Odd\r\nContent-Length: 0\r\n\r\n")})
	}
	rows = append(rows,
		row{name: "HR15 answers 299", want: "ok", serve: answers("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR15 answers 2000", want: "protocol", serve: answers("HTTP/1.1 2000 Odd\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR15 speaks HTTP/9.9", want: "ok protocol", serve: answers("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR15 answers garbage", want: "protocol", serve: once(func(v *visit) { v.say("I am not a web server\r\n\r\n") })},
		row{name: "HR15 answers in HTTP/0.9", want: "protocol", serve: once(func(v *visit) { v.say("<html>ok</html>") })},
		row{name: "HR16 sends 204 with a body", want: "ok", serve: answers("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nextra")},
		row{name: "HR16 sends 205", want: "ok", serve: answers("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n")},
		row{name: "HR16 sends 304 with a body", want: "304", serve: answers("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nextra")},
	)
}

// late answers so long after the request was read.
func late(d time.Duration) func(*visit) {
	return func(v *visit) {
		for v.next() {
			<-time.After(d)
			if !v.say(okAnswer) {
				return
			}
		}
	}
}

// bomb is 200 KB that become 200 MiB: a hundred times the same 2 MiB, as gzip allows.
func bomb() string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.CopyN(w, zeros{}, 2<<20)
	w.Close()
	return strings.Repeat(packed.String(), 100)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func encoded(encoding, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", encoding, len(body), body)
}

// raw wants what is kept of a body to begin as it was sent.
func raw(first byte) func(seen) string {
	return func(s seen) string {
		if len(s.attempt.ResponseBody) == 0 || s.attempt.ResponseBody[0] != first {
			return fmt.Sprintf("the body kept is %.20q", s.attempt.ResponseBody)
		}
		return ""
	}
}
