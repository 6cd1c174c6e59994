package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// swallower is a proxy before the server. When told to, it swallows all that its
// present connections send, and all later ones: there is no answer, and no
// connection is closed. Later it leads new connections to the server again; the old
// ones stay silent, as after a failover that drops packets.
type swallower struct {
	net.Listener
	mu     sync.Mutex
	links  []*atomic.Bool // whether each connection is swallowed
	closes []io.Closer
	silent bool
}

func newSwallower(t testing.TB) *swallower {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &swallower{Listener: l}
	pg := postgres(t)
	socket := fmt.Sprintf("%s/.s.PGSQL.%d", pg.Dir, pg.Port)
	var links sync.WaitGroup
	links.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				client.Close()
				continue
			}
			swallow := &atomic.Bool{}
			p.mu.Lock()
			swallow.Store(p.silent)
			p.links = append(p.links, swallow)
			p.closes = append(p.closes, client, server)
			p.mu.Unlock()
			links.Go(func() { pass(client, server, swallow) })
			links.Go(func() { pass(server, client, swallow) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.closes {
			c.Close()
		}
		p.mu.Unlock()
		links.Wait()
	})
	return p
}

// pass forwards data, or drops it while swallow is set. It closes the other side
// unless that must stay silent.
func pass(from, to net.Conn, swallow *atomic.Bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !swallow.Load() {
			if n > 0 {
				if _, werr := to.Write(buf[:n]); werr != nil {
					err = werr
				}
			}
			if err != nil {
				to.Close()
			}
		}
		if err != nil {
			return
		}
	}
}

// silence swallows present and future connections from now on, or, with false, only
// the present ones.
func (p *swallower) silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = on
	for _, l := range p.links {
		l.Store(true)
	}
}

func (p *swallower) open(t testing.TB, driver string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable connect_timeout=2",
		p.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(10)
	db.SetMaxIdleConns(10)
	t.Cleanup(func() { db.Close() })
	return db
}

// counted is a client that answers 204 and counts the events.
type counted struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[r.Header.Get("Webhook-Id")]++
	return &http.Response{StatusCode: 204, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// of returns how many events with this prefix of their ID have arrived.
func (c *counted) of(prefix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.seen {
		if strings.HasPrefix(id, prefix) {
			n++
		}
	}
	return n
}

// lines is a log that counts lines.
type lines struct {
	says string
	n    atomic.Int64
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, l.says) {
		l.n.Add(1)
	}
	return nil
}

// All connections of a dispatcher go silent, and new ones lead nowhere for a while.
// Each call is given up, the log and the Observer report that, and publishers
// without a deadline get an error. When new connections reach a server again, all
// events are delivered and published.
func TestDispatcherRecoversFromConnectionsThatGoSilent(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			owner := pgOpen(t, name, "")
			schema := pgSchema(t, owner)
			direct := pgStore(t, owner, pgstore.Config{Schema: schema})
			pgHook(t, direct, "wh_1", "*")

			proxy := newSwallower(t)
			s, err := pgstore.New(proxy.open(t, name), pgstore.Config{Schema: schema, PublishTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			rx := &counted{seen: map[string]int{}}
			logged := &lines{says: "a call of the store was given up"}
			var timeouts atomic.Int64
			d, err := webhook.New(s, webhook.Config{
				Client: &http.Client{Transport: rx}, Lease: 10 * time.Second, StoreTimeout: time.Second, PollInterval: 50 * time.Millisecond,
				Logger:   slog.New(logged),
				Observer: webhook.Observer{StoreTimeout: func(string, time.Duration) { timeouts.Add(1) }},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx) }()
			publish := func(st webhook.Store, prefix string) {
				t.Helper()
				var reqs []webhook.PublishRequest
				for i := range 20 {
					reqs = append(reqs, pgEvent(fmt.Sprintf("%s-%d", prefix, i)))
				}
				if failed := publishMany(within(t, time.Minute), st, reqs); len(failed) > 0 {
					t.Errorf("%d of 20 publishes %s failed: %v", len(failed), prefix, failed[0])
				}
			}
			publish(s, "before")
			eventually(t, "the events published before arrived", func() bool { return rx.of("before") == 20 })

			proxy.silence(true)
			var waiting sync.WaitGroup
			for i := range 4 {
				waiting.Go(func() { // without a deadline
					_, err := s.Publish(context.Background(), time.Now(), []webhook.PublishRequest{pgEvent(fmt.Sprintf("unknown-%d", i))})
					if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "unknown") {
						t.Errorf("a publish on a silent connection: %v, want that its outcome is unknown", err)
					}
				})
			}
			publish(direct, "meanwhile")
			waiting.Wait()
			eventually(t, "three calls are given up", func() bool { return timeouts.Load() >= 3 })
			if logged.n.Load() == 0 {
				t.Error("the log has no line")
			}
			proxy.silence(false)
			eventually(t, "the events published meanwhile arrived", func() bool { return rx.of("meanwhile") == 20 })
			publish(s, "after")
			eventually(t, "the events published afterwards arrived", func() bool { return rx.of("after") == 20 })
			eventually(t, "all results are recorded", func() bool {
				page, err := direct.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant, State: webhook.StatePending})
				if err != nil {
					t.Fatal(err)
				}
				return len(page.Items) == 0 && page.Next == ""
			})
			stop()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}
