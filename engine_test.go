package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func TestD13_StopLetsAttemptsFinish(t *testing.T) {
	inBubble(t, webhook.Config{MaxInFlight: 8, MaxInFlightPerWebhook: 4}, func(w *world) {
		w.rx.on("slow.example.com", func(int, *http.Request) (int, http.Header, error) {
			<-time.After(10 * time.Second)
			return 200, nil, nil
		})
		wh := w.hook("slow.example.com")
		for range 20 {
			w.publish()
		}
		w.start()
		w.pass(time.Second)
		begun := len(w.rx.at("slow.example.com"))
		stopped := time.Now()
		w.end()
		if took := time.Since(stopped); took != 9*time.Second {
			t.Errorf("Run took %v to end, want the 9 s that the attempts needed", took)
		}
		states := map[webhook.State]int{}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			states[d.State]++
			if d.State == webhook.StatePending && (d.Attempts != 0 || d.Crashes != 0) {
				t.Errorf("a delivery that was given back counts %d attempts, %d crashes", d.Attempts, d.Crashes)
			}
		}
		if begun == 0 || states[webhook.StateSucceeded] != begun || states[webhook.StatePending] != 20-begun {
			t.Errorf("%d begun, then %v", begun, states)
		}
		// Deliveries that were given back are due at once for the next run.
		w.start()
		w.pass(2 * time.Minute) // two at a time: it is slow, and there are eight slots
		if n := len(w.rx.at("slow.example.com")); n != 20 {
			t.Errorf("%d requests in all, want each delivery sent once", n)
		}
	})
}

func TestD13_StopAbortsAfterDrainTimeout(t *testing.T) {
	inBubble(t, webhook.Config{DrainTimeout: 2 * time.Second}, func(w *world) {
		w.rx.hang("hang.example.com")
		wh := w.hook("hang.example.com")
		w.publish()
		w.start()
		w.pass(time.Second)
		stopped := time.Now()
		w.end()
		if took := time.Since(stopped); took != 2*time.Second {
			t.Errorf("Run took %v to end, want the drain timeout of 2 s", took)
		}
		d := w.wantState(wh.ID, webhook.StatePending, "")
		if d.Attempts != 0 || d.Tries != 0 || d.Crashes != 0 || len(w.attemptsOf(d)) != 0 {
			t.Errorf("an aborted attempt was counted: %+v", d)
		}
		w.rx.status("hang.example.com", 200)
		w.start()
		w.pass(time.Second)
		w.wantState(wh.ID, webhook.StateSucceeded, "")
	})
}

func TestRunIsExclusiveAndRepeatable(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		w.start()
		wantErr(t, w.Run(context.Background()), webhook.ErrRunning)
		_, err := w.DeliverDue(context.Background())
		wantErr(t, err, webhook.ErrRunning)
		w.end()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run with a context that has ended: %v", err)
		}
		w.start()
	})
}

func TestDeliverDue(t *testing.T) {
	inBubble(t, webhook.Config{Retry: noJitter}, func(w *world) {
		w.rx.status("bad.example.com", 500)
		w.hook("ok.example.com")
		w.hook("bad.example.com")
		for range 100 {
			w.publish()
		}
		n, err := w.DeliverDue(context.Background())
		if err != nil || n != 200 {
			t.Errorf("DeliverDue = %d, %v; want 200 attempts", n, err)
		}
		if n, err := w.DeliverDue(context.Background()); n != 0 || err != nil {
			t.Errorf("DeliverDue with nothing due = %d, %v", n, err)
		}
		<-time.After(15 * time.Second)
		if n, err := w.DeliverDue(context.Background()); n != 100 || err != nil {
			t.Errorf("DeliverDue when retries are due = %d, %v; want 100", n, err)
		}
		w.rx.hang("ok.example.com")
		w.publish()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = w.DeliverDue(ctx)
		wantErr(t, err, context.DeadlineExceeded)
	})
}

