package post

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// HTTP/2, as much of it as it takes to be a bad receiver: RFC 9113, sections
// 4.1 and 6.
const (
	frameData         = 0
	frameHeaders      = 1
	frameResetStream  = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameContinuation = 9

	flagEnd        = 1 // END_STREAM, and ACK of settings and pings
	flagEndHeaders = 4

	codeNone     = 0
	codeProtocol = 1
	codeRefused  = 7
	codeCalm     = 11

	settingMaxStreams    = 3
	settingInitialWindow = 4
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func readFrame(r io.Reader) (f frame, err error) {
	var head [9]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	f.kind, f.flags = head[3], head[4]
	f.stream = binary.BigEndian.Uint32(head[5:]) &^ (1 << 31)
	f.payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(r, f.payload)
	return f, err
}

func writeFrame(w io.Writer, kind, flags byte, stream uint32, payload ...byte) error {
	n := len(payload)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[5:], stream)
	_, err := w.Write(append(head, payload...))
	return err
}

func uint32s(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func setting(id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), value)
}

// An h2Peer is a receiver below HTTP/2.
type h2Peer struct {
	*peer
	headers atomic.Int64 // requests begun
	posts   atomic.Int64 // requests that arrived with all of their body
	acked   atomic.Int64 // settings of ours that are in force
	ended   atomic.Int64 // connections that have ended
	roots   *x509.CertPool
}

// newH2Peer greets every connection with settings and calls react for each
// request: after all of its body, or after its headers already if early.
func newH2Peer(t *testing.T, settings []byte, early bool, react func(p *h2Peer, conn net.Conn, stream uint32)) *h2Peer {
	t.Helper()
	certs := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	t.Cleanup(certs.Close)
	p := &h2Peer{roots: x509.NewCertPool()}
	p.roots.AddCert(certs.Certificate())
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: certs.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	p.peer = servePeer(t, ln, "https://"+ln.Addr().String()+"/hook", func(_ *peer, _ int64, conn net.Conn) {
		defer p.ended.Add(1)
		if _, err := io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		writeFrame(conn, frameSettings, 0, 0, settings...)
		for {
			f, err := readFrame(conn)
			if err != nil {
				return
			}
			switch f.kind {
			case frameSettings:
				if f.flags&flagEnd == 0 {
					writeFrame(conn, frameSettings, flagEnd, 0)
				} else {
					p.acked.Add(1)
				}
			case framePing:
				if f.flags&flagEnd == 0 {
					writeFrame(conn, framePing, flagEnd, 0, f.payload...)
				}
			case frameHeaders:
				p.headers.Add(1)
				if early {
					react(p, conn, f.stream)
				}
			case frameData:
				if f.flags&flagEnd != 0 {
					p.posts.Add(1)
					if !early {
						react(p, conn, f.stream)
					}
				}
			}
		}
	})
	return p
}

func reset(code uint32) func(*h2Peer, net.Conn, uint32) {
	return func(_ *h2Peer, conn net.Conn, stream uint32) {
		writeFrame(conn, frameResetStream, 0, stream, uint32s(code)...)
	}
}

func goAway(last, code uint32) func(*h2Peer, net.Conn, uint32) {
	return func(_ *h2Peer, conn net.Conn, _ uint32) {
		writeFrame(conn, frameGoAway, 0, 0, uint32s(last, code)...)
	}
}

// status200 is ":status: 200" in HPACK's static table.
func accept(_ *h2Peer, conn net.Conn, stream uint32) {
	writeFrame(conn, frameHeaders, flagEndHeaders|flagEnd, stream, 0x88)
}

