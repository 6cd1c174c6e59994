package webhook_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/machineclock"
	"github.com/seed68722ecd/webhook/memstore"
)

// sleeper is a machine that can sleep: its wall clock goes on while the monotonic
// one, which the bubble has, stands still.
type sleeper struct{ slept atomic.Int64 }

func newSleeper(t *testing.T) *sleeper {
	s := &sleeper{}
	machineclock.Set(s.now)
	t.Cleanup(func() { machineclock.Set(nil) })
	return s
}

func (s *sleeper) now() time.Time        { return time.Now().Add(time.Duration(s.slept.Load())) }
func (s *sleeper) sleep(d time.Duration) { s.slept.Add(int64(d)) }

// Five deliveries are held, of which one is being attempted, when the machine goes
// to sleep. A delivery that another process claims meanwhile does not begin here;
// the other deliveries do, once, and count no crash.
func TestAMachineThatSleptBeginsNothingWhoseLeaseIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		slept  time.Duration
		others int // deliveries that another process claims meanwhile
		fails  bool
		begun  int // attempts here, until all leases that are others' run out
	}{
		"all are claimed elsewhere":        {slept: time.Hour, others: 5, begun: 1},
		"some are":                         {slept: time.Hour, others: 3, begun: 3},
		"none is":                          {slept: time.Hour, begun: 5},
		"it slept for less than the lease": {slept: 20 * time.Second, begun: 5},
		"the clock was set back":           {slept: -time.Hour, begun: 5},
		"the store is away when it wakes":  {slept: time.Hour, others: 5, fails: true, begun: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newSleeper(t)
			var faults *faultyStore
			inBubbleOver(t, webhook.Config{MaxInFlight: 1, MaxClaimed: 64, Lease: 30 * time.Second, Now: m.now},
				func(s *memstore.Store) webhook.Store { faults = &faultyStore{Store: s}; return faults },
				func(w *world) {
					w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
						<-time.After(4 * time.Second)
						return http.StatusOK, nil, nil
					})
					wh := w.hook("h.example.com")
					for range 5 {
						w.publish()
					}
					w.start()
					w.pass(time.Second)
					if s := w.Stats(); s.Claimed != 5 || s.InFlight != 1 {
						t.Fatalf("%+v, want 5 claimed and 1 in flight", s)
					}
					m.sleep(c.slept)
					if c.others > 0 {
						res, err := w.mem.Claim(t.Context(), webhook.ClaimRequest{Token: 77, Now: m.now(), Lease: time.Hour, Limit: c.others, PerWebhook: c.others})
						if err != nil || len(res.Deliveries) != c.others {
							t.Fatalf("the other process claimed %d, %v", len(res.Deliveries), err)
						}
					}
					if c.fails {
						faults.set(func(op string) error {
							if op == "Extend" || op == "Claim" {
								return errors.New("no network yet")
							}
							return nil
						})
					}
					w.pass(29 * time.Second)
					if n := len(w.rx.at("h.example.com")); n != c.begun {
						t.Errorf("%d attempts begun, want %d", n, c.begun)
					}
					for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
						if d.State == webhook.StateSucceeded && (d.Crashes != 0 || d.Attempts != 1) {
							t.Errorf("%d crashes and %d attempts are counted, want 0 and 1", d.Crashes, d.Attempts)
						}
					}
					faults.set(nil)
				})
		})
	}
}

// lostAnswers stores results and loses the answers, while told to.
type lostAnswers struct {
	webhook.Store
	lose atomic.Bool
}

func (l *lostAnswers) Complete(ctx context.Context, now time.Time, r []webhook.Result) ([]webhook.Outcome, error) {
	out, err := l.Store.Complete(ctx, now, r)
	if l.lose.Load() {
		return nil, errors.New("connection reset")
	}
	return out, err
}

