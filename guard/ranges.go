package guard

import "net/netip"

// The tables below define "public" for a [Guard]. They list the ranges that the IANA
// registries and the cloud vendors reserve. [netip.Addr.IsGlobalUnicast] is no
// substitute: it returns true for most of these ranges.

// specialRanges are the networks that are never public. An allowed network
// opens one of them only when it is that range or lies inside it, so that a
// wide prefix cannot open more than its author had in mind.
var specialRanges = prefixes(
	"0.0.0.0/8",       // this host on this network; Linux connects to itself
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // carrier-grade NAT; container and VPN networks
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local; cloud metadata
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // IETF protocol assignments
	"192.0.2.0/24",    // TEST-NET-1
	"192.31.196.0/24", // AS112
	"192.52.193.0/24", // AMT
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"192.175.48.0/24", // AS112
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // TEST-NET-2
	"203.0.113.0/24",  // TEST-NET-3
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast

	"::/96",             // IPv4-compatible
	"::1/128",           // loopback
	"::ffff:0:0:0/96",   // SIIT
	"64:ff9b::/96",      // NAT64: an IPv4 address in disguise; see Guard.NAT64
	"64:ff9b:1::/48",    // NAT64, local use
	"100::/64",          // discard
	"100:0:0:1::/64",    // dummy
	"2001::/23",         // Teredo, ORCHID, benchmarks and other protocol assignments
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: an IPv4 address in disguise
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
	"5f00::/16",         // segment routing
	"fc00::/7",          // unique local
	"fe80::/10",         // link-local
	"fec0::/10",         // site-local, deprecated but still routed by some
	"ff00::/8",          // multicast
)

// pinnedRanges lie inside the special ranges and stay blocked when the range
// around them is allowed: they hand out credentials or reach the machine
// itself. Only a prefix that names them (as narrow, or narrower) opens them.
var pinnedRanges = prefixes(
	"0.0.0.0/32",         // connects to the machine itself
	"100.100.100.200/32", // Alibaba Cloud metadata
	"168.63.129.16/32",   // Azure WireServer: public space, but the host's own
	"169.254.0.23/32",    // Tencent Cloud metadata
	"169.254.169.254/32", // metadata nearly everywhere
	"169.254.170.2/32",   // ECS task credentials
	"169.254.170.23/32",  // EKS pod credentials
	"192.0.0.192/32",     // Oracle Cloud metadata
	"255.255.255.255/32", // broadcast

	"::/128",                 // connects to the machine itself
	"fd00:ec2::/32",          // EC2 metadata, EKS pod credentials
	"fd20:ce::254/128",       // Google Cloud metadata
	"fd00:42::42/128",        // Scaleway metadata
	"fd00:c1::a9fe:a9fe/128", // Oracle Cloud metadata
)

// translatedRanges lie inside the special ranges too. Their addresses carry an
// IPv4 address, at a place that only the translator knows, so that allowing
// one would open whatever IPv4 address is in it.
var translatedRanges = prefixes(
	"::/96",
	"::ffff:0:0:0/96",
	"64:ff9b::/96",
	"64:ff9b:1::/48",
	"2002::/16",
)

// globalUnicast is the only part of IPv6 that is assigned to networks. Addresses
// outside it are blocked even if no table names them.
var globalUnicast = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// public reports whether anyone on the Internet could reach addr, which is unmapped
// and without a zone.
func public(addr netip.Addr) bool {
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	return !inAny(specialRanges, addr) && !inAny(pinnedRanges, addr)
}

// opens reports whether allowed contains addr and is narrow enough to open
// every range that keeps addr from being public.
func opens(allowed netip.Prefix, addr netip.Addr) bool {
	if !allowed.Contains(addr) {
		return false
	}
	for _, table := range [...][]netip.Prefix{specialRanges, pinnedRanges} {
		for _, special := range table {
			if special.Contains(addr) && allowed.Bits() < special.Bits() {
				return false
			}
		}
	}
	return true
}

// translated reports whether p lies in a range that stands for IPv4 addresses.
// ::1 and :: lie in one and stand for themselves.
func translated(p netip.Prefix) bool {
	if p.Bits() == 128 && (p.Addr() == netip.IPv6Loopback() || p.Addr() == netip.IPv6Unspecified()) {
		return false
	}
	for _, r := range translatedRanges {
		if r.Contains(p.Addr()) && r.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

func inAny(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if unmapPrefix(p).Contains(addr) {
			return true
		}
	}
	return false
}

// unmapPrefix turns ::ffff:10.0.0.0/104 into 10.0.0.0/8. Addresses are always
// unmapped before they are compared, and the two forms never match each other.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
