package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// way is an address in front of servers, like a DNS name or a virtual IP: new
// connections lead to its current target, old ones stay where they are.
type way struct {
	l  net.Listener
	mu sync.Mutex
	to *Postgres
}

func newWay(t *testing.T, to *Postgres) *way {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{l: l, to: to}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	return w
}

func (w *way) serve(client net.Conn) {
	defer client.Close()
	w.mu.Lock()
	address := fmt.Sprintf("127.0.0.1:%d", w.to.Port)
	w.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			client.Close()
			server.Close()
		})
	}
	both.Wait()
}

// point makes new connections lead to a server.
func (w *way) point(to *Postgres) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

func (w *way) dsn() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", w.l.Addr().(*net.TCPAddr).Port)
}

// A name leads to a standby for a while, and then to the primary again. A
// connection of the pool stays with the standby for one call at most.
func TestPG10_PoolLeavesAReadOnlyServer(t *testing.T) {
	primary, err := StartPostgres("fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Stop() })
	standby, err := primary.Standby(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres sslmode=disable gssencmode=disable", primary.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Stop() })
	const pooled = 8
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			name := newWay(t, primary)
			admin := openDSN(t, driver, primary.DSN(), 2)
			cfg := pgstore.Config{Schema: pgSchema(t, admin)}
			pgHook(t, pgStore(t, admin, cfg), "wh_1", "*")
			var at string
			if err := admin.QueryRow(`SELECT pg_current_wal_lsn()`).Scan(&at); err != nil {
				t.Fatal(err)
			}
			follower := openDSN(t, driver, standby.DSN(), 1)
			eventually(t, "the standby has the tables", func() bool {
				var has bool
				return follower.QueryRow(`SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn`, at).Scan(&has) == nil && has
			})
			db := openDSN(t, driver, name.dsn(), pooled)
			s, err := pgstore.New(db, cfg)
			if err != nil {
				t.Fatal(err)
			}
			calls := map[string]func(i int) error{
				"one event": func(i int) error {
					_, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent(fmt.Sprint("one-", i))})
					return err
				},
				"two events": func(i int) error {
					_, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent(fmt.Sprint("a-", i)), pgEvent(fmt.Sprint("b-", i))})
					return err
				},
				"claim": func(i int) error {
					_, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: int64(i + 1), Now: time.Now(), Lease: time.Minute, Limit: 1, PerWebhook: 1})
					return err
				},
			}
			n := 0
			for what, call := range calls {
				name.point(standby)
				fill(t, db, pooled)
				name.point(primary)
				failures := 0
				for range 4 * pooled {
					n++
					if err := call(n); err != nil {
						failures++
						if !strings.Contains(err.Error(), "target_session_attrs=read-write") {
							t.Errorf("%s: the error does not say what to do: %v", what, err)
						}
					}
				}
				if failures == 0 || failures > pooled {
					t.Errorf("%s: %d of %d calls failed after the name led to the primary again; %d connections were pooled", what, failures, 4*pooled, pooled)
				}
			}
		})
	}
}

// fill makes a pool hold n idle connections, all of them new.
func fill(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(n)
	var conns []*sql.Conn
	for range n {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// All connections of a pool have ended while they were idle: no transaction fails
// because of that. (With pgx, no single statement fails either; lib/pq cannot tell
// whether the server got it.)
func TestPG05_ConnectionsThatEndedUnused(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "application_name=ended_"+driver)
			s := pgStore(t, db, pgstore.Config{})
			pgHook(t, s, "wh_1", "*")
			other := pgOpen(t, driver, "")
			for i := range 4 {
				fill(t, db, 12)
				for ended := 1; ended > 0; {
					if err := other.QueryRow(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1`, "ended_"+driver).Scan(&ended); err != nil {
						t.Fatal(err)
					}
				}
				if i%2 == 0 && driver == "pgx" {
					mustPublish(t, s, pgEvent(eventID(i)))
				} else {
					pgClaim(t, s, time.Now(), 1)
				}
			}
		})
	}
}
