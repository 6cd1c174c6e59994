//go:build !unix

package h1

import (
	"net"
	"syscall"
)

// socketOf returns nothing to look at: reads are done with a short deadline here.
func socketOf(net.Conn) syscall.RawConn { return nil }

func silentSocket(syscall.RawConn) bool { return false }