// A receiver that says of a request that it did not process it is sent it again, a
// few times; one that says anything else is not. One connection is enough for all
// that refuse streams.
func TestH5_HTTP2ReceiverGetsOnePostPerAttempt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		react  func(*h2Peer, net.Conn, uint32)
		copies int64
	}{
		"REFUSED_STREAM":       {reset(codeRefused), maxSends},
		"PROTOCOL_ERROR":       {reset(codeProtocol), 1},
		"ENHANCE_YOUR_CALM":    {reset(codeCalm), 1},
		"NO_ERROR":             {reset(codeNone), 1},
		"GOAWAY of all":        {goAway(0, codeNone), maxSends},
		"GOAWAY with an error": {goAway(0, codeCalm), 1},
		"GOAWAY and gone": {func(p *h2Peer, conn net.Conn, stream uint32) {
			goAway(0, codeNone)(p, conn, stream)
			conn.Close()
		}, maxSends},
		"gone": {func(_ *h2Peer, conn net.Conn, _ uint32) { conn.Close() }, 1},
		"GOAWAY, but the request was read": {func(p *h2Peer, conn net.Conn, stream uint32) {
			goAway(stream, codeNone)(p, conn, stream)
			conn.Close()
		}, 1},
		"refused after a part of the answer": {func(p *h2Peer, conn net.Conn, stream uint32) {
			writeFrame(conn, frameHeaders, flagEndHeaders, stream, 0x08, 0x03, '1', '0', '3')
			reset(codeRefused)(p, conn, stream)
		}, 1},
		"GOAWAY after a part of the answer": {func(p *h2Peer, conn net.Conn, stream uint32) {
			writeFrame(conn, frameHeaders, flagEndHeaders, stream, 0x08, 0x03, '1', '0', '3')
			goAway(0, codeNone)(p, conn, stream)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newH2Peer(t, nil, false, row.react)
			s := newTestSender(t, transportConfig{rootCAs: p.roots})
			for n := int64(1); n <= 3; n++ {
				a := attempt(t, s, post(t, p.url).within(30*time.Second))
				if a.Succeeded() || a.Class == ClassTLS || a.Status != 0 {
					t.Errorf("attempt %d: %+v", n, a)
				}
				if got := p.posts.Load(); got != n*row.copies {
					t.Fatalf("%d complete requests arrived in %d attempts", got, n)
				}
			}
		})
	}
}

// The same on a connection that had been used before.
func TestH5_HTTP2ReceiverThatTurnsBadGetsFewPostsPerAttempt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		react         func(*h2Peer, net.Conn, uint32)
		copies, conns int64
	}{
		"REFUSED_STREAM": {reset(codeRefused), maxSends, 1},
		"PROTOCOL_ERROR": {reset(codeProtocol), 1, 1},
		"GOAWAY": {func(p *h2Peer, conn net.Conn, stream uint32) {
			goAway(max(stream, 2)-2, codeNone)(p, conn, stream)
		}, maxSends, maxSends},
		"GOAWAY that wants calm": {goAway(1, codeCalm), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newH2Peer(t, nil, false, func(p *h2Peer, conn net.Conn, stream uint32) {
				if p.posts.Load() == 1 {
					accept(p, conn, stream)
				} else {
					row.react(p, conn, stream)
				}
			})
			s := newTestSender(t, transportConfig{rootCAs: p.roots})
			wantStatus(t, attempt(t, s, post(t, p.url)), 200)
			attempt(t, s, post(t, p.url).within(30*time.Second))
			if got := p.posts.Load(); got != 1+row.copies {
				t.Errorf("%d complete requests arrived in two attempts, want %d", got, 1+row.copies)
			}
			if got := p.conns.Load(); got != row.conns {
				t.Errorf("%d connections", got)
			}
		})
	}
}

// firstAttempt makes a connection on which the peer's settings are in force:
// until it knows them, net/http sends as it likes.
func firstAttempt(t *testing.T, s *Client, p *h2Peer) {
	t.Helper()
	attempt(t, s, post(t, p.url))
	eventually(t, "the settings in force", func() bool { return p.acked.Load() > 0 })
}

