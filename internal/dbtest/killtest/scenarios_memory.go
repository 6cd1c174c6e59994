package killtest

import (
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// MemoryScenarios are K9: a process with a memory store is stopped in order,
// killed, and given more than its store holds. There is no database to compare
// with: a host that stops in order reports what it had, one that is killed does
// not.
func MemoryScenarios() []Scenario {
	return []Scenario{
		{ID: "K9 D13 SIGTERM drains", Short: true, run: hostTerminated},
		{ID: "K9 D13 SIGTERM with receivers down", Short: true, run: hostTerminatedInVain},
		{ID: "K9 SIGKILL", Short: true, run: hostKilled},
		{ID: "K9 D14 store full under load", Short: true, run: hostFull},
	}
}

// RunMemory runs a scenario of MemoryScenarios.
func RunMemory(t testing.TB, sc Scenario, opt Options) Row {
	t.Helper()
	r := newReceiverRun(t, opt, spec{Engine: "memory", Lease: patientLease})
	r.exact = true // it is one process: not even a lease can be lost
	sc.run(r)
	close(r.ticker)
	ev := r.collect()
	row := r.judge(ev)
	if r.after != nil {
		r.after(ev)
	}
	row.Scenario, row.Engine = sc.ID, "memory"
	return row
}

// stopHost stops a host in order.
func (r *run) stopHost(p *process) {
	r.t.Helper()
	begin := time.Now()
	if err := p.stop(); err != nil {
		r.t.Errorf("K9: %s: %v", p.spec.Name, err)
	}
	r.took = time.Since(begin)
}

// untilRequests waits until so many more have come to the receiver.
func (r *run) untilRequests(n int) {
	r.t.Helper()
	count := func() (lines int) {
		r.lines(r.receiver, "requests", func([]string) error { lines++; return nil })
		return lines
	}
	before := count()
	if !eventually(60*time.Second, func() bool { return count() >= before+n }) {
		r.t.Fatalf("K9: fewer than %d requests within a minute", n)
	}
}

// K9: a host that stops in order waits until all it has acknowledged has been
// delivered, or has used up its retries.
func hostTerminated(r *run) {
	p := r.hosted(drainLimit, 0)
	r.untilRequests(50)
	r.untilBusy(p)
	r.stopHost(p)
	r.after = func(ev *evidence) {
		if n := ev.pending(); n > 0 {
			r.t.Errorf("K9: seed %d: %d deliveries were pending when the host had stopped in order", r.opt.Seed, n)
		}
	}
}

// K9: a host that has no time for that reports what it has not delivered.
func hostTerminatedInVain(r *run) {
	r.reported = true
	p := r.hosted(time.Second, 0)
	r.untilRequests(30)
	r.flag(downFile, true)
	r.pause(r.scaled(time.Second))
	r.stopHost(p)
	r.after = func(ev *evidence) {
		n := ev.pending()
		r.t.Logf("K9: %d of %d deliveries were pending when the host had stopped, and are in its report", n, len(ev.stored))
		if n == 0 {
			r.t.Error("K9: nothing was pending: it proves nothing")
		}
	}
}

// K9: a host that is killed loses what it has acknowledged and not delivered:
// what was in flight, waited for a retry, or had just been published. Nothing
// of it comes later, and nothing comes twice.
func hostKilled(r *run) {
	r.forgets = true
	for range max(r.opt.Kills/5, 1) {
		p := r.hosted(0, 0)
		r.untilRequests(30)
		r.pause(r.random(0, time.Second))
		n := r.untilBusy(p)
		p.kill()
		r.killed(p, n)
		r.t.Logf("K9: killed with %d attempts in flight", n)
	}
	r.pause(2 * time.Second) // for what must not come
	r.after = r.judgeKilledHosts
}

func (r *run) judgeKilledHosts(ev *evidence) {
	lost, begun, fresh := 0, 0, 0
	for _, p := range r.all {
		if p.spec.Role != "host" {
			continue
		}
		// What had been there for this long had been attempted, unless it was
		// behind one that hung: nothing waits but for its retry.
		slack := hookTimeout + time.Second + 2*r.machine.longest()
		for n, acked := range ev.acked {
			if n < p.spec.First || n >= p.spec.First+numbers {
				continue
			}
			for _, pr := range (&ledger{r: r, hooks: hooksByKey()}).matches(makeEvent(r.opt.Seed, n)) {
				reqs := ev.requests[pr]
				good := 0
				for i, h := range ev.holds[pr] {
					if h.good && i < len(ev.holds[pr])-1 {
						r.t.Errorf("K9: seed %d: event %d was taken for %s again after it had been delivered", r.opt.Seed, n, pr.key)
					}
				}
				for _, q := range reqs {
					if q.accepted() {
						good++
					}
					if late := q.at.Sub(p.ended); late > time.Second {
						r.t.Errorf("K9: seed %d: event %d came to %s %v after its process was killed", r.opt.Seed, n, pr.key, late)
					}
				}
				switch {
				case good > 0:
				case len(reqs) > 0:
					lost++
					begun++ // it was answered with a failure, and waited for its retry
				case p.ended.Sub(acked) > slack:
					r.t.Errorf("K9: seed %d: event %d was never sent to %s, %v after it was acknowledged", r.opt.Seed, n, pr.key, p.ended.Sub(acked))
				default:
					lost++
					fresh++
				}
			}
		}
	}
	r.t.Logf("K9: %d deliveries of %d acknowledged events were lost: %d had been attempted in vain, %d had just been published", lost, len(ev.acked), begun, fresh)
	if lost == 0 {
		r.t.Error("K9: nothing was lost: it proves nothing")
	}
}

// K9, D14: a store that is full refuses events, and the publisher is told. What
// was acknowledged arrives, and publishing goes on when there is room.
func hostFull(r *run) {
	const room = 50
	p := r.hosted(drainLimit, room)
	r.flag(downFile, true)
	full := func() int {
		n := 0
		r.lines(p, "published", func(f []string) error {
			if len(f) > 3 && f[1] == "error" {
				n++
			}
			return nil
		})
		return n
	}
	if !eventually(30*time.Second, func() bool { return full() > 0 }) {
		r.t.Error("K9: the store was never full: it proves nothing")
	}
	r.pause(r.scaled(time.Second))
	r.flag(downFile, false)
	refused := full()
	r.pause(r.scaled(2 * time.Second))
	r.stopHost(p)
	r.after = func(ev *evidence) {
		if n := ev.pending(); n > 0 {
			r.t.Errorf("K9: seed %d: %d deliveries were pending when the host had stopped in order", r.opt.Seed, n)
		}
		other := 0
		r.lines(p, "published", func(f []string) error {
			// One that was under way when the host was stopped was broken off.
			if text := strings.Join(f, " "); f[1] == "error" && !strings.Contains(text, webhook.ErrBacklogFull.Error()) && !strings.Contains(text, "canceled") {
				other++
			}
			return nil
		})
		r.t.Logf("K9: %d calls of Publish were refused while there was room for %d deliveries", refused, room)
		if other > 0 {
			r.t.Errorf("K9: seed %d: %d errors of Publish were of another kind: see %s", r.opt.Seed, other, p.spec.file("published"))
		}
	}
}

// pending is how many deliveries were reported that had not ended.
func (ev *evidence) pending() (n int) {
	for _, rec := range ev.stored {
		if rec.State == webhook.StatePending {
			n++
		}
	}
	return n
}
