package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// neverConnect fails the test when a dial gets as far as connecting.
func neverConnect(t *testing.T) connector {
	t.Helper()
	return func(_ context.Context, network, address string) (net.Conn, error) {
		t.Errorf("connected to %s %s", network, address)
		return nil, errors.New("should not have been dialed")
	}
}

// A dialSink records the addresses that would have been dialed. It answers with
// one end of a pipe, or with an error or silence where told to.
type dialSink struct {
	mu     sync.Mutex
	dialed []string
	fail   map[string]error // by address without port
	hang   map[string]bool  // likewise
}

func (s *dialSink) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	s.mu.Lock()
	s.dialed = append(s.dialed, host)
	s.mu.Unlock()
	if err := s.fail[host]; err != nil {
		return nil, err
	}
	if s.hang[host] || s.hang["*"] {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	conn, peer := net.Pipe()
	go func() {
		io.Copy(io.Discard, peer)
		peer.Close()
	}()
	return conn, nil
}

func TestS1_NoSpecialAddressIsConnectedTo(t *testing.T) {
	hosts := blockedHosts
	for _, r := range nettest.BlockedRanges {
		hosts = append(hosts, netip.MustParsePrefix(r.Prefix).Addr().String())
	}
	for _, host := range hosts {
		addr := netip.MustParseAddr(host)
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{addr} }}
		g := &Guard{Resolver: dns.Resolver()}
		targets := []string{"name.example.com"}
		for _, form := range []netip.Addr{addr, mapped(addr)} {
			targets = append(targets, form.String(), form.StringExpanded())
		}
		for _, target := range targets {
			conn, err := g.dial(t.Context(), "tcp", net.JoinHostPort(target, "443"), neverConnect(t))
			if !errors.Is(err, ErrBlockedAddress) {
				t.Errorf("dial(%s -> %s) = %v, %v, want ErrBlockedAddress", target, host, conn, err)
			} else if target != "name.example.com" && strings.Contains(err.Error(), target) || strings.Contains(err.Error(), " "+host) {
				t.Errorf("the error gives %s away: %v", host, err)
			}
		}
	}
}

func TestS7_OnlyThePublicAddressesOfAnAnswerAreDialed(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for _, answer := range [][]netip.Addr{
		addrs("10.0.0.1", "93.184.216.34"), addrs("93.184.216.34", "10.0.0.1"), addrs("::1", "93.184.216.34", "fe80::1"),
	} {
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return answer }}
		s := &dialSink{}
		conn, err := (&Guard{Resolver: dns.Resolver()}).dial(t.Context(), "tcp", "mixed.example.com:443", s.connect)
		if err != nil {
			t.Errorf("%v: %v", answer, err)
			continue
		}
		conn.Close()
		if len(s.dialed) != 1 || s.dialed[0] != "93.184.216.34" {
			t.Errorf("%v: dialed %v, want the public address only", answer, s.dialed)
		}
	}
	dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return addrs("10.0.0.1", "192.168.0.1", "::1") }}
	_, err := (&Guard{Resolver: dns.Resolver()}).dial(t.Context(), "tcp", "private.example.com:443", neverConnect(t))
	if timeout, ok := errors.AsType[net.Error](err); !errors.Is(err, ErrBlockedAddress) || ok && timeout.Timeout() {
		t.Errorf("private addresses only: %v, want ErrBlockedAddress and no timeout", err)
	}
}

func TestS7_ManyAddressesAreBoundedAndTheDeadlineKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(q nettest.Question) (list []netip.Addr) {
			base := netip.MustParseAddr("93.184.0.1")
			if q.Kind == nettest.TypeAAAA {
				base = netip.MustParseAddr("2606:4700::1")
			}
			for range 200 {
				list, base = append(list, base), base.Next()
			}
			return list
		}}
		g := &Guard{Resolver: dns.Resolver(), Timeout: 3 * time.Second}
		s := &dialSink{hang: map[string]bool{"*": true}}
		start := time.Now()
		_, err := g.dial(t.Context(), "tcp", "many.example.com:443", s.connect)
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended after %v with %v, want a timeout after 3s", took, err)
		}
		four := 0
		for _, host := range s.dialed {
			if netip.MustParseAddr(host).Is4() {
				four++
			}
		}
		if len(s.dialed) != maxDialAddresses || four != maxDialAddresses/2 {
			t.Errorf("dialed %v, want %d addresses, half of them IPv4", s.dialed, maxDialAddresses)
		}

		s = &dialSink{hang: map[string]bool{"*": true}}
		g.Timeout = 2*dialStagger + dialStagger/2
		if _, err = g.dial(t.Context(), "tcp", "many.example.com:443", s.connect); len(s.dialed) != 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialed %v in %v, %v, want three and a timeout", s.dialed, g.Timeout, err)
		}

		refused := errors.New("connection refused")
		s = &dialSink{fail: map[string]error{"93.184.0.1": refused, "93.184.0.2": refused}}
		start = time.Now()
		conn, err := g.dial(t.Context(), "tcp4", "many.example.com:443", s.connect)
		if err != nil || time.Since(start) != 0 {
			t.Fatalf("two refusals, then success: %v after %v, want a connection at once", err, time.Since(start))
		}
		conn.Close()

		s = &dialSink{hang: map[string]bool{"93.184.0.1": true}}
		start = time.Now()
		conn, err = g.dial(t.Context(), "tcp4", "many.example.com:443", s.connect)
		if err != nil || time.Since(start) != dialStagger {
			t.Fatalf("one silent, then success: %v after %v, want a connection after %v", err, time.Since(start), dialStagger)
		}
		conn.Close()

		s = &dialSink{hang: map[string]bool{"93.184.0.1": true, "93.184.0.2": true}}
		start = time.Now()
		conn, err = g.dial(t.Context(), "tcp4", "many.example.com:443", s.connect)
		if err != nil || time.Since(start) != 2*dialStagger {
			t.Fatalf("two silent, then success: %v after %v, want a connection after %v", err, time.Since(start), 2*dialStagger)
		}
		conn.Close()
	})
}

