package dbtest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// Environment of a child process: its role, its file and its driver.
const (
	sqliteRole   = "DBTEST_SQLITE_ROLE"
	sqliteFile   = "DBTEST_SQLITE_FILE"
	sqliteDriver = "DBTEST_SQLITE_DRIVER"
	sqliteNumber = "DBTEST_SQLITE_NUMBER"
)

// sqliteChild returns this test binary as another process with a role.
func sqliteChild(t *testing.T, role, driver, path string, n int, under ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(under), self, "-test.run=^TestSQLiteChildProcess$")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), sqliteRole+"="+role, sqliteDriver+"="+driver, sqliteFile+"="+path, sqliteNumber+"="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestSQLiteChildProcess runs in the child processes of other tests; without a role
// it returns at once.
func TestSQLiteChildProcess(t *testing.T) {
	role := os.Getenv(sqliteRole)
	if role == "" {
		return
	}
	n, err := strconv.Atoi(os.Getenv(sqliteNumber))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(os.Getenv(sqliteDriver), os.Getenv(sqliteFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlitestore.New(db, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	switch role {
	case "publish": // prints acknowledged events until it is killed or done
		for i := range n {
			if err := sqlitePublish(s, "t", fmt.Sprintf("e%06d", i), 300); err != nil {
				t.Fatal(err)
			}
			fmt.Println("ack", fmt.Sprintf("e%06d", i))
		}
	case "publishtx": // the same in transactions of its own
		for i := range n {
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.PublishTx(t.Context(), tx, sqliteRequest("t", fmt.Sprintf("e%06d", i), 300)); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			fmt.Println("ack", fmt.Sprintf("e%06d", i))
		}
	case "claim": // claims until no delivery is due, and prints the claimed ones
		for empty := 0; empty < 5; {
			res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: rand.Int64N(1<<62) + 1, Now: time.Now(), Lease: time.Hour, Limit: 7, PerWebhook: 7})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Deliveries) == 0 {
				empty++
			}
			for _, d := range res.Deliveries {
				fmt.Println("got", d.Delivery.ID)
			}
		}
	default:
		t.Fatalf("no such role: %q", role)
	}
}

// sqliteSaid returns the words that follow a word in a child's output.
func sqliteSaid(out, word string) []string {
	var words []string
	for line := range strings.Lines(out) {
		if w, ok := strings.CutPrefix(strings.TrimSpace(line), word+" "); ok {
			words = append(words, w)
		}
	}
	return words
}

// Every acknowledged publish was on the disk: for sequential publishes there is at
// least one fsync for each.
func TestD1_SQLiteFsyncBeforeAcknowledge(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("strace counts the fsyncs of this test: install the package strace (%v)", err)
	}
	const publishes = 50
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "webhook.db")
		db := sqliteOpen(t, driver, path)
		sqliteStoreOn(t, db, sqlitestore.Config{})
		log := filepath.Join(t.TempDir(), "strace.log")
		cmd := sqliteChild(t, "publish", driver, path, publishes, strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", log)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if acks, syncs := len(sqliteSaid(string(out), "ack")), syncsIn(t, log); acks != publishes || syncs < acks {
			t.Errorf("%d publishes were acknowledged, %d expected, with %d fsyncs", acks, publishes, syncs)
		}
	})
}

// syncsIn counts the calls of fsync and fdatasync in a log of strace.
func syncsIn(t *testing.T, log string) (syncs int) {
	t.Helper()
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "sync(") && !strings.Contains(line, "resumed") {
			syncs++
		}
	}
	return syncs
}

// Two processes claim from one file: each delivery is claimed by one of them.
func TestD26_SQLiteTwoProcessesClaim(t *testing.T) {
	const events = 300
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "webhook.db")
		s := sqliteStoreOn(t, sqliteOpen(t, driver, path), sqlitestore.Config{})
		for i := range 3 {
			if err := s.CreateWebhook(t.Context(), sqliteHook("t", fmt.Sprintf("wh%d", i)), 0); err != nil {
				t.Fatal(err)
			}
		}
		var reqs []webhook.PublishRequest
		for i := range events / 3 {
			reqs = append(reqs, sqliteRequest("t", fmt.Sprintf("e%d", i), 100))
		}
		if _, err := s.Publish(t.Context(), time.Now(), reqs); err != nil {
			t.Fatal(err)
		}
		var outs [2]string
		var wg sync.WaitGroup
		for i := range outs {
			cmd := sqliteChild(t, "claim", driver, path, 0)
			wg.Go(func() {
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("process %d: %v\n%s", i, err, out)
				}
				outs[i] = string(out)
			})
		}
		wg.Wait()
		times := map[string]int{}
		for _, out := range outs {
			for _, id := range sqliteSaid(out, "got") {
				times[id]++
			}
		}
		for id, n := range times {
			if n != 1 {
				t.Errorf("delivery %s was claimed %d times", id, n)
			}
		}
		if len(times) != events {
			t.Errorf("%d of %d deliveries were claimed", len(times), events)
		}
	})
}

// A publisher is killed in the middle of a write. A dispatcher that starts
// afterwards on the same file delivers every acknowledged event.
func TestD1_SQLiteKilledPublisher(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "webhook.db")
		var mu sync.Mutex
		received := map[string]bool{}
		receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			received[r.Header.Get("webhook-id")] = true
		}))
		defer receiver.Close()

		db := sqliteOpen(t, driver, path)
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		w := sqliteHook("t", "wh")
		w.URL = receiver.URL
		if err := s.CreateWebhook(t.Context(), w, 0); err != nil {
			t.Fatal(err)
		}
		s.Close()

		cmd := sqliteChild(t, "publish", driver, path, 1_000_000)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := 20 + rand.IntN(60)
		var acked []string
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			acked = append(acked, sqliteSaid(lines.Text(), "ack")...)
			if len(acked) == stop {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // the error says that it was killed
		if len(acked) < stop {
			t.Fatalf("the publisher ended after %d events", len(acked))
		}

		s = sqliteStoreOn(t, db, sqlitestore.Config{})
		d, err := webhook.New(s, webhook.Config{AllowHTTP: true, Client: receiver.Client()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := d.Run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
		missing := func() (ids []string) {
			mu.Lock()
			defer mu.Unlock()
			for _, id := range acked {
				if !received[id] {
					ids = append(ids, id)
				}
			}
			return ids
		}
		deadline, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
		defer tick.Stop()
		for waiting := true; waiting && len(missing()) > 0; {
			select {
			case <-deadline:
				waiting = false
			case <-tick.C:
			}
		}
		cancel()
		wg.Wait()
		if ids := missing(); len(ids) > 0 {
			t.Errorf("%d of %d acknowledged events were not delivered: %v", len(ids), len(acked), ids)
		}
		sqliteIntact(t, db)
	})
}
