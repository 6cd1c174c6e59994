package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
)

func TestLocalFaultTellsTheMachineFromTheReceiver(t *testing.T) {
	t.Parallel()
	dialed := func(errs ...error) error { // one for each address, the first of which is IPv6
		addresses := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::7]:443"), netip.MustParseAddrPort("192.0.2.7:443")}[2-len(errs):]
		n := 0
		_, err := race(t.Context(), "tcp", addresses, func(context.Context, string, string) (net.Conn, error) {
			n++
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errs[n-1]}
		})
		return &net.OpError{Op: "dial", Net: "tcp", Err: withoutAddress(err)}
	}
	sys := func(e syscall.Errno) error { return os.NewSyscallError("connect", e) }
	lookUp := func(err *net.DNSError) error { return withoutServer(t.Context(), "receiver.test", err) }
	for _, row := range []struct {
		name string
		err  error
		kind string // empty: the receiver's
	}{
		{"files", dialed(sys(syscall.EMFILE)), "machine"},
		{"files of all", dialed(sys(syscall.ENFILE), sys(syscall.ENFILE)), "machine"},
		{"ports", dialed(sys(syscall.EADDRNOTAVAIL)), "machine"},
		{"local firewall", dialed(sys(syscall.EPERM)), "machine"},
		{"no IPv6 here, refused there", dialed(sys(syscall.EADDRNOTAVAIL), sys(syscall.ECONNREFUSED)), ""},
		{"no IPv6 here, no files for the other", dialed(sys(syscall.ENETUNREACH), sys(syscall.EMFILE)), ""},
		{"refused", dialed(sys(syscall.ECONNREFUSED)), ""},
		{"a local error, wrapped", &net.OpError{Op: "dial", Err: &LocalError{Kind: "network", Text: "no way"}}, "network"},
		{"name server refuses", lookUp(&net.DNSError{Err: "read udp 10.0.0.2:53: read: connection refused", IsTemporary: true}), "resolver"},
		{"no socket for the name server", lookUp(&net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files"}), "resolver"},
		{"no such name", lookUp(&net.DNSError{Err: "no such host", IsNotFound: true}), ""},
		{"the zone is broken", lookUp(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), ""},
		{"silent name server", lookUp(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), ""},
		{"no error", nil, ""},
		{"another error", errors.New("EOF"), ""},
	} {
		kind := ""
		if fault := LocalFault(row.err); fault != nil {
			kind = fault.Kind
		}
		if kind != row.kind {
			t.Errorf("%s: kind %q, want %q", row.name, kind, row.kind)
		}
	}
}
