package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// A plainSender is a Dispatcher with the client that every host gets by default,
// and what came of its attempts. Nothing is tried again.
type plainSender struct {
	*webhook.Dispatcher
	t *testing.T

	mu       sync.Mutex
	attempts map[string][]webhook.Attempt // by webhook ID
}

func newPlainSender(t *testing.T) *plainSender {
	t.Helper()
	s := &plainSender{t: t, attempts: make(map[string][]webhook.Attempt)}
	cfg := webhooktest.AllowLoopback(webhook.Config{})
	cfg.Hooks.Attempt = func(d webhook.Delivery, a webhook.Attempt) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attempts[d.WebhookID] = append(s.attempts[d.WebhookID], a)
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Dispatcher = d
	return s
}

func (s *plainSender) hook(url string) webhook.Webhook {
	s.t.Helper()
	w, _, err := s.CreateWebhook(s.t.Context(), tenant, webhook.WebhookSpec{Name: "plain", URL: url, Events: []string{"*"}, MaxRetries: new(0)})
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

func (s *plainSender) outcomes(w webhook.Webhook) (ok int, failures []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.attempts[w.ID] {
		if a.Succeeded() {
			ok++
		} else {
			failures = append(failures, a.Error)
		}
	}
	return ok, failures
}

// program starts a program and waits until something accepts connections at its
// address. It is ended with the test.
func program(t *testing.T, address string, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: run 'make setup': %v", name, err)
	}
	cmd := exec.Command(path, args...)
	said := new(output)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at %s: %s", name, address, said)
		}
	}
}

// config writes a configuration file.
func config(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nginx starts an nginx with one server per line of directives, and returns where
// they listen.
func nginx(t *testing.T, servers ...string) (addresses []string) {
	t.Helper()
	folder := t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, "daemon off;\nmaster_process off;\npid %[1]s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+
		"client_body_temp_path %[1]s/a;\nproxy_temp_path %[1]s/b;\nfastcgi_temp_path %[1]s/c;\nuwsgi_temp_path %[1]s/d;\nscgi_temp_path %[1]s/e;\n", folder)
	for _, directives := range servers {
		address := "127.0.0.1:" + freePort(t)
		addresses = append(addresses, address)
		fmt.Fprintf(&text, "server { listen %s; %s location / { return 200 ok; } }\n", address, directives)
	}
	text.WriteString("}\n")
	program(t, addresses[0], "nginx", "-p", folder, "-c", config(t, "nginx.conf", text.String()))
	return addresses
}

// Receivers that close idle connections soon: none of them loses an attempt, though
// the traffic comes just when they close.
func TestIdleConnections_NoAttemptMeetsTheClose(t *testing.T) {
	t.Parallel()
	at := nginx(t, "keepalive_timeout 2s 2s;", "keepalive_timeout 3s 3s;", "keepalive_timeout 2s;", "keepalive_requests 7;")
	node := "127.0.0.1:" + freePort(t)
	_, nodePort, _ := net.SplitHostPort(node)
	program(t, node, "node", config(t, "receiver.mjs", `import http from 'node:http';
const server = http.createServer((req, res) => { req.resume().on('end', () => res.end('ok')); });
server.keepAliveTimeout = 2000;
server.listen(`+nodePort+`, '127.0.0.1');
`))
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	goServer := &http.Server{IdleTimeout: 2 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })}
	go goServer.Serve(ln)
	t.Cleanup(func() { goServer.Close() })

	var all sync.WaitGroup
	for _, row := range []struct {
		name, address string
		idle          time.Duration
		silent        bool // it does not say how long it keeps connections
	}{
		{"nginx, 2 s", at[0], 2 * time.Second, false},
		{"nginx, 3 s", at[1], 3 * time.Second, false},
		{"nginx, 2 s and silent", at[2], 2 * time.Second, true},
		{"nginx, seven requests", at[3], 100 * time.Millisecond, false},
		{"Node, 2 s", node, 2 * time.Second, false},
		{"Go, 2 s and silent", ln.Addr().String(), 2 * time.Second, true},
	} {
		s := newPlainSender(t)
		w := s.hook("http://" + row.address + "/")
		keepSending(t, s)
		all.Go(func() { // together: they wait most of the time
			sent := 0
			round := func(n int) {
				for range n {
					if _, err := s.Publish(t.Context(), event(map[string]int{"n": sent})); err != nil {
						t.Error(err)
					}
					sent++
				}
				s.settled(w, sent)
			}
			if row.silent { // it is what it does that tells
				round(1)
				<-time.After(row.idle + 2*time.Second)
			}
			for i := range 6 {
				round(20)
				<-time.After(row.idle + time.Duration(5*(i-3))*time.Millisecond)
			}
			ok, failures := s.outcomes(w)
			if len(failures) > 0 || ok != sent {
				t.Errorf("%s: %d of %d attempts succeeded; failures: %q", row.name, ok, sent, failures)
			}
		})
	}
	all.Wait()
}

// keepSending runs the Dispatcher until the test ends.
func keepSending(t *testing.T, s *plainSender) {
	t.Helper()
	ctx, ended := t.Context(), make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// settled waits until so many attempts were made.
func (s *plainSender) settled(w webhook.Webhook, n int) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		ok, failures := s.outcomes(w)
		if ok+len(failures) >= n {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%d of %d attempts were made", ok+len(failures), n)
			return
		}
	}
}

// HAProxy refuses before it has read a large body, and closes. Its answer counts,
// each time.
func TestEarlyAnswers_OfHAProxyAreNeverLost(t *testing.T) {
	t.Parallel()
	address := "127.0.0.1:" + freePort(t)
	program(t, address, "haproxy", "-db", "-f", config(t, "haproxy.cfg", `global
	maxconn 1000
defaults
	mode http
	timeout client 10s
	timeout connect 10s
	timeout server 10s
frontend receiver
	bind `+address+`
	http-request deny deny_status 401 if { path /401 }
	http-request deny deny_status 410 if { path /410 }
	http-request deny deny_status 413 if { path /413 }
	http-request deny status 429 hdr Retry-After 7 if { path /429 }
	http-request deny deny_status 403
`))
	for _, status := range []int{401, 410, 413, 429} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			s := newPlainSender(t)
			events := 0
			for _, size := range []int{1 << 10, 20 << 10, 100 << 10, 200 << 10} {
				w := s.hook("http://" + address + "/" + strconv.Itoa(status)) // 410 disables it
				const each = 12
				for range each {
					if _, err := s.Publish(t.Context(), event(map[string]string{"filler": strings.Repeat("x", size)})); err != nil {
						t.Fatal(err)
					}
					events++
				}
				if _, err := webhooktest.UntilIdle(t.Context(), s.Dispatcher, tenant); err != nil {
					t.Fatal(err)
				}
				s.mu.Lock()
				attempts := s.attempts[w.ID]
				s.mu.Unlock()
				if len(attempts) == 0 || status != 410 && len(attempts) != each {
					t.Errorf("%d attempts for %d events of %d bytes", len(attempts), each, size)
				}
				for _, a := range attempts {
					if a.Status != status {
						t.Errorf("%d bytes: status %d, %s", size, a.Status, a.Error)
					}
				}
				if err := s.DeleteWebhook(t.Context(), tenant, w.ID); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
