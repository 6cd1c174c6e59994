package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The sink receives. Its path says how an endpoint behaves:
//
//	/ok/…    answers 200, and is counted
//	/well/…  answers 200, and is not counted
//	/500/…   answers 500
//	/hang/…  does not answer until the sender gives up
//	/drip/…  answers 200 and then a byte a second
//
// It listens on every address of the loopback network, so that a thousand
// endpoints are a thousand hosts to the sender.
type sinkServer struct {
	ok, other atomic.Int64
	latency   histogram
}

// sinkPorts is the line in which a sink reports its ports.
type sinkPorts struct {
	Plain   int `json:"plain"`
	TLS     int `json:"tls"`
	Control int `json:"control"`
}

// sinkCounts counts the requests that a sink has received since its reset.
type sinkCounts struct {
	OK      int64         `json:"ok"`      // requests to /ok
	Other   int64         `json:"other"`   // all others
	Latency map[int]int64 `json:"latency"` // of requests to /ok whose ID holds the time of publishing, by bucket
}

// stampedID returns an event ID that holds the time of publishing.
func stampedID(n int64) string {
	return "t" + strconv.FormatInt(time.Now().UnixNano(), 10) + "-" + strconv.FormatInt(n, 10)
}

func (s *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if kind == "ok" {
		s.ok.Add(1)
		if stamp, ok := strings.CutPrefix(r.Header.Get("Webhook-Id"), "t"); ok {
			digits, _, _ := strings.Cut(stamp, "-")
			if at, err := strconv.ParseInt(digits, 10, 64); err == nil {
				s.latency.add(time.Duration(arrived.UnixNano() - at))
			}
		}
		return
	}
	s.other.Add(1)
	switch kind {
	case "well":
	case "hang":
		<-r.Context().Done()
	case "drip":
		drip(w, r)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func drip(w http.ResponseWriter, r *http.Request) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		if _, err := io.WriteString(w, "."); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-every.C:
		case <-r.Context().Done():
			return
		}
	}
}

// control answers the requests of the bench.
func (s *sinkServer) control(w http.ResponseWriter, r *http.Request) {
	c := sinkCounts{OK: s.ok.Load(), Other: s.other.Load(), Latency: s.latency.counts()}
	if r.URL.Path == "/reset" {
		s.ok.Store(0)
		s.other.Store(0)
		s.latency.reset()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(c); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// sinkMain runs the sink's process, which serves until its standard input ends.
func sinkMain() error {
	s := &sinkServer{}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	var ports sinkPorts
	failed := make(chan error, 3)
	listen := func(port *int, address string, serve func(net.Listener) error) error {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", address)
		if err != nil {
			return err
		}
		*port = l.Addr().(*net.TCPAddr).Port
		go func() { failed <- serve(l) }()
		return nil
	}
	plain := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	secure := &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 1000},
	}
	steering := &http.Server{Handler: http.HandlerFunc(s.control), ReadHeaderTimeout: time.Minute}
	// A plain and a TLS port on 0.0.0.0 receive requests to any 127.x.y.z.
	if err := listen(&ports.Plain, "0.0.0.0:0", plain.Serve); err != nil {
		return err
	}
	if err := listen(&ports.TLS, "0.0.0.0:0", func(l net.Listener) error { return secure.ServeTLS(l, "", "") }); err != nil {
		return err
	}
	if err := listen(&ports.Control, "127.0.0.1:0", steering.Serve); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(ports); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// sink is the bench's side of the sink's process.
type sink struct {
	*child
	ports  sinkPorts
	client http.Client
}

func startSink(ctx context.Context) (*sink, error) {
	s := &sink{client: http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}}
	var err error
	s.child, err = startChild(ctx, "sink", nil, &s.ports)
	return s, err
}

// url returns the URL of the n-th endpoint of a kind.
func (s *sink) url(kind string, n int, secure bool) string {
	scheme, port := "http", s.ports.Plain
	if secure {
		scheme, port = "https", s.ports.TLS
	}
	return fmt.Sprintf("%s://127.0.%d.%d:%d/%s/%d", scheme, n/250, n%250+1, port, kind, n)
}

// counts queries the sink's counts; the path "/reset" sets them to 0.
func (s *sink) counts(ctx context.Context, path string) (sinkCounts, error) {
	var c sinkCounts
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", s.ports.Control, path), http.NoBody)
	if err != nil {
		return c, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&c)
	return c, err
}

// received returns a function that counts the requests to healthy endpoints.
func (s *sink) received(ctx context.Context) func() (int64, error) {
	return func() (int64, error) {
		c, err := s.counts(ctx, "/counts")
		return c.OK, err
	}
}
