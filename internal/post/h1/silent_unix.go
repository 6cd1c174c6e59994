//go:build unix

package h1

import (
	"net"
	"syscall"
)

// socketOf returns the socket of a connection, or nil when it is no socket itself.
func socketOf(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// silentSocket reads without waiting. A byte that it reads is lost, but the connection
// is not used again then.
func silentSocket(raw syscall.RawConn) bool {
	silent := false
	err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		for {
			n, err := syscall.Read(int(fd), one[:])
			if err == syscall.EINTR {
				continue
			}
			silent = n < 0 && err == syscall.EAGAIN
			return true
		}
	})
	return err == nil && silent
}
