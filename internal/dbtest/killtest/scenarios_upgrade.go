package killtest

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// upgradeScenarios need a binary of this test that was built from an earlier
// commit, see Options.Old.
func upgradeScenarios() []Scenario {
	return []Scenario{{ID: "C4 D24 two versions together", Upgrade: true, run: upgraded}}
}

// C4: the processes of an earlier version work on its tables. The tables are
// migrated under them, and they go on. One is killed and replaced by this
// version; both work side by side, and are killed; then the rest is replaced.
func upgraded(r *run) {
	r.register()
	r.takeBack(r.known(r.opt.Old))
	r.base.Exe = r.opt.Old
	r.dispatch(2, nil)
	old := map[string]bool{r.dispatchers[0].spec.Name: true, r.dispatchers[1].spec.Name: true}
	r.publish()
	r.pause(r.scaled(time.Second))
	r.untilBusy(r.dispatchers[0])

	r.base.Exe = ""
	if p := r.migrator(r.base, "", 0); p.err != nil {
		r.t.Fatalf("C4: Migrate beside processes of an earlier version: %v", p.err)
	}
	migrated := time.Now()
	r.pause(r.scaled(time.Second))
	newer := func(s *spec) { s.Exe = "" }
	r.kill(0)
	r.restart(0, newer)
	r.recover()
	for range max(r.opt.Kills/10, 1) {
		r.kill(0)
		r.restart(0, nil)
		r.recover()
	}
	r.endLoad()
	r.publish()
	r.kill(1)
	r.restart(1, newer)
	r.pause(time.Second)

	r.after = func(ev *evidence) {
		before, after := 0, 0
		for _, holds := range ev.holds {
			for _, h := range holds {
				switch {
				case !old[h.by]:
				case h.from.Before(migrated):
					before++
				default:
					after++
				}
			}
		}
		r.t.Logf("C4: the earlier version claimed %d deliveries before its tables were migrated and %d after that", before, after)
		if before == 0 || after == 0 {
			r.t.Error("C4: the two versions did not work together: it proves nothing. Was the old binary built from a commit whose tables are of an older version?")
		}
	}
}

// known returns the newest version of tables that a binary knows: it says so
// when it finds a newer one.
func (r *run) known(exe string) (version int) {
	r.t.Helper()
	s := r.child("dispatcher")
	s.Exe = exe
	p := r.start(s)
	if !eventually(30*time.Second, func() bool {
		log, _ := os.ReadFile(s.file("log"))
		_, rest, found := strings.Cut(string(log), "this program knows ")
		_, err := fmt.Sscan(strings.TrimRight(strings.Fields(rest + " x")[0], ":"), &version)
		return found && err == nil
	}) {
		r.t.Fatal("C4: the old binary does not say that the tables are too new for it: build it from a commit whose tables are of an older version")
	}
	p.kill()
	return version
}
