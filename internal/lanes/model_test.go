package lanes

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A model is a caller of a Scheduler that makes no attempts, with a store of its own,
// in fake time. It counts everything in the simplest way there is.
type model struct {
	t      *testing.T
	choose func(n int) int // a number below n
	s      *Scheduler
	now    time.Time
	alarms []*alarm
	last   time.Time // when the last claim was made

	hooks  []*hook
	flying []*delivery
	ended  []*delivery // landed, and still held
	held   int
	due    int // published and not yet begun
}

// A hook is a webhook in the store.
type hook struct {
	id, tenant string
	lane       *Lane
	class      Class
	perSecond  float64
	sick       int // of ten attempts, how many fail
	backlog    int
	queued     int
	rests      time.Time // the store passes it over until then
}

type delivery struct {
	Slot
	hook  *hook
	began time.Time
	held  bool
}

// An alarm is a Timer in the model's time.
type alarm struct {
	m  *model
	at time.Time
	f  func() // nil when stopped
	do func()
}

func (a *alarm) Reset(d time.Duration) bool {
	was := a.f != nil
	a.at, a.f = a.m.now.Add(d), a.do
	return was
}

func (a *alarm) Stop() bool {
	was := a.f != nil
	a.f = nil
	return was
}

func newModel(t *testing.T, choose func(n int) int) *model {
	m := &model{t: t, choose: choose, now: time.Unix(1e9, 0)}
	most := 1 + choose(64)
	m.s = New(Config{
		MaxInFlight: most,
		MaxPerLane:  1 + choose(most),
		MaxHeld:     most * (1 + choose(16)),
		Once:        choose(8) == 0,
		Start:       func(int) {},
		Wake:        func() {},
		After: func(d time.Duration, f func()) Timer {
			a := &alarm{m: m, do: f}
			a.Reset(d)
			m.alarms = append(m.alarms, a)
			return a
		},
	}, m.now)
	tenants := 1 + choose(10)
	for i := range 1 + choose(40) {
		h := &hook{id: strconv.Itoa(i), tenant: fmt.Sprint("t", choose(tenants)), sick: []int{0, 0, 5, 10}[choose(4)]}
		m.settings(h)
		m.hooks = append(m.hooks, h)
	}
	return m
}

// settings changes a webhook, some to a rate limit or to a past.
func (m *model) settings(h *hook) {
	h.perSecond = []float64{0, 0, 0, 0, 0.5, 3, 100, 5000}[m.choose(8)]
	h.class = Class(m.choose(int(classes)))
	if h.lane != nil {
		m.s.Changed(h.lane, h.perSecond, m.now)
	}
}

// pass lets time pass and the timers fire.
func (m *model) pass(d time.Duration) {
	for end := m.now.Add(d); ; {
		var next *alarm
		for _, a := range m.alarms {
			if a.f != nil && !a.at.After(end) && (next == nil || a.at.Before(next.at)) {
				next = a
			}
		}
		if next == nil {
			m.now = end
			return
		}
		m.now = next.at
		f := next.f
		next.f = nil
		f()
		m.begin()
	}
}

func (m *model) publish(h *hook, n int) {
	h.backlog += n
	m.due += n
}

// claim is what a caller does in its loop: it gives back what Shed says and claims.
func (m *model) claim() {
	m.giveBack(m.s.Shed(m.now))
	plan := m.s.PlanClaim(m.last, m.now)
	if plan == nil {
		return
	}
	m.last = m.now
	for _, h := range m.hooks {
		if slices.Contains(plan.Forgotten, h.id) {
			h.lane = nil
		}
		if d, ok := plan.Rest[h.id]; ok {
			h.rests = m.now.Add(d)
		}
	}
	var got []*delivery
	first := m.choose(len(m.hooks))
	for i := range m.hooks {
		h := m.hooks[(first+i)%len(m.hooks)]
		if slices.Contains(plan.PassTenants, h.tenant) || h.rests.After(m.now) {
			continue
		}
		room, limited := plan.Limits[h.id]
		if !limited {
			room = plan.PerLane
		}
		n := min(room, h.backlog, plan.Limit-len(got))
		h.backlog -= n
		for range n {
			got = append(got, &delivery{hook: h})
		}
	}
	m.s.Told(plan, m.now)
	var back []Job
	for _, d := range got {
		h := d.hook
		if h.lane == nil {
			h.lane = m.s.Lane(h.id, h.tenant, m.now)
			m.s.Known(h.lane, h.class)
			m.s.Changed(h.lane, h.perSecond, m.now)
		}
		m.s.Hold(h.lane, d, m.now)
		d.held = true
		m.held++
		if m.s.Surplus(d, m.now) || m.choose(50) == 49 {
			back = append(back, d)
			continue
		}
		m.s.Enqueue(d)
		h.queued++
	}
	m.s.Taken(plan, len(got), m.now)
	m.check()
	m.unqueued(back)
	if m.held > m.s.cfg.MaxHeld {
		m.t.Fatalf("%d are held, of at most %d", m.held, m.s.cfg.MaxHeld)
	}
}

