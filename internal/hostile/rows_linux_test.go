package hostile

import (
	"errors"
	"net"
	"syscall"
	"time"
)

func init() {
	rows = append(rows, row{name: "HR2 answers no SYN", kind: nobody, prepare: fillQueue, want: "timeout"})
}

// waiting are the connections that fill queues up.
var waiting []net.Conn

// fillQueue makes a listener that drops what arrives: Linux does so when its
// queue is full.
func fillQueue(ln net.Listener) error {
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil || listenErr != nil {
		return errors.Join(err, listenErr)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp", ln.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return nil
		}
		waiting = append(waiting, conn)
	}
	return errors.New("the queue of the listener does not fill up")
}
