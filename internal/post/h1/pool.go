package h1

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// longestIdle is the idle time of a connection unless the receiver asks for less or
	// has shown less. The idle time of common load balancers is no shorter.
	longestIdle = 60 * time.Second
	// closeMargin is how long before a receiver closes an idle connection we do, so
	// that no request crosses its goodbye on the way.
	closeMargin = time.Second
	// sweepEvery is how often idle connections are looked at.
	sweepEvery = time.Second
	// A receiver that closed an idle connection is trusted with less: for
	// firstLesson, and for twice as long each time it happens again, up to
	// lastLesson. A receiver that was restarted once is soon forgiven.
	firstLesson = time.Minute
	lastLesson  = time.Hour
	// leastTrust is the shortest idle time learned from a connection that was closed
	// early: a busy receiver that was restarted must not cost a new connection for
	// every request.
	leastTrust = 250 * time.Millisecond
	// mostHosts is how many hosts are remembered of which no connection is idle.
	mostHosts = 16 << 10
)

// A pool keeps idle connections, and the observed behaviour of their hosts.
type pool struct {
	maxIdle        int
	maxIdlePerHost int
	maxPerHost     int

	mu      sync.Mutex
	hosts   map[string]*host
	oldest  *conn // idle connections, in the order in which they became idle
	newest  *conn
	idle    int
	closing bool // connections are not kept until the next request
	timer   *time.Timer
}

// A host holds the idle connections and the observed behaviour of one scheme, host and
// port. Guarded by pool.mu.
type host struct {
	idle  []*conn // in the order of their last use
	http2 bool
	slots chan struct{} // requests under way, where they are bounded

	trust   time.Duration // how long it may keep a connection idle; counts until
	until   time.Time
	learned time.Time // when it last was too much
	lessons int
}

// of returns the entry of a host, and adds it if needed. pool.mu is held.
func (p *pool) of(key string) *host {
	if h := p.hosts[key]; h != nil {
		return h
	}
	if len(p.hosts) >= mostHosts {
		for other, h := range p.hosts { // in no order
			if len(h.idle) == 0 && len(h.slots) == 0 {
				delete(p.hosts, other)
			}
			if len(p.hosts) < mostHosts/4*3 {
				break
			}
		}
	}
	h := new(host)
	if p.maxPerHost > 0 {
		h.slots = make(chan struct{}, p.maxPerHost)
	}
	p.hosts[key] = h
	return h
}

// enter waits until a request to a host may be made. leave ends it.
func (p *pool) enter(ctx context.Context, key string) (leave func(), err error) {
	if p.maxPerHost <= 0 {
		return func() {}, nil
	}
	p.mu.Lock()
	slots := p.of(key).slots
	p.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *pool) speaksHTTP2(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[key]
	return h != nil && h.http2
}

func (p *pool) setHTTP2(key string, http2 bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[key]; http2 || h != nil && h.http2 {
		p.of(key).http2 = http2
	}
}

// take returns an idle connection that can be used, or nil.
func (p *pool) take(key string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = false
	h := p.hosts[key]
	if h == nil {
		return nil
	}
	for len(h.idle) > 0 {
		now := time.Now()
		c := h.idle[len(h.idle)-1]
		p.remove(h, c)
		switch {
		case !now.Before(c.expires):
			p.retire(c)
		case !p.alive(c):
			h.learn(c, now)
			c.Conn.Close()
		default:
			c.seen = now
			return c
		}
	}
	return nil
}

