package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// blockedHosts are the addresses that S-A names one by one.
var blockedHosts = []string{
	"127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.100.100.200", "168.63.129.16",
	"169.254.169.254", "169.254.170.2", "169.254.170.23", "192.0.0.192", "198.18.0.1", "255.255.255.255",
	"::", "::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
	"100::1", "100:0:0:1::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "5f00::1",
	"fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "4000::1",
}

var publicHosts = []string{
	"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
	"2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8",
}

func mapped(addr netip.Addr) netip.Addr { return netip.AddrFrom16(addr.As16()) }

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

func wantVerdict(t *testing.T, g *Guard, addr netip.Addr, admitted bool) {
	t.Helper()
	err := g.Check(addr)
	if admitted && err != nil {
		t.Errorf("Check(%v) = %v, want it admitted", addr, err)
	}
	if !admitted && !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("Check(%v) = %v, want ErrBlockedAddress", addr, err)
	}
	if err != nil && addr.IsValid() && addr.Unmap().String() != "::" && strings.Contains(err.Error(), addr.Unmap().String()) {
		t.Errorf("Check(%v): the text gives the address away: %v", addr, err)
	}
}

func TestS2_EveryRangeAtItsBoundaries(t *testing.T) {
	for _, g := range []*Guard{nil, {}} {
		for _, r := range nettest.BlockedRanges {
			p := netip.MustParsePrefix(r.Prefix)
			first, last := p.Addr(), lastOf(p)
			wantVerdict(t, g, first, false)
			wantVerdict(t, g, last, false)
			if below := first.Prev(); below.IsValid() {
				wantVerdict(t, g, below, r.Below)
			}
			if above := last.Next(); above.IsValid() {
				wantVerdict(t, g, above, r.Above)
			}
		}
		for _, host := range blockedHosts {
			wantVerdict(t, g, netip.MustParseAddr(host), false)
		}
		for _, host := range publicHosts {
			wantVerdict(t, g, netip.MustParseAddr(host), true)
		}
		wantVerdict(t, g, netip.Addr{}, false)
	}
}

func TestS3_MappedAddressesAreJudgedByTheirIPv4(t *testing.T) {
	for _, text := range []string{"::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:a9fe:a9fe", "0:0:0:0:0:ffff:0:0"} {
		wantVerdict(t, nil, netip.MustParseAddr(text), false)
	}
	for _, r := range nettest.BlockedRanges {
		if p := netip.MustParsePrefix(r.Prefix); p.Addr().Is4() {
			wantVerdict(t, nil, mapped(p.Addr()), false)
			wantVerdict(t, nil, mapped(lastOf(p)), false)
		}
	}
	wantVerdict(t, nil, mapped(netip.MustParseAddr("8.8.8.8")), true)
}

func TestS4_ZonesDoNotHideAnAddress(t *testing.T) {
	for _, text := range []string{"fe80::1%eth0", "::1%lo", "::1%25lo", "::ffff:127.0.0.1%lo", "fd00::1%a%b"} {
		wantVerdict(t, nil, netip.MustParseAddr(text), false)
	}
	for _, address := range []string{"[fe80::1%eth0]:443", "[::1%lo]:443", "[::1%\x00]:443", "[::1%]:443", "[fe80::1%..]:443"} {
		if err := new(Guard).Control(t.Context(), "tcp6", address, nil); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("Control(%q) = %v, want ErrBlockedAddress", address, err)
		}
	}
}

func networks(texts ...string) []netip.Prefix { return prefixes(texts...) }

