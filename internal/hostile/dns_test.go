package hostile

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers questions by host name: what the customers' own name
// servers would say.
type nameServer struct {
	mu    sync.Mutex
	hosts map[string]answerFunc // by name without the dot at the end
	asked map[string]int
}

// An answerFunc answers the n-th question for addresses of one family, n = 1,
// 2, …. No addresses and no code is an empty answer; silent is none at all.
type answerFunc func(n int, ipv6 bool) (addrs []netip.Addr, code dnsmessage.RCode, silent bool)

func newNameServer() *nameServer {
	return &nameServer{hosts: make(map[string]answerFunc), asked: make(map[string]int)}
}

// always answers with the same addresses.
func always(addrs ...string) answerFunc {
	var list []netip.Addr
	for _, text := range addrs {
		list = append(list, netip.MustParseAddr(text))
	}
	return func(int, bool) ([]netip.Addr, dnsmessage.RCode, bool) { return list, dnsmessage.RCodeSuccess, false }
}

func (s *nameServer) set(host string, f answerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[host] = f
}

// resolver returns a resolver that asks this server through a pipe.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go s.serve(server)
		return client, nil
	}}
}

// serve speaks DNS over a stream: a length before every message.
func (s *nameServer) serve(conn net.Conn) {
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
		reply := s.reply(query)
		if reply == nil {
			continue
		}
		conn.SetWriteDeadline(time.Now().Add(time.Second)) // whoever asked may have gone
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// reply answers a query, or returns nil to say nothing.
func (s *nameServer) reply(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	host := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	ipv6 := q.Type == dnsmessage.TypeAAAA
	s.mu.Lock()
	answer := s.hosts[host]
	key := host + q.Type.String()
	s.asked[key]++
	n := s.asked[key]
	s.mu.Unlock()
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RecursionDesired: true, RCode: dnsmessage.RCodeNameError}
	m.Additionals = nil
	if answer != nil {
		addrs, code, silent := answer(n, ipv6)
		if silent {
			return nil
		}
		m.RCode = code
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET} // TTL 0
		if code == dnsmessage.RCodeSuccess && addrs == nil {
			head.Type = dnsmessage.TypeCNAME // a loop
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: q.Name}})
		}
		for _, addr := range addrs {
			switch {
			case addr.Is4() && q.Type == dnsmessage.TypeA:
				head.Type = dnsmessage.TypeA
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
			case addr.Is6() && ipv6:
				head.Type = dnsmessage.TypeAAAA
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
			}
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}
