package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	defaultDialTimeout = 10 * time.Second
	// maxDialAddresses and mostDialAddresses bound the connections that one look-up
	// can cause: customers choose the names, and an answer may hold hundreds of
	// addresses. The first counts addresses that do not answer within a dialStagger.
	// Addresses that refuse at once are cheap and count only towards the second.
	maxDialAddresses  = 6
	mostDialAddresses = 32
	// dialStagger is the head start of an address over the next one, as RFC
	// 8305 recommends.
	dialStagger = 250 * time.Millisecond
)

// DialContext connects to address, a host and a port, over network, which is
// "tcp", "tcp4" or "tcp6". It is for the DialContext field of an
// [http.Transport].
//
// The host name is looked up once, each family in a query of its own. When one
// family is answered, DialContext waits 50 ms for the other; a later answer still
// joins the race. Addresses that may not be dialed are dropped. The rest are tried,
// IPv6 and IPv4 in turn, each a quarter of a second after the previous address or as
// soon as that has failed, and the first connection wins. DialContext tries at most
// six addresses that do not refuse at once, and at most 32 in all. If no address may
// be dialed the error wraps [ErrBlockedAddress]. Other failures are a *[net.OpError],
// around a *[net.DNSError] when the look-up failed; [LocalFault] says whether this
// machine is the cause. No error names an address that was dialed, or a name server.
//
// The DNSStart and DNSDone hooks of an [httptrace.ClientTrace] in ctx are called
// around the look-up.
//
// It blocks until it is connected, ctx is done or Timeout is over.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return g.dial(ctx, network, address, g.dialer().DialContext)
}

// dialer returns a dialer that checks each address once more as it connects, so that
// the code between the look-up and the connection need not be trusted.
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
	candidates, late, err := g.candidates(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	conn, tried, err := raceWith(ctx, network, candidates, late, connect)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: judgeDial(withoutAddress(err), tried)}
	}
	return conn, nil
}

// candidates returns the addresses to try for address, in order, and more of them
// if there is a look-up that was not waited for. Every one of them was admitted;
// the look-up is not repeated.
func (g *Guard) candidates(ctx context.Context, network, address string) ([]netip.AddrPort, lateAddresses, error) {
	var none lateAddresses
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, none, blocked("only TCP may be dialed")
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, none, err
	}
	if err := g.CheckPort(int(port)); err != nil {
		return nil, none, err
	}
	if g.validate() != nil {
		return nil, none, blocked("the guard's settings are not valid")
	}
	var f found
	if addr, err := netip.ParseAddr(host); err == nil {
		g.admit(&f, singleflight.Result{Val: []netip.Addr{addr}})
	} else if EndsInNumber(host) {
		// The meaning of 2130706433 or 0x7f.1 depends on the resolver that the
		// program is linked with. No public name looks like that.
		return nil, none, blocked("the host is a malformed IP address")
	} else {
		answered := lookingUp(ctx, host)
		f, err = g.resolve(withoutTrace{ctx}, network, host)
		if answered(err); err != nil {
			return nil, none, withoutServer(ctx, host, err)
		}
	}
	if len(f.addrs) == 0 {
		return nil, none, blocked("not a public address")
	}
	late := lateAddresses{answer: f.late, use: func(answer singleflight.Result) []netip.AddrPort {
		var f found
		g.admit(&f, answer)
		return interleave(f.addrs, port)
	}}
	return interleave(f.addrs, port), late, nil
}

// lateAddresses are addresses of the family whose look-up was not waited for.
type lateAddresses struct {
	answer <-chan singleflight.Result // nil if both families were waited for
	use    func(singleflight.Result) []netip.AddrPort
}

func (g *Guard) resolver() *net.Resolver {
	if g != nil && g.Resolver != nil {
		return g.Resolver
	}
	return net.DefaultResolver
}

