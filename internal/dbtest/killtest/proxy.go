package killtest

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands between the processes and PostgreSQL and does what networks do.
// It reads the protocol, to know when a commit has been answered.
type proxy struct {
	l net.Listener

	mu      sync.Mutex
	network string // of the server
	target  string
	conns   map[*link]bool

	latency atomic.Int64 // nanoseconds, added to each message from the server
	rate    atomic.Int64 // bytes per second from the server; 0: no bound
	stalled atomic.Bool  // nothing passes, nothing is closed
	refuse  atomic.Bool  // new connections are closed at once
	loses   atomic.Int64 // of a thousand commits, so many answers are lost
	lost    atomic.Int64 // answers lost so far
}

// newProxy starts a proxy to the server at this address.
func newProxy(network, target string) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, network: network, target: target, conns: map[*link]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) port() int {
	if a, ok := p.l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

func (p *proxy) close() {
	p.l.Close()
	p.reset()
}

// lead makes new connections go to another server.
func (p *proxy) lead(network, target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.target = network, target
}

// reset breaks every connection, as a router that lost its state does.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.cut()
	}
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			abort(c)
			continue
		}
		go p.serve(c)
	}
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	network, target := p.network, p.target
	p.mu.Unlock()
	server, err := new(net.Dialer).DialContext(background(), network, target)
	if err != nil {
		abort(client)
		return
	}
	k := &link{p: p, client: client, server: server}
	p.mu.Lock()
	p.conns[k] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(k.fromClient)
	both.Go(k.fromServer)
	both.Wait()
	p.mu.Lock()
	delete(p.conns, k)
	p.mu.Unlock()
}

// link is one connection through the proxy.
type link struct {
	p              *proxy
	client, server net.Conn
	status         atomic.Int32 // of the transaction, as the server said last: I, T or E
	doomed         atomic.Bool  // the answer to what was sent last will be lost
}

// cut ends both sides with a reset.
func (k *link) cut() {
	abort(k.client)
	abort(k.server)
}

func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// hold waits while the proxy is stalled.
func (p *proxy) hold() {
	eventually(10*time.Minute, func() bool { return !p.stalled.Load() })
}

// fromClient forwards messages to the server, and decides at each commit
// whether its answer will be lost.
func (k *link) fromClient() {
	defer k.cut()
	buf, err := readMessage(k.client, true)
	if err == nil {
		_, err = k.server.Write(buf)
	}
	var batch []byte // the types of the messages since the last answer was asked for
	for err == nil {
		if buf, err = readMessage(k.client, false); err != nil {
			return
		}
		if k.p.stalled.Load() {
			k.p.hold()
		}
		batch = append(batch, buf[0])
		if buf[0] == 'Q' || buf[0] == 'S' {
			if commits(buf, batch, byte(k.status.Load())) && rand.Int64N(1000) < k.p.loses.Load() { //nolint:gosec // a fault, not a secret
				k.doomed.Store(true)
			}
			batch = batch[:0]
		}
		_, err = k.server.Write(buf)
	}
}

// commits reports whether the server commits something when it has this
// message: a COMMIT, or a statement outside of transactions.
func commits(msg, batch []byte, status byte) bool {
	if msg[0] == 'Q' {
		text := strings.ToLower(strings.TrimSpace(string(msg[5:])))
		return strings.HasPrefix(text, "commit")
	}
	return status == 'I' && strings.ContainsRune(string(batch), 'E')
}

// fromServer forwards messages to the client, unless they are to be lost.
func (k *link) fromServer() {
	defer k.cut()
	for {
		buf, err := readMessage(k.server, false)
		if err != nil {
			return
		}
		if k.p.stalled.Load() {
			k.p.hold()
		}
		if d := time.Duration(k.p.latency.Load()); d > 0 && buf[0] == 'Z' {
			wait(d)
		}
		if r := k.p.rate.Load(); r > 0 {
			wait(time.Duration(int64(len(buf)) * int64(time.Second) / r))
		}
		if buf[0] == 'Z' && len(buf) > 5 {
			k.status.Store(int32(buf[5]))
		}
		if k.doomed.Load() {
			// Nothing of the answer arrives; once it is complete the server
			// has committed, and the connection breaks.
			if buf[0] == 'Z' {
				k.p.lost.Add(1)
				return
			}
			continue
		}
		if _, err := k.client.Write(buf); err != nil {
			return
		}
	}
}

// readMessage reads one message: type, length, content. The first one of a
// client has no type.
func readMessage(r io.Reader, first bool) ([]byte, error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	if n < 0 || n > 64<<20 {
		return nil, errors.New("not a message of PostgreSQL's protocol")
	}
	msg := make([]byte, len(head)+n)
	copy(msg, head)
	_, err := io.ReadFull(r, msg[len(head):])
	return msg, err
}

// wait waits.
func wait(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}
