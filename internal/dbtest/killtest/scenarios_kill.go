package killtest

import (
	"syscall"
	"time"
)

// killScenarios kill and stop processes.
func killScenarios() []Scenario {
	return []Scenario{
		{ID: "K1 K4 K3 in a row", Short: true, run: inARow},
		{ID: "K1 dispatcher killed", run: dispatcherKilled},
		{ID: "K1 dispatchers killed in quick succession", run: killedInQuickSuccession},
		{ID: "K2 D1 publisher killed", run: publisherKilled},
		{ID: "K3 D1 all killed", run: allKilled},
		{ID: "K4 D4 dispatcher stopped past its lease", run: dispatcherStopped},
		{ID: "K6 D5 crash loop", run: crashLoop},
		{ID: "K7 D13 SIGTERM", Short: true, run: terminated, adapt: func(s *spec) { s.Lease = patientLease }},
		{ID: "K7 D13 SIGTERM without time to drain", run: terminatedAtOnce},
		{ID: "K8 D5 killed in the last attempt", run: killedInLastAttempt},
	}
}

// K1, K4 and K3, once or a few times each, in one run.
func inARow(r *run) {
	r.begin(2, nil)
	r.killDispatchers(min(r.opt.Kills, 2))
	r.recover()
	r.stopped(1, 1.5)
	r.recover()
	r.killAll(1)
}

// K1: one of two dispatchers is killed, and restarted after up to two seconds.
func dispatcherKilled(r *run) {
	r.begin(2, nil)
	r.killDispatchers(r.opt.Kills)
}

// K1: kills follow one another faster than leases expire, so that many
// deliveries see several of them.
func killedInQuickSuccession(r *run) {
	r.begin(2, nil)
	for range r.opt.Kills {
		r.pause(r.random(200*time.Millisecond, time.Second))
		slot := r.rng.IntN(len(r.dispatchers))
		r.kill(slot)
		r.restart(slot, nil)
	}
}

// recover gives what was claimed at a kill the time to be claimed again.
func (r *run) recover() {
	r.pause(r.base.Lease + reapInterval + r.random(200*time.Millisecond, time.Second))
}

// killDispatchers kills dispatchers one after the other and restarts them.
func (r *run) killDispatchers(n int) {
	for i := range n {
		if i > 0 {
			r.recover()
		}
		r.pause(r.random(200*time.Millisecond, time.Second))
		slot := r.rng.IntN(len(r.dispatchers))
		r.kill(slot)
		r.pause(r.random(0, r.scaled(time.Second)))
		r.restart(slot, nil)
	}
	r.pause(500 * time.Millisecond)
}

// K2: the publisher is killed in the middle of its calls.
func publisherKilled(r *run) {
	r.begin(2, nil)
	for range r.opt.Kills {
		r.pause(r.random(100*time.Millisecond, 800*time.Millisecond))
		r.publisher.kill()
		r.publish()
	}
	r.pause(500 * time.Millisecond)
}

// K3: all processes but the receiver are killed at once.
func allKilled(r *run) {
	r.begin(2, nil)
	r.killAll(max(r.opt.Kills/4, 1))
}

func (r *run) killAll(times int) {
	for i := range times {
		if i > 0 {
			r.recover()
		}
		r.pause(r.random(500*time.Millisecond, 1500*time.Millisecond))
		r.untilBusy(r.dispatchers[0])
		for _, p := range r.dispatchers {
			r.kills = append(r.kills, kill{name: p.spec.Name, at: time.Now(), inFlight: p.gauge().inFlight, alone: true})
		}
		r.publisher.signal(syscall.SIGKILL)
		for _, p := range r.dispatchers {
			p.signal(syscall.SIGKILL)
		}
		r.publisher.kill()
		for _, p := range r.dispatchers {
			p.kill()
		}
		r.pause(r.random(0, r.scaled(500*time.Millisecond)))
		for slot := range r.dispatchers {
			r.restart(slot, nil)
		}
		r.publish()
	}
	r.pause(500 * time.Millisecond)
}

