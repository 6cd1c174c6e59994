package post

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// keeper is a receiver that keeps streams open until it is told to answer them.
type keeper struct {
	*h2Peer
	arrived chan func() // answers a stream
	open    atomic.Int64
	most    atomic.Int64
}

func newKeeper(t *testing.T, limit uint32) *keeper {
	t.Helper()
	k := &keeper{arrived: make(chan func(), 1000)}
	var write sync.Mutex // connections are written to by more than one goroutine
	k.h2Peer = newH2Peer(t, setting(settingMaxStreams, limit), false, func(p *h2Peer, conn net.Conn, stream uint32) {
		n := k.open.Add(1)
		for most := k.most.Load(); n > most && !k.most.CompareAndSwap(most, n); most = k.most.Load() {
		}
		k.arrived <- func() {
			write.Lock()
			defer write.Unlock()
			k.open.Add(-1)
			accept(p, conn, stream)
		}
	})
	return k
}

func TestH2_ReceiverThatAllowsFewStreamsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, limit := range []uint32{1, 3} {
		k := newKeeper(t, limit)
		s := newTestSender(t, transportConfig{rootCAs: k.roots})
		const attempts = 40
		var all sync.WaitGroup
		for range attempts {
			all.Go(func() { wantStatus(t, attempt(t, s, post(t, k.url).within(30*time.Second)), 200) })
		}
		for range attempts {
			(<-k.arrived)()
		}
		all.Wait()
		if got := k.most.Load(); got > int64(limit) {
			t.Errorf("%d requests at once, %d are allowed", got, limit)
		}
		if got := k.posts.Load(); got != attempts {
			t.Errorf("%d requests in %d attempts", got, attempts)
		}
	}
}

func TestH2_WaitingForAStreamCountsInTheTimeoutAndSaysWhy(t *testing.T) {
	t.Parallel()
	for limit, text := range map[uint32]string{1: "the receiver allows 1 stream at once", 2: "the receiver allows 2 streams at once"} {
		k := newKeeper(t, limit)
		s := newTestSender(t, transportConfig{rootCAs: k.roots})
		var busy sync.WaitGroup
		for range limit {
			busy.Go(func() { wantStatus(t, attempt(t, s, post(t, k.url).within(30*time.Second)), 200) })
		}
		var answers []func()
		for range limit {
			answers = append(answers, <-k.arrived)
		}
		conns := k.conns.Load()
		a := attempt(t, s, post(t, k.url).within(300*time.Millisecond))
		wantClass(t, a, ClassTimeout, text)
		if a.Duration < 300*time.Millisecond || a.Duration > 300*time.Millisecond+slack {
			t.Errorf("it took %v", a.Duration)
		}
		if k.conns.Load() != conns || k.posts.Load() != int64(limit) {
			t.Errorf("%d requests on %d connections", k.posts.Load(), k.conns.Load())
		}
		for _, answer := range answers {
			answer()
		}
		busy.Wait()
		done := make(chan struct{})
		go func() { defer close(done); wantStatus(t, attempt(t, s, post(t, k.url).within(30*time.Second)), 200) }()
		(<-k.arrived)()
		<-done
	}
}

// A receiver that has taken itself out of service in order is followed to where it
// is served now.
func TestH5_RequestThatWasNotProcessedIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, react := range map[string]func(*h2Peer, net.Conn, uint32){
		"GOAWAY":          goAway(0, codeNone),
		"GOAWAY and gone": func(p *h2Peer, conn net.Conn, stream uint32) { goAway(0, codeNone)(p, conn, stream); conn.Close() },
		"REFUSED_STREAM":  reset(codeRefused),
		"REFUSED_STREAM, then a GOAWAY": func(p *h2Peer, conn net.Conn, stream uint32) {
			reset(codeRefused)(p, conn, stream)
			goAway(0, codeNone)(p, conn, stream)
		},
	} {
		for times := int64(1); times < maxSends; times++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newH2Peer(t, nil, false, func(p *h2Peer, conn net.Conn, stream uint32) {
					if p.posts.Load() <= times {
						react(p, conn, stream)
					} else {
						accept(p, conn, stream)
					}
				})
				s := newTestSender(t, transportConfig{rootCAs: p.roots})
				wantStatus(t, attempt(t, s, post(t, p.url).within(30*time.Second)), 200)
				if got := p.posts.Load(); got != times+1 {
					t.Errorf("%d requests", got)
				}
			})
		}
	}
}

func TestH5_HostsOwnClientSendsAgainWhatWasNotProcessed(t *testing.T) {
	t.Parallel()
	p := newH2Peer(t, nil, false, func(p *h2Peer, conn net.Conn, stream uint32) {
		if p.posts.Load() == 1 {
			goAway(0, codeNone)(p, conn, stream)
		} else {
			accept(p, conn, stream)
		}
	})
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: p.roots}}
	t.Cleanup(transport.CloseIdleConnections)
	wantStatus(t, attempt(t, hostSender(t, &http.Client{Transport: transport}), post(t, p.url).within(30*time.Second)), 200)
	if got := p.posts.Load(); got != 2 {
		t.Errorf("%d requests", got)
	}
}

// What is refused is not asked again at once, and the pause is the attempt's time.
func TestH5_PauseBeforeARefusedRequestIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refusal := errors.New(cannotRetry + "stream error: stream ID 1; REFUSED_STREAM; received from peer" + defineBody)
		sends := 0
		s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			sends++
			return nil, refusal
		})})
		a := attempt(t, s, post(t, "https://receiver.test/"))
		wantClass(t, a, ClassProtocol, "REFUSED_STREAM), each of 3 times")
		if sends != maxSends || a.Duration != 11*refusedPause {
			t.Errorf("%d times in %v", sends, a.Duration)
		}
		a = attempt(t, s, post(t, "https://receiver.test/").within(refusedPause/2))
		wantClass(t, a, ClassTimeout, "")
	})
}

func TestH2_GateLetsRequestsThroughInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gates streamGates
		key := gateKey{"receiver.test:443", true}
		conn := gates.connected(key.authority, key.verified)
		conn.allows(1)
		var mu sync.Mutex
		var order []int
		note := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, n)
		}
		enter := func(ctx context.Context, n int) {
			go func() {
				gate, _, err := gates.enter(ctx, key, func(limit int) {
					if limit > 2 {
						t.Errorf("limit %d", limit)
					}
				})
				if err != nil {
					note(-n)
					return
				}
				note(n)
				time.Sleep(time.Second)
				gate.leave()
			}()
			synctest.Wait()
		}
		late, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		want := func(want ...int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(order, want) {
				t.Errorf("order %v, want %v", order, want)
			}
		}
		enter(t.Context(), 1)
		enter(t.Context(), 2)
		enter(late, 3)
		enter(t.Context(), 4)
		want(1)
		time.Sleep(1500 * time.Millisecond)
		want(1, -3, 2)
		enter(t.Context(), 5)
		want(1, -3, 2)
		conn.allows(2) // raised while two wait
		want(1, -3, 2, 4)
		conn.allows(0)
		enter(t.Context(), 6)
		want(1, -3, 2, 4)
		time.Sleep(5 * time.Second) // the others have ended
		want(1, -3, 2, 4)
		conn.disconnected() // and one may try the next connection
		want(1, -3, 2, 4, 5)
		time.Sleep(1500 * time.Millisecond)
		want(1, -3, 2, 4, 5, 6)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		gates.mu.Lock()
		defer gates.mu.Unlock()
		if len(gates.gates) != 0 {
			t.Errorf("%d gates are kept", len(gates.gates))
		}
	})
}

func TestClassOfHTTP2Errors(t *testing.T) {
	t.Parallel()
	again := func(reason string) string { return cannotRetry + reason + defineBody }
	for text, row := range map[string]struct {
		class Class
		text  string
	}{
		again("http2: Transport received Server's graceful shutdown GOAWAY"):                                                         {ClassProtocol, "(GOAWAY, NO_ERROR) without taking the request, each of 3 times; it may be shutting down"},
		again("stream error: stream ID 5; REFUSED_STREAM; received from peer"):                                                       {ClassProtocol, "refused the HTTP/2 stream (REFUSED_STREAM), each of 3 times; it has too much to do"},
		again("stream error: stream ID 5; PROTOCOL_ERROR; received from peer"):                                                       {ClassProtocol, "reset the HTTP/2 stream (PROTOCOL_ERROR) before there was an answer"},
		"stream error: stream ID 5; INTERNAL_ERROR; received from peer":                                                              {ClassProtocol, "(INTERNAL_ERROR) before there was an answer; look into the log"},
		"stream error: stream ID 5; ENHANCE_YOUR_CALM; received from peer":                                                           {ClassProtocol, "fewer requests"},
		"stream error: stream ID 5; unknown error code 0x4d; received from peer":                                                     {ClassProtocol, "0x4d"},
		"stream error: stream ID 5; PROTOCOL_ERROR; malformed response from server: missing status pseudo header":                    {ClassProtocol, "not valid HTTP/2 (PROTOCOL_ERROR): malformed response from server: missing status"},
		"stream error: stream ID 5; FLOW_CONTROL_ERROR":                                                                              {ClassProtocol, "broke the flow control"},
		"connection error: FLOW_CONTROL_ERROR":                                                                                       {ClassProtocol, "broke the rules of HTTP/2 (FLOW_CONTROL_ERROR)"},
		"http2: Transport received GOAWAY from server ErrCode:ENHANCE_YOUR_CALM":                                                     {ClassProtocol, "(GOAWAY, ENHANCE_YOUR_CALM) without taking the request; it asks for fewer"},
		`http2: server sent GOAWAY and closed the connection; LastStreamID=3, ErrCode=ENHANCE_YOUR_CALM, debug="slow"`:               {ClassProtocol, "(GOAWAY, ENHANCE_YOUR_CALM) before there was an answer; it asks for fewer requests: set a rate limit for the webhook, or raise the receiver's own; it says: slow"},
		"http2: client conn not usable":                                                                                              {ClassConnect, "closed the connection before the request was sent"},
		"http2: request header list larger than peer's advertised limit":                                                             {ClassProtocol, "fewer or shorter custom headers"},
		"http2: response header list larger than advertised limit":                                                                   {ClassProtocol, "too long"},
		"http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header": {ClassProtocol, "answers in HTTP/1.1"},
	} {
		s := hostSender(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return nil, errors.New(text) })})
		a := attempt(t, s, post(t, "https://receiver.test/"))
		wantClass(t, a, row.class, row.text)
		wantNothingPrivate(t, a)
		for _, never := range []string{"GetBody", "Transport", "http2:", "peer"} {
			if strings.Contains(a.Error, never) {
				t.Errorf("the text is net/http's: %q", a.Error)
			}
		}
	}
	// What a receiver makes look like it is not sent again.
	for _, text := range []string{
		`http2: server sent GOAWAY and closed the connection; LastStreamID=3, ErrCode=NO_ERROR, debug="` + again("http2: Transport received Server's graceful shutdown GOAWAY") + `"`,
		`malformed HTTP response "` + again("http2: Transport received Server's graceful shutdown GOAWAY") + `"`,
		again("stream error: stream ID 5; PROTOCOL_ERROR; received from peer"),
	} {
		if got := unprocessed(errors.New(text)); got != processed {
			t.Errorf("%q: %v", text, got)
		}
	}
}
