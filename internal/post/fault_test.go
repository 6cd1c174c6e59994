package post

import (
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// Errors of this machine's, through the guarded dialer and from a transport of the
// host's, and those that look like it and are the receiver's.
func TestFaultsOfThisMachine(t *testing.T) {
	t.Parallel()
	dialed := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	sys := func(e syscall.Errno) error { return os.NewSyscallError("connect", e) }
	for _, row := range []struct {
		name string
		err  error
		kind string // empty: the receiver's
	}{
		{"files", dialed(sys(syscall.EMFILE)), "machine"},
		{"ports", dialed(sys(syscall.EADDRNOTAVAIL)), "machine"},
		{"buffers", dialed(sys(syscall.ENOBUFS)), "machine"},
		{"local firewall", dialed(sys(syscall.EPERM)), "machine"},
		{"interface", dialed(sys(syscall.ENETDOWN)), "machine"},
		{"refused", dialed(sys(syscall.ECONNREFUSED)), ""},
		{"reset", dialed(sys(syscall.ECONNRESET)), ""},
		{"timed out", dialed(sys(syscall.ETIMEDOUT)), ""},
		{"name server refuses", &net.DNSError{Err: "read udp 127.0.0.1:4->127.0.0.53:53: read: connection refused", Name: "receiver.test", IsTemporary: true}, "resolver"},
		{"no socket for the name server", &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files", Name: "receiver.test"}, "resolver"},
		{"no way to the name server", &net.DNSError{Err: "dial udp 10.0.0.2:53: connect: network is unreachable", Name: "receiver.test"}, "resolver"},
		{"no such name", &net.DNSError{Err: "no such host", Name: "receiver.test", IsNotFound: true}, ""},
		{"the zone is broken", &net.DNSError{Err: "server misbehaving", Name: "receiver.test", IsTemporary: true}, ""},
		{"silent name server", &net.DNSError{Err: "i/o timeout", Name: "receiver.test", IsTimeout: true}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, row.err })})
			a := s.Do(t.Context(), post(t, "https://receiver.test/"))
			if row.kind == "" {
				if a.Fault != nil || a.Class == ClassUnsent {
					t.Errorf("class %q, fault %v; want the receiver's", a.Class, a.Fault)
				}
				return
			}
			wantClass(t, a, ClassUnsent, "the sender could not send")
			wantNothingPrivate(t, a)
			if a.Fault == nil || a.Fault.Kind != row.kind {
				t.Errorf("fault %v, want %s", a.Fault, row.kind)
			}
		})
	}
	// After a connection nobody knows what was sent.
	p := newPeer(t, hold)
	f := newFlight(t.Context(), post(t, p.url), time.Now(), 0)
	defer f.end()
	f.connected.Store(true)
	if f.senderFault(syscall.EMFILE) != nil {
		t.Error("an attempt that may have been sent counts as none")
	}
}
