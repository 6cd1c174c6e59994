package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// HTTP/2 receivers end connections and refuse requests in the course of a normal
// day. None of it may cost an attempt: the webhooks here have no retries, so an
// event that fails is lost.

// deliver publishes events in pieces to a webhook at url, calls between after each
// piece but the last, and returns when all have been delivered or have failed.
// Every attempt has to succeed.
func deliver(t *testing.T, url string, events, pieces int, between func(piece int)) (ids []string) {
	t.Helper()
	var ended, failed atomic.Int64
	var mu sync.Mutex
	said := make(map[string]int)
	cfg := webhooktest.AllowLoopback(webhook.Config{MaxInFlight: 64})
	cfg.Hooks.Attempt = func(_ webhook.Delivery, a webhook.Attempt) {
		if !a.Succeeded() {
			failed.Add(1)
			mu.Lock()
			said[a.Error]++
			mu.Unlock()
		}
		ended.Add(1)
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
		Name: "n", URL: url, Events: []string{"*"}, MaxRetries: new(0), VerifyTLS: new(false),
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	for piece := range pieces {
		evs := make([]webhook.Event, events/pieces)
		for i := range evs {
			evs[i] = event(map[string]int{"n": i})
		}
		published, err := d.PublishAll(ctx, evs)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range published {
			ids = append(ids, p.ID)
		}
		if piece < pieces-1 {
			// In the middle of the piece, so that requests are under way.
			wait(t, "half of a piece", func() bool { return int(ended.Load()) >= len(ids)-len(evs)/2 })
			between(piece)
		}
	}
	wait(t, "all attempts", func() bool { return int(ended.Load()) >= len(ids) })
	if failed.Load() != 0 {
		t.Errorf("%d of %d attempts failed: %v", failed.Load(), len(ids), said)
	}
	return ids
}

// long is patience with thousands of events and as many handshakes as a busy machine
// can make.
const long = 5 * patience

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(long); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, long)
		}
	}
}

// wantOnce wants every event exactly once at the receiver.
func wantOnce(t *testing.T, ids []string, times map[string]int) {
	t.Helper()
	missing, doubles := 0, 0
	for _, id := range ids {
		switch n := times[id]; {
		case n == 0:
			missing++
		case n > 1:
			doubles++
		}
	}
	if missing > 0 || doubles > 0 {
		t.Errorf("of %d events %d did not arrive, %d arrived more than once", len(ids), missing, doubles)
	}
}

// h2Nginx is a running nginx that answers every POST with 200.
type h2Nginx struct {
	t    *testing.T
	dir  string
	url  string
	proc *exec.Cmd
}

// startH2Nginx runs nginx with directives of the server's. Its workers may be
// replaced by reload.
func startH2Nginx(t *testing.T, directives string) *h2Nginx {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // which is not on everybody's PATH
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // the workers are another user's
		t.Fatal(err)
	}
	cert, key, _ := certificate(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	conf := fmt.Sprintf(`
daemon off;
master_process on;
worker_processes 2;
pid %[1]s/pid;
error_log %[1]s/error.log warn;
events { worker_connections 1024; }
http {
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  log_format seen '$http_webhook_id $status';
  access_log %[1]s/seen.log seen;
  server {
    listen %[2]s ssl http2;
    ssl_certificate %[1]s/cert.pem;
    ssl_certificate_key %[1]s/key.pem;
    %[3]s
    location / { return 200 "ok"; }
  }
}
`, dir, address, directives)
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key, "nginx.conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n := &h2Nginx{t: t, dir: dir, url: "https://" + address + "/hook", proc: exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))}
	var said bytes.Buffer
	n.proc.Stderr = &said
	if err := n.proc.Start(); err != nil {
		t.Fatalf("nginx is needed: run 'make setup', or install it (Debian: apt-get install nginx): %v", err)
	}
	t.Cleanup(func() {
		_ = n.proc.Process.Signal(syscall.SIGTERM)
		_ = n.proc.Wait()
	})
	wait(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return n
}

// reload has the workers replaced.
func (n *h2Nginx) reload() {
	if err := n.proc.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Error(err)
	}
}

