package dbtest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// churn publishes, claims, records and prunes by the caller's clock, until rounds ×
// each deliveries have passed through the queue.
func churn(t *testing.T, s *pgstore.Store, clock time.Time, rounds, each int) {
	t.Helper()
	for r := range rounds {
		now := clock.Add(time.Duration(r) * time.Second)
		reqs := make([]webhook.PublishRequest, each)
		for i := range reqs {
			reqs[i] = pgEvent(fmt.Sprintf("churn-%d-%d", r, i))
		}
		if _, err := s.Publish(t.Context(), now, reqs); err != nil {
			t.Fatal(err)
		}
		for left := each; left > 0; {
			ds, token := pgClaim(t, s, now, each)
			if len(ds) == 0 {
				t.Fatalf("round %d: nothing to claim, %d left", r, left)
			}
			left -= len(ds)
			succeed(t, s, now, ds, token)
		}
		if n, err := s.Prune(t.Context(), now, 2*each); err != nil || n == 0 && r > 0 {
			t.Fatalf("round %d: pruned %d, %v", r, n, err)
		}
	}
}

// succeed records that all deliveries succeeded at once.
func succeed(t *testing.T, s *pgstore.Store, now time.Time, ds []webhook.ClaimedDelivery, token int64) {
	t.Helper()
	results := make([]webhook.Result, len(ds))
	for i, d := range ds {
		results[i] = webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded,
			Attempt: &webhook.Attempt{Number: 1, StartedAt: now, Status: 200}}
	}
	if _, err := s.Complete(t.Context(), now, results); err != nil {
		t.Fatal(err)
	}
}

// A transaction that stays open elsewhere keeps every row deleted meanwhile: 20,000
// deliveries leave 40,000 dead versions in the queue, an hour old. The looks of a
// claim start at most 15 s before the newest rows, so they step over none of these.
// Only the sweep steps over them, and it is made less often the longer it takes: a
// twentieth of the time.
//
// Measured: 22 pages without the transaction and 24 beside it; with a sweep 67 and
// 1,504. Looks without a lower bound touched 749.
func TestD20_ClaimsBesideALongTransaction(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	const each, probes = 1000, 40
	db := pgOpen(t, "pgx", "")
	cost := func(held bool) (look, sweep int) {
		schema := pgSchema(t, db)
		past := pgStore(t, db, pgstore.Config{Schema: schema, PassedClock: true})
		pgHook(t, past, "wh_1", "*")
		if held {
			tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			var n int
			if err := tx.QueryRow(`SELECT count(*) FROM ` + schema + `.webhook_queue`).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		churn(t, past, time.Now().Add(-time.Hour), rounds, each)
		took := time.Since(began)
		for _, table := range []string{"queue", "claims"} { // without a transaction elsewhere it removes dead rows
			if _, err := db.Exec(`VACUUM ` + schema + `.webhook_` + table); err != nil {
				t.Fatal(err)
			}
		}
		traced := pgExplained(t)
		s := pgStore(t, db, pgstore.Config{Schema: schema})
		probe := pgStore(t, traced.DB, pgstore.Config{Schema: schema})
		var pages []int
		var times []time.Duration
		for i := range probes {
			mustPublish(t, s, pgEvent(fmt.Sprintf("probe-%d", i)))
			traced.pages(t)
			before := time.Now()
			res, err := probe.Claim(t.Context(), webhook.ClaimRequest{Token: rand.Int64N(1<<62) + 1, Now: before, Lease: time.Minute, Limit: 10, PerWebhook: 10})
			times = append(times, time.Since(before))
			n, _ := traced.pages(t)
			if err != nil || len(res.Deliveries) != 1 {
				t.Fatalf("claimed %d, %v, want 1", len(res.Deliveries), err)
			}
			pages = append(pages, n)
		}
		slices.Sort(pages)
		slices.Sort(times)
		t.Logf("held %v: churn of %d took %v; a claim touches %d pages (median of %d), %d with a sweep, and takes %v (median), %v at most",
			held, rounds*each, took.Round(time.Millisecond), pages[probes/2], probes, pages[probes-1],
			times[probes/2].Round(time.Microsecond), times[probes-1].Round(time.Microsecond))
		return pages[probes/2], pages[probes-1]
	}
	alone, _ := cost(false)
	beside, sweep := cost(true)
	if beside > alone+100 {
		t.Errorf("a claim touches %d pages, and %d beside a long transaction", alone, beside)
	}
	if sweep <= beside {
		t.Errorf("no claim of %d touched more than %d pages: either no sweep was seen, or no dead row was kept", probes, sweep)
	}
}
