package hostile

import (
	"bufio"
	"io"
	"net/http"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2visit is a connection to a hostile HTTP/2 endpoint.
type h2visit struct {
	*visit
	*http2.Framer
	out      *bufio.Writer          // what Framer writes to; flushed before the next frame is read
	requests map[uint32]http.Header // by stream
	begun    int
}

// serveHTTP2 greets with the row's settings and calls its react for each request:
// after all of its body, or after its headers already where the row is early.
func (v *visit) serveHTTP2() {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(v.r, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	out := bufio.NewWriter(v.Conn)
	c := &h2visit{visit: v, Framer: http2.NewFramer(out, v.r), out: out, requests: make(map[uint32]http.Header)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.SetMaxReadFrameSize(1 << 20)
	c.AllowIllegalWrites = true
	if c.WriteRawFrame(http2.FrameSettings, 0, 0, v.e.row.settings) != nil {
		return
	}
	for {
		if out.Flush() != nil {
			return
		}
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && c.WriteSettingsAck() != nil {
				return
			}
		case *http2.PingFrame:
			if !f.IsAck() && c.WritePing(true, f.Data) != nil {
				return
			}
		case *http2.MetaHeadersFrame:
			header := make(http.Header)
			for _, field := range f.Fields {
				header.Add(field.Name, field.Value)
			}
			c.requests[f.StreamID] = header
			c.begun++
			if v.e.row.early {
				v.e.row.react(c, f.StreamID)
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				header := c.requests[f.StreamID]
				v.e.received(header.Get("Webhook-Id"), header.Get("X-Webhook-Attempt"), header)
				if !v.e.row.early {
					v.e.row.react(c, f.StreamID)
				}
			}
		}
	}
}

// accept answers a stream with 200.
func (c *h2visit) accept(stream uint32) {
	c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true})
}

// flood writes frames, as fast as the other side takes them up to a rate at
// which one machine does not starve the other, until it has gone.
func (c *h2visit) flood(write func(n uint32) error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := uint32(0); ; n++ {
		if write(n) != nil {
			return
		}
		if n%100 == 0 {
			if c.out.Flush() != nil {
				return
			}
			<-tick.C
		}
	}
}

// settings packs pairs of a setting and its value.
func settings(pairs ...uint32) (b []byte) {
	for i := 0; i+1 < len(pairs); i += 2 {
		id, value := uint16(pairs[i]), pairs[i+1]
		b = append(b, byte(id>>8), byte(id), byte(value>>24), byte(value>>16), byte(value>>8), byte(value))
	}
	return b
}

func resets(code http2.ErrCode) func(*h2visit, uint32) {
	return func(c *h2visit, stream uint32) { c.WriteRSTStream(stream, code) }
}

func goesAway(last uint32, code http2.ErrCode) func(*h2visit, uint32) {
	return func(c *h2visit, _ uint32) { c.WriteGoAway(last, code, nil) }
}

