package killtest

import (
	"database/sql"
	"syscall"
	"time"
)

// postgresScenarios are faults of PostgreSQL and of the way to it.
func postgresScenarios() []Scenario {
	all := []Scenario{
		{ID: "PG1 postmaster killed", run: func(r *run) { serverDown(r, max(r.opt.Kills/10, 1), syscall.SIGKILL) }},
		{ID: "PG2 stopped immediately and fast", Short: true, run: func(r *run) { serverDown(r, max(r.opt.Kills/5, 2), syscall.SIGQUIT, syscall.SIGINT) }},
		{ID: "PG3 D21 server frozen", run: serverFrozen},
		{ID: "PG4 backends terminated", run: backendsTerminated},
		{ID: "PG5 D18 connections reset", run: func(r *run) { proxied(r, connectionsReset) }},
		{ID: "PG5 connections stall", run: func(r *run) { proxied(r, connectionsStall) }},
		{ID: "PG5 slow database", run: func(r *run) { proxied(r, slowDatabase) }},
		{ID: "PG6 D17 answers to COMMIT lost", Short: true, run: func(r *run) { proxied(r, commitsLost) }},
		{ID: "PG7 repeatable read by default", run: dispatcherKilled, adapt: isolation("repeatable read")},
		{ID: "PG7 D19 serializable by default", run: dispatcherKilled, adapt: isolation("serializable")},
		{ID: "PG8 D22 pool of one connection", run: dispatcherKilled, adapt: func(s *spec) { s.PoolSize = 1 }},
		{ID: "PG9 D27 disk full", run: diskFull},
		{ID: "PG10 D19 read-only", run: readOnly},
		{ID: "K1 with lib/pq", run: dispatcherKilled, adapt: func(s *spec) { s.Engine = "postgres/pq" }},
	}
	for i := range all {
		all[i].On = "postgres"
	}
	return all
}

// isolation makes a level the default of every session.
func isolation(level string) func(s *spec) {
	return func(s *spec) {
		s.DSN += " default_transaction_isolation='" + level + "'"
	}
}

// PG1, PG2: the server goes away under load, again and again.
func serverDown(r *run, times int, signals ...syscall.Signal) {
	r.begin(2, nil)
	for i := range times {
		r.pause(r.random(500*time.Millisecond, 1500*time.Millisecond))
		r.untilBusy(r.dispatchers[0])
		from := time.Now()
		r.srv.down(signals[i%len(signals)])
		r.pause(r.random(0, r.scaled(500*time.Millisecond)))
		r.srv.up()
		r.outage(from)
	}
	r.pause(time.Second)
}

// PG3: all of the server's processes stand still.
func serverFrozen(r *run) {
	r.begin(2, nil)
	for range max(r.opt.Kills/25, 1) {
		r.pause(time.Second)
		from := time.Now()
		r.srv.freeze(true)
		r.pause(r.scaled(5 * time.Second))
		r.srv.freeze(false)
		r.outage(from)
	}
	r.pause(time.Second)
}

// PG4: all connections are terminated, every half second.
func backendsTerminated(r *run) {
	admin := r.srv.open()
	r.begin(2, nil)
	for range max(r.opt.Kills/10, 1) {
		r.pause(time.Second)
		from := time.Now()
		for range int(r.scaled(5*time.Second) / (500 * time.Millisecond)) {
			execute(r, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
			r.pause(500 * time.Millisecond)
		}
		r.outage(from)
	}
	r.pause(time.Second)
}

func execute(r *run, db *sql.DB, query string) {
	r.t.Helper()
	if _, err := db.ExecContext(r.t.Context(), query); err != nil {
		r.t.Errorf("%s: %v", query, err)
	}
}

// proxied runs a scenario with a proxy between the processes and the server.
func proxied(r *run, fault func(r *run, p *proxy)) {
	p := r.proxy(r.srv)
	r.via = r.srv.dsn(p.port())
	r.begin(2, nil)
	r.pause(time.Second)
	fault(r, p)
	r.pause(time.Second)
}

// proxy starts a proxy to a server.
func (r *run) proxy(s *server) *proxy {
	r.t.Helper()
	p, err := newProxy(s.socket())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.close)
	return p
}

// PG5: every connection is reset, again and again.
func connectionsReset(r *run, p *proxy) {
	for range r.opt.Kills {
		from := time.Now()
		p.reset()
		r.outage(from)
		r.pause(r.random(100*time.Millisecond, 700*time.Millisecond))
	}
}

// PG5: nothing passes and nothing is closed; then the connections break.
func connectionsStall(r *run, p *proxy) {
	for range max(r.opt.Kills/10, 1) {
		from := time.Now()
		p.stalled.Store(true)
		r.pause(r.scaled(4 * time.Second))
		p.refuse.Store(true)
		p.stalled.Store(false)
		p.reset()
		p.refuse.Store(false)
		r.outage(from)
		r.pause(time.Second)
	}
}

// PG5: every answer takes 200 ms, then 2 s, then all comes at 20 KB/s.
func slowDatabase(r *run, p *proxy) {
	from := time.Now()
	p.latency.Store(int64(200 * time.Millisecond))
	r.pause(r.scaled(3 * time.Second))
	p.latency.Store(int64(2 * time.Second))
	r.pause(r.scaled(3 * time.Second))
	p.latency.Store(0)
	p.rate.Store(20 << 10)
	r.pause(r.scaled(3 * time.Second))
	p.rate.Store(0)
	r.outage(from)
}

// PG6: the server commits, and the answer is lost with the connection, for one
// commit in twenty (D17).
func commitsLost(r *run, p *proxy) {
	from := time.Now()
	p.loses.Store(50)
	r.pause(r.scaled(4 * time.Second))
	eventually(20*time.Second, func() bool { return p.lost.Load() > 0 })
	p.loses.Store(0)
	r.outage(from)
	if p.lost.Load() == 0 {
		r.t.Error("PG6: no answer was lost: it proves nothing")
	}
}

// PG9: inserts fail as on a full disk, then there is room again.
func diskFull(r *run) {
	admin := r.srv.open()
	r.begin(2, nil)
	q := `"` + r.base.Schema + `".`
	execute(r, admin, `CREATE FUNCTION `+q+`full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$`)
	tables := []string{"events", "queue", "deliveries", "attempts", "claims"}
	for range max(r.opt.Kills/10, 1) {
		r.pause(time.Second)
		from := time.Now()
		for _, table := range tables {
			execute(r, admin, `CREATE TRIGGER full_disk BEFORE INSERT ON `+q+`webhook_`+table+` FOR EACH ROW EXECUTE FUNCTION `+q+`full()`)
		}
		r.pause(r.scaled(2 * time.Second))
		for _, table := range tables {
			execute(r, admin, `DROP TRIGGER full_disk ON `+q+`webhook_`+table)
		}
		r.outage(from)
	}
	r.pause(time.Second)
}

// PG10: the server refuses to write, as one that is no longer the primary.
func readOnly(r *run) {
	admin := r.srv.open()
	r.begin(2, nil)
	for range max(r.opt.Kills/25, 1) {
		r.pause(time.Second)
		from := time.Now()
		execute(r, admin, `ALTER SYSTEM SET default_transaction_read_only = on`)
		execute(r, admin, `SELECT pg_reload_conf()`)
		r.pause(r.scaled(3 * time.Second))
		execute(r, admin, `ALTER SYSTEM RESET default_transaction_read_only`)
		execute(r, admin, `SELECT pg_reload_conf()`)
		r.outage(from)
	}
	r.pause(time.Second)
}