// The families take turns from the one that the resolver put first; no address is
// tried twice, and a family that is alone has all the turns.
func TestS7_FamiliesTakeTurns(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{"2606::1 93.0.0.1 93.0.0.2 93.0.0.3", "2606::1 93.0.0.1 93.0.0.2 93.0.0.3"},
		{"93.0.0.1 93.0.0.2 2606::1 2606::2", "93.0.0.1 2606::1 93.0.0.2 2606::2"},
		{"93.0.0.1 ::ffff:93.0.0.1 93.0.0.1 93.0.0.2", "93.0.0.1 93.0.0.2"},
		{"::ffff:93.0.0.1 2606::1 93.0.0.2", "93.0.0.1 2606::1 93.0.0.2"},
		{"93.0.0.1 93.0.0.2 93.0.0.3 93.0.0.4 93.0.0.5 93.0.0.6 93.0.0.7", "93.0.0.1 93.0.0.2 93.0.0.3 93.0.0.4 93.0.0.5 93.0.0.6 93.0.0.7"},
		{"2606::1 2606::2 2606::3 2606::4 2606::5 2606::6 2606::7 93.0.0.1", "2606::1 93.0.0.1 2606::2 2606::3 2606::4 2606::5 2606::6 2606::7"},
	} {
		var answer []netip.Addr
		for _, text := range strings.Fields(tt.answer) {
			answer = append(answer, netip.MustParseAddr(text))
		}
		var got []string
		for _, candidate := range interleave(answer, 443) {
			if candidate.Port() != 443 {
				t.Errorf("%s: port %d", tt.answer, candidate.Port())
			}
			got = append(got, candidate.Addr().String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: tried as %s, want %s", tt.answer, got, tt.want)
		}
	}
}

// The documented defaults, of a Guard that is nil too.
func TestS7_WithoutSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("93.184.216.34")} }}
		defer func(was *net.Resolver) { net.DefaultResolver = was }(net.DefaultResolver)
		net.DefaultResolver = dns.Resolver()
		for _, g := range []*Guard{nil, {}} {
			s := &dialSink{hang: map[string]bool{"*": true}}
			start := time.Now()
			_, err := g.dial(t.Context(), "tcp4", "name.example.com:443", s.connect)
			if took := time.Since(start); took != 10*time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended after %v with %v, want a timeout after 10s", took, err)
			}
			if fmt.Sprint(s.dialed) != "[93.184.216.34]" {
				t.Errorf("dialed %v, want what net.DefaultResolver says", s.dialed)
			}
		}
	})
}

// Why nothing could be connected to is passed on, and an attempt that lost does
// not go on behind the caller's back.
func TestS7_HowDialsEnd(t *testing.T) {
	refused := errors.New("connection refused")
	s := &dialSink{fail: map[string]error{"8.8.8.8": refused}}
	if _, err := new(Guard).dial(t.Context(), "tcp", "8.8.8.8:443", s.connect); !errors.Is(err, refused) || strings.Contains(err.Error(), "8.8.8.8") {
		t.Errorf("%v, want %v without the address", err, refused)
	}
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("93.184.0.1"), netip.MustParseAddr("93.184.0.2")}
		}}
		s := &dialSink{fail: map[string]error{"93.184.0.1": refused, "93.184.0.2": errors.New("no route to host")}}
		if _, err := (&Guard{Resolver: dns.Resolver()}).dial(t.Context(), "tcp4", "two.example.com:443", s.connect); !errors.Is(err, refused) {
			t.Errorf("%v, want the error that came first: %v", err, refused)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("93.184.0.1"), netip.MustParseAddr("93.184.0.2")}
		}}
		s, lost := &dialSink{}, make(chan struct{})
		conn, err := (&Guard{Resolver: dns.Resolver()}).dial(t.Context(), "tcp4", "two.example.com:443",
			func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "93.184.0.1:443" {
					<-ctx.Done()
					close(lost)
					return nil, ctx.Err()
				}
				return s.connect(ctx, network, address)
			})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		start := time.Now()
		if <-lost; time.Since(start) != 0 {
			t.Errorf("the attempt that lost went on for %v", time.Since(start))
		}
	})
}

