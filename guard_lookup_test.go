package webhook

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	four = netip.MustParseAddr("93.184.0.1")
	six  = netip.MustParseAddr("2606:4700::1")
)

func both(question) []netip.Addr { return []netip.Addr{four, six} }

// lookedUp dials a name in fake time and returns what was dialed and how long it
// took.
func lookedUp(t *testing.T, dns *fakeDNS, s *dialSink) (dialed string, took time.Duration, err error) {
	t.Helper()
	g := &Guard{Resolver: dns.resolver(), Timeout: 30 * time.Second}
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
func late(kind uint16, after time.Duration, answer func(question) []netip.Addr) func(question) []netip.Addr {
	return func(q question) []netip.Addr {
		if q.kind == kind {
			time.Sleep(after)
		}
		return answer(q)
	}
}

func TestS24_OneFamilyIsEnough(t *testing.T) {
	refused := map[string]error{four.String(): syscall.ECONNREFUSED}
	for name, row := range map[string]struct {
		dns    *fakeDNS
		sink   *dialSink
		dialed string // that may be in any order where both are
		took   time.Duration
		err    error
	}{
		"no answer about IPv6":          {&fakeDNS{answer: both, mute: typeAAAA}, &dialSink{}, four.String(), resolutionDelay, nil},
		"no answer about IPv4":          {&fakeDNS{answer: both, mute: typeA}, &dialSink{}, six.String(), resolutionDelay, nil},
		"failure about IPv6":            {&fakeDNS{answer: both, broken: typeAAAA}, &dialSink{}, four.String(), 0, nil},
		"failure about IPv4":            {&fakeDNS{answer: both, broken: typeA}, &dialSink{}, six.String(), 0, nil},
		"no IPv6 address, said late":    {&fakeDNS{answer: late(typeAAAA, 20*time.Millisecond, func(question) []netip.Addr { return []netip.Addr{four} })}, &dialSink{}, four.String(), 20 * time.Millisecond, nil},
		"IPv4 late":                     {&fakeDNS{answer: late(typeA, 3*time.Second, both)}, &dialSink{}, six.String(), resolutionDelay, nil},
		"IPv4 only, late":               {&fakeDNS{answer: late(typeA, 3*time.Second, func(question) []netip.Addr { return []netip.Addr{four} })}, &dialSink{}, four.String(), 3 * time.Second, nil},
		"refused, the other comes late": {&fakeDNS{answer: late(typeAAAA, 500*time.Millisecond, both)}, &dialSink{fail: refused}, four.String() + " " + six.String(), 500 * time.Millisecond, nil},
		"silent, the other comes late": {&fakeDNS{answer: late(typeAAAA, 100*time.Millisecond, both)}, &dialSink{hang: map[string]bool{four.String(): true}},
			four.String() + " " + six.String(), resolutionDelay + dialStagger, nil},
		"silent, the other comes very late": {&fakeDNS{answer: late(typeAAAA, 4*time.Second, both)}, &dialSink{hang: map[string]bool{four.String(): true}},
			four.String() + " " + six.String(), 4 * time.Second, nil},
		"refused, and nothing more comes": {&fakeDNS{answer: both, mute: typeAAAA}, &dialSink{fail: refused}, four.String(), resolutionDelay + lateFamily, syscall.ECONNREFUSED},
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
		answer func(question) []netip.Addr
		mute   uint16
		dialed string
		took   time.Duration
		err    error
	}{
		"private, then public":  {late(typeAAAA, 300*time.Millisecond, func(question) []netip.Addr { return []netip.Addr{private4, six} }), 0, six.String(), 300 * time.Millisecond, nil},
		"private, then silence": {func(question) []netip.Addr { return []netip.Addr{private4} }, typeAAAA, "", lateFamily, ErrBlockedAddress},
		"private, then private": {late(typeA, 300*time.Millisecond, func(question) []netip.Addr { return []netip.Addr{private4, private6} }), 0, "", 300 * time.Millisecond, ErrBlockedAddress},
		"refused, then private": {late(typeAAAA, 300*time.Millisecond, func(question) []netip.Addr { return []netip.Addr{four, private6} }), 0, four.String(), 300 * time.Millisecond, syscall.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &dialSink{fail: map[string]error{four.String(): syscall.ECONNREFUSED}}
				dialed, took, err := lookedUp(t, &fakeDNS{answer: row.answer, mute: row.mute}, s)
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
		dns := &fakeDNS{answer: func(q question) []netip.Addr {
			if q.name == "name.example.com." {
				return []netip.Addr{four}
			}
			return []netip.Addr{six} // of somebody else
		}}
		dialed, _, err := lookedUp(t, dns, &dialSink{})
		if err != nil || dialed != four.String() {
			t.Errorf("dialed %q, %v", dialed, err)
		}
		for q := range dns.asked {
			if q.name != "name.example.com." {
				t.Errorf("%s was asked about", q.name)
			}
		}
	})
}

// Connections are made, a look-up that is not answered is one look-up.
func TestS24_ManyConnectionsShareTheLookUpThatIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{answer: both, mute: typeAAAA}
		g := &Guard{Resolver: dns.resolver()}
		s := &dialSink{}
		for range 50 {
			conn, err := g.dial(t.Context(), "tcp", "name.example.com:443", s.connect)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		if four, six := dns.queries(typeA), dns.queries(typeAAAA); four != 50 || six > 2 {
			t.Errorf("asked %d times about IPv4 and %d times about IPv6", four, six)
		}
		time.Sleep(time.Minute)
	})
}

