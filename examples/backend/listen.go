package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// listener is a listening address with its HTTP server.
type listener struct {
	ln     net.Listener
	server *http.Server
	ended  chan error
}

func listen(ctx context.Context, addr string, h http.Handler, log *slog.Logger) (*listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{ln, &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}, make(chan error, 1)}, nil
}

// serve serves until shutdown, and then calls end.
func (l *listener) serve(end func()) {
	go func() {
		err := l.server.Serve(l.ln)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		l.ended <- err
		end()
	}()
}

// shutdown stops taking requests and lets requests in progress finish, whether
// ctx has ended or not.
func (l *listener) shutdown(ctx context.Context) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(l.server.Shutdown(grace), <-l.ended)
}

// abandon frees the address if serve was not called.
func (l *listener) abandon() { l.ln.Close() }

// base returns the URL of the server, as seen from this machine.
func (l *listener) base() string {
	addr := l.ln.Addr().String()
	if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsUnspecified() {
		addr = net.JoinHostPort("localhost", port)
	}
	return "http://" + addr
}