// One endpoint of 20 hangs, and half of them hang: the others get everything
// at once, and the bounds hold.
func TestD9_HangingEndpointsCostTheOthersNothing(t *testing.T) {
	for _, hanging := range []int{1, 10} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			cfg := webhook.Config{MaxInFlight: 64, MaxInFlightPerWebhook: 32, DrainTimeout: -1}
			inBubble(t, cfg, func(w *world) {
				host := func(i int) string { return fmt.Sprintf("h%d.example.com", i) }
				for i := range 20 {
					w.hook(host(i), func(s *webhook.WebhookSpec) { s.Timeout = new(300 * time.Second) })
					if i < hanging {
						w.rx.hang(host(i))
					} else {
						w.rx.on(host(i), func(int, *http.Request) (int, http.Header, error) {
							<-time.After(time.Millisecond)
							return 200, nil, nil
						})
					}
				}
				w.start()
				start := time.Now()
				for range 200 {
					w.publish()
				}
				w.pass(10 * time.Second)
				for i := hanging; i < 20; i++ {
					got := w.rx.at(host(i))
					if len(got) != 200 {
						t.Errorf("%s received %d of 200", host(i), len(got))
						continue
					}
					if last := got[199].at.Sub(start); last > 2*time.Second {
						t.Errorf("%s received its last after %v", host(i), last)
					}
				}
				w.rx.mu.Lock()
				defer w.rx.mu.Unlock()
				if w.rx.peaks > 64 {
					t.Errorf("%d attempts were in flight at once, at most 64 are allowed", w.rx.peaks)
				}
				for h, n := range w.rx.peak {
					if n > 32 {
						t.Errorf("%s had %d attempts in flight, at most 32 are allowed", h, n)
					}
				}
			})
		})
	}
}

func TestFailingEndpointShrinksAndRecovers(t *testing.T) {
	inBubble(t, webhook.Config{DisableAfter: -1}, func(w *world) {
		var mu sync.Mutex
		down := true
		w.rx.on("h.example.com", func(int, *http.Request) (int, http.Header, error) {
			<-time.After(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if down {
				return 500, nil, nil
			}
			return 200, nil, nil
		})
		w.hook("h.example.com", func(s *webhook.WebhookSpec) { s.MaxRetries = new(0) })
		for range 4000 {
			w.publish()
		}
		w.start()
		w.pass(5 * time.Second)
		if n := w.Stats().InFlight; n != 1 {
			t.Errorf("%d attempts in flight to an endpoint that only fails, want 1", n)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		w.pass(5 * time.Second)
		if n := w.Stats().InFlight; n != 64 {
			t.Errorf("%d attempts in flight 5 s after it is well again, want its whole share of 64", n)
		}
	})
}

func TestD3_LeaseIsRenewedWhileAnAttemptRuns(t *testing.T) {
	inBubble(t, webhook.Config{Lease: 10 * time.Second, PollInterval: time.Second}, func(w *world) {
		w.rx.on("slow.example.com", func(int, *http.Request) (int, http.Header, error) {
			<-time.After(290 * time.Second)
			return 200, nil, nil
		})
		wh := w.hook("slow.example.com", func(s *webhook.WebhookSpec) { s.Timeout = new(300 * time.Second) })
		w.publish()
		w.start()
		// A second dispatcher on the same store must leave it alone.
		other, err := webhook.New(w.mem, webhook.Config{Client: &http.Client{Transport: w.rx}, PollInterval: time.Second, Lease: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- other.Run(ctx) }()
		w.pass(400 * time.Second)
		if n := len(w.rx.at("slow.example.com")); n != 1 {
			t.Errorf("sent %d times, want once", n)
		}
		w.wantState(wh.ID, webhook.StateSucceeded, "")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestD4_LateResultChangesOnlyTheLog(t *testing.T) {
	var faults *faultyStore
	inBubbleOver(t, webhook.Config{Lease: 10 * time.Second},
		func(m *memstore.Store) webhook.Store { faults = &faultyStore{Store: m}; return faults },
		func(w *world) {
			w.rx.on("slow.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
				<-time.After(60 * time.Second)
				return 500, nil, nil
			})
			wh := w.hook("slow.example.com", func(s *webhook.WebhookSpec) { s.Timeout = new(300 * time.Second) })
			w.publish()
			w.start()
			// The process is cut off from its store: the lease runs out.
			faults.set(func(string) error { return errors.New("cut off") })
			w.pass(20 * time.Second)
			res, err := w.mem.Claim(t.Context(), webhook.ClaimRequest{Token: 42, Now: time.Now().UTC(), Lease: time.Hour, Limit: 1, PerWebhook: 1})
			if err != nil || len(res.Deliveries) != 1 || res.Deliveries[0].Delivery.Crashes != 1 {
				t.Fatalf("another claim got %+v, %v", res, err)
			}
			faults.set(nil)
			w.pass(time.Minute)
			d := w.wantState(wh.ID, webhook.StatePending, "")
			as := w.attemptsOf(d)
			if len(as) != 1 || !as[0].Late || d.Tries != 0 {
				t.Errorf("late attempt %+v, delivery %+v", as, d)
			}
		})
}

func TestD5_PoisonIsQuarantinedAndItsNeighboursArrive(t *testing.T) {
	inBubble(t, webhook.Config{Lease: time.Second}, func(w *world) {
		wh := w.hook("h.example.com")
		for range 5 {
			w.publish()
		}
		// Four processes in a row claim everything and die.
		for i := range 4 {
			res, err := w.mem.Claim(t.Context(), webhook.ClaimRequest{Token: int64(i + 1), Now: time.Now().UTC(), Lease: time.Second, Limit: 10, PerWebhook: 10})
			if err != nil || len(res.Deliveries) != 5 {
				t.Fatalf("claim %d: %d deliveries, %v", i, len(res.Deliveries), err)
			}
			w.pass(2 * time.Second)
		}
		// From then on only one of the suspects is tried at a time, so the poison
		// can only take itself along.
		poison := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID})[2]
		if _, err := w.mem.Claim(t.Context(), webhook.ClaimRequest{Token: 9, Now: time.Now().UTC(), Lease: time.Second, Limit: 1, PerWebhook: 1}); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Second)
		w.start()
		w.pass(time.Minute)
		_ = poison
		byState := map[webhook.State]int{}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			byState[d.State]++
			if d.State == webhook.StateFailed && d.Reason != webhook.ReasonQuarantined {
				t.Errorf("failed for %s", d.Reason)
			}
		}
		if byState[webhook.StateSucceeded] != 4 || byState[webhook.StateFailed] != 1 {
			t.Errorf("states %v, want 4 succeeded and 1 quarantined", byState)
		}
		if w.rx.peak["h.example.com"] != 1 {
			t.Errorf("%d suspects were attempted at once", w.rx.peak["h.example.com"])
		}
		// A resend gives it a new chance.
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateFailed}) {
			if _, err := w.Resend(context.Background(), tenant, d.ID); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Second)
		if left := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateFailed}); len(left) != 0 {
			t.Errorf("still failed after a resend: %+v", left)
		}
	})
}

