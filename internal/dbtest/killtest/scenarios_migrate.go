package killtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// migrate is a process that brings the tables up to date.
func migrate(s *spec) error {
	db, err := openDatabase(s)
	if err != nil {
		return err
	}
	defer db.close()
	return db.migrate(background())
}

// undo takes migrations back, the newest first, so that there are some to be
// done with events in the tables. Whoever adds a migration says here how.
type undo struct {
	version    int
	statements []string // # is what tables begin with
}

var undos = map[string][]undo{
	"postgres": {
		{6, []string{"ALTER TABLE #schema_version DROP COLUMN works_with", "DELETE FROM #schema_version WHERE version = 6"}},
		{5, []string{"DROP INDEX #queue_list", "CREATE INDEX webhook_queue_list ON #queue (wkey, created_at, ekey)", "DELETE FROM #schema_version WHERE version = 5"}},
		{4, []string{"ALTER TABLE #events DROP COLUMN trace", "DELETE FROM #schema_version WHERE version = 4"}},
	},
	"sqlite": {
		{7, []string{"DROP INDEX webhook_lanes_ready", "CREATE INDEX webhook_lanes_ready ON #lanes (wkey) WHERE ready = 1",
			"ALTER TABLE #lanes DROP COLUMN tkey", "DELETE FROM #schema_version WHERE version = 7"}},
		{6, []string{"ALTER TABLE #schema_version DROP COLUMN works_with", "DELETE FROM #schema_version WHERE version = 6"}},
		{5, []string{"ALTER TABLE #events DROP COLUMN trace", "DELETE FROM #schema_version WHERE version = 5"}},
	},
}

func (r *run) undos() []undo {
	engine, _, _ := strings.Cut(r.base.Engine, "/")
	return undos[engine]
}

// takeBack takes the run's database back to a version.
func (r *run) takeBack(to int) {
	r.t.Helper()
	all := r.undos()
	if have := r.schemaVersion(r.base); have > all[0].version {
		r.t.Fatalf("the tables have version %d: say in undos how to take its migration back", have)
	}
	db, err := r.open(r.base) // one that has not looked at the tables before
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.close()
	for _, u := range all {
		if u.version <= to {
			break
		}
		for _, q := range u.statements {
			execute(r, db.db, strings.ReplaceAll(q, "#", r.base.prefix()))
		}
	}
	if have := r.schemaVersion(r.base); have != to {
		r.t.Fatalf("the tables have version %d, and undos does not say how to take them back to %d", have, to)
	}
}

// prefix is what the names of tables begin with.
func (s *spec) prefix() string {
	if s.Schema != "" {
		return `"` + s.Schema + `".webhook_`
	}
	return "webhook_"
}

// K5, D24: processes die in the middle of Migrate, at each of its statements,
// before it and within it: once making all tables, once bringing tables up to
// date that are full of events which wait. After each death everything is as it
// was, or done. Dispatchers refuse the old tables and say what to do, and
// deliver what waited once there are new ones.
func killedInMigrations(r *run) {
	newest := r.undos()[0].version
	databases := 0
	deaths := r.migrateDying(0, newest, func() spec {
		s := r.base // with a place of its own
		databases++
		if s.Schema != "" {
			s.Schema = fmt.Sprintf("%s_new_%d", s.Schema, databases)
		} else {
			s.DSN = fmt.Sprintf("%s.new-%d", s.DSN, databases)
		}
		return s
	})

	r.begin(0, nil)
	r.pause(time.Second)
	r.endLoad()
	deaths += r.migrateDying(newest-1, newest, func() spec {
		r.takeBack(newest - 1)
		return r.base
	})
	r.t.Logf("K5: %d processes died in migrations", deaths)

	r.takeBack(newest - 1)
	for range 2 {
		r.dispatchers = append(r.dispatchers, r.start(r.child("dispatcher")))
	}
	for _, p := range r.dispatchers {
		r.refuses(p)
	}
	if p := r.migrator(r.base, "", 0); p.err != nil {
		r.t.Errorf("K5: seed %d: Migrate beside dispatchers that wait for it: %v", r.opt.Seed, p.err)
	}
	r.publish()
	r.killDispatchers(1)
}

// migrateDying starts processes that migrate and die at their first statement,
// their second, and so on, until one lives; what one has brought to its end is
// begun anew. It returns how many died.
func (r *run) migrateDying(from, to int, begin func() spec) (deaths int) {
	r.t.Helper()
	s := begin()
	for at := 1; ; at++ {
		lived := 0
		for _, point := range []string{pointStatement, pointInsideStatement} {
			p := r.migrator(s, point, at)
			died := p.signaled() == syscall.SIGKILL // how many statements there are varies: it may have fewer than the one before
			if died {
				deaths++
			} else if lived++; p.err != nil {
				log, _ := os.ReadFile(p.spec.file("log"))
				r.t.Fatalf("K5: seed %d: Migrate after %d deaths: %v\n%s", r.opt.Seed, deaths, p.err, log)
			}
			have := r.schemaVersion(s)
			if have != to && (have != from || !died) {
				r.t.Fatalf("K5: seed %d: the tables have version %d after %s %d, they had %d", r.opt.Seed, have, point, at, from)
			}
			if lived == 2 {
				return deaths
			}
			if have == to {
				s = begin()
			}
		}
	}
}

// migrator is a process that has migrated, or died of it.
func (r *run) migrator(s spec, point string, at int) *process {
	r.t.Helper()
	r.names++
	s.Role, s.Name = "migrator", fmt.Sprintf("migrator-%d", r.names)
	s.Point, s.PointAt = point, at
	p := r.start(s)
	if !eventually(60*time.Second, p.over) {
		p.kill()
		r.t.Fatalf("K5: seed %d: %s did not end", r.opt.Seed, s.Name)
	}
	return p
}

// open opens the database of a spec for the driver.
func (r *run) open(s spec) (*database, error) {
	s.Name = "driver"
	return openDatabase(&s)
}

// schemaVersion is the version of the tables; 0 when there are none.
func (r *run) schemaVersion(s spec) int {
	r.t.Helper()
	db, err := r.open(s)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.close()
	exists := `SELECT to_regclass('` + s.prefix() + `schema_version') IS NOT NULL`
	if s.Schema == "" {
		exists = `SELECT count(*) > 0 FROM sqlite_master WHERE name = '` + s.prefix() + `schema_version'`
	}
	var is bool
	var v int
	err = db.db.QueryRowContext(r.t.Context(), exists).Scan(&is)
	if err == nil && is {
		err = db.db.QueryRowContext(r.t.Context(), `SELECT max(version) FROM `+s.prefix()+`schema_version`).Scan(&v)
	}
	if err == nil && s.Schema == "" {
		var verdict string
		if err = db.db.QueryRowContext(r.t.Context(), "PRAGMA integrity_check").Scan(&verdict); verdict != "ok" {
			err = errors.Join(err, errors.New(verdict))
		}
	}
	if err != nil {
		r.t.Fatalf("K5: seed %d: reading the version of the tables: %v", r.opt.Seed, err)
	}
	return v
}

// refuses waits until a dispatcher has said that the tables do not fit.
func (r *run) refuses(p *process) {
	r.t.Helper()
	var log []byte
	if !eventually(30*time.Second, func() bool {
		log, _ = os.ReadFile(p.spec.file("log"))
		return strings.Contains(string(log), "database schema does not fit") && strings.Contains(string(log), "call Migrate")
	}) {
		r.t.Errorf("K5: seed %d: %s does not refuse tables that are missing or old:\n%s", r.opt.Seed, p.spec.Name, tail(log, 2000))
	}
}