func TestS20_AllowedNetworksOpenNothingElse(t *testing.T) {
	metadata := []string{"169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "192.0.0.192"}
	for _, tt := range []struct {
		allow         string
		open, blocked []string
	}{
		{"10.0.0.0/8", []string{"10.0.0.1", "10.255.255.255", "::ffff:10.1.1.1"}, []string{"127.0.0.1", "::1", "172.16.0.1", "192.168.0.1"}},
		{"10.1.2.3/8", []string{"10.9.9.9"}, []string{"127.0.0.1"}},
		{"::ffff:10.0.0.0/104", []string{"10.0.0.1", "::ffff:10.0.0.1"}, []string{"192.168.0.1", "127.0.0.1"}},
		{"100.64.0.0/10", []string{"100.64.0.1"}, []string{"100.100.100.200"}},
		{"100.100.100.200/32", []string{"100.100.100.200"}, []string{"100.100.100.201"}},
		{"240.0.0.0/4", []string{"240.0.0.1"}, []string{"255.255.255.255"}},
		{"169.254.0.0/16", []string{"169.254.1.1"}, []string{"169.254.0.23", "169.254.169.254", "169.254.170.2", "169.254.170.23"}},
		{"169.254.169.254/32", []string{"169.254.169.254"}, []string{"169.254.169.253"}},
		{"192.0.0.0/24", []string{"192.0.0.1"}, []string{"192.0.0.192"}},
		{"fc00::/7", []string{"fd12::1"}, []string{"fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "fe80::1"}},
		{"fd00:ec2::254/128", []string{"fd00:ec2::254"}, []string{"fd00:ec2::23"}},
		{"127.0.0.0/8", []string{"127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1"}, []string{"::1", "0.0.0.0", "::", "10.0.0.1"}},
		{"::1/128", []string{"::1", "::1%lo"}, []string{"::", "::7f00:1", "127.0.0.1"}},
		{"0.0.0.0/8", []string{"0.0.0.1"}, []string{"0.0.0.0"}},
		{"8.0.0.0/8", []string{"8.8.8.8"}, []string{"10.0.0.1"}},
		{"::1/128", []string{"::1"}, []string{"::", "::7f00:1"}},
		{"4000::/16", []string{"4000::1"}, []string{"4001::1"}},
	} {
		g := &Guard{AllowNetworks: networks(tt.allow)}
		if err := g.Validate(); err != nil {
			t.Errorf("%s: Validate: %v", tt.allow, err)
		}
		for _, text := range tt.open {
			wantVerdict(t, g, netip.MustParseAddr(text), true)
		}
		for _, text := range tt.blocked {
			wantVerdict(t, g, netip.MustParseAddr(text), false)
		}
		for _, text := range metadata {
			if !strings.HasPrefix(tt.allow, text+"/") {
				wantVerdict(t, g, netip.MustParseAddr(text), false)
			}
		}
	}
}

func TestS20_SettingsThatMakeNoSenseBlockEverything(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		guard      Guard
	}{
		{"everything IPv4", "wider than the special range", Guard{AllowNetworks: networks("0.0.0.0/0")}},
		{"everything IPv6", "wider than the special range", Guard{AllowNetworks: networks("::/0")}},
		{"everything IPv4, mapped", "wider than the special range", Guard{AllowNetworks: networks("::ffff:0:0/96")}},
		{"more than one range", "wider than the special range", Guard{AllowNetworks: networks("172.0.0.0/8")}},
		{"cut mapped", "IPv4-mapped", Guard{AllowNetworks: networks("::ffff:0:0/95")}},
		{"cut mapped denial", "IPv4-mapped", Guard{DenyNetworks: networks("::ffff:0:0/95")}},
		{"zero prefix", "invalid prefix", Guard{AllowNetworks: make([]netip.Prefix, 1)}},
		{"zero denial", "invalid prefix", Guard{DenyNetworks: make([]netip.Prefix, 1)}},
		{"NAT64 of 72 bits", "96 bits", Guard{NAT64: networks("64:ff9b::/72")}},
		{"NAT64 of 31 bits", "96 bits", Guard{NAT64: networks("2a00:1234::/31")}},
		{"NAT64 of an address", "96 bits", Guard{NAT64: networks("2a00:1234::1/128")}},
		{"NAT64 of an IPv4 network of 32 bits", "96 bits", Guard{NAT64: networks("10.0.0.1/32")}},
		{"NAT64 of IPv4", "96 bits", Guard{NAT64: networks("10.0.0.0/8")}},
		{"NAT64 of mapped IPv4", "96 bits", Guard{NAT64: networks("::ffff:0:0/96")}},
		{"zero NAT64", "96 bits", Guard{NAT64: make([]netip.Prefix, 1)}},
		{"port 0 after a denial", "out of range", Guard{DenyNetworks: networks("8.8.4.0/24"), AllowPorts: []int{0}}},
		{"port 0", "out of range", Guard{AllowPorts: []int{0}}},
		{"port 65536", "out of range", Guard{AllowPorts: []int{443, 65536}}},
		{"negative timeout", "negative", Guard{Timeout: -1}},
	} {
		err := tt.guard.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Validate() = %v, want an error with %q", tt.name, err, tt.want)
		}
		wantVerdict(t, &tt.guard, netip.MustParseAddr("8.8.8.8"), false)
		if err := tt.guard.Control(t.Context(), "tcp4", "8.8.8.8:443", nil); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s: Control = %v, want ErrBlockedAddress", tt.name, err)
		}
		if _, err := tt.guard.dial(t.Context(), "tcp", "8.8.8.8:443", neverConnect(t)); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s: dial = %v, want ErrBlockedAddress", tt.name, err)
		}
	}
}

