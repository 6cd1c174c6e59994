package killtest

import (
	"fmt"
	"syscall"
	"time"
)

// standbyScenarios switch to a promoted standby (PG10).
func standbyScenarios() []Scenario {
	return []Scenario{
		{ID: "PG10 standby promoted, synchronous", Short: true, On: "postgres", run: func(r *run) { promoted(r, true) }},
		{ID: "PG10 standby promoted, asynchronous", On: "postgres", run: func(r *run) { promoted(r, false) }},
	}
}

// PG10: the primary is killed under load, its standby promoted, and the way to
// the database led there. With synchronous replication nothing that was
// acknowledged is lost. With asynchronous replication the standby lags by some
// time here, so that there is a tail to lose: what was acknowledged in it is
// lost, or is delivered again, and is counted; nothing from before is.
func promoted(r *run, synchronous bool) {
	primary := startServer(r.t)
	wire := r.proxy(primary) // of the replication
	standby, err := primary.pg.Standby(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres sslmode=disable gssencmode=disable", wire.port()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = standby.Stop() })
	admin := primary.open()
	state := "async"
	if synchronous {
		state = "sync"
		execute(r, admin, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
		execute(r, admin, `SELECT pg_reload_conf()`)
	}
	if !eventually(30*time.Second, func() bool {
		var n int
		err := admin.QueryRowContext(r.t.Context(), `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1`, state).Scan(&n)
		return err == nil && n == 1
	}) {
		r.t.Fatal("PG10: the standby does not follow")
	}
	way := r.proxy(primary) // of the dispatchers, the publisher and the driver
	r.use(primary.dsn(way.port()))
	r.begin(2, nil)
	r.pause(r.scaled(time.Second))
	from := time.Now()
	if !synchronous {
		from = from.Add(-time.Second) // what was not yet on its way then
		wire.stalled.Store(true)
		r.pause(r.scaled(time.Second))
	}
	primary.down(syscall.SIGKILL)
	if err := standby.Promote(); err != nil {
		r.t.Fatal(err)
	}
	wire.close()
	wire.stalled.Store(false)
	r.srv = &server{t: r.t, pg: standby}
	way.lead(r.srv.socket())
	way.reset()
	r.outages = append(r.outages, outage{from: from, to: time.Now(), forgets: !synchronous})
	r.pause(r.scaled(2 * time.Second))
	r.after = func(ev *evidence) {
		events, received := ev.tail(r)
		r.t.Logf("PG10: of %d acknowledged events the new primary has forgotten %d; %d of these had been received", len(ev.acked), events, received)
		if !synchronous && events == 0 {
			r.t.Error("PG10: there was no tail to lose: it proves nothing")
		}
	}
}

// forgotten reports whether an event was acknowledged at a time that the store
// has forgotten.
func (r *run) forgotten(acked time.Time) bool {
	for _, o := range r.outages {
		if o.forgets && acked.After(o.from) && acked.Before(o.to) {
			return true
		}
	}
	return false
}

// tail counts the acknowledged events that the store has forgotten, and those
// among them that somebody had received.
func (ev *evidence) tail(r *run) (events, received int) {
	l := ledger{r: r, hooks: hooksByKey()}
	for n := range ev.acked {
		gone, got := false, false
		for _, p := range l.matches(makeEvent(r.opt.Seed, n)) {
			if _, ok := ev.stored[p]; !ok {
				gone = true
				got = got || len(ev.requests[p]) > 0
			}
		}
		if gone {
			events++
		}
		if got {
			received++
		}
	}
	return events, received
}
