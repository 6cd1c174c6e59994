package storetest

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

const (
	saysDuplicate = "its result says Duplicate if type and data equal the stored event's, and Conflict otherwise"
	saysRacers    = "This also holds within one call and among concurrent callers."
)

func itoa(n int) string { return strconv.Itoa(n) }

// withData returns req with other data.
func withData(req webhook.PublishRequest, data string) webhook.PublishRequest {
	req.Event.Data = []byte(data)
	return req
}

var idempotenceChecks = []check{
	{"DuplicateAcrossCalls", "An event whose (Tenant, ID) exists already is not stored again and creates no delivery", func(r *run) {
		r.create(t1, "wh_1", nil)
		req := r.request(t1, "e1", "a.b")
		r.publish(req)
		r.create(t1, "wh_2", nil)
		r.same("result of the second Publish", webhook.PublishResult{Duplicate: true}, r.publish(req)[0])
		if n := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})); n != 1 {
			r.brokenf("%d deliveries, want 1", n)
		}
	}},
	{"ConflictAcrossCalls", saysDuplicate, func(r *run) {
		r.create(t1, "wh_1", nil)
		req := r.request(t1, "e1", "a.b")
		r.publish(req)
		r.same("result with other data", webhook.PublishResult{Conflict: true}, r.publish(withData(req, `{"other":1}`))[0])
		r.same("result with another type", webhook.PublishResult{Conflict: true},
			r.publish(webhook.PublishRequest{Event: webhook.EventRecord{
				ID: "e1", Tenant: t1, Type: "a.c", Time: req.Event.Time, Data: req.Event.Data}, Patterns: eventtype.Patterns("a.c")})[0])
		got, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("the event first stored", req.Event, got)
		if n := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})); n != 1 {
			r.brokenf("%d deliveries, want 1", n)
		}
	}},
	{"DataIsComparedAsBytes", saysDuplicate, func(r *run) {
		req := withData(r.request(t1, "e1", "a.b"), `{"a":1,"b":2}`)
		r.publish(req)
		for _, data := range []string{`{"b":2,"a":1}`, `{"a":1, "b":2}`, `{"a":1.0,"b":2}`} {
			r.same("result with "+data, webhook.PublishResult{Conflict: true}, r.publish(withData(req, data))[0])
		}
	}},
	{"TimeIsNotCompared", "the time is not compared", func(r *run) {
		req := r.request(t1, "e1", "a.b")
		r.publish(req)
		again := req
		again.Event.Time = req.Event.Time.Add(time.Hour)
		r.same("result with another time", webhook.PublishResult{Duplicate: true}, r.publish(again)[0])
		got, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("the event first stored", req.Event, got)
	}},
	{"WithinOneCall", saysRacers, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.request(t1, "old", "a.b"))
		req := r.request(t1, "e1", "a.b")
		got := r.publish(req, req, withData(req, `{"other":1}`), r.request(t1, "old", "a.b"), r.request(t1, "e2", "a.b"),
			withData(r.request(t1, "old", "a.b"), `{}`))
		r.same("results", []webhook.PublishResult{
			{Deliveries: 1}, {Duplicate: true}, {Conflict: true}, {Duplicate: true}, {Deliveries: 1}, {Conflict: true},
		}, got)
		if n := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})); n != 3 {
			r.brokenf("%d deliveries, want 3", n)
		}
	}},
	{"AmongRacers", saysRacers, func(r *run) {
		r.create(t1, "wh_1", nil)
		req := r.request(t1, "e1", "a.b")
		first, dup, conflict := racePublish(r, 8, func(int) webhook.PublishRequest { return req })
		if len(first) != 1 || dup != 7 || conflict != 0 {
			r.brokenf("8 racers with one event: %d stored it, %d duplicates, %d conflicts", len(first), dup, conflict)
		}
		if n := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})); n != 1 {
			r.brokenf("%d deliveries, want 1", n)
		}
	}},
	{"AmongRacersWithOtherData", saysRacers, func(r *run) {
		r.create(t1, "wh_1", nil)
		data := func(i int) string { return `{"racer":` + itoa(i) + `}` }
		first, dup, conflict := racePublish(r, 8, func(i int) webhook.PublishRequest {
			return withData(r.request(t1, "e1", "a.b"), data(i))
		})
		if len(first) != 1 || dup != 0 || conflict != 7 {
			r.fatalf("8 racers with different data: %d stored it, %d duplicates, %d conflicts", len(first), dup, conflict)
		}
		got, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		if !bytes.Equal(got.Data, []byte(data(first[0]))) {
			r.brokenf("stored data %s, but the racer that stored it had %s", got.Data, data(first[0]))
		}
	}},
	{"OverlappingBatchesOfRacers", saysRacers, func(r *run) {
		// Batches in opposite orders make databases deadlock.
		r.create(t1, "wh_1", nil)
		forward := r.requests(t1, "e", "a.b", 20)
		backward := make([]webhook.PublishRequest, len(forward))
		for i, req := range forward {
			backward[len(forward)-1-i] = req
		}
		var racers sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for i := range 6 {
			reqs := forward
			if i%2 == 1 {
				reqs = backward
			}
			racers.Go(func() {
				results, err := r.store.Publish(r.Context(), r.now, reqs)
				if err != nil {
					r.brokenf("Publish: unexpected error: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for _, res := range results {
					made += res.Deliveries
				}
			})
		}
		racers.Wait()
		if n := len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})); n != 20 || made != 20 {
			r.brokenf("%d deliveries stored and %d reported, want 20", n, made)
		}
	}},
	{"TenantsAreIndependent", "Tenants are isolated", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t2, "wh_2", nil)
		got := r.publish(r.request(t1, "e1", "a.b"), withData(r.request(t2, "e1", "a.b"), `{"t":2}`))
		r.same("results of one ID in two tenants", []webhook.PublishResult{{Deliveries: 1}, {Deliveries: 1}}, got)
		for tenant, data := range map[string]string{t1: `{"id":"e1"}`, t2: `{"t":2}`} {
			ev, err := r.store.GetEvent(r.Context(), tenant, "e1")
			r.must("GetEvent", err)
			r.same("data in "+tenant, data, string(ev.Data))
		}
	}},
}

// racePublish publishes n requests at once, one from each goroutine, and
// returns the stored ones and the numbers of duplicates and conflicts.
func racePublish(r *run, n int, req func(i int) webhook.PublishRequest) (first []int, duplicates, conflicts int) {
	var racers sync.WaitGroup
	var mu sync.Mutex
	gate := make(chan struct{})
	for i := range n {
		racers.Go(func() {
			<-gate
			res, err := r.store.Publish(r.Context(), r.now, []webhook.PublishRequest{req(i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil || len(res) != 1:
				r.brokenf("Publish: got %v, %v", res, err)
			case res[0].Duplicate:
				duplicates++
			case res[0].Conflict:
				conflicts++
			default:
				first = append(first, i)
			}
		})
	}
	close(gate)
	racers.Wait()
	return first, duplicates, conflicts
}