// What is wider than a special range, by one bit, is no network that somebody has
// in mind.
func TestS20_NothingWiderThanARangeIsAllowed(t *testing.T) {
	// Single addresses, which are pinned within wider ranges, and parts of IPv6 that
	// nobody was given.
	other := []string{"168.63.129.16/32", "255.255.255.255/32", "::/128", "::/3", "4000::/2", "8000::/1"}
	for _, r := range nettest.BlockedRanges {
		if slices.Contains(other, r.Prefix) {
			continue
		}
		p := netip.MustParsePrefix(r.Prefix)
		wide := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		if err := (&Guard{AllowNetworks: []netip.Prefix{wide}}).Validate(); err == nil {
			t.Errorf("%v was allowed, with all of %v inside it", wide, p)
		}
	}
}

// An IPv6 network that is translated to IPv4 would open every metadata service
// in disguise, whether the range or a part of it is named.
func TestS20_NetworksThatStandForIPv4AreNotAllowed(t *testing.T) {
	for prefix, inside := range map[string]string{
		"::/96":                  "::a9fe:a9fe",
		"::/127":                 "::1",
		"::7f00:0/104":           "::7f00:1",
		"::ffff:0:0:0/96":        "::ffff:0:a9fe:a9fe",
		"::ffff:0:7f00:0/104":    "::ffff:0:7f00:1",
		"64:ff9b::/96":           "64:ff9b::6464:64c8",
		"64:ff9b::a9fe:a9fe/128": "64:ff9b::a9fe:a9fe",
		"64:ff9b:1::/48":         "64:ff9b:1::a9fe:a9fe",
		"64:ff9b:1:2::/96":       "64:ff9b:1:2::7f00:1",
		"2002::/16":              "2002:a9fe:a9fe::1",
		"2002:a00::/24":          "2002:a00:1::1",
	} {
		g := &Guard{AllowNetworks: networks(prefix)}
		if err := g.Validate(); err == nil || !strings.Contains(err.Error(), "NAT64") {
			t.Errorf("%s: Validate() = %v, want an error that names NAT64", prefix, err)
		}
		wantVerdict(t, g, netip.MustParseAddr(inside), false)
	}
	g := &Guard{NAT64: networks("64:ff9b:1::/96"), AllowNetworks: networks("10.0.0.0/8", "169.254.0.0/16", "::1/128", "::/128")}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	for text, open := range map[string]bool{"64:ff9b:1::a00:1": true, "64:ff9b:1::a9fe:a9fe": false, "64:ff9b:1::7f00:1": false, "::1": true, "::": true, "::2": false} {
		wantVerdict(t, g, netip.MustParseAddr(text), open)
	}
}

func TestS18_OwnPublicAddressCanBeDenied(t *testing.T) {
	g := &Guard{
		AllowNetworks: networks("10.0.0.0/8"),
		DenyNetworks:  networks("93.184.216.0/24", "10.9.0.0/16", "2606:4700::/32", "::ffff:1.2.3.4/128"),
	}
	for _, text := range []string{"93.184.216.34", "::ffff:93.184.216.34", "10.9.1.1", "2606:4700::1", "1.2.3.4"} {
		wantVerdict(t, g, netip.MustParseAddr(text), false)
	}
	for _, text := range []string{"93.184.217.1", "10.8.1.1", "2607::1", "1.2.3.5"} {
		wantVerdict(t, g, netip.MustParseAddr(text), true)
	}
	six := &Guard{DenyNetworks: networks("::ffff:0:0/96")} // all of IPv4
	wantVerdict(t, six, netip.MustParseAddr("8.8.8.8"), false)
	wantVerdict(t, six, netip.MustParseAddr("2606:4700::1"), true)
}

func TestNAT64_IsJudgedByTheInnerAddress(t *testing.T) {
	g := &Guard{NAT64: networks("64:ff9b::/96", "2a00:1234::/96")}
	for _, text := range []string{"64:ff9b::808:808", "2a00:1234::1.1.1.1"} {
		wantVerdict(t, g, netip.MustParseAddr(text), true)
	}
	for _, text := range []string{"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2a00:1234::10.0.0.1", "64:ff9b:1::808:808"} {
		wantVerdict(t, g, netip.MustParseAddr(text), false)
	}
	g.DenyNetworks = networks("8.8.8.8/32", "64:ff9b::101:101/128")
	for _, text := range []string{"64:ff9b::808:808", "64:ff9b::101:101"} {
		wantVerdict(t, g, netip.MustParseAddr(text), false)
	}
}

