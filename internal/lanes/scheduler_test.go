package lanes

import (
	"strconv"
	"testing"
	"time"
)

// newScheduler returns a scheduler with room for 1000 jobs, and a function that
// reports whether it has asked for a claim since the last call.
func newScheduler(t *testing.T) (s *Scheduler, woken func() bool) {
	t.Helper()
	wakes := 0
	s = New(Config{
		MaxInFlight: 100, MaxPerLane: 64, MaxHeld: 1000,
		Start: func(int) {},
		Wake:  func() { wakes++ },
		After: func(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) },
	}, time.Now())
	t.Cleanup(func() {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	})
	return s, func() bool {
		was := wakes > 0
		wakes = 0
		return was
	}
}

type plainJob struct{ Slot }

func hold(s *Scheduler, webhook string, n int) []*plainJob {
	jobs := make([]*plainJob, n)
	for i := range jobs {
		jobs[i] = new(plainJob)
		s.Hold(s.Lane(webhook, "t", time.Now()), jobs[i], time.Now())
	}
	return jobs
}

// Jobs released in one batch make room for every lane of the batch.
func TestWantingSeesTheRoomOfAllReleasedJobs(t *testing.T) {
	s, _ := newScheduler(t)
	a, b := hold(s, "a", 10), hold(s, "b", 900)
	s.Lane("a", "t", time.Now()).more = true
	for _, j := range a {
		s.Release(j, time.Now())
	}
	if s.Wanting(a[0], time.Now()) {
		t.Error("a claim is worth it for a tenant that holds nearly all")
	}
	for _, j := range b {
		s.Release(j, time.Now())
	}
	if !s.Wanting(a[0], time.Now()) {
		t.Error("no claim is worth it for a webhook that has more and all the room")
	}
}

// A lane's limit halves with each round of failures and grows by one with each success.
func TestLimitFollowsSuccessAndFailure(t *testing.T) {
	s, _ := newScheduler(t)
	now := time.Now()
	l := s.Lane("a", "t", now)
	attempt := func(how Landing) int {
		t.Helper()
		j := hold(s, "a", 1)[0]
		s.Enqueue(j)
		now = now.Add(time.Second)
		if s.Next(now) != Job(j) {
			t.Fatal("an attempt does not begin")
		}
		s.Landed(j, how, now, now)
		s.Release(j, now)
		return l.limit
	}
	for i, want := range []int{8, 4, 2, 1, 1} {
		if got := attempt(LandedBadly); got != want {
			t.Errorf("limit %d after %d failures, want %d", got, i+1, want)
		}
	}
	if got := attempt(LandedUnused); got != 1 {
		t.Errorf("limit %d after an attempt that was not made", got)
	}
	for want := 2; want <= 64; want++ {
		if got := attempt(LandedWell); got != want {
			t.Errorf("limit %d, want %d", got, want)
		}
	}
	if got := attempt(LandedWell); got != 64 {
		t.Errorf("limit %d, above the most", got)
	}
	if got := attempt(LandedBadly); got != 64 {
		t.Errorf("limit %d after the first failure, want no change", got)
	}
}

// The window doubles once for each claim when the lane runs dry and the store has more.
func TestWindowDoublesWhenALaneRunsDry(t *testing.T) {
	s, woken := newScheduler(t)
	now := time.Now()
	l := s.Lane("a", "t", now)
	for _, want := range []int{64, 128, 256, 500, 500} { // half of all room is the most
		plan := s.PlanClaim(time.Time{}, now)
		room, named := plan.Limits["a"]
		if !named {
			room = plan.PerLane
		}
		jobs := hold(s, "a", room)
		for _, j := range jobs {
			s.Enqueue(j)
		}
		s.Taken(plan, room, now)
		woken()
		for range jobs {
			j := s.Next(now)
			s.Landed(j, LandedWell, now, now)
			s.Release(j, now)
		}
		if l.window != want || !woken() {
			t.Errorf("window %d, want %d and a claim", l.window, want)
		}
	}
}

// Where many lanes rest, the store is told once of each, and claims name them no more,
// until one of them is changed: the next claim ends its rest.
func TestManyRestsAreToldOnce(t *testing.T) {
	s, woken := newScheduler(t)
	now := time.Now()
	var last *Lane
	for i := range 2 * maxNamed {
		j := hold(s, strconv.Itoa(i), 1)[0]
		last = j.lane
		s.Release(j, now)
		s.PutOff(last, now.Add(time.Minute))
	}
	plan := s.PlanClaim(time.Time{}, now)
	if len(plan.Rest) != 2*maxNamed || plan.Idle {
		t.Errorf("the claim has %d rests, idle: %t", len(plan.Rest), plan.Idle)
	}
	claim := func() {
		s.Told(plan, now)
		s.Taken(plan, 0, now)
		plan = s.PlanClaim(time.Time{}, now)
	}
	if claim(); len(plan.Rest)+len(plan.Limits)+s.Stats().Active > 0 {
		t.Errorf("the next claim has %d rests and names %d", len(plan.Rest), len(plan.Limits))
	}
	woken()
	s.Rested(last)
	s.Changed(last, 0, now)
	if !woken() {
		t.Error("no claim is asked for after a change")
	}
	claim()
	if d, told := plan.Rest[last.id]; !told || d != 0 || len(plan.Rest) > 1 {
		t.Errorf("the claim after a change says %v, want the end of one rest", plan.Rest)
	}
	if claim(); len(plan.Rest) > 0 {
		t.Errorf("the claim after that says %v", plan.Rest)
	}
}

// A lane is known for as long as an attempt of it is in flight, even one whose job was
// lost long before.
func TestLaneWithAnAttemptIsNotForgotten(t *testing.T) {
	s, _ := newScheduler(t)
	now := time.Now()
	j := hold(s, "a", 1)[0]
	s.Enqueue(j)
	s.Next(now)
	s.Release(j, now)
	forgotten := func() []string {
		for range 2 { // the first only has claims look at it no more
			now = now.Add(2 * forgetAfter)
			if plan := s.PlanClaim(time.Time{}, now); len(plan.Forgotten) > 0 {
				return plan.Forgotten
			}
		}
		return nil
	}
	if ids := forgotten(); ids != nil {
		t.Errorf("%v is forgotten with an attempt in flight", ids)
	}
	s.Landed(j, LandedUnused, now, now)
	if ids := forgotten(); len(ids) != 1 {
		t.Errorf("%v is forgotten after it has landed", ids)
	}
}