// times returns how often each event was answered, according to nginx.
func (n *h2Nginx) times() map[string]int {
	file, err := os.Open(filepath.Join(n.dir, "seen.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer file.Close()
	times := make(map[string]int)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		id, _, _ := strings.Cut(lines.Text(), " ")
		times[id]++
	}
	return times
}

func few(events int) int {
	if testing.Short() {
		return events / 4
	}
	return events
}

func TestH5_NginxThatEndsItsConnectionsCostsNoAttempt(t *testing.T) {
	t.Parallel()
	n := startH2Nginx(t, "keepalive_requests 1000;") // its default
	ids := deliver(t, n.url, few(10_000), 1, nil)
	wantOnce(t, ids, n.times())
}

func TestH5_NginxThatEndsItsConnectionsVeryOftenCostsNoAttempt(t *testing.T) {
	t.Parallel()
	n := startH2Nginx(t, "keepalive_requests 70;")
	ids := deliver(t, n.url, few(4_000), 1, nil)
	wantOnce(t, ids, n.times())
}

func TestH5_NginxThatIsReloadedCostsNoAttempt(t *testing.T) {
	t.Parallel()
	n := startH2Nginx(t, "")
	ids := deliver(t, n.url, few(6_000), 6, func(int) { n.reload() })
	wantOnce(t, ids, n.times())
}

func TestH2_NginxThatAllowsFewStreamsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			n := startH2Nginx(t, fmt.Sprintf("http2_max_concurrent_streams %d;", limit))
			ids := deliver(t, n.url, few(2_000), 1, nil)
			wantOnce(t, ids, n.times())
		})
	}
}

// counter counts events as they arrive.
type counter struct {
	mu    sync.Mutex
	times map[string]int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	if c.times == nil {
		c.times = make(map[string]int)
	}
	c.times[r.Header.Get("Webhook-Id")]++
	c.mu.Unlock()
}

// A Go server is replaced by the next one, which listens before the first stops
// to: a rolling deployment.
func TestH5_GoServersThatAreReplacedCostNoAttempt(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- conn
		}
	}()
	var seen counter
	begin := func() *http.Server {
		s := &http.Server{
			Handler:   &seen,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
			HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 250},
			ErrorLog:  log.New(io.Discard, "", 0), // connections that were made and not used
		}
		go s.ServeTLS(&handOver{ln.Addr(), conns, make(chan struct{}), sync.Once{}}, "", "")
		return s
	}
	server := begin()
	t.Cleanup(func() {
		ln.Close()
		for open := true; open; {
			select {
			case conn := <-conns:
				conn.Close()
			case <-ended:
				open = false
			}
		}
		server.Close()
	})
	ids := deliver(t, "https://"+ln.Addr().String()+"/hook", few(6_000), 6, func(int) {
		old := server
		server = begin()
		if err := old.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	wantOnce(t, ids, seen.times)
}

// A handOver is a listener for one of several servers that share a port. Its end
// does not end the others, and no connection is lost between them.
type handOver struct {
	addr   net.Addr
	conns  <-chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (h *handOver) Accept() (net.Conn, error) {
	select {
	case <-h.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handOver) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handOver) Addr() net.Addr { return h.addr }

// A Node server ends each session in order after so many streams, and allows few
// of them at once.
func TestH5_NodeServerThatEndsItsSessionsCostsNoAttempt(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	for name, limit := range map[string]string{"as many streams as they like": "200", "few streams": "2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, ".", "orderly.mjs", "TLS_CERT="+cert, "TLS_KEY="+key, "AT_ONCE="+limit, "A_SESSION=150")
			port, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			ids := deliver(t, "https://127.0.0.1:"+strings.TrimSpace(port)+"/hook", few(3_000), 1, nil)
			times := make(map[string]int)
			for range ids {
				line, err := p.next()
				if err != nil {
					t.Fatal(err)
				}
				times[strings.TrimSpace(line)]++
			}
			wantOnce(t, ids, times)
		})
	}
}