// A closable counts how often it is closed.
type closable struct {
	net.Conn
	closed chan struct{}
}

func (c *closable) Close() error { close(c.closed); return nil }

func TestS7_AConnectionThatComesTooLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("93.184.0.1"), netip.MustParseAddr("93.184.0.1"), netip.MustParseAddr("93.184.0.2")}
		}}
		first, second := &closable{closed: make(chan struct{})}, &closable{closed: make(chan struct{})}
		conn, err := (&Guard{Resolver: dns.Resolver()}).dial(t.Context(), "tcp", "two.example.com:443",
			func(_ context.Context, _, address string) (net.Conn, error) {
				if address == "93.184.0.1:443" {
					<-time.After(dialStagger + 20*time.Millisecond)
					return first, nil
				}
				<-time.After(10 * time.Millisecond)
				return second, nil
			})
		if err != nil || conn != second {
			t.Fatalf("%v, %v, want the connection that was there first", conn, err)
		}
		<-first.closed // or the bubble is deadlocked
		select {
		case <-second.closed:
			t.Error("the connection that won was closed")
		default:
		}
	})
}

func TestS24_LookUpsThatFail(t *testing.T) {
	servfail := errors.New("SERVFAIL")
	for name, tt := range map[string]struct {
		dns                         *nettest.NameServer
		timeout                     time.Duration // 0: 2 s
		notFound, temporary, timely bool
	}{
		"NXDOMAIN":    {dns: &nettest.NameServer{}, notFound: true, timely: true},
		"no answers":  {dns: &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{} }}, notFound: true, timely: true},
		"CNAME loop":  {dns: &nettest.NameServer{CName: "loop.example.com."}, notFound: true, timely: true},
		"SERVFAIL":    {dns: &nettest.NameServer{Err: servfail}, temporary: true, timely: true},
		"silence":     {dns: &nettest.NameServer{Silent: true}, temporary: true},
		"no patience": {dns: &nettest.NameServer{Silent: true}, timeout: time.Hour, temporary: true}, // of the resolver's
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Guard{Resolver: tt.dns.Resolver(), Timeout: cmp.Or(tt.timeout, 2*time.Second)}
				start := time.Now()
				_, err := g.dial(t.Context(), "tcp", "loop.example.com:443", neverConnect(t))
				took := time.Since(start)
				dns, ok := errors.AsType[*net.DNSError](err)
				if !ok || dns.IsNotFound != tt.notFound || dns.IsTemporary != tt.temporary || dns.IsTimeout == tt.timely {
					t.Errorf("%+v, want a DNSError with not found %t, temporary %t", err, tt.notFound, tt.temporary)
				}
				if errors.Is(err, ErrBlockedAddress) || strings.Contains(err.Error(), "127.0.0.") || strings.Contains(err.Error(), ":53") {
					t.Errorf("%v: is blocked, or names the name server", err)
				}
				if took > g.Timeout || !tt.timely && tt.timeout == 0 && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended after %v with %v, want at most %v", took, err, g.Timeout)
				}
				<-time.After(time.Minute) // the resolver gives up by itself, later
			})
		})
	}
}

func TestS24_CanceledWhileLookingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		time.AfterFunc(time.Second, cancel)
		dns := &nettest.NameServer{Silent: true}
		_, err := (&Guard{Resolver: dns.Resolver()}).dial(ctx, "tcp", "slow.example.com:443", neverConnect(t))
		if timeout, ok := errors.AsType[net.Error](err); !errors.Is(err, context.Canceled) || !ok || timeout.Timeout() {
			t.Errorf("%v, want context.Canceled and no timeout", err)
		}
		<-time.After(time.Minute) // the resolver gives up by itself, later
	})
}

// The fallback to the other family, which comes a moment later, is no way
// round the guard, and a literal of the family that was not asked for fails.
func TestS28_DualStackFallbackIsGuarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
			return oneOf(q.Kind == nettest.TypeA, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2606:4700::1"))
		}}
		g := &Guard{Resolver: dns.Resolver(), Timeout: 2 * time.Second}
		s := &dialSink{hang: map[string]bool{"*": true}}
		if _, err := g.dial(t.Context(), "tcp", "dual.example.com:443", s.connect); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want a timeout", err)
		}
		if fmt.Sprint(s.dialed) != "[2606:4700::1]" {
			t.Errorf("dialed %v, want the public IPv6 address only", s.dialed)
		}
		if _, err := g.dial(t.Context(), "tcp4", "dual.example.com:443", neverConnect(t)); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("IPv4 only: %v, want ErrBlockedAddress", err)
		}
	})
}
