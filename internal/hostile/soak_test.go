package hostile

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// errInjected is what a store with faults returns now and then.
var errInjected = errors.New("injected fault")

// A faultyStore fails one call in a hundred of those that a dispatcher makes: half
// of them before anything was done, half of them after.
type faultyStore struct {
	webhook.Store
	faults atomic.Int64
}

func (s *faultyStore) fails() (before, after bool) {
	n := rand.IntN(200)
	if n < 2 {
		s.faults.Add(1)
	}
	return n == 0, n == 1
}

func (s *faultyStore) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	before, after := s.fails()
	if before {
		return webhook.ClaimResult{}, errInjected
	}
	res, err := s.Store.Claim(ctx, r)
	if after {
		return webhook.ClaimResult{}, errInjected
	}
	return res, err
}

func (s *faultyStore) Extend(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) ([]string, error) {
	before, after := s.fails()
	if before {
		return nil, errInjected
	}
	lost, err := s.Store.Extend(ctx, now, l, d)
	if after {
		return nil, errInjected
	}
	return lost, err
}

func (s *faultyStore) Complete(ctx context.Context, now time.Time, r []webhook.Result) ([]webhook.Outcome, error) {
	before, after := s.fails()
	if before {
		return nil, errInjected
	}
	outcomes, err := s.Store.Complete(ctx, now, r)
	if after {
		return nil, errInjected
	}
	return outcomes, err
}

func (s *faultyStore) Release(ctx context.Context, now time.Time, l []webhook.Lease, d time.Duration) error {
	if before, _ := s.fails(); before {
		return errInjected
	}
	return s.Store.Release(ctx, now, l, d)
}

// openAll makes all the connections that db may have, so that one more of them in a
// later cycle, with its three files, is no growth.
func openAll(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	var conns []*sql.Conn // closed at the end only: the next one has to be another
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range n {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.ExecContext(t.Context(), "PRAGMA journal_mode = WAL; SELECT count(*) FROM sqlite_schema"); err != nil {
			t.Fatal(err)
		}
	}
}

