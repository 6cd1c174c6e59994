package killtest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	long  = flag.Bool("long", false, "run every scenario, not only the short ones")
	kills = flag.Int("kills", 0, "kills in scenarios that count them; 0: 1, or 50 with -long")
	rate  = flag.Int("rate", 0, "events per second; 0: 30 on SQLite and 50 on PostgreSQL, 50 and 200 with -long")
	scale = flag.Float64("scale", 0, "how many times as long faults last; 0: 1, or 2 with -long")
	seed  = flag.Uint64("seed", 1, "of the schedule, the payloads and the receiver's answers")
	only  = flag.String("only", "", "run scenarios whose name contains this, short or not")
	old   = flag.String("old", "", "a binary of this test, made with go test -c at a commit whose tables are of an older version, for C4")
	table = flag.String("table", "", "append the lines of the table to this file")
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// The scenarios K and PG on PostgreSQL.
func TestKill_Postgres(t *testing.T) { scenarios(t, "postgres/pgx") }

// The scenarios K and L on SQLite.
func TestKill_SQLite(t *testing.T) { scenarios(t, "sqlite/modernc") }

// The scenarios K9: the memory store.
func TestKill_Memory(t *testing.T) {
	t.Parallel()
	opt := options("memory")
	for _, sc := range MemoryScenarios() {
		if wanted(sc) {
			t.Run(sc.ID, func(t *testing.T) { tabled(t, RunMemory(t, sc, opt)) })
		}
	}
}

// options are those of the command line.
func options(engine string) Options {
	opt := Options{Seed: *seed, Kills: *kills, Rate: *rate, Scale: *scale, Old: *old}
	if opt.Kills == 0 {
		opt.Kills = 1
		if *long {
			opt.Kills = 50
		}
	}
	if opt.Rate == 0 {
		opt.Rate = 30
		if *long {
			opt.Rate = 50
		}
		if strings.HasPrefix(engine, "postgres/") {
			opt.Rate = 50
			if *long {
				opt.Rate = 200
			}
		}
	}
	if opt.Scale == 0 && *long {
		opt.Scale = 2
	}
	if !*long {
		opt.Slack = 5 * time.Second // other tests run beside it, and write
	}
	return opt
}

// wanted reports whether a scenario is to be run, if it is for the engine.
func wanted(sc Scenario) bool {
	if sc.Upgrade && *old == "" {
		return false // there is nothing to upgrade from
	}
	if *only != "" {
		return strings.Contains(sc.ID, *only)
	}
	return sc.Short || *long
}

// tabled writes a line of the table.
func tabled(t *testing.T, row Row) {
	t.Helper()
	t.Logf("\n%s\n%s", RowHead, row)
	if *table == "" {
		return
	}
	f, err := os.OpenFile(*table, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	verdict := " passed |"
	if t.Failed() {
		verdict = " failed |"
	}
	if _, err := fmt.Fprintf(f, "%s%s\n", row, verdict); err != nil {
		t.Fatal(err)
	}
}

func scenarios(t *testing.T, engine string) {
	t.Parallel()
	opt := options(engine)
	b := NewBench(t, engine)
	for _, sc := range Scenarios() {
		if wanted(sc) && b.Runs(sc) {
			t.Run(sc.ID, func(t *testing.T) { tabled(t, b.Run(t, sc, opt)) })
		}
	}
}
