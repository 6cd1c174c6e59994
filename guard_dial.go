package webhook

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	defaultDialTimeout = 10 * time.Second
	// maxDialAddresses bounds what one look-up can make us do: the names are
	// the customers', and an answer may hold hundreds of addresses.
	maxDialAddresses = 6
	// dialStagger is the head start of an address over the next one, as RFC
	// 8305 recommends.
	dialStagger = 250 * time.Millisecond
)

// DialContext connects to address, a host and a port, over network, which is
// "tcp", "tcp4" or "tcp6". It is for the DialContext field of an
// [http.Transport].
//
// The host's name is looked up once; addresses that may not be dialed are
// dropped from the answer; at most six of the rest are tried, IPv6 and IPv4 in
// turn, each a quarter of a second after the one before or as soon as that one
// failed, and the first connection wins. When nothing may be dialed the error
// wraps [ErrBlockedAddress]. Other failures are a *[net.OpError], around a
// *[net.DNSError] when the look-up failed. No error names an address that was
// dialed, or a name server.
//
// It blocks until it is connected, ctx is done or Timeout is over.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return g.dial(ctx, network, address, g.dialer().DialContext)
}

// dialer judges once more, where the connection is made: nothing between the
// look-up and there has to be trusted.
func (g *Guard) dialer() *net.Dialer { return &net.Dialer{ControlContext: g.Control} }

// A connector connects to an IP address and a port.
type connector func(ctx context.Context, network, address string) (net.Conn, error)

func (g *Guard) dial(ctx context.Context, network, address string, connect connector) (net.Conn, error) {
	timeout := defaultDialTimeout
	if g != nil && g.Timeout > 0 {
		timeout = g.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel() // also ends the attempts that lost
	candidates, err := g.candidates(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	conn, err := race(ctx, network, candidates, connect)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: judgeDial(withoutAddress(err), onlyIPv6(candidates))}
	}
	return conn, nil
}

// candidates returns the addresses to try for address, in order. Every one of
// them was admitted; the look-up is not repeated.
func (g *Guard) candidates(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	lookup := map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}[network]
	if lookup == "" {
		return nil, blocked("only TCP may be dialed")
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if err := g.checkPort(int(port)); err != nil {
		return nil, err
	}
	if g.validate() != nil {
		return nil, blocked("the guard's settings are not valid")
	}
	var found []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		found = []netip.Addr{addr}
	} else if endsInNumber(host) {
		// What 2130706433 or 0x7f.1 means depends on the resolver that was
		// linked in. No public name looks like that.
		return nil, blocked("the host is a malformed IP address")
	} else if found, err = g.resolver().LookupNetIP(ctx, lookup, host); err != nil {
		return nil, withoutServer(ctx, host, err)
	}
	found = slices.DeleteFunc(found, func(addr netip.Addr) bool { return !g.admits(addr) })
	if len(found) == 0 {
		return nil, blocked("not a public address")
	}
	return interleave(found, port), nil
}

func (g *Guard) resolver() *net.Resolver {
	if g != nil && g.Resolver != nil {
		return g.Resolver
	}
	return net.DefaultResolver
}

// interleave puts the families in turns, starting with the one that the
// resolver put first, so that a broken IPv6 costs one stagger and not every
// attempt. It drops duplicates and what is over the limit.
func interleave(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var families [2][]netip.AddrPort
	for _, addr := range addrs {
		candidate := netip.AddrPortFrom(addr.Unmap(), port)
		family := &families[0]
		if candidate.Addr().Is4() != addrs[0].Unmap().Is4() {
			family = &families[1]
		}
		if len(*family) < maxDialAddresses && !slices.Contains(*family, candidate) {
			*family = append(*family, candidate)
		}
	}
	var turns []netip.AddrPort
	for i := range maxDialAddresses {
		for _, family := range families {
			if i < len(family) {
				turns = append(turns, family[i])
			}
		}
	}
	return turns[:min(len(turns), maxDialAddresses)]
}

// race connects to the candidates, each a stagger after the one before or as
// soon as that one failed, and returns the first connection. When all have
// failed it returns the error of the one that failed first, of those that the
// receiver has a part in. The attempts that
// lost end with ctx.
func race(ctx context.Context, network string, candidates []netip.AddrPort, connect connector) (net.Conn, error) {
	if len(candidates) == 1 {
		return connect(ctx, network, candidates[0].String())
	}
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome, len(candidates)) // nobody blocks on it, also when nobody listens
	running := 0
	start := func() {
		candidate := candidates[0].String()
		candidates = candidates[1:]
		running++
		go func() {
			conn, err := connect(ctx, network, candidate)
			outcomes <- outcome{conn, err}
		}()
	}
	stagger := time.NewTimer(dialStagger)
	defer stagger.Stop()
	start()
	var failure error
	for running > 0 {
		select {
		case <-stagger.C:
		case got := <-outcomes:
			running--
			if got.err == nil {
				go func() { // a second one may have connected just now
					for range running {
						if late := <-outcomes; late.err == nil {
							late.conn.Close()
						}
					}
				}()
				return got.conn, nil
			}
			if failure == nil || ofThisMachine(failure) && !ofThisMachine(got.err) {
				failure = got.err // a machine without IPv6 says so first
			}
		}
		if len(candidates) > 0 && ctx.Err() == nil {
			start()
			stagger.Reset(dialStagger)
		}
	}
	return nil, failure
}

// withoutAddress takes the address out of a failure to connect: it is inside
// the *net.OpError that a net.Dialer returns, whose cause is kept.
func withoutAddress(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// withoutServer rebuilds the error of a look-up without the name server, and
// without the addresses that its text holds when the exchange itself failed.
func withoutServer(ctx context.Context, host string, err error) error {
	clean := &net.DNSError{Err: "the look-up failed", Name: host, IsTemporary: true, UnwrapErr: ctx.Err()}
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		clean.Err = "the look-up was canceled"
	case ctx.Err() != nil || ok && dns.IsTimeout:
		clean.Err, clean.IsTimeout = "the look-up timed out", true
	case ok && resolverErrno(dns) != nil:
		clean.UnwrapErr = resolverErrno(dns)
	case ok && dns.IsNotFound:
		clean.Err, clean.IsNotFound, clean.IsTemporary = "no such host", true, false
	}
	return clean
}
