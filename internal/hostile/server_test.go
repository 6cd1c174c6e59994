package hostile

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A kind is what a receiver speaks before its row has a say.
type kind int

const (
	overTLS    kind = iota // HTTP/1 over TLS, with a good certificate
	overHTTP2              // TLS with a good certificate, and h2 agreed on
	onTCP                  // nothing: the row gets the connection as it is accepted
	expired                // the rest are HTTP/1 over TLS with one thing wrong
	wrongName              //
	selfMade               //
	hugeChain              //
	oldTLS                 // nothing above 1.1
	wantsCert              // asks for a client's certificate
	needsCert              // insists on one
	turnedCert             // a good certificate and a self-signed one in turn
	nobody                 // no connection is ever accepted
	healthy                // a good server, HTTP/1 or HTTP/2
)

// A postKey is one attempt, by what it says of itself.
type postKey struct{ event, attempt string }

// An endpoint is one receiver: a listener that treats each connection as its row
// wants it.
type endpoint struct {
	name  string
	row   *row
	lns   []net.Listener
	born  atomic.Int64 // when it was visited first, in nanoseconds
	conns atomic.Int64

	mu       sync.Mutex
	posts    map[postKey]int
	problems []string
	delays   []time.Duration // from publishing to arrival, of healthy ones
}

// setup is what the process of the receivers is told at its start.
type setup struct {
	Endpoints map[string]string // name of the row by name of the endpoint
}

// A report is what an endpoint saw.
type report struct {
	Conns    int64
	Events   int             // different ones that arrived
	Posts    int             // complete requests
	Doubles  []string        // attempts that arrived more often than the row allows
	Problems []string        // whatever else must not have been
	Delays   []time.Duration // from publishing to arrival
}

// serveReceivers is the process of the receivers: it reads its setup, answers with
// the port of each endpoint, and with reports whenever a line comes in, until in
// ends.
func serveReceivers(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var s setup
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return err
	}
	ca, err := loadAuthority(os.Getenv(certDirVar))
	if err != nil {
		return err
	}
	configs, err := ca.serverConfigs()
	if err != nil {
		return err
	}
	endpoints := make(map[string]*endpoint)
	ports := make(map[string]int)
	rows := rowsByName()
	for name, rowName := range s.Endpoints {
		r := rows[rowName]
		if r == nil {
			return fmt.Errorf("hostile: no row %q", rowName)
		}
		e := &endpoint{name: name, row: r, posts: make(map[postKey]int)}
		if err := e.listen(configs); err != nil {
			return fmt.Errorf("hostile: %s: %w", rowName, err)
		}
		endpoints[name] = e
		ports[name] = e.lns[0].Addr().(*net.TCPAddr).Port
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(ports); err != nil {
		return err
	}
	for {
		if _, err := lines.ReadBytes('\n'); err != nil {
			return nil // the test has ended
		}
		all := make(map[string]report)
		for name, e := range endpoints {
			all[name] = e.report()
		}
		if err := enc.Encode(all); err != nil {
			return err
		}
	}
}

// listen opens the endpoint's listeners and serves them for as long as the
// process lives.
func (e *endpoint) listen(configs map[kind]*tls.Config) error {
	address := e.row.listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	e.lns = append(e.lns, ln)
	if e.row.alsoOn != "" {
		second, err := net.Listen("tcp", fmt.Sprintf("%s:%d", e.row.alsoOn, ln.Addr().(*net.TCPAddr).Port))
		if err != nil {
			return err
		}
		e.lns = append(e.lns, second)
	}
	switch e.row.kind {
	case nobody:
		return e.row.prepare(ln)
	case healthy:
		cfg := configs[overTLS].Clone()
		cfg.NextProtos = []string{"h2", "http/1.1"}
		if len(e.name)%2 == 0 {
			cfg.NextProtos = []string{"http/1.1"}
		}
		server := &http.Server{Handler: http.HandlerFunc(e.welcome), TLSConfig: cfg, ErrorLog: discardLog()}
		go server.ServeTLS(ln, "", "")
		return nil
	}
	for _, ln := range e.lns {
		go e.accept(ln, configs)
	}
	return nil
}

