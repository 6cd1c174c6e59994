package post

import (
	"net/netip"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// What an attempt says of it.
func TestS24_AttemptsSayThatItWasTheLookUp(t *testing.T) {
	t.Parallel()
	judge := loopback()
	judge.Resolver = (&nettest.NameServer{Mute: nettest.TypeAAAA, Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).Resolver()
	p := newPeer(t, answerOnce("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r := post(t, "http://receiver.test:"+portOf(post(t, p.url).URL)+"/")
	wantStatus(t, attempt(t, newTestSender(t, transportConfig{guard: judge}), r.within(20*time.Second)), 200)

	silent := loopback()
	silent.Resolver = (&nettest.NameServer{Silent: true}).Resolver()
	a := attempt(t, newTestSender(t, transportConfig{guard: silent}), r.within(300*time.Millisecond))
	wantClass(t, a, ClassDNS, "the look-up of the host name timed out after 300ms")
	wantNothingPrivate(t, a)

	slow := loopback()
	slow.Resolver = (&nettest.NameServer{Answer: func(nettest.Question) []netip.Addr {
		<-time.After(400 * time.Millisecond)
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}}).Resolver()
	stalled := newPeer(t, hold)
	r = post(t, "https://receiver.test:"+portOf(post(t, stalled.url).URL)+"/")
	wantClass(t, attempt(t, newTestSender(t, transportConfig{guard: slow}), r.within(600*time.Millisecond)), ClassDNS, "the look-up of the host name took")
}