// The addresses are those of the table in RFC 6052, 2.4, with other IPv4 addresses beside
// its 192.0.2.33.
func TestNAT64_EveryLengthOfRFC6052(t *testing.T) {
	for prefix, addrs := range map[string]struct{ document, public, metadata, private, strayByte string }{
		"2a00:db8::/32":            {"2a00:db8:c000:221::", "2a00:db8:808:808::", "2a00:db8:a9fe:a9fe::", "2a00:db8:a00:1::", "2a00:db8:808:808:100::"},
		"2a00:db8:100::/40":        {"2a00:db8:1c0:2:21::", "2a00:db8:108:808:8::", "2a00:db8:1a9:fea9:fe::", "2a00:db8:10a::1:0:0", "2a00:db8:108:808:108::"},
		"2a00:db8:122::/48":        {"2a00:db8:122:c000:2:2100::", "2a00:db8:122:808:8:800::", "2a00:db8:122:a9fe:a9:fe00::", "2a00:db8:122:a00:0:100::", "2a00:db8:122:808:108:800::"},
		"2a00:db8:122:300::/56":    {"2a00:db8:122:3c0:0:221::", "2a00:db8:122:308:8:808::", "2a00:db8:122:3a9:fe:a9fe::", "2a00:db8:122:30a:0:1::", "2a00:db8:122:308:108:808::"},
		"2a00:db8:122:344::/64":    {"2a00:db8:122:344:c0:2:2100:0", "2a00:db8:122:344:8:808:800:0", "2a00:db8:122:344:a9:fea9:fe00:0", "2a00:db8:122:344:a:0:100:0", "2a00:db8:122:344:ff08:808:800:0"},
		"2a00:db8:122:344::/96":    {"2a00:db8:122:344::192.0.2.33", "2a00:db8:122:344::8.8.8.8", "2a00:db8:122:344::169.254.169.254", "2a00:db8:122:344::10.0.0.1", ""},
		"64:ff9b:1:fffe::/64":      {"64:ff9b:1:fffe:c0:2:2100:0", "64:ff9b:1:fffe:8:808:800:0", "64:ff9b:1:fffe:a9:fea9:fe00:0", "64:ff9b:1:fffe:a:0:100:0", "64:ff9b:1:fffe:108:808:800:0"},
		"2a00:db8:122:344::1:0/64": {"2a00:db8:122:344:c0:2:2100:0", "2a00:db8:122:344:8:808:800:9", "2a00:db8:122:344:a9:fea9:fe00:9", "2a00:db8:122:344:a:0:100:9", "2a00:db8:122:344:108:808:800:0"},
	} {
		for allow, private := range map[string]bool{"": false, "10.0.0.0/8": true} {
			g := &Guard{NAT64: networks(prefix)}
			if allow != "" {
				g.AllowNetworks = networks(allow)
			}
			if err := g.Validate(); err != nil {
				t.Fatalf("%s: %v", prefix, err)
			}
			wantVerdict(t, g, netip.MustParseAddr(addrs.public), true)
			wantVerdict(t, g, netip.MustParseAddr(addrs.document), false)
			wantVerdict(t, g, netip.MustParseAddr(addrs.metadata), false)
			wantVerdict(t, g, netip.MustParseAddr(addrs.private), private)
			if addrs.strayByte != "" {
				wantVerdict(t, g, netip.MustParseAddr(addrs.strayByte), false)
			}
		}
	}
}

// Two prefixes of which one lies in the other read the same address in two ways, and only the
// translator knows which is right.
func TestNAT64_OverlappingPrefixesMustAgree(t *testing.T) {
	const insideBoth = "2a00:db8:808:808::a00:1" // 8.8.8.8 by /32, 10.0.0.1 by /96
	for _, prefixes := range [][]string{{"2a00:db8::/32", "2a00:db8:808:808::/96"}, {"2a00:db8:808:808::/96", "2a00:db8::/32"}} {
		g := &Guard{NAT64: networks(prefixes...)}
		wantVerdict(t, g, netip.MustParseAddr(insideBoth), false)
		wantVerdict(t, g, netip.MustParseAddr("2a00:db8:808:808::101:101"), true)
		g.AllowNetworks = networks("10.0.0.0/8")
		wantVerdict(t, g, netip.MustParseAddr(insideBoth), true)
		g.DenyNetworks = networks("8.8.8.0/24")
		wantVerdict(t, g, netip.MustParseAddr(insideBoth), false)
	}
}