func (e *endpoint) accept(ln net.Listener, configs map[kind]*tls.Config) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		e.born.CompareAndSwap(0, time.Now().UnixNano())
		v := &visit{Conn: conn, raw: conn.(*net.TCPConn), e: e, n: e.conns.Add(1)}
		go func() {
			defer conn.Close()
			if cfg := configs[e.row.kind]; cfg != nil {
				secure := tls.Server(conn, cfg)
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				if secure.Handshake() != nil {
					return
				}
				conn.SetDeadline(time.Time{})
				v.Conn = secure
			}
			v.r = bufio.NewReader(v.Conn)
			if e.row.kind == overHTTP2 {
				v.serveHTTP2()
			} else {
				e.row.serve(v)
			}
		}()
	}
}

// age is the time since the first visit.
func (e *endpoint) age() time.Duration { return time.Since(time.Unix(0, e.born.Load())) }

// received notes a complete request.
func (e *endpoint) received(event, attempt string, header http.Header) (times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := postKey{event, attempt}
	e.posts[key]++
	if header.Get("Cookie") != "" || header.Get("Referer") != "" {
		e.problem("a request carries %v", header)
	}
	return e.posts[key]
}

// problem notes what must not have happened. Caller holds mu.
func (e *endpoint) problem(format string, args ...any) {
	if len(e.problems) < 10 {
		e.problems = append(e.problems, fmt.Sprintf(format, args...))
	}
}

func (e *endpoint) report() report {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := report{Conns: e.conns.Load(), Problems: e.problems, Delays: e.delays}
	e.delays = nil
	events := make(map[string]bool)
	for key, times := range e.posts {
		r.Posts += times
		events[key.event] = true
		if times > max(e.row.copies, 1) {
			r.Doubles = append(r.Doubles, fmt.Sprintf("%s, attempt %s: %d times", key.event, key.attempt, times))
		}
	}
	r.Events = len(events)
	return r
}

// sent is the data of every event of these tests.
type sent struct {
	At  int64  `json:"at,string"` // when it was published, in nanoseconds
	Pad string `json:"pad"`
}

// welcome is the handler of a healthy receiver.
func (e *endpoint) welcome(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	body, err := io.ReadAll(r.Body)
	var got struct {
		Data sent `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	e.received(r.Header.Get("Webhook-Id"), r.Header.Get("X-Webhook-Attempt"), r.Header)
	e.mu.Lock()
	if err != nil {
		e.problem("a body: %v", err)
	}
	e.delays = append(e.delays, arrived.Sub(time.Unix(0, got.Data.At)))
	e.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// A visit is one connection to a hostile endpoint.
type visit struct {
	net.Conn
	raw *net.TCPConn
	r   *bufio.Reader
	e   *endpoint
	n   int64 // of the endpoint's connections, from 1

	request *http.Request // the last one that was read
	body    []byte
	served  int // requests read on this connection
	times   int // how often this attempt has arrived
}

// next reads a complete HTTP/1 request with its body and counts it.
func (v *visit) next() bool {
	req, err := http.ReadRequest(v.r)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return false
	}
	v.request, v.body = req, body
	v.served++
	v.times = v.e.received(req.Header.Get("Webhook-Id"), req.Header.Get("X-Webhook-Attempt"), req.Header)
	return true
}

// say writes text and reports whether it was taken.
func (v *visit) say(text string) bool {
	_, err := io.WriteString(v.Conn, text)
	return err == nil
}

// hang keeps the connection, reading whatever comes, until the other side closes it.
func (v *visit) hang() { io.Copy(io.Discard, v.r) }

// reset ends the connection with a RST.
func (v *visit) reset() {
	v.raw.SetLinger(0)
	v.raw.Close()
}

// drip writes text over and over, so many bytes every so often, until the other
// side has gone.
func (v *visit) drip(text string, size int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i += size {
		piece := make([]byte, size)
		for k := range piece {
			piece[k] = text[(i+k)%len(text)]
		}
		if _, err := v.Write(piece); err != nil {
			return
		}
		<-tick.C
	}
}

// pour writes text as fast as it is taken, times times at most.
func (v *visit) pour(text string, times int) bool {
	block := bytes.Repeat([]byte(text), max(1, 32<<10/len(text)))
	for left := times * len(text); left > 0; left -= len(block) {
		if _, err := v.Write(block[:min(len(block), left)]); err != nil {
			return false
		}
	}
	return true
}