// interleave returns addresses of both families in turn, beginning with the family
// of the first address, so that a broken IPv6 costs one stagger and not every attempt.
// It drops duplicates, and addresses beyond the limit.
func interleave(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var families [2][]netip.AddrPort
	for _, addr := range addrs {
		candidate := netip.AddrPortFrom(addr.Unmap(), port)
		family := &families[0]
		if candidate.Addr().Is4() != addrs[0].Unmap().Is4() {
			family = &families[1]
		}
		if len(*family) < mostDialAddresses && !slices.Contains(*family, candidate) {
			*family = append(*family, candidate)
		}
	}
	turns := takeTurns(families[0], families[1])
	return turns[:min(len(turns), mostDialAddresses)]
}

func takeTurns(one, other []netip.AddrPort) (turns []netip.AddrPort) {
	for i := range max(len(one), len(other)) {
		if i < len(one) {
			turns = append(turns, one[i])
		}
		if i < len(other) {
			turns = append(turns, other[i])
		}
	}
	return turns
}

// race is raceWith for addresses of which all are known.
func race(ctx context.Context, network string, candidates []netip.AddrPort, connect connector) (net.Conn, error) {
	conn, _, err := raceWith(ctx, network, candidates, lateAddresses{}, connect)
	return conn, err
}

// raceWith connects to the candidates, each a stagger after the previous candidate or
// as soon as that has failed. It returns the first connection and the addresses tried.
// Late addresses take turns with the candidates that are left when they arrive. When
// all candidates have failed, raceWith returns the first error that the receiver has a
// part in. The connection attempts that lost end with ctx.
func raceWith(ctx context.Context, network string, candidates []netip.AddrPort, late lateAddresses, connect connector) (net.Conn, []netip.AddrPort, error) {
	if len(candidates) == 1 && late.answer == nil {
		conn, err := connect(ctx, network, candidates[0].String())
		return conn, candidates, err
	}
	type outcome struct {
		conn net.Conn
		err  error
		slow bool // it took a stagger or more
	}
	outcomes := make(chan outcome, 2*mostDialAddresses) // large enough that no sender blocks after raceWith has returned
	var tried []netip.AddrPort
	var last time.Time // when one was started
	running, slow := 0, 0
	ready := func() bool {
		return len(candidates) > 0 && running+slow < maxDialAddresses && len(tried) < mostDialAddresses && ctx.Err() == nil
	}
	start := func() {
		candidate := candidates[0]
		candidates = candidates[1:]
		tried = append(tried, candidate)
		running++
		begun := time.Now()
		last = begun
		go func() {
			conn, err := connect(ctx, network, candidate.String())
			outcomes <- outcome{conn, err, time.Since(begun) >= dialStagger}
		}()
	}
	stagger := time.NewTimer(dialStagger)
	defer stagger.Stop()
	start()
	var failure error
	var patience <-chan time.Time // ends the wait for the late look-up once every candidate has failed
	var done <-chan struct{}
	for {
		due := true // may the next one be started
		select {
		case <-stagger.C:
		case answer := <-late.answer:
			late.answer, patience = nil, nil
			candidates = takeTurns(late.use(answer), candidates)
			due = running == 0 || time.Since(last) >= dialStagger
		case <-patience:
			return nil, tried, failure
		case <-done:
			return nil, tried, failure
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
				return got.conn, tried, nil
			}
			if got.slow {
				slow++
			}
			if failure == nil || beforeSending(failure) && !beforeSending(got.err) {
				failure = got.err // a machine without IPv6 says so first
			}
		}
		if due && ready() {
			start()
			stagger.Reset(dialStagger)
		}
		if running > 0 {
			continue
		}
		if late.answer == nil || len(candidates) > 0 {
			return nil, tried, failure
		}
		if patience == nil {
			patience, done = time.After(lateFamily), ctx.Done()
		}
	}
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
	case ok && resolverFault(dns) != nil:
		clean.UnwrapErr = resolverFault(dns)
	case ok && dns.IsNotFound:
		clean.Err, clean.IsNotFound, clean.IsTemporary = "no such host", true, false
	}
	return clean
}