// giveBack returns jobs that the scheduler took out of its queues to the store.
func (m *model) giveBack(jobs []Job) {
	for _, j := range jobs {
		j.(*delivery).hook.queued--
	}
	m.unqueued(jobs)
}

func (m *model) unqueued(jobs []Job) {
	for _, j := range jobs {
		d := j.(*delivery)
		d.hook.backlog++
		m.release(d)
	}
}

func (m *model) release(d *delivery) {
	d.held = false
	m.held--
	m.s.Release(d, m.now)
	m.s.Release(d, m.now) // the second call changes nothing
	m.s.HasRoom()
	m.s.Wanting(d, m.now)
}

// begin begins whatever may begin.
func (m *model) begin() {
	for {
		d, ok := m.s.Next(m.now).(*delivery)
		if !ok {
			return
		}
		if d.hook.queued--; d.hook.queued < 0 || !d.held || !d.began.IsZero() {
			m.t.Fatal("an attempt was begun that was not enqueued, or twice")
		}
		d.began = m.now
		m.flying = append(m.flying, d)
		m.due--
		m.check()
	}
}

func (m *model) land(i int, how Landing) {
	d := m.flying[i]
	m.flying = slices.Delete(m.flying, i, i+1)
	m.ended = append(m.ended, d)
	l := d.hook.lane
	limit := l.limit
	m.s.Landed(d, how, d.began, m.now)
	if how == LandedWell && l.limit != min(limit+1, m.s.cfg.MaxPerLane) {
		m.t.Fatalf("a success took the limit from %d to %d", limit, l.limit)
	}
	if how != LandedWell && l.limit > limit {
		m.t.Fatalf("no success took the limit from %d to %d", limit, l.limit)
	}
}

// landAny ends an attempt, as its webhook's health has it.
func (m *model) landAny() {
	i := m.choose(len(m.flying))
	d := m.flying[i]
	how := LandedWell
	switch roll := m.choose(20); {
	case roll == 19:
		how = LandedUnused
	case roll == 18: // its lease is lost while it goes on
		m.release(d)
	case roll/2 < d.hook.sick:
		how = LandedBadly
	}
	m.land(i, how)
	if !d.held {
		m.ended = m.ended[:len(m.ended)-1]
	}
}

// recorded releases what has ended.
func (m *model) recorded() {
	for _, d := range m.ended {
		m.release(d)
	}
	m.ended = m.ended[:0]
}

// check compares the scheduler with itself and with the model.
func (m *model) check() {
	m.t.Helper()
	if err := m.s.Check(); err != nil {
		m.t.Fatal(err)
	}
	var all flying
	held, flights := map[*Lane]int{}, map[*Lane]flying{}
	count := func(d *delivery) {
		if d.held {
			held[d.hook.lane]++
		}
	}
	for _, d := range m.flying {
		all.count(d.class, 1)
		f := flights[d.hook.lane]
		f.count(d.class, 1)
		flights[d.hook.lane] = f
		count(d)
	}
	for _, d := range m.ended {
		count(d)
	}
	if all != m.s.flying {
		m.t.Fatalf("%+v are in flight, counted as %+v", all, m.s.flying)
	}
	for _, h := range m.hooks {
		l := h.lane
		if l == nil {
			continue
		}
		if m.s.lanes[h.id] != l || flights[l] != l.flying || len(l.queue) != h.queued {
			m.t.Fatalf("lane %s has %+v in flight, counted as %+v, and %d in its queue, want %d", l.id, flights[l], l.flying, len(l.queue), h.queued)
		}
	}
}

// checkHeld compares what is held, between the steps.
func (m *model) checkHeld() {
	m.t.Helper()
	if m.held != m.s.held {
		m.t.Fatalf("%d are held, counted as %d", m.held, m.s.held)
	}
	for _, h := range m.hooks {
		if h.lane == nil {
			continue
		}
		held := h.queued
		for _, d := range slices.Concat(m.flying, m.ended) {
			if d.hook == h && d.held {
				held++
			}
		}
		if held != h.lane.held {
			m.t.Fatalf("%d of lane %s are held, counted as %d", held, h.id, h.lane.held)
		}
	}
}

