//go:build !unix

package h1

import (
	"net"
	"syscall"
)

// socketOf returns nil: on this system silent reads with a short deadline.
func socketOf(net.Conn) syscall.RawConn { return nil }

func silentSocket(syscall.RawConn) bool { return false }
