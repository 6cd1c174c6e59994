package webhook

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// scheduler drives the lanes of an engine that runs no worker, and keeps count
// of everything in the simplest way there is.
type scheduler struct {
	t     *testing.T
	r     *rand.Rand
	e     *engine
	lanes []*lane
	sick  map[*lane]float64 // how likely its attempts are to fail

	flying []*job
	queued map[*lane]int
	begun  int
}

func newScheduler(t *testing.T, seed uint64) *scheduler {
	r := rand.New(rand.NewPCG(seed, 1))
	most := 1 + r.IntN(64)
	d, err := New(noStore{}, Config{MaxInFlight: most, MaxInFlightPerWebhook: 1 + r.IntN(most)})
	if err != nil {
		t.Fatal(err)
	}
	s := &scheduler{t: t, r: r, e: newEngine(d, false), sick: map[*lane]float64{}, queued: map[*lane]int{}}
	s.e.draining = true // timers start no workers
	for i := range 1 + r.IntN(40) {
		l := s.e.lane(&Delivery{WebhookID: fmt.Sprint(i), Tenant: fmt.Sprint(r.IntN(1 + r.IntN(10)))})
		s.lanes = append(s.lanes, l)
		s.sick[l] = []float64{0, 0, 0.5, 1}[r.IntN(4)]
		s.settings(l)
	}
	return s
}

// settings is a new version of a lane's webhook, some with a rate limit or with a past.
func (s *scheduler) settings(l *lane) {
	rec := &WebhookRecord{Webhook: Webhook{ID: l.id, Tenant: l.tenant, Active: s.r.IntN(9) > 0, Version: 1}}
	if l.target != nil {
		rec.Version = l.target.rec.Version + 1
	}
	if s.r.IntN(4) == 0 {
		rec.RateLimit = []float64{0.5, 3, 100, 5000}[s.r.IntN(4)]
	}
	if s.r.IntN(2) == 0 {
		rec.LastSuccessAt = time.Now()
	}
	if s.r.IntN(3) == 0 {
		rec.FailingSince = time.Now()
	}
	s.e.adopt(l, rec, time.Now())
}

func (s *scheduler) enqueue(l *lane, n int) {
	for range n {
		s.e.enqueue(&job{lane: l, claimed: time.Now()})
	}
	s.queued[l] += n
}

// begin begins whatever may begin.
func (s *scheduler) begin() {
	for {
		j := s.e.next()
		if j == nil {
			return
		}
		if s.queued[j.lane]--; s.queued[j.lane] < 0 {
			s.t.Fatal("an attempt was begun that was not enqueued, or twice")
		}
		j.began = time.Now()
		s.flying = append(s.flying, j)
		s.begun++
		s.check()
	}
}

func (s *scheduler) land(i int, how landing) {
	j := s.flying[i]
	s.flying = slices.Delete(s.flying, i, i+1)
	limit := j.lane.limit
	s.e.landed(j, how, j.began)
	if how == landedWell && j.lane.limit != min(limit+1, s.e.cfg.MaxInFlightPerWebhook) {
		s.t.Fatalf("a success took the limit from %d to %d", limit, j.lane.limit)
	}
	if how != landedWell && (j.lane.limit > limit || j.lane.limit < 1) {
		s.t.Fatalf("no success took the limit from %d to %d", limit, j.lane.limit)
	}
}

// check compares the engine's counters with what is there, and these with the
// bounds.
func (s *scheduler) check() {
	s.t.Helper()
	var all flying
	tenants, lanes := map[string]flying{}, map[*lane]int{}
	for _, j := range s.flying {
		all.count(j.class, 1)
		t := tenants[j.lane.tenant]
		t.count(j.class, 1)
		tenants[j.lane.tenant] = t
		lanes[j.lane]++
	}
	most := s.e.cfg.MaxInFlight
	if all != s.e.flying || all.all > most || all.poor > max(most*3/4, 1) || all.failing > max(most/2, 1) {
		s.t.Fatalf("%+v are in flight of at most %d, counted as %+v", all, most, s.e.flying)
	}
	for name, f := range tenants {
		if f != s.e.tenants[name] {
			s.t.Fatalf("%+v are in flight for tenant %s, counted as %+v", f, name, s.e.tenants[name])
		}
	}
	if len(tenants) != len(s.e.tenants) {
		s.t.Fatalf("%d tenants have attempts in flight, %d are counted", len(tenants), len(s.e.tenants))
	}
	for _, l := range s.lanes {
		if lanes[l] != l.inFlight || l.inFlight > s.e.cfg.MaxInFlightPerWebhook || len(l.queue) != s.queued[l] {
			s.t.Fatalf("lane %s has %d in flight, counted as %d, and %d in its queue, want %d", l.id, lanes[l], l.inFlight, len(l.queue), s.queued[l])
		}
	}
}

