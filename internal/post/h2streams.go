package post

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
)

// An HTTP/2 receiver says how many requests a connection may carry at once.
// net/http opens another connection when there are more, and before it has heard
// the number it sends a hundred: to nginx with http2_max_concurrent_streams 1 all
// but one are refused. Here the first request of a connection goes out at once and
// the others wait until the number is known. Where the number is small, requests
// wait for their turn, in the order in which they came, as long as their own
// timeout lets them, and before they have taken a connection.

// fewStreams is the least number of requests at once that RFC 9113 recommends to
// receivers. A receiver that allows fewer has chosen its limit. A receiver that allows
// as many or more has its server's default, and gets another connection when it is
// full, so that hanging requests of one tenant do not hold up another's.
const fewStreams = 100

// streamGates holds the limits of HTTP/2 receivers, by host, port and verification.
// The zero value is ready for use.
type streamGates struct {
	mu    sync.Mutex
	gates map[gateKey]*streamGate
}

type gateKey struct {
	authority string // host:port
	verified  bool   // webhooks with verification share no connection with webhooks without it
}

// A streamGate lets as many requests through to a receiver as it allows.
type streamGate struct {
	of     *streamGates
	key    gateKey
	limit  int // requests at once, or unlimited
	inside int // requests that were let through and have not ended
	begun  int // of those, requests that were admitted to a connection
	conns  int // HTTP/2 connections to the receiver
	queue  []chan struct{}
}

// unlimited is the limit of a receiver whose limit is unknown.
const unlimited = -1

func authorityOf(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), portOf(u))
}

// find returns the gate of a receiver, a new one if need be. Caller holds mu.
func (g *streamGates) find(key gateKey) *streamGate {
	gate := g.gates[key]
	if gate == nil {
		if g.gates == nil {
			g.gates = make(map[gateKey]*streamGate)
		}
		gate = &streamGate{of: g, key: key, limit: unlimited}
		g.gates[key] = gate
	}
	return gate
}

// enter blocks until a request may be made, or ctx ends. It calls waits with the
// number of requests that the receiver allows at once, before it blocks. The gate
// that it returns has to be left; it is nil after an error. turn says that the
// request was counted against a limit.
func (g *streamGates) enter(ctx context.Context, key gateKey, waits func(limit int)) (gate *streamGate, turn bool, err error) {
	g.mu.Lock()
	gate = g.find(key)
	limit := gate.limit
	if gate.open() && len(gate.queue) == 0 {
		gate.inside++
		g.mu.Unlock()
		return gate, limit != unlimited, nil
	}
	called := make(chan struct{})
	gate.queue = append(gate.queue, called)
	g.mu.Unlock()

	waits(limit)
	select {
	case <-called:
		return gate, true, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := slices.Index(gate.queue, called); at >= 0 {
		gate.queue = slices.Delete(gate.queue, at, at+1)
	} else {
		gate.inside-- // its turn has come just now, too late
		gate.admit()
	}
	gate.forget()
	return nil, false, context.Cause(ctx)
}

// leave says that a request has ended.
func (gate *streamGate) leave() {
	gate.change(func() { gate.inside-- })
}

// connected says that there is another HTTP/2 connection to a receiver.
func (g *streamGates) connected(authority string, verified bool) *streamGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.find(gateKey{authority, verified})
	gate.conns++
	return gate
}

// disconnected says that a connection has ended. The limit is kept while requests
// wait: they would all connect at once. One of them may, where none was allowed.
func (gate *streamGate) disconnected() {
	gate.change(func() {
		if gate.conns--; gate.conns == 0 && gate.limit == 0 {
			gate.limit = 1
		}
	})
}

// allows says how many requests at once the receiver allows on a connection.
func (gate *streamGate) allows(streams uint32) {
	gate.change(func() {
		gate.limit = unlimited
		if streams < fewStreams {
			gate.limit = int(streams)
		}
	})
}

func (gate *streamGate) change(what func()) {
	gate.of.mu.Lock()
	defer gate.of.mu.Unlock()
	what()
	gate.admit()
	gate.forget()
}

// open reports whether one more request may be made. Caller holds mu.
func (gate *streamGate) open() bool { return gate.limit == unlimited || gate.inside < gate.limit }

// admit lets those through whose turn it is. Caller holds mu.
func (gate *streamGate) admit() {
	for len(gate.queue) > 0 && gate.open() {
		gate.inside++
		close(gate.queue[0])
		gate.queue[0] = nil
		gate.queue = gate.queue[1:]
	}
}

// forget drops a gate without requests. Caller holds mu.
func (gate *streamGate) forget() {
	if gate.inside == 0 && gate.begun == 0 && gate.conns == 0 && len(gate.queue) == 0 && gate.of.gates[gate.key] == gate {
		delete(gate.of.gates, gate.key)
	}
}

// begin reports whether a request that was given a connection may begin there, now
// that the receiver's limit may be known. A request that had a turn may begin; a request
// that was let through before the limit was known needs a free turn.
func (gate *streamGate) begin(turn bool) bool {
	gate.of.mu.Lock()
	defer gate.of.mu.Unlock()
	if !turn && gate.limit != unlimited && gate.begun >= gate.limit {
		return false
	}
	gate.begun++
	return true
}

// end says that a request which has begun has ended.
func (gate *streamGate) end() {
	gate.of.mu.Lock()
	defer gate.of.mu.Unlock()
	gate.begun--
	gate.forget()
}

// streams holds back the requests on a frameConn until the receiver has said how
// many it allows.
type streams struct {
	gate    *streamGate // nil: no limit is kept
	mu      sync.Mutex
	open    int           // requests that have begun
	settled chan struct{} // closed when the first settings are in force, or will never come
	ended   bool
}

// allow notes how many requests at once the receiver allows.
func (s *streams) allow(limit uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil && !s.ended {
		s.gate.allows(limit)
	}
}

// settle says that settings are in force, or that the connection has ended.
func (s *streams) settle(ended bool) {
	if s.gate == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.settled:
	default:
		close(s.settled)
	}
	if ended && !s.ended {
		s.ended = true
		s.gate.disconnected()
	}
}

// admit reports whether a request that was given the connection may begin there. It
// waits for the receiver's settings unless the request is the first. If the connection
// or ctx has ended, net/http reports the reason.
func (s *streams) admit(ctx context.Context, turn bool) bool {
	s.mu.Lock()
	first := s.open == 0
	s.open++
	s.mu.Unlock()
	if !first {
		select {
		case <-s.settled:
		case <-ctx.Done():
		}
	}
	if s.gate.begin(turn) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	return false
}

// done says that a request which was admitted has ended.
func (s *streams) done() {
	s.gate.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}