// lockNowAndThen takes SQLite's write lock from outside for up to two seconds every
// few seconds, as a backup or a careless script would.
func lockNowAndThen(ctx context.Context, db *sql.DB) {
	for ctx.Err() == nil {
		if !wait(ctx, 2*time.Second+rand.N(4*time.Second)) {
			return
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			continue
		}
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err == nil {
			wait(ctx, rand.N(2*time.Second))
			conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
		conn.Close()
	}
}

// wait waits and reports whether ctx still lasts.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// TestC5_Soak runs a dispatcher over SQLite with the whole catalogue and ten healthy
// webhooks, a store that fails now and then and is locked by others, and a restart
// after every cycle, for as long as -long says. After every cycle the process has to
// hold what it held after the first ones; at the end every event that Publish
// acknowledged has arrived at every healthy webhook.
func TestC5_Soak(t *testing.T) {
	length, cycle := 10*time.Second, 2*time.Second
	if testing.Short() {
		length = 4 * time.Second
	}
	if *long > 0 {
		length, cycle = *long, min(*long/8, 30*time.Second)
	}
	c := gather(t)
	// Every connection looks after its own settings; the store's doc says which.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "soak.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	openAll(t, db, 8)
	store, err := sqlitestore.New(db, sqlitestore.Config{EventCache: 1 << 20}) // full long before the end
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	faulty := &faultyStore{Store: store}
	w, log := newWatcher(), new(logWatcher)
	arrived := newArrivals()
	d, err := webhook.New(faulty, webhook.Config{
		Guard: loopbackGuard(c.names), Retry: schedule, MaxRetryAfter: farAhead, MaxInFlight: 128, DisableAfter: -1, Lease: 5 * time.Second,
		Retention: 2 * cycle, DrainTimeout: limit + patience, Logger: log.logger(), Hooks: webhook.Hooks{Attempt: w.attempt},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.register(t, d, w, true)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var others sync.WaitGroup
	others.Go(func() { lockNowAndThen(ctx, db) })
	others.Go(func() { publishBad(ctx, d) })

	var usages []usage
	atFirst := measure(true)
	published := 0
	began := time.Now()
	for n := 0; time.Since(began) < length || n < 3; n++ {
		r := start(d)
		published += arrived.publishGood(t, d, cycle)
		if err := r.end(); err != nil {
			t.Logf("cycle %d: Run ended with %v", n, err) // of the injected faults; leases expire
		}
		if _, err := d.Prune(ctx); err != nil {
			t.Logf("cycle %d: prune: %v", n, err)
		}
		// Dials that were given up end by themselves, within a handshake's limit.
		usages = append(usages, settled(atFirst, 2*limit))
		t.Logf("%v: %v; %d events published", time.Since(began).Round(time.Second), usages[n], published)
	}
	cancel()
	others.Wait()

	// Without load the rest arrives: at the latest when the leases of what was lost
	// to faults have expired.
	r := start(d)
	deadline := time.Now().Add(time.Minute)
	for left := -1; time.Now().Before(deadline); wait(t.Context(), 200*time.Millisecond) {
		was := left
		if left = arrived.missing(c.healthy.report(t), published); left == 0 {
			break
		}
		if left < was { // slow is not lost
			deadline = time.Now().Add(time.Minute)
		}
	}
	if err := r.end(); err != nil {
		t.Logf("Run ended with %v", err)
	}
	if n := arrived.missing(nil, published); n > 0 {
		t.Errorf("healthy webhooks miss %d events of %d", n, published)
	}
	for name, r := range c.hostile.report(t) {
		for _, problem := range append(r.Doubles, r.Problems...) {
			t.Errorf("%s: %s", c.rowOf[name].name, problem)
		}
	}
	for _, line := range log.bad {
		t.Errorf("a line of the log holds what it must not: %s", line)
	}
	judgeGrowth(t, usages)
	attempts, late, _ := w.lateness()
	t.Logf("%v: %d events to %d healthy webhooks each, %d attempts at hostile ones (%d late), %d faults injected, %d lines logged",
		time.Since(began).Round(time.Second), published/10, healthyCount, attempts, late, faulty.faults.Load(), log.lines)
}

// publishBad publishes to the hostile webhooks until ctx ends.
func publishBad(ctx context.Context, d *webhook.Dispatcher) {
	for i := 0; wait(ctx, 500*time.Millisecond); i++ {
		// An error is a fault of the store: nobody counts these events.
		d.Publish(ctx, webhook.Event{Tenant: tenantOf(i), Type: "bad.event", Data: sent{At: time.Now().UnixNano()}})
	}
}

// arrivals compares what was published with what the healthy receivers have.
type arrivals struct{ last map[string]int }

func newArrivals() *arrivals { return &arrivals{last: make(map[string]int)} }

// publishGood publishes to every tenant until the time is over and returns how many
// events were acknowledged; what is not acknowledged is repeated under its ID.
func (a *arrivals) publishGood(t *testing.T, d *webhook.Dispatcher, length time.Duration) (n int) {
	t.Helper()
	for end := time.Now().Add(length); time.Now().Before(end); {
		for i := range 10 {
			ev := webhook.Event{ID: "evt_" + crand.Text(), Tenant: tenantOf(i), Type: "good.event", Data: sent{At: time.Now().UnixNano()}}
			for {
				_, err := d.Publish(t.Context(), ev)
				if err == nil {
					break
				}
				if !wait(t.Context(), 50*time.Millisecond) {
					t.Fatalf("publish: %v", err)
				}
			}
			n++
		}
		wait(t.Context(), 100*time.Millisecond)
	}
	return n
}

// missing returns how many events healthy endpoints lack, each of which gets those
// of one tenant: a tenth of what was published. A nil report is the last one.
func (a *arrivals) missing(reports map[string]report, published int) (n int) {
	for name, r := range reports {
		a.last[name] = r.Events
	}
	for _, events := range a.last {
		n += max(published/10-events, 0)
	}
	return n + max(healthyCount-len(a.last), 0)
}

// judgeGrowth compares the last third of the cycles with the second quarter: by then
// everything that is kept for good has been made.
func judgeGrowth(t *testing.T, usages []usage) {
	t.Helper()
	n := len(usages)
	early, late := usages[n/4:max(n/2, n/4+1)], usages[n-max(n/3, 1):]
	for what, f := range map[string]struct {
		of    func(usage) int64
		slack int64
	}{
		"memory": {func(u usage) int64 { return u.memory }, 8 << 20},
		// Go's resolver goes on for ten seconds with a look-up that no server answers,
		// in five goroutines, whoever has given it up.
		"goroutines": {func(u usage) int64 { return int64(u.goroutines) }, 15},
		"files":      {func(u usage) int64 { return int64(u.files) }, 5},
	} {
		if was, is := median(early, f.of), median(late, f.of); is > was+was/10+f.slack {
			t.Errorf("%s grew from %d to %d", what, was, is)
		}
	}
}

func median(us []usage, of func(usage) int64) int64 {
	var values []int64
	for _, u := range us {
		values = append(values, of(u))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
