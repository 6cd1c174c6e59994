package guard

import "net/netip"

// nat64Lengths are the lengths, in bits, of the prefixes that RFC 6052 (2.2)
// lets a translator use.
var nat64Lengths = [...]int{32, 40, 48, 56, 64, 96}

// embeddedIPv4 returns the IPv4 address that an IPv6 address carries behind a
// NAT64 prefix of the given length, one of nat64Lengths. RFC 6052 puts the four
// bytes right after the prefix and skips byte 8, which has to be zero. An
// address whose byte 8 is not zero is undefined by the standard, and translators
// may read it either way: embeddedIPv4 returns the zero Addr, which no Guard admits.
func embeddedIPv4(addr netip.Addr, bits int) netip.Addr {
	b := addr.As16()
	if bits == 96 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	if b[8] != 0 {
		return netip.Addr{}
	}
	var inner [4]byte
	at := bits / 8
	for i := range inner {
		if at == 8 {
			at++
		}
		inner[i] = b[at]
		at++
	}
	return netip.AddrFrom4(inner)
}
