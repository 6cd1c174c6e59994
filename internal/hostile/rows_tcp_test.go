package hostile

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// Below HTTP: connections, handshakes, certificates, names.
func init() {
	rows = append(rows,
		row{name: "HR1 accepts and never speaks", kind: onTCP, serve: (*visit).hang, want: "timeout"},

		row{name: "HR3 resets after accepting", kind: onTCP, serve: (*visit).reset, want: "connect"},
		row{name: "HR3 resets after the hello", kind: onTCP, want: "connect", serve: func(v *visit) {
			v.r.ReadByte()
			v.reset()
		}},
		row{name: "HR3 resets after the request", want: "connect", serve: once((*visit).reset)},
		row{name: "HR3 resets in the head", want: "protocol connect", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Le")
			v.reset()
		})},
		// The RST may overtake the answer before it.
		row{name: "HR3 resets in the body", want: "ok connect", serve: once(func(v *visit) {
			v.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of i")
			time.AfterFunc(50*time.Millisecond, v.reset)
			v.hang()
		})},
		row{name: "HR3 closes in the body", want: "ok", serve: once(func(v *visit) { v.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of i") }),
			check: func(s seen) string { return s.truncated() }},

		row{name: "HR4 drips the handshake", kind: onTCP, want: "timeout", serve: dripHandshake},

		row{name: "HR5 speaks TLS 1.1 at most", kind: oldTLS, serve: answers(okAnswer), want: "tls"},
		row{name: "HR5 has an expired certificate", kind: expired, serve: answers(okAnswer), want: "tls"},
		row{name: "HR5 has another name's certificate", kind: wrongName, serve: answers(okAnswer), want: "tls"},
		row{name: "HR5 has a certificate of its own making", kind: selfMade, serve: answers(okAnswer), want: "tls"},
		row{name: "HR5 has a chain of 100 KB and a false OCSP answer", kind: hugeChain, serve: answers(okAnswer), want: "ok"},

		row{name: "HR6 asks for a client certificate", kind: wantsCert, serve: answers(okAnswer), want: "ok"},
		row{name: "HR6 insists on a client certificate", kind: needsCert, serve: answers(okAnswer), want: "tls connect"},

		row{name: "HR7 speaks HTTP on the TLS port", kind: onTCP, serve: banner(okAnswer), want: "tls"},
		row{name: "HR7 speaks SSH on the TLS port", kind: onTCP, serve: banner("SSH-2.0-OpenSSH_9.9\r\n"), want: "tls"},
		row{name: "HR7 speaks SMTP on the TLS port", kind: onTCP, serve: banner("220 mail.example.com ESMTP\r\n"), want: "tls"},

		row{name: "HR33 resolves to something private now and then", want: "+ok +blocked", serve: once(func(v *visit) { v.say(okAnswer) }), dns: func() answerFunc {
			return func(n int, ipv6 bool) ([]netip.Addr, dnsmessage.RCode, bool) {
				if n%2 == 0 {
					return always("10.0.0.1", "::ffff:169.254.169.254")(n, ipv6)
				}
				return always("127.0.0.1")(n, ipv6)
			}
		}},
		row{name: "HR33 disappears from DNS", want: "+ok +dns", serve: once(func(v *visit) { v.say(okAnswer) }), dns: func() answerFunc {
			return func(n int, ipv6 bool) ([]netip.Addr, dnsmessage.RCode, bool) {
				if n > 3 {
					return nil, dnsmessage.RCodeNameError, false
				}
				return always("127.0.0.1")(n, ipv6)
			}
		}},
		row{name: "HR33 has a name server that fails", want: "dns", serve: answers(okAnswer), dns: func() answerFunc {
			return func(int, bool) ([]netip.Addr, dnsmessage.RCode, bool) {
				return nil, dnsmessage.RCodeServerFailure, false
			}
		}},
		row{name: "HR33 has a name server that says nothing", want: "timeout dns", serve: answers(okAnswer), dns: func() answerFunc {
			return func(int, bool) ([]netip.Addr, dnsmessage.RCode, bool) { return nil, 0, true }
		}},
		row{name: "HR33 has a loop of CNAMEs", want: "dns", serve: answers(okAnswer), dns: func() answerFunc {
			return func(int, bool) ([]netip.Addr, dnsmessage.RCode, bool) { return nil, dnsmessage.RCodeSuccess, false }
		}},
		row{name: "HR33 has two hundred addresses", want: "connect", serve: answers(okAnswer), dns: func() answerFunc {
			var many []netip.Addr
			for addr := netip.MustParseAddr("127.7.7.1"); len(many) < 200; addr = addr.Next() {
				many = append(many, addr) // nobody listens there
			}
			return func(int, bool) ([]netip.Addr, dnsmessage.RCode, bool) { return many, dnsmessage.RCodeSuccess, false }
		}},
		row{name: "HR33 is private only", want: "blocked", serve: answers(okAnswer), dns: func() answerFunc {
			return always("10.1.2.3", "192.168.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.0.0.1")
		}},

		row{name: "HR39 has a new certificate and address each time", kind: turnedCert, alsoOn: "127.0.0.2", want: "+ok +tls",
			serve: once(func(v *visit) { v.say(okAnswer) }), dns: func() answerFunc {
				return func(n int, ipv6 bool) ([]netip.Addr, dnsmessage.RCode, bool) {
					return always([]string{"127.0.0.1", "127.0.0.2"}[n%2])(n, ipv6)
				}
			}},

		row{name: "HR42 has IPv6 only", listen: "[::1]:0", serve: answers(okAnswer), want: "ok", dns: func() answerFunc { return always("::1") }},
		row{name: "HR42 has an IPv6 address that is dead", serve: answers(okAnswer), want: "ok", dns: func() answerFunc { return always("::1", "127.0.0.1") }},
	)
}

func banner(text string) func(*visit) {
	return func(v *visit) {
		v.say(text)
		v.hang()
	}
}

// dripHandshake is a TLS server that writes a byte every tenth of a second.
func dripHandshake(v *visit) {
	ca, err := loadAuthority(os.Getenv(certDirVar))
	if err != nil {
		return
	}
	cert, err := ca.leaf([]string{"*.example.com"}, nil)
	if err != nil {
		return
	}
	slow := &dripConn{Conn: v.Conn}
	tls.Server(slow, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
}

type dripConn struct {
	net.Conn
	mu sync.Mutex
}

func (c *dripConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		<-tick.C
	}
	return len(p), nil
}
