package nettest

import (
	"net"
	"testing"
)

// A Canary is a listener that nothing may connect to.
type Canary struct {
	net.Listener
	accepted chan net.Addr
}

// NewCanary listens on a TCP address until the test ends.
func NewCanary(tb testing.TB, address string) *Canary {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	c := &Canary{ln, make(chan net.Addr, 1000)}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c.accepted <- conn.RemoteAddr()
			conn.Close()
		}
	}()
	tb.Cleanup(func() { ln.Close() })
	return c
}

// Port returns the port that it listens on.
func (c *Canary) Port() string {
	_, port, _ := net.SplitHostPort(c.Addr().String())
	return port
}

// Silent connects to the canary itself and demands to be its first visitor:
// connections are accepted in the order in which they were made.
func (c *Canary) Silent(tb testing.TB) {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", c.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	for visitors := 0; ; visitors++ {
		if (<-c.accepted).String() == conn.LocalAddr().String() {
			if visitors > 0 {
				tb.Errorf("%d connections reached the canary on %v", visitors, c.Addr())
			}
			return
		}
	}
}