// Receivers that speak HTTP/2 and abuse it.
func init() {
	const h2 = overHTTP2
	rows = append(rows,
		row{name: "HR25 refuses every stream", kind: h2, copies: 3, react: resets(http2.ErrCodeRefusedStream), want: "protocol connect"},
		row{name: "HR25 calls every stream an error", kind: h2, react: resets(http2.ErrCodeProtocol), want: "protocol connect"},
		row{name: "HR25 wants calm", kind: h2, react: resets(http2.ErrCodeEnhanceYourCalm), want: "protocol connect"},
		row{name: "HR25 goes away from all streams", kind: h2, copies: 3, react: goesAway(0, http2.ErrCodeNo), want: "protocol connect timeout"},
		row{name: "HR25 goes away with an error", kind: h2, react: goesAway(0, http2.ErrCodeEnhanceYourCalm), want: "protocol connect timeout"},
		row{name: "HR25 goes away and closes", kind: h2, copies: 3, want: "protocol connect", react: func(c *h2visit, _ uint32) {
			c.WriteGoAway(0, http2.ErrCodeNo, nil)
			c.out.Flush()
			c.visit.Close()
		}},
		row{name: "HR25 goes away before the body", kind: h2, copies: 3, early: true, react: goesAway(0, http2.ErrCodeNo), want: "protocol connect timeout"},
		row{name: "HR25 accepts one and refuses the next", kind: h2, copies: 3, want: "+ok protocol connect", react: func(c *h2visit, stream uint32) {
			if c.begun%2 == 1 {
				c.accept(stream)
			} else {
				c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			}
		}},
		// What is sent before the settings are in force may get through.
		row{name: "HR26 admits no stream", kind: h2, settings: settings(uint32(http2.SettingMaxConcurrentStreams), 0), react: (*h2visit).accept, want: "ok timeout protocol"},
		row{name: "HR26 admits no byte of the body", kind: h2, early: true, settings: settings(uint32(http2.SettingInitialWindowSize), 0), want: "timeout ok",
			react: func(*h2visit, uint32) {}},
		row{name: "HR26 never answers", kind: h2, react: func(*h2visit, uint32) {}, want: "timeout"},
		row{name: "HR26 floods with settings", kind: h2, want: "protocol timeout", react: func(c *h2visit, _ uint32) {
			c.flood(func(n uint32) error {
				return c.WriteRawFrame(http2.FrameSettings, 0, 0, settings(uint32(http2.SettingInitialWindowSize), 1+n%1000))
			})
		}},
		row{name: "HR26 floods with pings", kind: h2, want: "protocol timeout", react: func(c *h2visit, _ uint32) {
			c.flood(func(n uint32) error { return c.WritePing(false, [8]byte{byte(n), byte(n >> 8)}) })
		}},
		row{name: "HR26 floods with window updates", kind: h2, want: "protocol timeout", react: func(c *h2visit, _ uint32) {
			c.flood(func(uint32) error { return c.WriteWindowUpdate(0, 1) })
		}},
		row{name: "HR26 floods with priorities", kind: h2, want: "protocol timeout", react: func(c *h2visit, stream uint32) {
			c.flood(func(n uint32) error { return c.WritePriority(stream, http2.PriorityParam{StreamDep: 2*n + 101}) })
		}},
		row{name: "HR26 sends headers without end", kind: h2, want: "protocol connect timeout", react: func(c *h2visit, stream uint32) {
			field := append([]byte{0x00, 0x01, 'a', 0x7f, 0xe9, 0x06}, make([]byte, 1000)...) // a literal of 1000 bytes, not to be indexed
			for i := range field[6:] {
				field[6+i] = 'b'
			}
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}})
			c.flood(func(uint32) error { return c.WriteContinuation(stream, false, field) })
		}},
		row{name: "HR26 sends a header table bomb", kind: h2, want: "protocol connect timeout", react: func(c *h2visit, stream uint32) {
			// One entry of nearly 4 KB in the table, and then that entry 15,000 times over.
			block := append([]byte{0x88, 0x40, 0x01, 'a', 0x7f, 0xa1, 0x1e}, make([]byte, 4000)...)
			for i := range block[7:] {
				block[7+i] = 'b'
			}
			for range 10_000 {
				block = append(block, 0xbe)
			}
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: true})
		}},
		row{name: "HR26 sends 1xx without end", kind: h2, want: "protocol connect timeout", react: func(c *h2visit, stream uint32) {
			c.flood(func(uint32) error { // 0x08 0x03 "103": status by its name in the table
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x08, 0x03, '1', '0', '3'}, EndHeaders: true})
			})
		}},
		row{name: "HR26 sends frames of nonsense", kind: h2, want: "protocol connect", react: func(c *h2visit, stream uint32) {
			c.WriteRawFrame(http2.FrameHeaders, 0xff, stream, []byte{0xff, 0xff, 0xff, 0xff})
		}},
	)
}
