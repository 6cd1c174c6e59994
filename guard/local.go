package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// A LocalError is a failure to connect whose cause is this machine or its network:
// every receiver would have failed. It names the host's own machines, so its text is
// for the host's log and not for customers.
type LocalError struct {
	Kind string // "machine", "network" or "resolver": the part that failed
	Text string // one line for the operator
	Err  error  // the cause
}

func (e *LocalError) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *LocalError) Unwrap() error { return e.Err }

// LocalFault returns the failure of this machine that err, an error of a dialer, is
// about, or nil when the cause may lie with the receiver. It understands the errors
// of [Guard.DialContext], and those of a [net.Dialer] or a [net.Resolver] as far as
// they tell. It does not block and is safe for concurrent use.
func LocalFault(err error) *LocalError {
	if local, ok := errors.AsType[*LocalError](err); ok {
		return local
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if slices.Contains(localErrnos, errno) {
			return &LocalError{Kind: "machine", Text: "no connection can be made from this machine: " + errno.Error(), Err: err}
		}
		return nil
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return resolverFault(dns)
	}
	return nil
}

// localErrnos are the errors of sockets that are about this machine alone.
var localErrnos = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, // out of files, or of memory
	syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, // out of ports
	syscall.EACCES, syscall.EPERM, // a local firewall
	syscall.ENETDOWN,
}

// resolverErrnos are the errors of sockets that keep this machine from asking its
// name server.
var resolverErrnos = append(slices.Clone(localErrnos), syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH)

// resolverFault finds, in the text of a failed look-up, why the machine's own name
// server could not be asked: package net keeps only the text. A name server that
// answers, or stays silent, may do so because of the zone, so that is no local fault.
func resolverFault(err *net.DNSError) *LocalError {
	for _, errno := range resolverErrnos {
		if strings.HasSuffix(err.Err, errno.Error()) {
			return &LocalError{Kind: "resolver", Text: "this machine's name server cannot be asked: " + errno.Error(), Err: errno}
		}
	}
	return nil
}

// beforeSending reports whether a failure to connect to one address came before a
// packet was sent.
func beforeSending(err error) bool {
	return LocalFault(err) != nil || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// errNoIPv6 is the error for a receiver that has IPv6 addresses only. Most receivers
// have IPv4 addresses as well, so the machine is not considered broken.
var errNoIPv6 = errors.New("the receiver has IPv6 addresses only, and the sender has no IPv6")

// judgeDial tells a failure of this machine's network from one of the receiver's.
// tried are the addresses that were dialed.
func judgeDial(err error, tried []netip.AddrPort) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	switch errno {
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
		switch {
		case !routed("udp4") && !routed("udp6"):
			return &LocalError{Kind: "network", Text: "this machine has no way to the Internet: " + errno.Error(), Err: err}
		case !slices.ContainsFunc(tried, func(a netip.AddrPort) bool { return a.Addr().Is4() }) && !routed("udp6"):
			return errNoIPv6
		}
	}
	return err
}

// routed reports whether this machine knows a route to public addresses. It sends
// no packet: connecting a UDP socket only asks the routing table.
func routed(network string) bool {
	address := map[string]string{"udp4": "192.0.2.1:9", "udp6": "[2001:db8::1]:9"}[network]
	conn, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
