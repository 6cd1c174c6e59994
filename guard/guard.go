// Package guard decides which addresses and URLs an outgoing call may reach. It keeps
// customers who enter URLs out of networks that are not theirs, an attack known as
// server-side request forgery. The package can be used without the sender of webhooks.
//
// A [Guard] in the dialer is the boundary: it checks the address of each connection.
// [CheckURL] checks a URL as it is entered, so that the customer can correct it.
// [LocalFault] tells failures of this machine from failures of the receiver.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrBlockedAddress is wrapped by every error that a [Guard] returns for an
// address, a port or a network that may not be dialed. The text of such an
// error never holds the address: customers may see the text, and must not learn
// the addresses of internal names.
var ErrBlockedAddress = errors.New("blocked address")

// Guard decides which addresses may be dialed. The zero value, like a nil
// *Guard, admits public addresses only, on every port.
//
// A Guard works in the dialer, after the look-up of the name, on the address of the
// connection. Unusual spellings of an address, DNS answers that change between two
// look-ups, and redirects therefore cannot bypass it.
// The default client of a Dispatcher uses it by itself. A host that brings an
// [http.Client] of its own puts it into the client's transport:
//
//	g := &guard.Guard{}
//	client := &http.Client{Transport: &http.Transport{
//		DialContext:         g.DialContext, // and neither Proxy nor DialTLSContext
//		TLSHandshakeTimeout: 10 * time.Second,
//	}}
//
// A transport that uses a proxy dials the proxy only: its Guard never sees the
// target, and the proxy has to do the filtering.
//
// A Guard is safe for concurrent use as long as its fields are not changed.
type Guard struct {
	// AllowNetworks are networks that may be dialed although they are not
	// public. Empty by default. A prefix opens a special range (10.0.0.0/8,
	// 127.0.0.0/8, fc00::/7, …) only if it is that range or lies inside it,
	// and never the metadata services inside the range: those are opened by
	// naming them, as in 169.254.169.254/32. IPv4 and IPv4-mapped prefixes
	// mean the same. IPv6 ranges that stand for IPv4 addresses (64:ff9b::/96,
	// 64:ff9b:1::/48, 2002::/16, ::ffff:0:0:0/96, ::/96 but for ::1/128 and
	// ::/128) cannot be allowed, and parts of them cannot either: they would open
	// every metadata service in disguise. Name the translator's prefix in NAT64
	// and the IPv4 networks here.
	AllowNetworks []netip.Prefix

	// DenyNetworks are networks that may not be dialed, whatever else is said:
	// the host's own public addresses, for instance, so that no webhook calls
	// back into the service that sends it. Empty by default.
	DenyNetworks []netip.Prefix

	// AllowPorts are the only ports that a webhook may be called at. Empty, the
	// default, means every port from 1 to 65535. The port of a proxy
	// (Config.Proxy) is the host's choice and need not be among them; the
	// targets behind the proxy are held to AllowPorts all the same.
	AllowPorts []int

	// NAT64 are the prefixes that the network translates to IPv4, such as
	// 64:ff9b::/96 on a host that has IPv6 and DNS64 only. A prefix has one of
	// the lengths of RFC 6052: 32, 40, 48, 56, 64 or 96 bits. An address inside
	// a prefix is judged by the IPv4 address that RFC 6052 embeds in it; where
	// prefixes overlap, every reading of the address must be admitted. Empty by
	// default: 64:ff9b::/96 is then blocked.
	NAT64 []netip.Prefix

	// Timeout bounds the look-up of the name and connecting, together. It is a
	// bound of its own beside the context's. Zero means 10 seconds, and in the
	// Dispatcher's own client as long as the webhook's timeout lasts.
	Timeout time.Duration

	// Resolver looks up names in DialContext. Nil means [net.DefaultResolver].
	Resolver *net.Resolver
}

// Validate returns an error that names the first setting which makes no sense:
// an invalid prefix, a port outside 1–65535, a NAT64 prefix of a length that
// RFC 6052 does not know, a negative timeout, or an allowed network that contains a special
// range and more, or stands for IPv4 addresses. A Guard that is not valid blocks everything.
func (g *Guard) Validate() error {
	if err := g.validate(); err != nil {
		return fmt.Errorf("webhook: guard: %w", err)
	}
	return nil
}

