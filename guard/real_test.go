package guard

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// guardedClient is the simplest client there is around a guard.
func guardedClient(t *testing.T, g *Guard) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: g.DialContext, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func fetched(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	response, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// serveText answers every request on address with text.
func serveText(t *testing.T, address, text string) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func TestS1_TheCanaryOnLoopbackStaysSilent(t *testing.T) {
	four, six := nettest.NewCanary(t, "127.0.0.1:0"), nettest.NewCanary(t, "[::1]:0")
	dns := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
		if q.Kind == nettest.TypeA {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:127.0.0.1")}
	}}
	c := guardedClient(t, &Guard{Resolver: dns.Resolver()})
	for _, canary := range []*nettest.Canary{four, six} {
		for _, host := range []string{
			"127.0.0.1", "localhost", "name.example.com", "0.0.0.0", "127.1.2.3", "[::1]", "[::]", "[::ffff:127.0.0.1]",
			"[::ffff:7f00:1]", "[::ffff:0.0.0.0]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[::1%25lo]", "",
		} {
			_, err := fetched(t, c, "http://"+host+":"+canary.Port()+"/")
			if !errors.Is(err, ErrBlockedAddress) && host != "" {
				t.Errorf("GET %q: %v, want ErrBlockedAddress", host, err)
			}
			if err == nil {
				t.Errorf("GET %q succeeded", host)
			}
		}
		canary.Silent(t)
	}
}

// The same for Control in a dialer that looks names up itself: a host's own, or
// the one at the end of DialContext.
func TestS19_ControlGuardsAnyDialer(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	for _, g := range []*Guard{nil, {}} {
		for _, d := range []*net.Dialer{{ControlContext: g.Control}, g.dialer()} {
			for _, host := range []string{"127.0.0.1", "localhost", "", "0.0.0.0", "::", "::ffff:127.0.0.1"} {
				conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, canary.Port()))
				if !errors.Is(err, ErrBlockedAddress) {
					t.Errorf("dial %q = %v, %v, want ErrBlockedAddress", host, conn, err)
				}
			}
		}
	}
	canary.Silent(t)
}

func TestS6_RebindingNeverReachesLoopback(t *testing.T) {
	// 127.0.0.2 stands for the public server, 127.0.0.1 for what is inside.
	port := serveText(t, "127.0.0.2:0", "public")
	canary := nettest.NewCanary(t, "127.0.0.1:"+port)
	good, bad := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	for name, answer := range map[string]func(q nettest.Question) []netip.Addr{
		"public first":  func(q nettest.Question) []netip.Addr { return oneOf(q.Nth == 1, good, bad) },
		"private first": func(q nettest.Question) []netip.Addr { return oneOf(q.Nth != 1, good, bad) },
		"alternating":   func(q nettest.Question) []netip.Addr { return oneOf(q.Nth%2 == 1, good, bad) },
		"public A, bad AAAA": func(q nettest.Question) []netip.Addr {
			return oneOf(q.Kind == nettest.TypeA, good, netip.MustParseAddr("::1"))
		},
		"both, private first": func(nettest.Question) []netip.Addr { return []netip.Addr{bad, good} },
		"both, public first":  func(nettest.Question) []netip.Addr { return []netip.Addr{good, bad} },
	} {
		t.Run(name, func(t *testing.T) {
			dns := &nettest.NameServer{Answer: answer}
			c := guardedClient(t, &Guard{AllowNetworks: networks("127.0.0.2/32"), Resolver: dns.Resolver()})
			reached := 0
			for i := range 8 {
				before := dns.Queries(nettest.TypeA)
				body, err := fetched(t, c, "http://rebind.example.com:"+port+"/")
				switch {
				case err == nil && body == "public":
					reached++
				case !errors.Is(err, ErrBlockedAddress):
					t.Errorf("request %d: %q, %v, want the public server or ErrBlockedAddress", i, body, err)
				}
				if n := dns.Queries(nettest.TypeA) - before; n != 1 {
					t.Errorf("request %d looked the name up %d times; the address that was checked must be the one that is dialed", i, n)
				}
			}
			if reached == 0 {
				t.Error("the public server was never reached: the test shows nothing")
			}
		})
	}
	canary.Silent(t)
}

func oneOf(first bool, a, b netip.Addr) []netip.Addr {
	if first {
		return []netip.Addr{a}
	}
	return []netip.Addr{b}
}

// numericHosts are the ways to write 127.0.0.1 and 0.0.0.0 that inet_aton, and
// with it the cgo resolver, understands.
var numericHosts = []string{
	"2130706433", "0x7f000001", "0X7F000001", "0177.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f.0.0.1", "0", "0x0", "0x",
	"127.0.0.01", "127.0.0.0x1", "017700000001", "2130706433.", "127.1.", "00000000177.0.0.1",
}