// checkSlots wants no lane to wait for a slot that it may have.
func (m *model) checkSlots() {
	m.t.Helper()
	for _, h := range m.hooks {
		if l := h.lane; l != nil && (l.state == parked || l.state == waiting) && m.s.hasSlot(l, m.now) {
			m.t.Fatalf("lane %s has a slot, and does not take it: %d of %d in flight, class %d, all %+v", l.id, l.flying.all, l.limit, l.class, m.s.flying)
		}
	}
}

// step does something at random.
func (m *model) step() {
	h := m.hooks[m.choose(len(m.hooks))]
	switch m.choose(16) {
	case 0, 1:
		m.publish(h, 1+m.choose(1+m.choose(30)))
	case 2, 3, 4:
		m.claim()
	case 5:
		m.settings(h)
	case 6:
		h.sick = 10 - h.sick
	case 7:
		m.pass(time.Duration(m.choose(2000)) * time.Millisecond)
	case 8:
		m.recorded()
	case 9: // the lease of a job that has not begun is lost
		if l := h.lane; l != nil && len(l.queue) > 0 {
			d := l.queue[m.choose(len(l.queue))].(*delivery)
			h.backlog++
			h.queued--
			m.release(d)
		}
	case 10:
		if h.lane != nil && m.choose(4) == 0 {
			m.giveBack(m.s.PutOff(h.lane, m.now.Add(30*time.Second)))
		} else if h.lane != nil {
			m.s.Rested(h.lane)
		}
	case 11:
		if len(m.flying) > 0 {
			i := m.choose(len(m.flying))
			_, back := m.s.Unsent(m.flying[i], m.flying[i].began, m.now)
			m.giveBack(back)
			m.land(i, LandedUnused)
		}
	case 12:
		m.s.Reconsider(m.now)
		m.begin()
		m.checkSlots()
	default:
		for range min(len(m.flying), 1+m.choose(8)) {
			m.landAny()
			m.begin()
		}
	}
	m.begin()
	m.check()
	m.checkHeld()
}

// finish wants everything that was published to begin, however badly it ends, and the
// scheduler to be empty and to know nothing in the end.
func (m *model) finish() {
	for round := 0; m.due > 0; round++ {
		if round > 2*m.due+5000 {
			m.t.Fatalf("%d have not begun after %d rounds", m.due, round)
		}
		for range (len(m.flying) + 1) / 2 {
			m.land(m.choose(len(m.flying)), LandedBadly)
			m.begin()
		}
		m.recorded()
		m.claim()
		m.s.Reconsider(m.now)
		m.begin()
		m.check()
		m.pass(time.Second)
	}
	for len(m.flying) > 0 {
		m.land(0, LandedBadly)
	}
	m.recorded()
	m.check()
	m.checkHeld()
	if st := m.s.Stats(); st.Held+st.InFlight+st.Holding+m.s.Ready() > 0 || m.s.blocked() {
		m.t.Fatalf("all is released, and yet %+v", st)
	}
	for range 3 {
		m.pass(3 * time.Minute)
		m.claim()
	}
	if st := m.s.Stats(); st.Lanes+st.Active+len(m.s.tenants) > 0 {
		m.t.Fatalf("%d tenants are known long after, and %+v", len(m.s.tenants), st)
	}
	m.check()
}

// The scheduler against a model: whatever comes, ends, fails and is changed, in any
// order, its counters are right, its bounds hold, no lane is forgotten, no slot that a
// lane may have is left empty, and everything begins in the end.
func TestSchedulerAgreesWithModel(t *testing.T) {
	t.Parallel()
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			m := newModel(t, r.IntN)
			for range 400 {
				m.step()
			}
			m.finish()
		})
	}
}

// FuzzScheduler is the same with choices from the input: two bytes each.
func FuzzScheduler(f *testing.F) {
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 2048 {
			return
		}
		m := newModel(t, func(n int) int {
			if len(choices) < 2 {
				return 0
			}
			c := int(binary.LittleEndian.Uint16(choices))
			choices = choices[2:]
			return c % n
		})
		for len(choices) > 0 {
			m.step()
			if len(choices) == 1 {
				break
			}
		}
		m.finish()
	})
}
