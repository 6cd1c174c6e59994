package webhook

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/lanes"
	"github.com/seed68722ecd/webhook/internal/queue"
)

// engine is one run of a dispatcher: the deliveries it holds and the goroutines
// that work on them. The way of a delivery through it:
//
//	claimLoop → lane → worker → results → recordLoop → followUp
//
// A delivery is held, and its lease renewed, from the claim until its result is
// recorded or its lease given back.
type engine struct {
	d    *Dispatcher
	cfg  *Config
	once bool // end when no delivery is due any more

	attemptCtx context.Context // ends the attempts in flight
	abort      context.CancelFunc
	claimWake  chan struct{}  // room to claim, or the end of something
	workers    sync.WaitGroup // workers

	// The fields of this group belong to the claim loop's goroutine.
	claimed moment  // when the last claim was begun
	looked  moment  // when the claim loop last asked whether the machine slept
	unknown []int64 // tokens of claims that failed and may have leased deliveries
	fault   error   // why a single run ended early

	// mu guards the fields of this group and the values they point to.
	mu        sync.Mutex
	sched     *lanes.Scheduler     // whose attempt is next, and how much is worth claiming
	endpoints map[string]*endpoint // by webhook ID; each has a lane of sched
	jobs      map[string]*job      // all deliveries that are held, by ID; see hold
	suspects  []*job               // deliveries with earlier crashes that count for admit
	running   int                  // workers
	attempts  int                  // recorded or about to be
	asleep    time.Time            // end of the claim loop's sleep; zero while it is awake

	confirming sync.Mutex // one worker asks for leases that may be gone

	second   atomic.Pointer[seconds]
	results  *queue.Queue[*job]
	followUp chan []*job
	unread   contain.Mute // of warnings that settings could not be read
	unsent   unsentNews
}

// job is a claimed delivery on its way through the engine.
type job struct {
	*ClaimedDelivery
	lanes.Slot // its place in its endpoint's lane; guarded by engine.mu

	endpoint *endpoint
	suspect  bool
	began    time.Time // of its attempt; guarded by engine.mu
	url      string    // that the attempt was made at
	seen     *AttemptObservation

	// Guarded by engine.mu.
	token   int64
	expires moment // end of the lease as this process knows it
	lost    bool   // the lease is somebody else's
	aborted bool   // its attempt was cut short and does not count
	untold  bool   // it ended without an attempt: the counters do not show whether that is stored

	result   Result
	attempt  Attempt
	outcome  Outcome
	refusals int // how often the store rejected this result although it accepted others
}

// newEngine returns an engine. Caller holds d.mu.
func newEngine(d *Dispatcher, once bool) *engine {
	e := &engine{
		d: d, cfg: &d.cfg, once: once,
		claimWake: make(chan struct{}, 1),
		endpoints: make(map[string]*endpoint),
		jobs:      make(map[string]*job),
		looked:    thisMoment(),
		results:   queue.New[*job](),
		followUp:  make(chan []*job, 16),
	}
	e.sched = lanes.New(lanes.Config{
		MaxInFlight: d.cfg.MaxInFlight,
		MaxPerLane:  d.cfg.MaxInFlightPerWebhook,
		MaxHeld:     d.cfg.MaxClaimed,
		Once:        once,
		Rates:       d.rates,
		Start:       e.startWorkers,
		Wake:        e.signalClaim,
		After: func(wait time.Duration, f func()) lanes.Timer {
			return time.AfterFunc(wait, func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				f()
			})
		},
	}, time.Now())
	e.unsent.calls = make(chan Unsent, 16)
	return e
}

// run works until ctx ends, or, with once, until no delivery is due. It returns
// when all its goroutines have ended.
func (e *engine) run(ctx context.Context) error {
	base := context.WithoutCancel(ctx) // attempts in flight may finish
	// Attempts do without the caller's values: a trace hook among them could lift
	// the bounds on an answer.
	e.attemptCtx, e.abort = context.WithCancel(context.Background())
	defer e.abort()
	defer e.d.send.CloseIdle()

	stopUpkeep, endUpkeep := context.WithCancel(base)
	var upkeep, recording, after sync.WaitGroup
	upkeep.Go(func() { e.renewLoop(stopUpkeep) })
	pruning, endPruning := context.WithCancel(ctx)
	defer endPruning()
	if e.cfg.Retention > 0 && !e.once {
		upkeep.Go(func() { e.pruneLoop(pruning) })
	}
	after.Go(e.followUpLoop)
	recordCtx, giveUp := context.WithCancel(base)
	defer giveUp()
	recording.Go(func() { e.recordLoop(recordCtx) })

	e.claimLoop(ctx)
	endPruning()
	err := cmp.Or(e.drain(base, giveUp), e.fault)
	e.results.Close()
	recording.Wait()
	close(e.followUp)
	after.Wait()
	endUpkeep()
	upkeep.Wait()
	return err
}

