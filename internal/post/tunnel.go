package post

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/guard"
)

// maxProxyHead bounds the bytes of a proxy before a tunnel is open.
const maxProxyHead = 64 << 10

// A tunnel connects to receivers through an egress proxy. Every connection, also for
// plain http, begins with CONNECT: bytes inside the tunnel are then the receiver's, and
// failures before it is open are the proxy's. A proxy that gets a whole request answers
// in the receiver's name, and its 410 looks like the receiver's.
type tunnel struct {
	address   string       // the proxy's host and port
	auth      string       // the value of Proxy-Authorization; empty: the header is not sent
	toProxy   *guard.Guard // judges the proxy's address
	toTargets *guard.Guard // judges the receivers' ports
	tls       *tls.Config
	secure    bool         // the proxy itself is spoken to over TLS
	opened    atomic.Int64 // tunnels that the proxy has opened
}

func newTunnel(proxy *url.URL, guard *guard.Guard, secure *tls.Config) *tunnel {
	toProxy := *guard
	toProxy.AllowPorts = nil // those are for receivers
	t := &tunnel{
		address: proxyAddress(proxy), toProxy: &toProxy, toTargets: guard,
		tls: secure.Clone(), secure: proxy.Scheme == "https",
	}
	// This handshake is with the proxy itself, so the webhook's setting has no
	// say in it, and no HTTP/2 is spoken.
	t.tls.InsecureSkipVerify, t.tls.NextProtos, t.tls.ServerName = false, nil, proxy.Hostname()
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		t.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
	}
	return t
}

// CheckProxy returns an error that says why a proxy could never be dialed, as far as
// its URL tells. The address of a proxy given by name is judged when it is dialed.
func CheckProxy(g *guard.Guard, proxy *url.URL) error {
	host := proxy.Hostname()
	if port, err := strconv.ParseUint(portOf(proxy), 10, 16); err != nil || port == 0 {
		return errors.New("has a port outside 1–65535")
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && g.Check(addr) != nil:
		addr = addr.Unmap().WithZone("")
		return fmt.Errorf("has the address %v, which Guard does not admit: add %v to Guard.AllowNetworks, and take it out of DenyNetworks if it is there",
			addr, netip.PrefixFrom(addr, addr.BitLen()))
	case err != nil && guard.EndsInNumber(host):
		return fmt.Errorf("has a malformed IP address as its host: %q", host)
	}
	return nil
}

// proxyWait is how far an attempt has got with a proxy.
type proxyWait struct {
	tunnel *tunnel
	stage  string // the step that the proxy has not done
	asked  bool   // CONNECT was sent
	opened int64  // tunnels opened before that
}

// fault says why a proxy is to blame for an attempt that timed out, or is nil
// when the receiver is: the proxy opened a tunnel to another while it was asked
// for this one, so it is this receiver that it waited for.
func (w *proxyWait) fault() *SenderError {
	if w == nil || w.asked && w.tunnel.opened.Load() > w.opened {
		return nil
	}
	return w.tunnel.fault(context.DeadlineExceeded, "did not %s in time", w.stage)
}

func (t *tunnel) fault(cause error, format string, args ...any) *SenderError {
	return &SenderError{Kind: "proxy", Text: "the proxy " + t.address + " " + fmt.Sprintf(format, args...), cause: cause}
}

// connect opens a tunnel to target, a host and a port. Its error is a *SenderError, or
// a *receiverError with the proxy's report about the receiver.
func (t *tunnel) connect(ctx context.Context, network, target string) (net.Conn, error) {
	_, digits, err := net.SplitHostPort(target)
	if err == nil {
		port, _ := strconv.Atoi(digits) // 0 is refused
		err = t.toTargets.CheckPort(port)
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	f, _ := ctx.Value(flightKey{}).(*flight)
	stage := func(w *proxyWait) *proxyWait {
		if f != nil {
			f.proxy.Store(w)
		}
		return w
	}
	stage(&proxyWait{tunnel: t, stage: "accept the connection"})
	conn, err := t.toProxy.DialContext(ctx, network, t.address)
	if err != nil {
		return nil, t.fault(err, "cannot be reached: %v", reasonOf(err))
	}
	if t.secure {
		stage(&proxyWait{tunnel: t, stage: "finish the TLS handshake"})
		secure := tls.Client(conn, t.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, t.fault(err, "refused, or was refused, the TLS handshake with it: %v", reasonOf(err))
		}
		conn = secure
	}
	wait := stage(&proxyWait{tunnel: t, stage: "answer CONNECT", asked: true, opened: t.opened.Load()})
	open, err := t.ask(ctx, conn, target)
	if err != nil {
		conn.Close()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || ctx.Err() != nil {
			if fault := wait.fault(); fault != nil {
				return nil, fault
			}
			return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
		}
		return nil, err
	}
	t.opened.Add(1)
	stage(nil)
	return open, nil
}

// ask makes the proxy connect. It returns conn, preceded by the receiver's bytes that
// came together with the proxy's answer.
func (t *tunnel) ask(ctx context.Context, conn net.Conn, target string) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": nil}}
	if t.auth != "" {
		req.Header.Set("Proxy-Authorization", t.auth)
	}
	status, header, rest, err := exchange(conn, req)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, t.fault(err, "was asked to connect and gave no valid answer: %v", reasonOf(err))
	}
	if status < 200 || status > 299 {
		return nil, t.refusal(status, header)
	}
	_ = conn.SetDeadline(time.Time{})
	if len(rest) > 0 {
		return &prefixedConn{conn, io.MultiReader(bytes.NewReader(rest), conn)}, nil
	}
	return conn, nil
}

var errProxyHead = errors.New("its answer has no end")

// exchange sends CONNECT and returns the answer, with the bytes behind its head.
func exchange(conn net.Conn, req *http.Request) (status int, header http.Header, rest []byte, err error) {
	if err := req.Write(conn); err != nil {
		return 0, nil, nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxProxyHead}
	r := bufio.NewReader(limited)
	for range 5 { // 1xx answers may come before
		//nolint:bodyclose // of a tunnel it is the receiver's; otherwise the connection is closed, and nobody waits for its end
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			if limited.N <= 0 {
				err = errProxyHead
			}
			return 0, nil, nil, err
		}
		if status, header = resp.StatusCode, resp.Header; status >= 200 {
			break
		}
	}
	rest, err = r.Peek(r.Buffered())
	return status, header, bytes.Clone(rest), err
}

// refusal is the error for a proxy's answer other than 2xx. Without a word on why,
// it is the proxy that refused. Where it says that the receiver could not be
// reached, by a header that is there for that, it is the receiver.
func (t *tunnel) refusal(status int, header http.Header) error {
	said := proxyError(header)
	if class, text := receiverFault(said); text != "" {
		return &receiverError{class, text}
	}
	what := fmt.Sprintf("refused to connect, with status %03d", status)
	if name := http.StatusText(status); name != "" {
		what += " " + name
	}
	if said != "" {
		what += " (" + printable(said, 100) + ")"
	}
	return t.fault(nil, "%s", what)
}

// A prefixedConn returns bytes that were read before its own.
type prefixedConn struct {
	net.Conn
	r io.Reader
}

func (c *prefixedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
