package storetest

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

var stressChecks = []check{
	{"EveryDeliverySucceedsOnce", "Safe for concurrent use by many goroutines", func(r *run) {
		events := 1_000
		if r.short {
			events = 200
		}
		s := &stress{run: r, target: int64(2 * events), succeeded: map[string]int{}}
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", selecting("a.*"))
		var publishers, workers sync.WaitGroup
		const batch = 25
		for i := range 4 {
			publishers.Go(func() {
				for n := i * batch; n < events; n += 4 * batch {
					s.publish(n, min(batch, events-n))
				}
			})
		}
		for range 4 {
			workers.Go(s.work)
		}
		publishers.Wait()
		workers.Wait()
		r.now = s.time().Add(time.Hour)
		all := r.deliveries(webhook.DeliveryQuery{Tenant: t1})
		if len(all) != 2*events {
			r.brokenf("%d deliveries, want %d", len(all), 2*events)
		}
		for _, d := range all {
			if d.State != webhook.StateSucceeded || s.succeeded[d.ID] != 1 {
				r.brokenf("delivery %s is %s, %d results for it that say so were applied", d.ID, d.State, s.succeeded[d.ID])
			}
		}
		r.invariants(t1, r.brokenf)
	}},
}

// patience is how long a worker goes on claiming from a Store that returns no
// delivery.
const patience = 20 * time.Second

var errIdle = errors.New("it keeps returning no delivery although some wait")

// stress runs publishers at the same time as workers that claim, complete,
// release, extend, retry and crash. Time passes with every call.
type stress struct {
	*run
	ticks   atomic.Int64 // milliseconds since start
	target  int64        // total number of deliveries
	applied atomic.Int64 // applied results with success
	failed  atomic.Bool  // stop: a failure was reported

	mu        sync.Mutex
	succeeded map[string]int // by delivery
}

func (s *stress) time() time.Time {
	return start.Add(time.Duration(s.ticks.Add(1)) * time.Millisecond)
}

// fail reports err and ends the stress.
func (s *stress) fail(what string, err error) {
	if !s.failed.Swap(true) {
		s.brokenf("%s: unexpected error: %v", what, err)
	}
}

// publish publishes n events, every batch twice.
func (s *stress) publish(from, n int) {
	reqs := make([]webhook.PublishRequest, n)
	for i := range reqs {
		reqs[i] = webhook.PublishRequest{
			Event:    webhook.EventRecord{ID: "e" + itoa(from+i), Tenant: t1, Type: "a.b", Time: start, Data: []byte("{}")},
			Patterns: eventtype.Patterns("a.b"),
		}
	}
	for range 2 {
		if _, err := s.store.Publish(s.Context(), s.time(), reqs); err != nil {
			s.fail("Publish", err)
			return
		}
	}
}

// work claims and completes until every delivery has succeeded.
func (s *stress) work() {
	var forgotten []webhook.Result // results held back until after their lease
	worked := time.Now()
	for s.applied.Load() < s.target && !s.failed.Load() {
		req := webhook.ClaimRequest{Token: token(), Now: s.time(), Lease: 500 * time.Millisecond, Limit: 40, PerWebhook: 30}
		res, err := s.store.Claim(s.Context(), req)
		if err != nil {
			s.fail("Claim", err)
			return
		}
		if len(res.Deliveries) == 0 {
			s.ticks.Add(100) // leases expire and retries become due
			if time.Since(worked) > patience {
				s.fail("Claim", errIdle)
				return
			}
			runtime.Gosched()
			continue
		}
		worked = time.Now()
		var results []webhook.Result
		var back, more []webhook.Lease
		for _, d := range res.Deliveries {
			l := webhook.Lease{DeliveryID: d.Delivery.ID, Token: req.Token}
			switch ok := s.result(d.Delivery, req.Token, req.Now, 200); rand.IntN(20) {
			case 0:
				forgotten = append(forgotten, ok)
			case 1:
				back = append(back, l)
			case 2, 3:
				retry := s.result(d.Delivery, req.Token, req.Now, 500)
				retry.State, retry.Delay = webhook.StatePending, time.Millisecond*time.Duration(rand.IntN(50))
				results = append(results, retry)
			case 4:
				more = append(more, l)
				results = append(results, ok)
			default:
				results = append(results, ok)
			}
		}
		if _, err := s.store.Extend(s.Context(), s.time(), more, time.Second); err != nil {
			s.fail("Extend", err)
		}
		if err := s.store.Release(s.Context(), s.time(), back, 0); err != nil {
			s.fail("Release", err)
		}
		if len(forgotten) > 20 {
			results = append(results, forgotten...)
			forgotten = nil
		}
		s.complete(results)
	}
}

// result returns the result of an attempt.
func (s *stress) result(d webhook.Delivery, tok int64, now time.Time, status int) webhook.Result {
	res := webhook.Result{DeliveryID: d.ID, Token: tok, State: webhook.StateSucceeded, Attempt: s.attempt(d, status)}
	res.Attempt.StartedAt = now
	return res
}

// complete records results, some of them twice, and notes which succeeded.
func (s *stress) complete(results []webhook.Result) {
	out, err := s.store.Complete(s.Context(), s.time(), results)
	if err == nil && rand.IntN(4) == 0 {
		_, err = s.store.Complete(s.Context(), s.time(), results)
	}
	if err != nil {
		s.fail("Complete", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range out {
		if o == webhook.OutcomeApplied && results[i].State == webhook.StateSucceeded {
			s.succeeded[results[i].DeliveryID]++
			s.applied.Add(1)
		}
	}
}