// A result is stored and its answer lost; the delivery is resent, and claimed
// again: the old result is not taken for that of the new claim, and another
// attempt is made.
func TestALostAnswerIsNotRecordedForAResend(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world, id string) // before the first claim
		resend  func(w *world, id string) // and before the delivery is resent
		answer  int
		retries int
		first   webhook.State
	}{
		"failed":    {answer: 500, first: webhook.StateFailed},
		"retried":   {answer: 500, retries: 5, first: webhook.StatePending},
		"succeeded": {answer: 200, first: webhook.StateSucceeded},
		"canceled": {
			prepare: func(w *world, id string) { w.active(id, false) },
			resend:  func(w *world, id string) { w.active(id, true) },
			first:   webhook.StateCanceled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var lossy *lostAnswers
			inBubbleOver(t, webhook.Config{Lease: time.Hour, PollInterval: 10 * time.Millisecond},
				func(s *memstore.Store) webhook.Store { lossy = &lostAnswers{Store: s}; return lossy },
				func(w *world) {
					w.rx.status("h.example.com", c.answer)
					wh := w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(c.retries) })
					w.publish()
					if c.prepare != nil {
						c.prepare(w, wh.ID)
					}
					lossy.lose.Store(true)
					w.start()
					w.pass(time.Second)
					before := len(w.rx.at("h.example.com"))
					d := w.wantState(wh.ID, c.first, map[webhook.State]webhook.Reason{webhook.StateFailed: webhook.ReasonRetriesExhausted, webhook.StateCanceled: webhook.ReasonWebhookDisabled}[c.first])
					if c.resend != nil {
						c.resend(w, wh.ID)
					}
					w.rx.status("h.example.com", 204)
					if _, err := w.Resend(t.Context(), tenant, d.ID); err != nil {
						t.Fatal(err)
					}
					w.pass(100 * time.Millisecond) // it is claimed while the old result is not acknowledged
					lossy.lose.Store(false)
					w.pass(time.Minute)
					w.wantState(wh.ID, webhook.StateSucceeded, "")
					got := w.rx.at("h.example.com")
					if len(got) != before+1 {
						t.Errorf("%d requests after the resend, want 1", len(got)-before)
					}
					as := w.attemptsOf(d)
					if len(as) != len(got) || len(as) == 0 || as[len(as)-1].Status != 204 {
						t.Errorf("%d requests, and recorded are %+v", len(got), as)
					}
					for _, a := range as {
						if a.Late {
							t.Errorf("attempt %d is late", a.Number)
						}
					}
				})
		})
	}
}

// active switches a webhook on or off, in the store and behind the dispatcher.
func (w *world) active(id string, on bool) {
	w.t.Helper()
	rec, err := w.mem.GetWebhook(w.t.Context(), tenant, id)
	if err == nil {
		rec.Active = on
		err = w.mem.UpdateWebhook(w.t.Context(), rec)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Renewals fail for longer than the lease and the claim then works: an attempt in
// flight goes on under the new lease, is not made again, and is recorded once.
func TestWhatIsUnderWayGoesOnUnderANewLease(t *testing.T) {
	var faults *faultyStore
	inBubbleOver(t, webhook.Config{Lease: 10 * time.Second, PollInterval: time.Second},
		func(s *memstore.Store) webhook.Store { faults = &faultyStore{Store: s}; return faults },
		func(w *world) {
			w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
				<-time.After(25 * time.Second)
				return http.StatusOK, nil, nil
			})
			wh := w.hook("h.example.com")
			w.publish()
			w.start()
			faults.set(func(op string) error {
				if op == "Extend" {
					return errors.New("down")
				}
				return nil
			})
			w.pass(15 * time.Second)
			faults.set(nil)
			w.pass(time.Minute)
			d := w.wantState(wh.ID, webhook.StateSucceeded, "")
			if n, as := len(w.rx.at("h.example.com")), w.attemptsOf(d); n != 1 || len(as) != 1 || as[0].Late {
				t.Errorf("%d requests, attempts %+v; want one of each", n, as)
			}
		})
}
