package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// The two families are looked up by two queries at the same time. A look-up of both by
// package net waits for the slower answer, so a name server that never answers queries
// for IPv6 would cost each connection ten seconds. As RFC 8305 recommends, the family
// that is answered first waits a moment for the other and then goes on without it; the
// other family joins the race later.

const (
	// resolutionDelay is how long the family that was answered first waits for the
	// other, so that both are tried in turn.
	resolutionDelay = 50 * time.Millisecond
	// lateFamily is the wait for the other family when the first has no address, or no
	// address left, that may be tried.
	lateFamily = time.Second
	// longestLookup bounds a look-up whose caller may have left.
	longestLookup = 30 * time.Second
)

// lookups joins look-ups of the same name. A look-up that is not answered outlives
// the connection that was made without it, and the next connection to the same host
// waits for the same one: there is never more than one of a kind, however many
// connections are made.
var lookups singleflight.Group

// lookUp asks for the addresses of host of one family, "ip4" or "ip6".
func (g *Guard) lookUp(network, host string) <-chan singleflight.Result {
	resolver := g.resolver()
	return lookups.DoChan(fmt.Sprintf("%p %s %s", resolver, network, host), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), longestLookup)
		defer cancel()
		return resolver.LookupNetIP(ctx, network, host)
	})
}

// found are the addresses that look-ups have found so far.
type found struct {
	addrs   []netip.Addr // that may be dialed; in the order of preference
	blocked bool         // an address was dropped because it may not be dialed
	late    <-chan singleflight.Result
}

// admit adds the addresses of an answer.
func (g *Guard) admit(f *found, answer singleflight.Result) {
	addrs, _ := answer.Val.([]netip.Addr)
	for _, addr := range addrs {
		if g.admits(addr) {
			f.addrs = append(f.addrs, addr)
		} else {
			f.blocked = true
		}
	}
}

// resolve looks up host for network and returns as soon as there is an address to
// begin with.
func (g *Guard) resolve(ctx context.Context, network, host string) (found, error) {
	var f found
	if network != "tcp" {
		addrs, err := g.resolver().LookupNetIP(ctx, map[string]string{"tcp4": "ip4", "tcp6": "ip6"}[network], host)
		g.admit(&f, singleflight.Result{Val: addrs})
		return f, err
	}
	// With the dot at its end this name is asked for and no other. Apart, the
	// families could be answered for different names of the search list: a host
	// without an IPv6 address is no reason to go on there.
	rooted := strings.TrimSuffix(host, ".") + "."
	answers := [2]<-chan singleflight.Result{g.lookUp("ip4", rooted), g.lookUp("ip6", rooted)}
	var got [2]*singleflight.Result
	var patience <-chan time.Time
	for got[0] == nil || got[1] == nil {
		select {
		case answer := <-answers[0]:
			got[0] = &answer
		case answer := <-answers[1]:
			got[1] = &answer
		case <-patience:
			return g.merge(got, answers), nil
		case <-ctx.Done():
			return f, ctx.Err()
		}
		if one := g.merge(got, answers); patience == nil && len(one.addrs) > 0 {
			patience = time.After(resolutionDelay)
		} else if patience == nil && one.blocked {
			patience = time.After(lateFamily)
		}
	}
	f = g.merge(got, answers)
	if len(f.addrs) > 0 || f.blocked {
		return f, nil
	}
	err := got[0].Err
	if isNotFound(err) {
		err = got[1].Err
	}
	if isNotFound(err) && rooted != host {
		// Now the search list, by net's own rules.
		var addrs []netip.Addr
		addrs, err = g.resolver().LookupNetIP(ctx, "ip", host)
		g.admit(&f, singleflight.Result{Val: addrs})
	}
	return f, err
}

// merge puts the answers that there are together, IPv4 and IPv6, and the family
// first that goes first.
func (g *Guard) merge(got [2]*singleflight.Result, answers [2]<-chan singleflight.Result) found {
	var f found
	for i, answer := range got {
		if answer == nil {
			f.late = answers[i]
			continue
		}
		before := len(f.addrs)
		g.admit(&f, *answer)
		if before > 0 && len(f.addrs) > before && reachable(f.addrs[before]) {
			f.addrs = append(f.addrs[before:len(f.addrs):len(f.addrs)], f.addrs[:before]...)
		}
	}
	return f
}

// reachable reports whether this machine has an IPv6 address with which it can be
// expected to reach addr, as RFC 6724 would choose it. It sends no packet: connecting
// a UDP socket only asks the routing table.
func reachable(addr netip.Addr) bool {
	conn, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return false
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	return ok && (local.AddrPort().Addr().IsPrivate() == addr.IsPrivate() || addr.IsLoopback())
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// withoutTrace is a context whose hooks of an httptrace.ClientTrace package net does
// not see: the look-ups of one dial are told as one.
type withoutTrace struct{ context.Context }

// Value returns nil for every key.
func (withoutTrace) Value(any) any { return nil }

// lookingUp calls the hooks of a trace in ctx: DNSStart at once, and DNSDone when the
// function that it returns is called.
func lookingUp(ctx context.Context, host string) (answered func(error)) {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		return func(error) {}
	}
	if trace.DNSStart != nil {
		trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	}
	return func(err error) {
		if trace.DNSDone != nil {
			trace.DNSDone(httptrace.DNSDoneInfo{Err: err})
		}
	}
}