// A store that is out of order for a while: results are kept, leases renewed
// where they can be, and every delivery is sent exactly once.
func TestD7_ResultsSurviveAStoreThatFails(t *testing.T) {
	var faults *faultyStore
	logged := &countingHandler{}
	inBubbleOver(t, webhook.Config{Logger: slog.New(logged)},
		func(m *memstore.Store) webhook.Store { faults = &faultyStore{Store: m}; return faults },
		func(w *world) {
			wh := w.hook("h.example.com")
			w.start()
			for range 40 {
				w.publish()
			}
			faults.set(func(op string) error {
				if op == "Publish" {
					return nil
				}
				return errors.New("database is down")
			})
			w.pass(15 * time.Second) // less than the lease
			faults.set(nil)
			w.pass(time.Minute)
			if n := len(w.rx.at("h.example.com")); n != 40 {
				t.Errorf("%d requests for 40 events", n)
			}
			for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
				if d.State != webhook.StateSucceeded {
					t.Errorf("delivery %s is %s", d.ID, d.State)
				}
			}
			if n := logged.n; n == 0 || n > 60 {
				t.Errorf("%d log lines in a 15 s outage, want some but no flood", n)
			}
		})
}

// One result that the store refuses for ever holds up no other.
func TestD6_UnrecordableResultHoldsUpNoOther(t *testing.T) {
	var faults *poisonedStore
	inBubbleOver(t, webhook.Config{}, func(m *memstore.Store) webhook.Store { faults = &poisonedStore{Store: m}; return faults }, func(w *world) {
		wh := w.hook("h.example.com")
		for range 30 {
			w.publish()
		}
		ds := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID})
		faults.poison = ds[7].ID
		w.start()
		for range 10 {
			w.pass(time.Second)
			w.publish()
		}
		w.pass(time.Minute)
		pending := w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StatePending})
		if len(pending) != 1 || pending[0].ID != faults.poison {
			t.Errorf("%d deliveries are unrecorded, want the one", len(pending))
		}
		faults.mu.Lock()
		faults.poison = ""
		faults.mu.Unlock()
		w.pass(time.Minute)
		if n := len(w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID, State: webhook.StateSucceeded})); n != 40 {
			t.Errorf("%d of 40 recorded in the end", n)
		}
	})
}

type poisonedStore struct {
	webhook.Store
	mu     sync.Mutex
	poison string
}

func (p *poisonedStore) Complete(ctx context.Context, now time.Time, rs []webhook.Result) ([]webhook.Outcome, error) {
	p.mu.Lock()
	poison := p.poison
	p.mu.Unlock()
	for _, r := range rs {
		if r.DeliveryID == poison {
			return nil, errors.New("cannot store this")
		}
	}
	return p.Store.Complete(ctx, now, rs)
}