// recordGrace is how long the results of a run that has ended may take to be
// recorded, and its leases to be given back.
const recordGrace = 5 * time.Second

// drain ends the run in order: unbegun deliveries are given back, attempts in
// flight finish or are aborted, results are recorded.
func (e *engine) drain(base context.Context, giveUp context.CancelFunc) error {
	e.mu.Lock()
	back := jobsOf(e.sched.Drain())
	e.mu.Unlock()

	ctx, cancel := context.WithTimeout(base, recordGrace)
	err := e.giveBack(ctx, back, 0)
	cancel()

	stuck := 0
	ended := make(chan struct{})
	go func() { e.workers.Wait(); close(ended) }()
	if !waitFor(ended, e.cfg.DrainTimeout) {
		e.abort()
		if !waitFor(ended, recordGrace) {
			e.mu.Lock()
			stuck = e.sched.Stats().InFlight
			e.mu.Unlock()
		}
	}

	// Results that a broken store does not take are given up after a while;
	// their leases expire and the deliveries are attempted again.
	stop := time.AfterFunc(recordGrace, giveUp)
	defer stop.Stop()
	e.results.WaitEmpty(recordGrace)

	e.mu.Lock()
	back = back[:0]
	unrecorded := 0
	for _, j := range e.jobs {
		if j.aborted {
			back = append(back, j)
		} else {
			unrecorded++
		}
	}
	e.mu.Unlock()
	ctx, cancel = context.WithTimeout(base, recordGrace)
	defer cancel()
	if berr := e.giveBack(ctx, back, 0); err == nil {
		err = berr
	}
	switch {
	case stuck > 0:
		return fmt.Errorf("%d attempts did not stop when aborted: the http client ignores its context", stuck)
	case unrecorded > 0:
		return fmt.Errorf("%d results could not be recorded: those deliveries will be attempted again", unrecorded)
	case err != nil:
		return fmt.Errorf("leases could not be given back and will expire by themselves: %w", err)
	}
	return nil
}

// waitFor waits for done, at most for d, and reports whether it came.
func waitFor(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// hold takes charge of a claimed delivery until release: its lease is renewed, and it
// takes up room. Caller holds mu.
func (e *engine) hold(j *job, p *endpoint, now time.Time) {
	j.endpoint = p
	e.jobs[j.Delivery.ID] = j
	e.sched.Hold(p.lane, j, now)
}

// release forgets jobs whose lease has ended one way or the other. Caller holds mu.
func (e *engine) release(jobs ...*job) {
	now := time.Now()
	for _, j := range jobs {
		if e.jobs[j.Delivery.ID] != j {
			continue
		}
		delete(e.jobs, j.Delivery.ID)
		e.sched.Release(j, now)
		e.acquit(j)
	}
	more := e.sched.HasRoom() // now that all have made room
	for _, j := range jobs {
		more = more || e.sched.Wanting(j, now)
	}
	if more {
		e.signalClaim()
	}
}

func jobsOf(back []lanes.Job) []*job {
	jobs := make([]*job, len(back))
	for i, j := range back {
		jobs[i] = j.(*job) // the scheduler is given no others
	}
	return jobs
}

func (e *engine) signalClaim() {
	select {
	case e.claimWake <- struct{}{}:
	default:
	}
}

// webhookChanged puts new settings in force, or with nil the deletion, for every
// attempt that begins after it has returned.
func (e *engine) webhookChanged(id string, rec *WebhookRecord) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.endpoints[id]; p != nil {
		e.adopt(p, rec, time.Now())
	}
}

// stopTimers ends the run's last timers, and returns how far it and the runs before it
// have used up rate limits, so that the next run begins without a fresh allowance.
func (e *engine) stopTimers() map[string]time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Stop(time.Now())
}