func TestS26_OtherNetworksAreBlocked(t *testing.T) {
	g := &Guard{}
	for _, network := range []string{"", "unix", "unixgram", "udp", "udp4", "udp6", "ip", "ip4:icmp", "TCP", "tcp5"} {
		if err := g.Control(t.Context(), network, "8.8.8.8:443", nil); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("Control(%q) = %v, want ErrBlockedAddress", network, err)
		}
		if conn, err := g.DialContext(t.Context(), network, "8.8.8.8:443"); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("DialContext(%q) = %v, %v, want ErrBlockedAddress", network, conn, err)
		}
	}
	for _, network := range []string{"tcp", "tcp4", "tcp6"} {
		if err := g.Control(t.Context(), network, "8.8.8.8:443", nil); err != nil {
			t.Errorf("Control(%q) = %v, want nil", network, err)
		}
	}
}

func TestS5_AddressesThatDoNotParseAreBlocked(t *testing.T) {
	g := &Guard{}
	for _, address := range []string{
		"", ":", ":443", "[]:443", "8.8.8.8", "8.8.8.8:", "8.8.8.8:https", "8.8.8.8:+443", "8.8.8.8:-1", "8.8.8.8:0",
		"8.8.8.8:65536", "8.8.8.8:65979", "8.8.8.8:99999999999999999999", "8.8.8.8:4 43", "/var/run/docker.sock", "[8.8.8.8:443",
		"8.8.8.08:443", "134744072:443", "0x08080808:443",
	} {
		if err := g.Control(t.Context(), "tcp4", address, nil); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("Control(%q) = %v, want ErrBlockedAddress", address, err)
		}
		conn, err := g.dial(t.Context(), "tcp", address, neverConnect(t))
		if !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("dial(%q) = %v, %v, want ErrBlockedAddress", address, conn, err)
		}
	}
	if err := g.Control(t.Context(), "tcp4", "example.com:443", nil); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("Control of a name = %v, want ErrBlockedAddress", err)
	}
}

func TestS13_PortsAreCheckedAgainAtDial(t *testing.T) {
	g := &Guard{AllowPorts: []int{443, 8443}}
	for address, ok := range map[string]bool{"8.8.8.8:443": true, "8.8.8.8:8443": true, "8.8.8.8:80": false, "8.8.8.8:22": false} {
		if err := g.Control(t.Context(), "tcp4", address, nil); ok != (err == nil) || err != nil && !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("Control(%q) = %v, want admitted: %t", address, err, ok)
		}
	}
	if _, err := g.dial(t.Context(), "tcp", "8.8.8.8:22", neverConnect(t)); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("dial to port 22 = %v, want ErrBlockedAddress", err)
	}
	// The first and the last port there is, alone or with all others.
	for port, other := range map[int]string{1: "8.8.8.8:65535", 65535: "8.8.8.8:1"} {
		g, address := &Guard{AllowPorts: []int{port}}, fmt.Sprintf("8.8.8.8:%d", port)
		if err := g.Validate(); err != nil {
			t.Errorf("port %d: Validate: %v", port, err)
		}
		if err := errors.Join(g.Control(t.Context(), "tcp4", address, nil), new(Guard).Control(t.Context(), "tcp4", address, nil)); err != nil {
			t.Errorf("port %d: %v", port, err)
		}
		if err := g.Control(t.Context(), "tcp4", other, nil); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s with port %d allowed: %v, want ErrBlockedAddress", other, port, err)
		}
	}
}

func FuzzGuardCheck(f *testing.F) {
	for _, list := range [][]string{blockedHosts, publicHosts} {
		for _, host := range list {
			f.Add(netip.MustParseAddr(host).AsSlice())
		}
	}
	f.Add([]byte{1, 2, 3})
	var table []netip.Prefix
	for _, r := range nettest.BlockedRanges {
		table = append(table, netip.MustParsePrefix(r.Prefix))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, _ := netip.AddrFromSlice(raw)
		g := &Guard{}
		admitted := g.Check(addr) == nil
		if admitted != (g.Check(addr.Unmap()) == nil) {
			t.Fatalf("%v and %v are judged differently", addr, addr.Unmap())
		}
		if addr.Is6() && admitted != (g.Check(addr.WithZone("eth0")) == nil) {
			t.Fatalf("%v is judged differently with a zone", addr)
		}
		if !admitted {
			return
		}
		for _, p := range table {
			if p.Contains(addr.Unmap()) {
				t.Fatalf("%v is admitted although it is in %v", addr, p)
			}
		}
		// What an allowed network opens beside itself is nothing.
		if private := (&Guard{AllowNetworks: networks("10.0.0.0/8", "fc00::/7")}); private.Check(addr) != nil {
			t.Fatalf("%v is no longer admitted once other networks are", addr)
		}
	})
}