// checkPlaces wants every lane that may begin something to be where it is looked
// at, and, after all have been, none that has a slot.
func (s *scheduler) checkPlaces() {
	s.t.Helper()
	in := func(lists ...laneTurns) map[*lane]bool {
		m := map[*lane]bool{}
		for _, q := range lists {
			n := 0
			for _, of := range q.tenants {
				for _, l := range of.items[of.head:] {
					m[l] = true
					n++
				}
			}
			if n != q.n || len(q.tenants) != q.turns.len() {
				s.t.Fatalf("%d lanes of %d tenants are in a list, counted as %d of %d", n, len(q.tenants), q.n, q.turns.len())
			}
		}
		return m
	}
	parked, waiting := in(s.e.parked[:]...), in(s.e.waiting[:]...)
	for _, l := range s.lanes {
		if len(l.queue) == 0 || l.inFlight >= l.limit {
			continue
		}
		switch {
		case l.state == laneParked && parked[l] && l.inFlight > 0:
		case l.state == laneWaiting && waiting[l] && l.inFlight == 0:
		case l.state == laneHeld && (l.pace.limited() || l.probe.hopeless()) && l.timer != nil:
			continue
		default:
			s.t.Fatalf("lane %s is forgotten: %d in its queue, %d of %d in flight, state %d", l.id, len(l.queue), l.inFlight, l.limit, l.state)
		}
		if s.e.hasSlot(l) {
			s.t.Fatalf("lane %s has a slot, and does not take it: %d of %d in flight, class %d, all %+v", l.id, l.inFlight, l.limit, l.class, s.e.flying)
		}
	}
}

// The scheduler against a model: whatever comes, ends, fails and is changed, in
// any order, its counters are right, its bounds hold, no lane is forgotten, no
// slot that a lane may have is left empty, and everything begins in the end.
func TestSchedulerAgainstModel(t *testing.T) {
	t.Parallel()
	seeds := 300
	if testing.Short() {
		seeds = 60
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { runScheduler(t, seed) }) })
	}
}

func runScheduler(t *testing.T, seed uint64) {
	s := newScheduler(t, seed)
	lock := func(f func()) { // timers run meanwhile
		s.e.mu.Lock()
		defer s.e.mu.Unlock()
		f()
	}
	lane := func() *lane { return s.lanes[s.r.IntN(len(s.lanes))] }
	enqueued := 0
	for range 400 {
		if s.r.IntN(3) == 0 {
			<-time.After(time.Duration(s.r.IntN(2000)) * time.Millisecond)
			synctest.Wait()
		}
		lock(func() {
			switch s.r.IntN(8) {
			case 0, 1, 2:
				n := 1 + s.r.IntN(1+s.r.IntN(30))
				s.enqueue(lane(), n)
				enqueued += n
			case 3:
				s.settings(lane())
			case 4:
				l := lane()
				s.sick[l] = 1 - s.sick[l]
			default:
				for range min(len(s.flying), 1+s.r.IntN(8)) {
					i := s.r.IntN(len(s.flying))
					how := landedWell
					if roll := s.r.Float64(); roll < s.sick[s.flying[i].lane] {
						how = landedBadly
					} else if roll > 0.95 {
						how = landedUnused
					}
					s.land(i, how)
					s.begin()
				}
			}
			s.begin()
			s.check()
			if s.r.IntN(4) == 0 {
				s.e.reconsider()
				s.begin()
				s.checkPlaces()
			}
		})
	}
	// Now everything ends, worst first, and with each that ends at least one begins.
	for round := 0; s.begun < enqueued; round++ {
		if round > 2*enqueued+100 {
			t.Fatalf("%d of %d have begun after %d rounds", s.begun, enqueued, round)
		}
		lock(func() {
			if len(s.flying) > 0 {
				s.land(s.r.IntN(len(s.flying)), landedBadly)
			}
			s.begin()
			s.check()
		})
		if len(s.flying) == 0 { // what is left waits for its rate limit
			<-time.After(2 * time.Second)
			synctest.Wait()
		}
	}
	// And every limit is back after as many successes.
	lock(func() {
		for len(s.flying) > 0 {
			s.land(0, landedBadly)
		}
		for _, l := range s.lanes {
			for n := s.e.cfg.MaxInFlightPerWebhook - l.limit; n > 0; n-- {
				s.flying = append(s.flying, &job{lane: l, class: l.class})
				l.inFlight++
				s.e.flying.count(l.class, 1)
				f := s.e.tenants[l.tenant]
				f.count(l.class, 1)
				s.e.tenants[l.tenant] = f
				s.land(0, landedWell)
			}
			if l.limit != s.e.cfg.MaxInFlightPerWebhook {
				t.Fatalf("limit %d", l.limit)
			}
		}
		s.check()
	})
}
