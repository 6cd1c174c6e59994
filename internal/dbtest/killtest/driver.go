package killtest

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
)

// Options are what a run is given from outside.
type Options struct {
	Seed  uint64
	Kills int     // of scenarios that count kills
	Rate  int     // events per second
	Scale float64 // of the times that faults last; 1: as in short runs
	Old   string  // a binary of this test, of an earlier commit
	// Slack is how much longer than claim C says a delivery may wait: 0 for a run that
	// has the machine and its disk to itself.
	Slack time.Duration
}

// Times of a run: short, so that the run is.
const (
	leaseTime    = 4 * time.Second
	pollTime     = 100 * time.Millisecond
	hookTimeout  = 2 * time.Second
	reapInterval = time.Second
	drainLimit   = 4 * time.Minute
)

// run is one load with faults, and what is known of it.
type run struct {
	t     testing.TB
	opt   Options
	dir   string
	rng   *mrand.Rand
	base  spec // what all processes are told
	db    *database
	d     *webhook.Dispatcher // manages webhooks, never runs
	ids   map[string]webhook.Webhook
	serve string // address of the receiver

	receiver    *process
	publisher   *process
	dispatchers []*process // by slot; those that run
	all         []*process // every process there was
	published   uint64     // events of the publishers before this one
	names       int

	kills    []kill
	outages  []outage
	poison   bool                                  // dispatchers die at events of poisonType, which are set aside
	exact    bool                                  // nothing may arrive twice
	skewed   bool                                  // the clocks of dispatchers are wrong
	reported bool                                  // what is pending in the end is reported so, by a host
	forgets  bool                                  // processes die with all they had, in memory
	hosts    map[uint64]map[string]webhook.Webhook // the webhooks of each host, by key
	retries  int                                   // of each webhook
	replays  int                                   // how often everything that failed was replayed
	srv      *server                               // PostgreSQL's; nil for others
	via      string                                // the processes' way to the database, when not base.DSN
	took     time.Duration

	pendingErr error // of the last look at what is pending
	machine    machine
	after      func(ev *evidence) // further checks of a scenario; may be nil
	ticker     chan struct{}
}

// kill is the end, or the stopping, of a dispatcher in the middle of its work.
type kill struct {
	name     string    // of the dispatcher
	at       time.Time // of the kill
	until    time.Time // when one could claim again; zero: one could all the time
	inFlight int       // attempts, by its gauge
	stopped  bool      // SIGSTOP, or SIGTERM without time to drain
	alone    bool      // no other dispatcher ran
}

// outage is a time in which the store could not be reached, or not written.
type outage struct {
	from, to time.Time
	forgets  bool // what was committed in it is gone
}

// newRun starts a receiver and creates the schema.
func newRun(t testing.TB, opt Options, base spec) *run {
	t.Helper()
	r := newReceiverRun(t, opt, base)
	r.use(r.base.DSN)
	return r
}

