package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

var (
	four = netip.MustParseAddr("93.184.0.1")
	six  = netip.MustParseAddr("2606:4700::1")
)

func both(nettest.Question) []netip.Addr { return []netip.Addr{four, six} }

// lookedUp dials a name in fake time and returns what was dialed and how long it
// took.
func lookedUp(t *testing.T, dns *nettest.NameServer, s *dialSink) (dialed string, took time.Duration, err error) {
	t.Helper()
	g := &Guard{Resolver: dns.Resolver(), Timeout: 30 * time.Second}
	start := time.Now()
	conn, err := g.dial(t.Context(), "tcp", "name.example.com:443", s.connect)
	took = time.Since(start)
	if err == nil {
		conn.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.dialed, " "), took, err
}

// late answers about one type after a while.
func late(kind uint16, after time.Duration, answer func(nettest.Question) []netip.Addr) func(nettest.Question) []netip.Addr {
	return func(q nettest.Question) []netip.Addr {
		if q.Kind == kind {
			time.Sleep(after)
		}
		return answer(q)
	}
}

func TestS24_OneFamilyIsEnough(t *testing.T) {
	refused := map[string]error{four.String(): syscall.ECONNREFUSED}
	for name, row := range map[string]struct {
		dns    *nettest.NameServer
		sink   *dialSink
		dialed string // that may be in any order where both are
		took   time.Duration
		err    error
	}{
		"no answer about IPv6":          {&nettest.NameServer{Answer: both, Mute: nettest.TypeAAAA}, &dialSink{}, four.String(), resolutionDelay, nil},
		"no answer about IPv4":          {&nettest.NameServer{Answer: both, Mute: nettest.TypeA}, &dialSink{}, six.String(), resolutionDelay, nil},
		"failure about IPv6":            {&nettest.NameServer{Answer: both, Broken: nettest.TypeAAAA}, &dialSink{}, four.String(), 0, nil},
		"failure about IPv4":            {&nettest.NameServer{Answer: both, Broken: nettest.TypeA}, &dialSink{}, six.String(), 0, nil},
		"no IPv6 address, said late":    {&nettest.NameServer{Answer: late(nettest.TypeAAAA, 20*time.Millisecond, func(nettest.Question) []netip.Addr { return []netip.Addr{four} })}, &dialSink{}, four.String(), 20 * time.Millisecond, nil},
		"IPv4 late":                     {&nettest.NameServer{Answer: late(nettest.TypeA, 3*time.Second, both)}, &dialSink{}, six.String(), resolutionDelay, nil},
		"IPv4 only, late":               {&nettest.NameServer{Answer: late(nettest.TypeA, 3*time.Second, func(nettest.Question) []netip.Addr { return []netip.Addr{four} })}, &dialSink{}, four.String(), 3 * time.Second, nil},
		"refused, the other comes late": {&nettest.NameServer{Answer: late(nettest.TypeAAAA, 500*time.Millisecond, both)}, &dialSink{fail: refused}, four.String() + " " + six.String(), 500 * time.Millisecond, nil},
		"silent, the other comes late": {&nettest.NameServer{Answer: late(nettest.TypeAAAA, 100*time.Millisecond, both)}, &dialSink{hang: map[string]bool{four.String(): true}},
			four.String() + " " + six.String(), resolutionDelay + dialStagger, nil},
		"silent, the other comes very late": {&nettest.NameServer{Answer: late(nettest.TypeAAAA, 4*time.Second, both)}, &dialSink{hang: map[string]bool{four.String(): true}},
			four.String() + " " + six.String(), 4 * time.Second, nil},
		"refused, and nothing more comes": {&nettest.NameServer{Answer: both, Mute: nettest.TypeAAAA}, &dialSink{fail: refused}, four.String(), resolutionDelay + lateFamily, syscall.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialed, took, err := lookedUp(t, row.dns, row.sink)
				if dialed != row.dialed || took != row.took || !errors.Is(err, row.err) {
					t.Errorf("dialed %q after %v, %v; want %q after %v, %v", dialed, took, err, row.dialed, row.took, row.err)
				}
				time.Sleep(time.Minute) // the resolver gives up by itself, later
			})
		})
	}
}

