package killtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Scenario is one kind of fault, under load.
type Scenario struct {
	ID    string // of the reliability checklist
	Short bool   // it is in the short run, too
	On    string // the engine that it is for; empty: all
	// Upgrade: it needs Options.Old.
	Upgrade bool
	run     func(r *run)
	adapt   func(s *spec)               // may be nil
	before  func(t testing.TB, s *spec) // may be nil
}

// Scenarios are all there are.
func Scenarios() []Scenario {
	return slices.Concat(killScenarios(), pointScenarios(), timeScenarios(), postgresScenarios(), standbyScenarios(), sqliteScenarios(), upgradeScenarios())
}

// Bench is where scenarios run: an engine and, for PostgreSQL, its server.
type Bench struct {
	engine string
	srv    *server
	n      int
}

// NewBench starts what an engine needs. Name is a key of engines.
func NewBench(t testing.TB, engine string) *Bench {
	b := &Bench{engine: engine}
	if b.postgres() {
		b.srv = startServer(t)
	}
	return b
}

func (b *Bench) postgres() bool { return strings.HasPrefix(b.engine, "postgres/") }

// Runs reports whether a scenario is for this engine.
func (b *Bench) Runs(sc Scenario) bool {
	return sc.On == "" || strings.HasPrefix(b.engine, sc.On+"/")
}

// Run runs a scenario, and fails t when a claim does not hold.
func (b *Bench) Run(t testing.TB, sc Scenario, opt Options) Row {
	t.Helper()
	b.n++
	s := spec{Engine: b.engine}
	if b.postgres() {
		s.DSN = b.srv.dsn(0)
		s.Schema = fmt.Sprintf("kill_%d", b.n)
	} else {
		s.DSN = t.TempDir() + "/queue.db"
	}
	if sc.adapt != nil {
		sc.adapt(&s)
	}
	if sc.before != nil {
		sc.before(t, &s)
	}
	begin := time.Now()
	since := func() time.Duration {
		d := time.Since(begin).Round(10 * time.Millisecond)
		begin = time.Now()
		return d
	}
	r := newRun(t, opt, s)
	r.srv = b.srv
	setup := since()
	sc.run(r)
	load := since()
	r.drain()
	drain := since()
	ev := r.collect()
	row := r.judge(ev)
	judging := since()
	if r.after != nil {
		r.after(ev)
	}
	r.invariants(ev)
	t.Logf("setup %v, load %v, drain %v, judging %v, invariants %v", setup, load, drain, judging, since())
	row.Scenario, row.Engine = sc.ID, b.engine
	return row
}

// Row is a line of the table of runs.
type Row struct {
	Scenario, Engine              string
	Seed                          uint64
	Kills, Outages                int
	Published, Delivered, Failed  int // events acknowledged; pairs
	Requests, Duplicates, Allowed int
	Lost, LeasesLost              int
	Stall, Drain, Machine         time.Duration
}

// RowHead and the String method are the table's head and its lines, in Markdown.
const RowHead = `| scenario | engine | seed | kills | outages | events acknowledged | delivered | used up | requests | duplicates (allowed) | leases lost | lost | longest stall | drain | machine |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|`

func (r Row) String() string {
	return fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d (%d) | %d | %d | %.1f s | %.1f s | %.1f s |",
		r.Scenario, r.Engine, r.Seed, r.Kills, r.Outages, r.Published, r.Delivered, r.Failed, r.Requests,
		r.Duplicates, r.Allowed, r.LeasesLost, r.Lost, r.Stall.Seconds(), r.Drain.Seconds(), r.Machine.Seconds())
}