// use opens the database at an address, which all processes will use from now
// on, and creates the schema.
func (r *run) use(dsn string) {
	r.t.Helper()
	if r.db != nil {
		r.db.close()
	}
	r.base.DSN = dsn
	var err error
	if r.db, err = r.open(r.base); err == nil {
		err = r.db.migrate(r.t.Context())
	}
	if err == nil {
		r.d, err = webhook.New(r.db.store, webhook.Config{
			Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// newReceiverRun starts a receiver only.
func newReceiverRun(t testing.TB, opt Options, base spec) *run {
	t.Helper()
	r := &run{t: t, opt: opt, dir: t.TempDir(), rng: mrand.New(mrand.NewPCG(opt.Seed, 1)), ids: map[string]webhook.Webhook{}, retries: maxRetries} //nolint:gosec // a schedule
	base.Dir, base.Seed = r.dir, opt.Seed
	if base.Lease == 0 {
		base.Lease = leaseTime
	}
	base.Poll, base.Drain = pollTime, hookTimeout+3*time.Second
	r.base = base
	r.certificate()
	t.Cleanup(r.cleanup)
	r.receiver = r.start(r.child("receiver"))
	r.serve = r.receiver.ready(t)
	r.ticker = make(chan struct{})
	go r.watchMachine()
	return r
}

// begin creates the webhooks and starts n dispatchers and the load.
func (r *run) begin(n int, change func(i int, s *spec)) {
	r.t.Helper()
	r.register()
	r.dispatch(n, change)
	r.publish()
}

// register creates the webhooks of the load.
func (r *run) register() {
	r.t.Helper()
	var mu sync.Mutex
	var creating sync.WaitGroup
	for i := range tenantCount {
		creating.Go(func() {
			for _, h := range hooks()[i*hooksPerTenant : (i+1)*hooksPerTenant] {
				w := r.create(h)
				mu.Lock()
				r.ids[h.Key] = w
				mu.Unlock()
			}
		})
	}
	creating.Wait()
}

func (r *run) create(h hook) webhook.Webhook {
	r.t.Helper()
	w, _, err := r.d.CreateWebhook(r.t.Context(), h.Tenant, r.base.webhook(h, r.serve, r.retries))
	if err != nil {
		r.t.Errorf("creating webhook %s: %v", h.Key, err)
	}
	return w
}

// cleanup ends every process that is left.
func (r *run) cleanup() {
	for _, p := range r.all {
		if !p.over() {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGKILL)
			<-p.done
		}
	}
	if r.db != nil {
		r.db.close()
	}
}

// child returns the spec of a new process.
func (r *run) child(role string) spec {
	s := r.base
	r.names++
	s.Role, s.Name = role, fmt.Sprintf("%s-%d", role, r.names)
	if r.via != "" {
		s.DSN = r.via
	}
	return s
}

func (r *run) start(s spec) *process {
	p := start(r.t, s)
	r.all = append(r.all, p)
	return p
}

// publish starts the publisher.
func (r *run) publish() {
	r.t.Helper()
	s := r.child("publisher")
	s.Rate, s.Workers = r.opt.Rate, 16
	s.First = r.published
	r.published += numbers
	r.publisher = r.start(s)
	r.publisher.ready(r.t)
}

// dispatch starts n dispatchers; change, which may be nil, adjusts each.
func (r *run) dispatch(n int, change func(i int, s *spec)) {
	r.t.Helper()
	for i := range n {
		s := r.child("dispatcher")
		if change != nil {
			change(i, &s)
		}
		r.dispatchers = append(r.dispatchers, r.start(s))
	}
	for _, p := range r.dispatchers {
		p.ready(r.t)
	}
}

// restart replaces the dispatcher in a slot.
func (r *run) restart(slot int, change func(s *spec)) {
	r.t.Helper()
	old := r.dispatchers[slot]
	s := old.spec
	r.names++
	s.Name = fmt.Sprintf("dispatcher-%d", r.names)
	if change != nil {
		change(&s)
	}
	p := r.start(s)
	r.dispatchers[slot] = p
	p.ready(r.t)
	now := time.Now()
	for i := range r.kills {
		if k := &r.kills[i]; k.alone && k.until.IsZero() {
			k.until = now
		}
	}
}

// gauge is what a dispatcher says of itself.
type gauge struct {
	inFlight, claimed int
	goroutines, kib   int
	late              time.Duration // the longest that it was not let run
}

func (p *process) gauge() (g gauge) {
	text, err := os.ReadFile(p.spec.file("gauge"))
	if err == nil {
		_, _ = fmt.Sscan(string(text), &g.inFlight, &g.claimed, &g.goroutines, &g.kib, (*int64)(&g.late))
	}
	return g
}

// enoughInFlight is how many attempts are in flight at a kill, so that the
// bound on duplicates is worth something.
const enoughInFlight = 10

// untilBusy waits until a dispatcher has enough attempts in flight, or after a
// while for any at all.
func (r *run) untilBusy(p *process) int {
	n, least := 0, enoughInFlight
	begin := time.Now()
	eventually(10*time.Second, func() bool {
		switch since := time.Since(begin); {
		case since > 4*time.Second:
			least = 1
		case since > 2*time.Second:
			least = enoughInFlight / 2
		}
		n = p.gauge().inFlight
		return n >= least || p.over()
	})
	return n
}

// kill kills the dispatcher in a slot while it is busy.
func (r *run) kill(slot int) {
	r.t.Helper()
	p := r.dispatchers[slot]
	n := r.untilBusy(p)
	p.kill()
	r.killed(p, n)
}

// killed notes that a dispatcher was killed, or has killed itself.
func (r *run) killed(p *process, inFlight int) {
	r.kills = append(r.kills, kill{name: p.spec.Name, at: p.ended, inFlight: inFlight, alone: !r.anotherRuns(p)})
}

func (r *run) anotherRuns(than *process) bool {
	return slices.ContainsFunc(r.dispatchers, func(p *process) bool { return p != than && !p.over() })
}

// stopping notes that a dispatcher is about to be stopped in its work.
func (r *run) stopping(p *process, inFlight int) {
	r.kills = append(r.kills, kill{name: p.spec.Name, at: time.Now(), inFlight: inFlight, stopped: true})
}

// outage notes a time in which the store was away.
func (r *run) outage(from time.Time) {
	r.outages = append(r.outages, outage{from: from, to: time.Now()})
}

// pause lets the load run for a while.
func (r *run) pause(d time.Duration) { wait(d) }

// random returns a random duration.
func (r *run) random(from, to time.Duration) time.Duration {
	return from + time.Duration(r.rng.Int64N(int64(to-from)))
}

// scaled is a duration that long runs make longer.
func (r *run) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * max(r.opt.Scale, 1))
}

// endLoad stops the publisher, which finishes what it is at.
func (r *run) endLoad() {
	r.t.Helper()
	if r.publisher == nil {
		return
	}
	if err := r.publisher.stop(); err != nil {
		r.t.Errorf("the publisher failed: %v", err)
	}
	r.publisher = nil
}

// drain ends the load, waits until nothing is pending and stops the dispatchers.
func (r *run) drain() {
	r.t.Helper()
	r.endLoad()
	begin := time.Now()
	pending := 0
	ok := eventually(drainLimit, func() bool {
		pending = r.pending()
		return pending == 0
	})
	if !ok {
		r.t.Errorf("C: %d deliveries or more are still pending %v after the load has ended (%v)", pending, drainLimit, r.pendingErr)
	}
	r.took = time.Since(begin)
	for _, p := range r.dispatchers {
		if err := p.stop(); err != nil {
			log, _ := os.ReadFile(p.spec.file("log"))
			r.t.Errorf("F: %s: %v\n%s", p.spec.Name, err, tail(log, 4000))
		}
	}
	close(r.ticker)
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// pending counts pending deliveries, up to the first page that has some.
func (r *run) pending() int {
	ctx, cancel := context.WithTimeout(background(), 20*time.Second)
	defer cancel()
	for _, tenant := range tenants() {
		q := webhook.DeliveryQuery{Tenant: tenant, State: webhook.StatePending, Limit: 500}
		for more := true; more; more = q.Cursor != "" {
			page, err := r.d.Deliveries(ctx, q)
			if err != nil {
				r.pendingErr = err
				return -1
			}
			if len(page.Items) > 0 {
				return len(page.Items)
			}
			q.Cursor = page.Next
		}
	}
	return 0
}
