package killtest

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// pointScenarios kill processes at points that have names (K5).
func pointScenarios() []Scenario {
	return []Scenario{
		{ID: "K5 D8 killed at named points", run: killedAtPoints},
		{ID: "K5 request half written", run: killedInRequests},
		{ID: "K5 killed in a rotation and in a request", Short: true, run: killedInRotations},
		{ID: "K5 D24 killed in a migration", Short: true, run: killedInMigrations},
	}
}

// killPoints are where a dispatcher kills itself; see watched.
var killPoints = []string{
	"claim:inside", "claim:after", "sign:before", "complete:before", "complete:inside", "complete:after", "extend:inside", "extend:after",
}

// K5: a dispatcher dies at a point of its work that has a name.
func killedAtPoints(r *run) {
	r.begin(2, nil)
	for range max(r.opt.Kills/10, 1) {
		for _, point := range killPoints {
			r.killAt(point, 10*time.Second) // not every one is passed so often
			r.recover()
		}
	}
}

// killAt has a dispatcher kill itself at a point, kills it when it has not done
// so in time, and restarts it. It returns whether it did.
func (r *run) killAt(point string, limit time.Duration) bool {
	r.t.Helper()
	if err := r.dispatchers[0].stop(); err != nil {
		r.t.Errorf("K5: %v", err)
	}
	r.restart(0, func(s *spec) { s.Point, s.PointAt = point, 1+r.rng.IntN(20) })
	p := r.dispatchers[0]
	itself := eventually(limit, p.over)
	p.kill()
	r.killed(p, p.gauge().inFlight)
	r.restart(0, func(s *spec) { s.Point = "" })
	return itself
}

// K5: a dispatcher dies when it has written half of a request. The receiver has
// the headers then, and a part of the body.
func killedInRequests(r *run) {
	r.begin(2, nil)
	for i := range max(r.opt.Kills/10, 1) {
		if i > 0 {
			r.recover()
		}
		r.killInRequest()
	}
	r.pause(500 * time.Millisecond)
}

// killInRequest kills a dispatcher in the middle of a request, until the receiver
// has seen a part of the body: what a process had not yet read of its connection
// when it was killed makes the system reset it, and throw away what was written.
func (r *run) killInRequest() {
	r.t.Helper()
	before := r.halves()
	for range 5 {
		if !r.killAt(pointHalf, time.Minute) {
			break
		}
		if eventually(time.Second, func() bool { return r.halves() > before }) {
			return
		}
	}
	r.t.Errorf("K5: seed %d: the receiver saw no request break off in its body", r.opt.Seed)
}

// halves is how many requests broke off in their bodies.
func (r *run) halves() (n int) {
	r.t.Helper()
	r.lines(r.receiver, "halves", func(f []string) error {
		if len(f) != 6 {
			return fmt.Errorf("%d fields", len(f))
		}
		if f[3] != "0" {
			n++
		}
		return nil
	})
	return n
}

// K5: a process dies while it gives webhooks new secrets: before the change is
// written, while it is, and after that. The old secret holds or the new one
// does. Between them a dispatcher dies with a request half written.
func killedInRotations(r *run) {
	r.begin(2, nil)
	first := uint64(0)
	rotator := func(point string) *process {
		s := r.child("rotator")
		s.Rate, s.First, s.Hooks = 50, first, map[string]string{}
		for key, w := range r.ids {
			s.Hooks[key] = w.ID
		}
		first += 10_000
		s.Point, s.PointAt = point, 3+r.rng.IntN(8)
		p := r.start(s)
		p.ready(r.t)
		return p
	}
	for range max(r.opt.Kills/10, 1) {
		for _, point := range []string{"update:before", "update:inside", "update:after"} {
			r.diesAtPoint(rotator(point))
		}
		r.killInRequest()
	}
	last := rotator("")
	r.pause(time.Second)
	if err := last.stop(); err != nil {
		r.t.Errorf("K5: the rotator failed: %v", err)
	}
	r.after = r.judgeRotations
}

// diesAtPoint waits until a process has killed itself.
func (r *run) diesAtPoint(p *process) {
	r.t.Helper()
	if !eventually(60*time.Second, p.over) || p.signaled() != syscall.SIGKILL {
		p.kill()
		log, _ := os.ReadFile(p.spec.file("log"))
		r.t.Errorf("K5: seed %d: %s did not die at %s number %d:\n%s", r.opt.Seed, p.spec.Name, p.spec.Point, p.spec.PointAt, tail(log, 2000))
	}
}
