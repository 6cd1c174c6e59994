// Package nettest holds what tests of the guard and of attempts share: a name server
// and a listener that counts its visitors.
package nettest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// The net package makes a channel the first time that it reads the resolver's
// configuration. Made inside a bubble it could not be used by the next one.
func init() {
	_, _ = (&net.Resolver{PreferGo: true}).LookupHost(context.Background(), "localhost")
}

// The types of records that a NameServer knows.
const (
	TypeA     = 1
	typeCNAME = 5
	TypeAAAA  = 28
)

// A Question of a resolver to a NameServer.
type Question struct {
	Name string // lower case, with the dot at its end
	Kind uint16 // TypeA or TypeAAAA
	Nth  int    // 1 for the first question for this name and type
}

// A NameServer is a name server at the far end of a pipe: the Go resolver speaks
// the protocol of TCP to it. All answers have a TTL of 0.
type NameServer struct {
	Answer func(Question) []netip.Addr // nil: no such name. Addresses of the other family are left out.
	CName  string                      // answer everything with this alias instead
	Err    error                       // answer everything with SERVFAIL
	Silent bool                        // answer nothing
	Mute   uint16                      // answer nothing about this type
	Broken uint16                      // answer this type with SERVFAIL

	mu    sync.Mutex
	Asked map[Question]int // nth is 0 in the keys
}

// Resolver returns a resolver that asks the server.
func (d *NameServer) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go d.serve(there)
		return here, nil
	}}
}

// Queries returns how many questions of a type were asked.
func (d *NameServer) Queries(kind uint16) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for q, times := range d.Asked {
		if q.Kind == kind {
			n += times
		}
	}
	return n
}

func (d *NameServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		if d.Silent {
			continue
		}
		reply := d.reply(query)
		if reply == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func (d *NameServer) reply(query []byte) []byte {
	var labels []string
	end := 12 // of the header
	for query[end] != 0 {
		size := int(query[end])
		labels = append(labels, strings.ToLower(string(query[end+1:end+1+size])))
		end += 1 + size
	}
	end += 1 + 4 // the root, type, class
	q := Question{Name: strings.Join(labels, ".") + ".", Kind: binary.BigEndian.Uint16(query[end-4:])}
	d.mu.Lock()
	if d.Asked == nil {
		d.Asked = make(map[Question]int)
	}
	d.Asked[q]++
	q.Nth = d.Asked[q]
	d.mu.Unlock()

	if q.Kind == d.Mute {
		return nil
	}
	const success, servfail, nxdomain = 0, 2, 3
	code, records, count := byte(nxdomain), []byte(nil), uint16(0)
	record := func(kind uint16, data []byte) {
		count++
		records = append(records, 0xc0, 12) // the name of the question
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, TTL 0
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
	}
	switch {
	case d.Err != nil || q.Kind == d.Broken:
		code = servfail
	case d.CName != "":
		code = success
		var name []byte
		for label := range strings.SplitSeq(strings.TrimSuffix(d.CName, "."), ".") {
			name = append(append(name, byte(len(label))), label...)
		}
		record(typeCNAME, append(name, 0))
	case d.Answer != nil:
		if addrs := d.Answer(q); addrs != nil {
			code = success
			for _, addr := range addrs {
				if addr.Is4() && q.Kind == TypeA || addr.Is6() && q.Kind == TypeAAAA {
					record(q.Kind, addr.AsSlice())
				}
			}
		}
	}
	reply := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1}, byte(count>>8), byte(count), 0, 0, 0, 0)
	return append(append(reply, query[12:end]...), records...)
}
