package post

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// A receiver that sends frames of kinds that mean nothing to us: a few are left
// out, and a flood of any kind ends the attempt and not the disk that the log is
// on.
func TestR18_HTTP2ReceiverCannotFloodTheLog(t *testing.T) {
	var stdlog nettest.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&stdlog)

	strange := func(w io.Writer, stream uint32, n int) error {
		kind := []byte{priorityFrame, 10, 0x20, 0xff}[n%4]
		return writeFrame(w, kind, byte(n), stream*uint32(n%2), bytes.Repeat([]byte{'x'}, []int{5, 0, 300, 1}[n%4])...)
	}
	t.Run("a few", func(t *testing.T) {
		p := newH2Peer(t, nil, false, func(p *h2Peer, conn net.Conn, stream uint32) {
			for n := range 500 {
				strange(conn, stream, n)
			}
			accept(p, conn, stream)
		})
		s := newTestSender(t, transportConfig{rootCAs: p.roots})
		for range 50 { // each has an allowance of its own
			wantStatus(t, attempt(t, s, post(t, p.url)), 200)
		}
		if got := p.conns.Load(); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
	for name, write := range map[string]func(w io.Writer, stream uint32, n int) error{
		"strange":    strange,
		"priorities": func(c io.Writer, s uint32, _ int) error { return writeFrame(c, priorityFrame, 0, s, 0, 0, 0, 0, 1) },
		"pings":      func(c io.Writer, _ uint32, _ int) error { return writeFrame(c, framePing, 0, 0, uint32s(1, 2)...) },
		"settings":   func(c io.Writer, _ uint32, _ int) error { return writeFrame(c, frameSettings, 0, 0) },
		"empty data": func(c io.Writer, s uint32, n int) error {
			if n == 0 {
				return writeFrame(c, frameHeaders, flagEndHeaders, s, 0x88)
			}
			return writeFrame(c, frameData, 0, s)
		},
		"headers of a stream that has ended": func(c io.Writer, s uint32, n int) error {
			return writeFrame(c, frameHeaders, flagEndHeaders|flagEnd, s, 0x88)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newH2Peer(t, nil, false, func(p *h2Peer, conn net.Conn, stream uint32) {
				var batch bytes.Buffer
				for n := 0; ; n++ {
					write(&batch, stream, n)
					if n%500 == 0 {
						if _, err := batch.WriteTo(conn); err != nil {
							return
						}
					}
				}
			})
			s := newTestSender(t, transportConfig{rootCAs: p.roots})
			began := time.Now()
			a := attempt(t, s, post(t, p.url).within(30*time.Second))
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if strings.Contains(name, "data") || strings.Contains(name, "ended") {
				wantStatus(t, a, 200)
			} else {
				wantClass(t, a, ClassProtocol, "without end")
			}
			eventually(t, "the end of the connection", func() bool { return p.ended.Load() > 0 })
		})
	}
	if text := stdlog.String(); strings.Count(text, "\n") > 5 {
		t.Errorf("Go's standard logger got %d lines, such as %.200q", strings.Count(text, "\n"), text)
	}
}

// What comes out is what went in without the frames that are left out, however it
// was cut into pieces.
func TestR18_FramesAreLeftOutWhereverReadsEnd(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var in, want bytes.Buffer
		cost := int64(0)
		for range random.IntN(30) {
			kind := byte(random.IntN(14))
			payload := make([]byte, random.IntN(3)*random.IntN(400))
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			writeFrame(&in, kind, byte(random.Uint32()), random.Uint32(), payload...)
			if kind != priorityFrame && kind <= lastKnownFrame {
				want.Write(in.Bytes()[in.Len()-frameHeaderSize-len(payload):])
			}
			cost += 1 + int64(len(payload)/frameUnit)
		}
		c := &frameConn{r: bufio.NewReaderSize(iotest.HalfReader(&in), 16+random.IntN(100))}
		c.credit.Store(cost)
		var got bytes.Buffer
		var err error
		for err == nil {
			p := make([]byte, 1+random.IntN(50))
			var n int
			n, err = c.Read(p)
			got.Write(p[:n])
		}
		if err != io.EOF || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("%v after %d bytes, want EOF after %d", err, got.Len(), want.Len())
		}
		if left := c.credit.Load(); left != 0 {
			t.Fatalf("an allowance of %d for exactly these frames leaves %d", cost, left)
		}
	}
}

func TestR18_AllowanceIsPerAttemptAndDoesNotPileUp(t *testing.T) {
	c := &frameConn{}
	for range 1000 {
		c.anotherAttempt()
	}
	if got := c.credit.Load(); got != mostAttemptsAhead*frameAllowance {
		t.Errorf("the allowance has grown to %d, want %d", got, mostAttemptsAhead*frameAllowance)
	}
	var in bytes.Buffer
	writeFrame(&in, framePing, 0, 0, make([]byte, 8)...)
	writeFrame(&in, framePing, 0, 0, make([]byte, 8)...)
	c = &frameConn{r: bufio.NewReader(&in)}
	c.credit.Store(1)
	all, err := io.ReadAll(c)
	if len(all) != frameHeaderSize+8 || !errors.Is(err, errTooManyFrames) {
		t.Errorf("%d bytes, %v; want the first frame, and then %v", len(all), err, errTooManyFrames)
	}
}