func TestPanicsAreContained(t *testing.T) {
	var faults *faultyStore
	logged := &countingHandler{}
	panicHook := func() { panic("hook broke") }
	cfg := webhook.Config{
		Logger: slog.New(logged), Retry: panickyRetry{},
		Hooks: webhook.Hooks{
			Attempt:   func(webhook.Delivery, webhook.Attempt) { panicHook() },
			Succeeded: func(webhook.Delivery, webhook.Attempt) { panicHook() },
			Failed:    func(webhook.Delivery) { panicHook() },
		},
		Signer: signerFunc(func(h http.Header, m webhook.Message, s []webhook.Secret) error {
			if strings.Contains(string(m.Body), "poison") {
				panic("signer broke: " + s[0].Reveal())
			}
			return webhook.DefaultSigner().Sign(h, m, s)
		}),
	}
	inBubbleOver(t, cfg, func(m *memstore.Store) webhook.Store { faults = &faultyStore{Store: m}; return faults }, func(w *world) {
		var n atomic.Int32
		faults.set(func(op string) error {
			if n.Add(1)%3 == 0 {
				panic("store broke in " + op)
			}
			return nil
		})
		wh := w.hook("h.example.com")
		bad := w.hook("bad.example.com", func(s *webhook.WebhookSpec) { s.Name = "poison"; s.MaxRetries = new(1) })
		w.start()
		published := 0
		for published < 20 {
			if _, err := w.Publish(context.Background(), webhook.Event{Tenant: tenant, Type: "x", Data: map[string]int{}}); err == nil {
				published++
			} else if !strings.Contains(err.Error(), "panicked") {
				t.Fatal(err)
			}
		}
		w.pass(5 * time.Minute)
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			if d.State != webhook.StateSucceeded {
				t.Errorf("delivery %+v, want succeeded", d)
			}
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: bad.ID}) {
			if d.State != webhook.StateFailed || d.LastClass != webhook.ClassInternal {
				t.Errorf("delivery with a broken signer: %+v", d)
			}
			for _, a := range w.attemptsOf(d) {
				if strings.Contains(a.Error, "whsec_") {
					t.Errorf("the attempt's error shows the secret: %s", a.Error)
				}
			}
		}
		if len(w.rx.at("bad.example.com")) != 0 {
			t.Error("something was sent unsigned")
		}
		if logged.n == 0 {
			t.Error("no panic was reported")
		}
		faults.set(nil)
	})
}

type panickyRetry struct{}

func (panickyRetry) Delay(int) time.Duration { panic("policy broke") }

type signerFunc func(http.Header, webhook.Message, []webhook.Secret) error

func (f signerFunc) Sign(h http.Header, m webhook.Message, s []webhook.Secret) error {
	return f(h, m, s)
}

type countingHandler struct {
	slog.Handler
	mu sync.Mutex
	n  int
}

func (h *countingHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h *countingHandler) Handle(context.Context, slog.Record) error {
	h.mu.Lock()
	h.n++
	h.mu.Unlock()
	return nil
}

// The answer of a claim is lost: its deliveries are given back by its token.
func TestD17_ClaimOfUnknownOutcome(t *testing.T) {
	var lossy *lossyStore
	inBubbleOver(t, webhook.Config{Lease: time.Hour}, func(m *memstore.Store) webhook.Store { lossy = &lossyStore{Store: m, lose: 2}; return lossy }, func(w *world) {
		wh := w.hook("h.example.com")
		w.publish()
		w.start()
		w.pass(time.Second)
		d := w.wantState(wh.ID, webhook.StateSucceeded, "")
		if d.Attempts != 1 {
			t.Errorf("%d attempts, want 1", d.Attempts)
		}
	})
}

// lossyStore forwards claims and loses the answers of the first few.
type lossyStore struct {
	webhook.Store
	lose int
}

func (l *lossyStore) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	res, err := l.Store.Claim(ctx, r)
	if l.lose > 0 {
		l.lose--
		return webhook.ClaimResult{}, errors.New("connection reset")
	}
	return res, err
}

func TestPruneLoop(t *testing.T) {
	inBubble(t, webhook.Config{Retention: 48 * time.Hour}, func(w *world) {
		wh := w.hook("h.example.com")
		w.start()
		w.publish()
		w.pass(47 * time.Hour)
		w.wantState(wh.ID, webhook.StateSucceeded, "")
		w.pass(3 * time.Hour)
		if ds := w.deliveries(webhook.DeliveryQuery{}); len(ds) != 0 {
			t.Errorf("still %d deliveries after the retention", len(ds))
		}
	})
}

func TestRunLeavesNothingBehind(t *testing.T) {
	// A bubble ends only when all its goroutines have: inBubble itself is the test.
	inBubble(t, webhook.Config{}, func(w *world) {
		for i := range 30 {
			w.hook(fmt.Sprintf("h%d.example.com", i))
		}
		w.start()
		for range 30 {
			w.publish()
		}
		w.end()
		synctest.Wait()
		if s := w.Stats(); s != (webhook.Stats{}) {
			t.Errorf("stats after the end: %+v", s)
		}
	})
}