// The family that comes late is judged as the other one, and what may not be dialed
// is as good as no answer.
func TestS7_LateAddressesAreGuarded(t *testing.T) {
	private4, private6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for name, row := range map[string]struct {
		answer func(nettest.Question) []netip.Addr
		mute   uint16
		dialed string
		took   time.Duration
		err    error
	}{
		"private, then public":  {late(nettest.TypeAAAA, 300*time.Millisecond, func(nettest.Question) []netip.Addr { return []netip.Addr{private4, six} }), 0, six.String(), 300 * time.Millisecond, nil},
		"private, then silence": {func(nettest.Question) []netip.Addr { return []netip.Addr{private4} }, nettest.TypeAAAA, "", lateFamily, ErrBlockedAddress},
		"private, then private": {late(nettest.TypeA, 300*time.Millisecond, func(nettest.Question) []netip.Addr { return []netip.Addr{private4, private6} }), 0, "", 300 * time.Millisecond, ErrBlockedAddress},
		"refused, then private": {late(nettest.TypeAAAA, 300*time.Millisecond, func(nettest.Question) []netip.Addr { return []netip.Addr{four, private6} }), 0, four.String(), 300 * time.Millisecond, syscall.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &dialSink{fail: map[string]error{four.String(): syscall.ECONNREFUSED}}
				dialed, took, err := lookedUp(t, &nettest.NameServer{Answer: row.answer, Mute: row.mute}, s)
				if dialed != row.dialed || took != row.took || !errors.Is(err, row.err) {
					t.Errorf("dialed %q after %v, %v; want %q after %v, %v", dialed, took, err, row.dialed, row.took, row.err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// One name is asked about, whatever the search list holds, unless it does not exist.
func TestS24_AHostWithoutIPv6IsNotSearchedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: func(q nettest.Question) []netip.Addr {
			if q.Name == "name.example.com." {
				return []netip.Addr{four}
			}
			return []netip.Addr{six} // of somebody else
		}}
		dialed, _, err := lookedUp(t, dns, &dialSink{})
		if err != nil || dialed != four.String() {
			t.Errorf("dialed %q, %v", dialed, err)
		}
		for q := range dns.Asked {
			if q.Name != "name.example.com." {
				t.Errorf("%s was asked about", q.Name)
			}
		}
	})
}

// Connections are made, a look-up that is not answered is one look-up.
func TestS24_ManyConnectionsShareTheLookUpThatIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &nettest.NameServer{Answer: both, Mute: nettest.TypeAAAA}
		g := &Guard{Resolver: dns.Resolver()}
		s := &dialSink{}
		for range 50 {
			conn, err := g.dial(t.Context(), "tcp", "name.example.com:443", s.connect)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		if four, six := dns.Queries(nettest.TypeA), dns.Queries(nettest.TypeAAAA); four != 50 || six > 2 {
			t.Errorf("asked %d times about IPv4 and %d times about IPv6", four, six)
		}
		time.Sleep(time.Minute)
	})
}

// Addresses that refuse at once cost nothing, and there may be many of them; those
// that say nothing are six at most.
func TestS7_AddressesThatRefuseAtOnceDoNotCount(t *testing.T) {
	many := func(nettest.Question) (list []netip.Addr) {
		for addr := four; len(list) < 200; addr = addr.Next() {
			list = append(list, addr)
		}
		return list
	}
	refusing := func(n int) map[string]error {
		fail := make(map[string]error)
		for i, addr := range many(nettest.Question{}) {
			if i < n {
				fail[addr.String()] = syscall.ECONNREFUSED
			}
		}
		return fail
	}
	synctest.Test(t, func(t *testing.T) {
		s := &dialSink{fail: refusing(25)}
		if _, took, err := lookedUp(t, &nettest.NameServer{Answer: many}, s); err != nil || took != 0 || len(s.dialed) != 26 {
			t.Errorf("%d dialed after %v, %v; want the 26th at once", len(s.dialed), took, err)
		}
		s = &dialSink{fail: refusing(200)}
		if _, took, err := lookedUp(t, &nettest.NameServer{Answer: many}, s); !errors.Is(err, syscall.ECONNREFUSED) || took != 0 || len(s.dialed) != mostDialAddresses {
			t.Errorf("%d dialed after %v, %v; want %d", len(s.dialed), took, err, mostDialAddresses)
		}
		s = &dialSink{fail: refusing(10), hang: map[string]bool{"*": true}}
		if _, took, err := lookedUp(t, &nettest.NameServer{Answer: many}, s); err == nil || took != 30*time.Second || len(s.dialed) != 10+maxDialAddresses {
			t.Errorf("%d dialed in %v, %v; want %d", len(s.dialed), took, err, 10+maxDialAddresses)
		}
		// Those that fail late count as those that say nothing.
		var dialed atomic.Int32
		g := &Guard{Resolver: (&nettest.NameServer{Answer: many}).Resolver(), Timeout: time.Minute}
		_, err := g.dial(t.Context(), "tcp", "name.example.com:443", func(context.Context, string, string) (net.Conn, error) {
			dialed.Add(1)
			time.Sleep(2*dialStagger - time.Millisecond)
			return nil, syscall.EHOSTUNREACH
		})
		if !errors.Is(err, syscall.EHOSTUNREACH) || dialed.Load() != maxDialAddresses {
			t.Errorf("%d dialed, %v; want %d", dialed.Load(), err, maxDialAddresses)
		}
	})
}

func TestS24_HooksOfATraceAreToldOfOneLookUp(t *testing.T) {
	for name, row := range map[string]struct {
		network string
		dns     *nettest.NameServer
		fails   bool
	}{
		"found":           {"tcp", &nettest.NameServer{Answer: both}, false},
		"found, IPv4":     {"tcp4", &nettest.NameServer{Answer: both}, false},
		"no such name":    {"tcp", &nettest.NameServer{}, true},
		"silent resolver": {"tcp", &nettest.NameServer{Silent: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					DNSStart: func(info httptrace.DNSStartInfo) { told = append(told, "start "+info.Host) },
					DNSDone:  func(info httptrace.DNSDoneInfo) { told = append(told, fmt.Sprint("failed ", info.Err != nil)) },
				})
				g := &Guard{Resolver: row.dns.Resolver(), Timeout: 3 * time.Second}
				if conn, err := g.dial(ctx, row.network, "name.example.com:443", new(dialSink).connect); err == nil {
					conn.Close()
				}
				if want := []string{"start name.example.com", fmt.Sprint("failed ", row.fails)}; !slices.Equal(told, want) {
					t.Errorf("told %q, want %q", told, want)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