// alive reports whether a connection is still silent. pool.mu is held, but for the
// time that it takes where there is no socket to look at.
func (p *pool) alive(c *conn) bool {
	if c.raw != nil {
		return c.silent()
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	return c.silent()
}

// put keeps a connection for the next request. said is the idle time that the receiver
// announced, or negative without an announcement.
func (p *pool) put(c *conn, said time.Duration) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.of(c.key)
	keep := longestIdle
	if said >= 0 {
		keep = min(keep, lessMargin(said))
	}
	if now.Before(h.until) {
		keep = min(keep, h.trust)
	}
	c.since, c.seen, c.expires = now, now, now.Add(keep)
	if c.ends.Before(c.expires) {
		c.expires = c.ends
	}
	if p.closing || p.maxIdle <= 0 || p.maxIdlePerHost <= 0 || !now.Before(c.expires) {
		p.retire(c)
		return
	}
	h.idle = append(h.idle, c)
	if c.older = p.newest; c.older != nil {
		c.older.newer = c
	} else {
		p.oldest = c
	}
	p.newest = c
	p.idle++
	for victim := h.idle[0]; len(h.idle) > p.maxIdlePerHost; victim = h.idle[0] {
		p.remove(h, victim)
		p.retire(victim)
	}
	for victim := p.oldest; p.idle > p.maxIdle; victim = p.oldest {
		p.remove(p.hosts[victim.key], victim)
		p.retire(victim)
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(sweepEvery, p.sweep)
	}
}

// lessMargin is how long a connection is kept to a receiver that closes it after d.
func lessMargin(d time.Duration) time.Duration { return d - min(closeMargin, d/2) }

// remove takes a connection out of the pool. pool.mu is held.
func (p *pool) remove(h *host, c *conn) {
	if last := len(h.idle) - 1; h.idle[last] == c {
		h.idle[last] = nil
		h.idle = h.idle[:last]
	} else if i := slices.Index(h.idle, c); i >= 0 {
		h.idle = slices.Delete(h.idle, i, i+1)
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	c.older, c.newer = nil, nil
	p.idle--
}

// retire closes a connection on which all is well.
func (p *pool) retire(c *conn) {
	if c.tls != nil {
		go c.leave() // the goodbye is a write, and pool.mu is held
		return
	}
	c.Conn.Close()
}

// learn remembers that the receiver closed a connection that was idle, or sent
// something on it.
func (h *host) learn(c *conn, now time.Time) {
	trust := max(lessMargin(c.seen.Sub(c.since)), leastTrust)
	switch {
	case !now.Before(h.until):
		h.lessons++
		h.trust, h.until = trust, now.Add(min(firstLesson<<min(h.lessons-1, 10), lastLesson))
	case c.since.Before(h.learned):
		h.trust = min(h.trust, trust) // one event: the receiver has closed all that it had
		return
	default:
		h.trust = min(trust, h.trust/2) // it was still too much
	}
	h.learned = now
}

// closed tells the pool that a connection which it had thought alive was closed
// before the request on it arrived.
func (p *pool) closed(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(c.key).learn(c, time.Now())
}

// sweep closes connections that were idle for too long or that the receiver has closed.
// It runs again as long as a connection is idle.
func (p *pool) sweep() {
	p.mu.Lock()
	keys := make([]string, 0, len(p.hosts))
	for key, h := range p.hosts {
		if len(h.idle) > 0 {
			keys = append(keys, key)
		}
	}
	p.mu.Unlock()
	for _, key := range keys {
		p.sweepHost(key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.idle == 0:
		p.timer = nil
	case p.timer != nil: // closeIdle has not stopped it meanwhile
		p.timer.Reset(sweepEvery)
	}
}

func (p *pool) sweepHost(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[key]
	if h == nil {
		return
	}
	now := time.Now()
	for _, c := range slices.Clone(h.idle) {
		switch {
		case !now.Before(c.expires):
			p.remove(h, c)
			p.retire(c)
		case c.raw == nil: // looking would wait
		case c.silent():
			c.seen = now
		default:
			p.remove(h, c)
			h.learn(c, now)
			c.Conn.Close()
		}
	}
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	p.closing = true
	all := make([]*conn, 0, p.idle)
	for c := p.oldest; c != nil; c = p.oldest {
		p.remove(p.hosts[c.key], c)
		all = append(all, c)
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, c := range all {
		c.leave()
	}
}