func TestH5_HTTP2ReceiverThatRefusesBeforeTheBodyIsAskedFewTimes(t *testing.T) {
	t.Parallel()
	p := newH2Peer(t, setting(settingInitialWindow, 0), true, func(p *h2Peer, conn net.Conn, stream uint32) {
		if stream == 1 && p.conns.Load() == 1 {
			accept(p, conn, stream)
		} else {
			reset(codeRefused)(p, conn, stream)
		}
	})
	s := newTestSender(t, transportConfig{rootCAs: p.roots})
	firstAttempt(t, s, p)
	begun, posts := p.headers.Load(), p.posts.Load()
	for range 3 {
		if a := attempt(t, s, post(t, p.url).within(30*time.Second)); a.Succeeded() {
			t.Errorf("%+v", a)
		}
	}
	if got := p.posts.Load() - posts; got != 0 {
		t.Errorf("%d complete requests got through a closed window", got)
	}
	if got := p.headers.Load() - begun; got != 3*maxSends {
		t.Errorf("%d requests begun in three attempts, want %d", got, 3*maxSends)
	}
}

func TestH8_HTTP2ReceiverThatLetsNoBodyThrough(t *testing.T) {
	t.Parallel()
	p := newH2Peer(t, setting(settingInitialWindow, 0), true, func(p *h2Peer, conn net.Conn, stream uint32) {
		if stream == 1 {
			accept(p, conn, stream)
		}
	})
	s := newTestSender(t, transportConfig{rootCAs: p.roots})
	firstAttempt(t, s, p)
	wantClass(t, attempt(t, s, post(t, p.url).within(300*time.Millisecond)), ClassTimeout, "while sending the request")
}

func TestH2_IsSpokenAndSharesAConnection(t *testing.T) {
	t.Parallel()
	p := newH2Peer(t, nil, false, accept)
	s := newTestSender(t, transportConfig{rootCAs: p.roots})
	for range 3 {
		wantStatus(t, attempt(t, s, post(t, p.url)), 200)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { wantStatus(t, attempt(t, s, post(t, p.url)), 200) })
	}
	all.Wait()
	if conns, posts := p.conns.Load(), p.posts.Load(); conns != 1 || posts != 23 {
		t.Errorf("%d requests on %d connections, want 23 on 1", posts, conns)
	}
}

// Catalogue 26: what an HTTP/2 receiver can do to tie an attempt down.
func TestH2_ReceiverThatAdmitsNothing(t *testing.T) {
	t.Parallel()
	flood := func(kind byte, payload func(n uint32) []byte) func(*h2Peer, net.Conn, uint32) {
		return func(p *h2Peer, conn net.Conn, _ uint32) {
			for n := uint32(0); ; n++ {
				if writeFrame(conn, kind, 0, 0, payload(n)...) != nil {
					return
				}
				select {
				case <-p.done:
					return
				default:
				}
			}
		}
	}
	for name, row := range map[string]struct {
		settings []byte
		react    func(*h2Peer, net.Conn, uint32)
	}{
		"no streams":     {setting(settingMaxStreams, 0), accept},
		"no answer":      {nil, func(*h2Peer, net.Conn, uint32) {}},
		"settings flood": {nil, flood(frameSettings, func(n uint32) []byte { return setting(settingInitialWindow, n%1000) })},
		"ping flood":     {nil, flood(framePing, func(n uint32) []byte { return uint32s(n, n) })},
		"endless headers": {nil, func(p *h2Peer, conn net.Conn, stream uint32) {
			// a literal field without indexing: name "a", 1000 bytes of value
			field := append([]byte{0x00, 0x01, 'a', 0x7f, 0xe9, 0x06}, make([]byte, 1000)...)
			for i := range field[6:] {
				field[6+i] = 'b'
			}
			writeFrame(conn, frameHeaders, 0, stream, 0x88)
			for writeFrame(conn, frameContinuation, 0, stream, field...) == nil {
				select {
				case <-p.done:
					return
				default:
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newH2Peer(t, row.settings, false, row.react)
			s := newTestSender(t, transportConfig{rootCAs: p.roots})
			const timeout = 500 * time.Millisecond
			a := attempt(t, s, post(t, p.url).within(timeout))
			if name != "no streams" && a.Succeeded() || a.Duration > timeout+slack {
				t.Errorf("%+v", a)
			}
			if got := p.posts.Load(); got > 1 {
				t.Errorf("%d complete requests", got)
			}
			if got := p.conns.Load(); got > maxDials {
				t.Errorf("%d connections in one attempt", got)
			}
		})
	}
}