// Addresses that refuse at once cost nothing, and there may be many of them; those
// that say nothing are six at most.
func TestS7_AddressesThatRefuseAtOnceDoNotCount(t *testing.T) {
	many := func(question) (list []netip.Addr) {
		for addr := four; len(list) < 200; addr = addr.Next() {
			list = append(list, addr)
		}
		return list
	}
	refusing := func(n int) map[string]error {
		fail := make(map[string]error)
		for i, addr := range many(question{}) {
			if i < n {
				fail[addr.String()] = syscall.ECONNREFUSED
			}
		}
		return fail
	}
	synctest.Test(t, func(t *testing.T) {
		s := &dialSink{fail: refusing(25)}
		if _, took, err := lookedUp(t, &fakeDNS{answer: many}, s); err != nil || took != 0 || len(s.dialed) != 26 {
			t.Errorf("%d dialed after %v, %v; want the 26th at once", len(s.dialed), took, err)
		}
		s = &dialSink{fail: refusing(200)}
		if _, took, err := lookedUp(t, &fakeDNS{answer: many}, s); !errors.Is(err, syscall.ECONNREFUSED) || took != 0 || len(s.dialed) != mostDialAddresses {
			t.Errorf("%d dialed after %v, %v; want %d", len(s.dialed), took, err, mostDialAddresses)
		}
		s = &dialSink{fail: refusing(10), hang: map[string]bool{"*": true}}
		if _, took, err := lookedUp(t, &fakeDNS{answer: many}, s); err == nil || took != 30*time.Second || len(s.dialed) != 10+maxDialAddresses {
			t.Errorf("%d dialed in %v, %v; want %d", len(s.dialed), took, err, 10+maxDialAddresses)
		}
		// Those that fail late count as those that say nothing.
		var dialed atomic.Int32
		g := &Guard{Resolver: (&fakeDNS{answer: many}).resolver(), Timeout: time.Minute}
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

// What an attempt says of it.
func TestS24_AttemptsSayThatItWasTheLookUp(t *testing.T) {
	t.Parallel()
	guard := loopback()
	guard.Resolver = (&fakeDNS{mute: typeAAAA, answer: func(question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).resolver()
	p := newPeer(t, answerOnce("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r := post(t, "http://receiver.test:"+portOf(post(t, p.url).url)+"/")
	wantStatus(t, attempt(t, newTestSender(t, transportConfig{guard: guard}), r.within(20*time.Second)), 200)

	silent := loopback()
	silent.Resolver = (&fakeDNS{silent: true}).resolver()
	a := attempt(t, newTestSender(t, transportConfig{guard: silent}), r.within(300*time.Millisecond))
	wantClass(t, a, ClassDNS, "the look-up of the host name timed out after 300ms")
	wantNothingPrivate(t, a)

	slow := loopback()
	slow.Resolver = (&fakeDNS{answer: func(question) []netip.Addr {
		<-time.After(400 * time.Millisecond)
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}}).resolver()
	stalled := newPeer(t, hold)
	r = post(t, "https://receiver.test:"+portOf(post(t, stalled.url).url)+"/")
	wantClass(t, attempt(t, newTestSender(t, transportConfig{guard: slow}), r.within(600*time.Millisecond)), ClassDNS, "the look-up of the host name took")
}
