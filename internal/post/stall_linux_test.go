package post

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// blackhole returns an address that takes no connection and refuses none: a
// listener whose queue is full drops what else arrives, on Linux.
func blackhole(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil || listenErr != nil {
		t.Fatal(err, listenErr)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp4", ln.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return ln.Addr().String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue of the listener does not fill up")
	return ""
}

func TestH8_StallWhileConnecting(t *testing.T) {
	t.Parallel()
	address := blackhole(t)
	for _, scheme := range []string{"http", "https"} {
		a := attempt(t, newTestSender(t, transportConfig{}), post(t, scheme+"://"+address+"/").within(stallTimeout))
		wantStall(t, a, "while connecting")
	}
}
