package memstore

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// TestClaimCost counts the nodes that a claim looks at. It must not
// matter what waits for webhooks that are passed over, when it is due, or what
// is finished.
func TestClaimCost(t *testing.T) {
	const healthy = 20
	cost := func(prepare func(s *Store)) (visits int, allocs float64) {
		s := New(Config{MaxPending: 2_000_000, Retain: 2_000_000})
		addWebhook(t, s, "dead", "dead", "*")
		prepare(s)
		for i := range healthy {
			addWebhook(t, s, "t", fmt.Sprint("w", i), "*")
		}
		publish(t, s, "t", "e", 200, epoch)
		token := int64(1)
		req := webhook.ClaimRequest{Now: epoch, Lease: time.Minute, Limit: 100, PerWebhook: 10, Limits: map[string]int{"dead": 0}}
		claim := func() {
			token++
			req.Token = token
			res, err := s.Claim(context.Background(), req)
			if err != nil || len(res.Deliveries) != 100 {
				t.Fatal(len(res.Deliveries), err)
			}
			if next := res.NextDue; next.IsZero() || next.After(epoch.Add(time.Minute)) {
				t.Fatalf("NextDue = %v, want the expiry of the leases or earlier", next)
			}
		}
		claim()
		before := s.visits
		allocs = testing.AllocsPerRun(20, claim)
		check(t, s)
		return s.visits - before, allocs
	}
	publish := func(s *Store, now time.Time, backlog int) {
		reqs := make([]webhook.PublishRequest, 1000)
		for i := range reqs {
			reqs[i] = request("dead", "")
		}
		for n := 0; n < backlog; n += len(reqs) {
			for i := range reqs {
				reqs[i].Event.ID = strconv.Itoa(n + i)
			}
			if _, err := s.Publish(t.Context(), now, reqs); err != nil {
				t.Fatal(err)
			}
		}
		if s.pending < backlog {
			t.Fatalf("%d are pending, want %d", s.pending, backlog)
		}
	}
	wantVisits, wantAllocs := cost(func(*Store) {})
	for name, prepare := range map[string]func(*Store){
		"due": func(s *Store) {
			if testing.Short() || os.Getenv("WEBHOOK_TESTS") != "full" { // make test sets it
				publish(s, epoch.Add(-time.Hour), 50_000)
			} else {
				publish(s, epoch.Add(-time.Hour), 1_000_000)
			}
		},
		"due later": func(s *Store) {
			publish(s, epoch.Add(-time.Minute), 50_000)
			drain(t, s, epoch.Add(-time.Minute), webhook.StatePending)
		},
		"leases expired": func(s *Store) {
			publish(s, epoch.Add(-time.Hour), 50_000)
			if _, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: 1, Now: epoch.Add(-time.Hour), Lease: time.Minute, Limit: 50_000, PerWebhook: 50_000}); err != nil {
				t.Fatal(err)
			}
		},
		"finished": func(s *Store) {
			publish(s, epoch.Add(-time.Hour), 50_000)
			drain(t, s, epoch.Add(-time.Hour), webhook.StateSucceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			visits, allocs := cost(prepare)
			// 21 claims may each look at the dead webhook a few times.
			if visits > wantVisits+3*21 || allocs > wantAllocs+1 {
				t.Errorf("21 claims look at %d nodes and allocate %.0f times each; without the backlog at %d, %.0f times",
					visits, allocs, wantVisits, wantAllocs)
			}
		})
	}
}

// TestPublishCost shows that publishing does not depend on webhooks that
// the event does not match.
func TestPublishCost(t *testing.T) {
	s := New(Config{})
	for i := range 10_000 {
		addWebhook(t, s, "t", fmt.Sprint("other", i), "other.*", fmt.Sprint("x", i))
	}
	addWebhook(t, s, "t", "w", "a.b", "a.*", "*")
	req := request("t", "e")
	dst := make([]*hook, 0, 4)
	if n := testing.AllocsPerRun(10, func() { dst = s.tenants["t"].match(dst[:0], &req) }); n > 0 || len(dst) != 1 {
		t.Errorf("matched %d webhooks with %v allocations, want 1 and 0", len(dst), n)
	}
}