func TestS8_NumericHostsAreBlockedAtDial(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	for _, mode := range []string{"netdns=go", "netdns=cgo"} {
		child := exec.Command(os.Args[0], "-test.run=^TestS8_InChild$", "-test.count=1")
		child.Env = append(os.Environ(), "GODEBUG="+mode, "WEBHOOK_TEST_CANARY="+canary.Port())
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
	canary.Silent(t)
}

// TestS8_InChild is run by the test above under each resolver, and by itself
// under the default one.
func TestS8_InChild(t *testing.T) {
	port := os.Getenv("WEBHOOK_TEST_CANARY")
	if port == "" {
		port = "1"
	}
	cgo := strings.Contains(os.Getenv("GODEBUG"), "netdns=cgo")
	for _, host := range numericHosts {
		address := net.JoinHostPort(host, port)
		conn, err := new(Guard).DialContext(t.Context(), "tcp", address)
		if !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("DialContext(%q) = %v, %v, want ErrBlockedAddress", address, conn, err)
		}
		if !cgo {
			continue // the Go resolver would ask a name server
		}
		if addrs, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", host); err == nil {
			d := net.Dialer{ControlContext: new(Guard).Control}
			conn, err := d.DialContext(t.Context(), "tcp", address)
			if !errors.Is(err, ErrBlockedAddress) {
				t.Errorf("%q resolves to %v: dial with Control = %v, %v, want ErrBlockedAddress", host, addrs, conn, err)
			}
		}
	}
}

// unicodeAddresses and unicodeNames are read as an address or as localhost by
// net/http.
var (
	unicodeAddresses = []string{
		"１２７.0.0.1", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "①②⑦.⓪.⓪.①", "¹²⁷.⁰.⁰.¹", "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
		"１２７.１", "２１３０７０６４３３", "０x７f000001",
	}
	unicodeNames = []string{"ｌocalhost", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "LOCALHOſT", "loc\u00adalhost", "localhost。"}
)

func TestS9_UnicodeSpellingsAreBlockedAtDial(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}
	c := guardedClient(t, &Guard{Resolver: dns.Resolver()})
	for _, host := range slices.Concat(unicodeAddresses, unicodeNames) {
		if _, err := fetched(t, c, "http://"+host+":"+canary.Port()+"/"); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("GET %q: %v, want ErrBlockedAddress", host, err)
		}
	}
	canary.Silent(t)
}

func TestS23_FailuresToConnectNameNoAddress(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	port := canary.Port()
	canary.Close() // from here on connections are refused
	dns := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
		return oneOf(true, netip.MustParseAddr("127.0.0.1"), netip.Addr{})
	}}
	g := &Guard{AllowNetworks: networks("127.0.0.0/8"), Resolver: dns.Resolver()}
	_, err := g.DialContext(t.Context(), "tcp", "refused.example.com:"+port)
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("%v, want a dial error without the address", err)
	}
}

// hostile is every spelling of the machine itself, as hosts of a URL.
func hostile() (hosts []string) {
	hosts = append(hosts, "127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0",
		"name.example.com", "xn--bcher-kva.example.com", "bücher.example.com", "127.0.0.1.nip.example.com", "1.0.0.127.in-addr.arpa",
		"redis", "metadata.google.internal", "a_b.example.com", "x.local", "127.0.0.1.", "8.8.8.8@127.0.0.1", "[64:ff9b::7f00:1]")
	return slices.Concat(hosts, numericHosts, unicodeAddresses, unicodeNames)
}

func TestS27_NoAcceptedURLReachesLoopback(t *testing.T) {
	canary := nettest.NewCanary(t, "127.0.0.1:0")
	dns := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
		return oneOf(q.Kind == nettest.TypeA, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"))
	}}
	g := &Guard{Resolver: dns.Resolver()}
	c := guardedClient(t, g)
	accepted := 0
	for _, host := range hostile() {
		normalized, err := CheckURL("http://"+host+":"+canary.Port()+"/x?y", URLPolicy{AllowHTTP: true, Guard: g})
		if err != nil {
			continue
		}
		accepted++
		if _, err := fetched(t, c, normalized); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%q was accepted and GET %s ended with %v, want ErrBlockedAddress", host, normalized, err)
		}
	}
	if accepted < 5 {
		t.Errorf("only %d URLs were accepted: the test shows little", accepted)
	}
	canary.Silent(t)
}

func TestS28_EitherFamilyAlone(t *testing.T) {
	for _, tt := range []struct{ listen, allow string }{{"127.0.0.1:0", "127.0.0.1/32"}, {"[::1]:0", "::1/128"}} {
		allowed := netip.MustParsePrefix(tt.allow)
		port := serveText(t, tt.listen, "here")
		both := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
			return oneOf(q.Kind == nettest.TypeA, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"))
		}}
		alone := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
			if (q.Kind == nettest.TypeA) == allowed.Addr().Is4() {
				return []netip.Addr{allowed.Addr()}
			}
			return []netip.Addr{}
		}}
		for _, dns := range []*nettest.NameServer{both, alone} {
			c := guardedClient(t, &Guard{AllowNetworks: []netip.Prefix{allowed}, Resolver: dns.Resolver()})
			if body, err := fetched(t, c, "http://host.example.com:"+port+"/"); err != nil || body != "here" {
				t.Errorf("%s: %q, %v, want an answer", tt.allow, body, err)
			}
		}
	}
}