// K4: a dispatcher stands still for longer than its lease and goes on: what it
// has to say then changes nothing (D4).
func dispatcherStopped(r *run) {
	r.begin(2, nil)
	times := []float64{1.5}
	if r.opt.Scale > 1 {
		times = nil
		for range max(r.opt.Kills/10, 1) {
			times = append(times, 0.5, 1.5, 3)
		}
	}
	for i, leases := range times {
		r.stopped(i%2, leases)
	}
	r.pause(time.Second)
}

// stopped stops a dispatcher for so many leases.
func (r *run) stopped(slot int, leases float64) {
	r.pause(r.random(300*time.Millisecond, time.Second))
	p := r.dispatchers[slot]
	n := r.untilBusy(p)
	r.stopping(p, n)
	p.signal(syscall.SIGSTOP)
	r.pause(time.Duration(leases * float64(r.base.Lease)))
	p.signal(syscall.SIGCONT)
	if r.srv == nil {
		// It may have held SQLite's write lock: nobody could claim until now.
		r.kills[len(r.kills)-1].until = time.Now()
	}
}

// K6: events of one type kill the dispatcher that attempts them. They are set
// aside after five crashes each (D5), everything else arrives.
func crashLoop(r *run) {
	r.poison = true
	r.opt.Rate = 2 // each poisonous one costs five processes
	r.begin(1, func(_ int, s *spec) { s.Poison = true })
	r.pause(3 * time.Second)
	r.endLoad()
	deadline := time.Now().Add(5 * time.Minute)
	for time.Now().Before(deadline) {
		p := r.dispatchers[0]
		drained := func() bool { return r.pending() == 0 }
		if eventually(time.Second, func() bool { return p.over() }) {
			p.kill()
			r.killed(p, 0)
			r.restart(0, nil)
			continue
		}
		if drained() {
			return
		}
	}
	r.t.Error("K6: the poisonous deliveries were not set aside within five minutes")
}

// patientLease is the lease where not one duplicate is allowed. What is tested
// there is the stop. A disk that takes longer for one commit than the usual
// lease lasts costs a renewal, and with it a duplicate that no stop made: that
// is D3, and counted in the other scenarios.
const patientLease = 60 * time.Second

// K7: SIGTERM with attempts in flight and time enough to finish them: nothing
// arrives twice.
func terminated(r *run) {
	r.exact = true
	r.begin(2, nil)
	for range max(r.opt.Kills/2, 1) {
		r.pause(r.random(200*time.Millisecond, time.Second))
		slot := r.rng.IntN(len(r.dispatchers))
		r.untilBusy(r.dispatchers[slot])
		if err := r.dispatchers[slot].stop(); err != nil {
			r.t.Errorf("K7: %s: %v", r.dispatchers[slot].spec.Name, err)
		}
		r.restart(slot, nil)
	}
	r.pause(500 * time.Millisecond)
}

// K7: SIGTERM with no time to finish: attempts in flight are aborted and made
// again, and use up nothing.
func terminatedAtOnce(r *run) {
	r.begin(2, func(_ int, s *spec) { s.Drain = -1 })
	for range max(r.opt.Kills/2, 1) {
		r.pause(r.random(200*time.Millisecond, time.Second))
		slot := r.rng.IntN(len(r.dispatchers))
		p := r.dispatchers[slot]
		n := r.untilBusy(p)
		r.stopping(p, n)
		if err := p.stop(); err != nil {
			r.t.Errorf("K7: %s: %v", p.spec.Name, err)
		}
		r.restart(slot, nil)
	}
	r.pause(500 * time.Millisecond)
}

// K8: without retries every attempt is the last; a kill in it uses up nothing.
func killedInLastAttempt(r *run) {
	r.retries = 0
	r.begin(2, nil)
	r.killDispatchers(r.opt.Kills)
}