func (g *Guard) validate() error {
	if g == nil {
		return nil
	}
	for _, p := range g.AllowNetworks {
		if err := checkPrefix("AllowNetworks", p); err != nil {
			return err
		}
		p = unmapPrefix(p)
		if translated(p) {
			return fmt.Errorf("AllowNetworks: %v stands for IPv4 addresses, metadata services among them; name the translator's prefix in NAT64 and the IPv4 networks to open in AllowNetworks", p)
		}
		for _, special := range specialRanges {
			if p.Bits() < special.Bits() && p.Contains(special.Addr()) {
				return fmt.Errorf("AllowNetworks: %v is wider than the special range %v inside it; name the networks to open one by one", p, special)
			}
		}
	}
	for _, p := range g.DenyNetworks {
		if err := checkPrefix("DenyNetworks", p); err != nil {
			return err
		}
	}
	for _, p := range g.NAT64 {
		if !p.Addr().Is6() || p.Addr().Is4In6() || !slices.Contains(nat64Lengths[:], p.Bits()) {
			return fmt.Errorf("NAT64: %v is not an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, the lengths of RFC 6052", p)
		}
	}
	for _, port := range g.AllowPorts {
		if port < 1 || port > 65535 {
			return fmt.Errorf("AllowPorts: port %d is out of range 1–65535", port)
		}
	}
	if g.Timeout < 0 {
		return fmt.Errorf("negative Timeout %v", g.Timeout)
	}
	return nil
}

func checkPrefix(field string, p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("%s: invalid prefix", field)
	case p.Addr().Is4In6() && p.Bits() < 96:
		return fmt.Errorf("%s: %v cuts through the IPv4-mapped addresses; write the IPv4 network", field, p)
	}
	return nil
}

// Check returns nil when addr may be dialed, and an error that wraps
// [ErrBlockedAddress] otherwise. An IPv4-mapped IPv6 address is judged as the
// IPv4 address it stands for, and a zone is ignored.
func (g *Guard) Check(addr netip.Addr) error {
	if g.validate() != nil {
		return blocked("the guard's settings are not valid")
	}
	if !g.admits(addr) {
		return blocked("not a public address")
	}
	return nil
}

func (g *Guard) admits(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if g == nil {
		return public(addr)
	}
	if inAny(g.DenyNetworks, addr) {
		return false
	}
	if inAny(g.NAT64, addr) {
		return !slices.ContainsFunc(g.NAT64, func(p netip.Prefix) bool {
			return p.Contains(addr) && !g.admits(embeddedIPv4(addr, p.Bits()))
		})
	}
	return public(addr) || slices.ContainsFunc(g.AllowNetworks, func(p netip.Prefix) bool {
		return opens(unmapPrefix(p), addr)
	})
}

// CheckPort returns nil when a receiver's port may be dialed, and an error that
// wraps [ErrBlockedAddress] otherwise. Any port from 1 to 65535 may be dialed
// unless AllowPorts lists the allowed ones.
func (g *Guard) CheckPort(port int) error {
	if port < 1 || port > 65535 {
		return blocked(fmt.Sprintf("port %d is out of range 1–65535", port))
	}
	if g != nil && len(g.AllowPorts) > 0 && !slices.Contains(g.AllowPorts, port) {
		return blocked(fmt.Sprintf("port %d is not one of the allowed ports", port))
	}
	return nil
}

// Control is for the ControlContext field of a [net.Dialer]: it runs after the
// name was looked up and before a packet is sent, once for every address that
// is tried. It returns nil when address, an IP address and a port, may be
// dialed over network, and an error that wraps [ErrBlockedAddress] for
// everything else: another network than TCP, a host that is empty or not an IP
// address, an address or a port that is not admitted. (A net.Dialer ignores
// its Control field when ControlContext is set.)
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return blocked("only TCP may be dialed")
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return err
	}
	if err := g.CheckPort(int(port)); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return blocked("not an IP address")
	}
	return g.Check(addr)
}

func blocked(why string) error {
	return fmt.Errorf("webhook: guard: %w: %s", ErrBlockedAddress, why)
}

// splitAddress splits the address given to a dialer. It refuses an empty host, which
// would mean this machine.
func splitAddress(address string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, blocked("not a host and a port")
	}
	if host == "" {
		return "", 0, blocked("the host is empty")
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, blocked("the port is not a number from 1 to 65535")
	}
	return host, uint16(n), nil // ParseUint saw to it
}

// EndsInNumber reports whether the last label of host is a number, decimal or
// hexadecimal. The URL standard of the browsers uses this rule to tell IPv4
// addresses, well-formed or not, from names: a host for which it is true and that
// [netip.ParseAddr] refuses is a malformed address, and no public name.
func EndsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if strings.Trim(last, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(strings.ToLower(last), "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}
