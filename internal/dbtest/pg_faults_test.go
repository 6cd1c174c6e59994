package dbtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// Two processes whose clocks are hours apart do not steal each other's leases, and
// a retry waits equally long by both clocks.
func TestD16_DatabaseClockDecides(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	right := pgStore(t, db, pgstore.Config{Schema: schema})
	wrong := pgStore(t, db, pgstore.Config{Schema: schema})
	pgHook(t, right, "wh_1", "*")
	mustPublish(t, right, pgEvent("e1"))
	ds, token := pgClaim(t, right, time.Now(), 10)
	if len(ds) != 1 {
		t.Fatalf("claimed %d", len(ds))
	}
	for _, skew := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		if stolen, _ := pgClaim(t, wrong, time.Now().Add(skew), 10); len(stolen) != 0 {
			t.Errorf("a clock that is off by %v stole a lease", skew)
		}
	}
	before := time.Now()
	_, err := wrong.Complete(t.Context(), time.Now().Add(3*time.Hour), []webhook.Result{{
		DeliveryID: ds[0].Delivery.ID, Token: token, State: webhook.StatePending, Delay: time.Minute,
		Attempt: &webhook.Attempt{Number: 1, StartedAt: time.Now(), Status: 500, Class: webhook.ClassStatus},
	}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := right.GetDelivery(t.Context(), tenant, ds[0].Delivery.ID)
	if err != nil {
		t.Fatal(err)
	}
	if wait := d.NextAttemptAt.Sub(before); wait < 59*time.Second || wait > 90*time.Second {
		t.Errorf("a retry after a minute waits %v", wait)
	}
	res, err := wrong.Claim(t.Context(), webhook.ClaimRequest{
		Token: 1, Now: time.Now().Add(3 * time.Hour), Lease: time.Second, Limit: 1, PerWebhook: 1})
	if err != nil || len(res.Deliveries) != 0 {
		t.Fatalf("claimed %d before it is due, %v", len(res.Deliveries), err)
	}
	if wait := res.NextDue.Sub(time.Now().Add(3 * time.Hour)); !res.NextDue.IsZero() && (wait < 0 || wait > 90*time.Second) {
		t.Errorf("NextDue is %v away by the caller's own clock", wait)
	}
}

func TestD19_ErrorsSayWhatToDo(t *testing.T) {
	for _, name := range pgDrivers {
		t.Run(name, func(t *testing.T) {
			db := pgOpen(t, name, "")
			schema := pgSchema(t, db)
			s := pgStore(t, db, pgstore.Config{Schema: schema})
			pgHook(t, s, "wh_1", "*")

			readonly, err := pgstore.New(pgOpen(t, name, "default_transaction_read_only=on"), pgstore.Config{Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			_, err = readonly.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent("e1"), pgEvent("e2")})
			if err == nil || !strings.Contains(err.Error(), "connect to the primary") {
				t.Errorf("a read-only server: got %v", err)
			}

			unsafe, err := pgstore.New(pgOpen(t, name, "synchronous_commit=off"), pgstore.Config{Schema: schema})
			if err != nil {
				t.Fatal(err)
			}
			_, err = unsafe.Publish(t.Context(), time.Now(), []webhook.PublishRequest{pgEvent("e1")})
			if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
				t.Errorf("commits that do not wait for the disk: got %v", err)
			}

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{pgEvent("e1")}); !errors.Is(err, context.Canceled) {
				t.Errorf("a context that is done: got %v", err)
			}
			if _, err := s.GetEvent(t.Context(), tenant, "e1"); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("an event of a call that failed: %v", err)
			}
		})
	}
}

// A statement that waits for a lock ends with its context, and does not store its
// rows.
func TestD21_CallsEndWithTheirContext(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`LOCK TABLE ` + schema + `.webhook_events IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2} { // a single event goes through the group
		ctx := within(t, 200*time.Millisecond)
		reqs := []webhook.PublishRequest{pgEvent("e1"), pgEvent("e2")}[:n]
		began := time.Now()
		if _, err := s.Publish(ctx, time.Now(), reqs); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d events: got %v, want DeadlineExceeded", n, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%d events: it took %v", n, took)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, pgEvent("e1"), pgEvent("e2"))
}

// One connection is enough for all calls at once.
func TestD22_OneConnectionIsEnough(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	db.SetMaxOpenConns(1)
	s := pgStore(t, db, pgstore.Config{})
	pgHook(t, s, "wh_1", "*")
	ctx := within(t, time.Minute)
	const events = 40
	var all sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	for i := range events {
		all.Go(func() {
			if _, err := s.Publish(ctx, time.Now(), []webhook.PublishRequest{pgEvent(eventID(i))}); err != nil {
				t.Errorf("Publish: %v", err)
			}
		})
	}
	for w := range 3 {
		all.Go(func() {
			for round := int64(0); ctx.Err() == nil; round++ {
				token := int64(w)*1e9 + round + 1
				res, err := s.Claim(ctx, webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: time.Minute, Limit: 7, PerWebhook: 7})
				if err != nil {
					t.Errorf("Claim: %v", err)
					return
				}
				var results []webhook.Result
				for _, d := range res.Deliveries {
					results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded,
						Attempt: &webhook.Attempt{Number: 1, StartedAt: time.Now(), Status: 200}})
				}
				if _, err := s.Complete(ctx, time.Now(), results); err != nil {
					t.Errorf("Complete: %v", err)
					return
				}
				mu.Lock()
				for _, d := range res.Deliveries {
					done[d.Delivery.EventID]++
				}
				n := len(done)
				mu.Unlock()
				if n == events {
					return
				}
			}
		})
	}
	all.Wait()
	for id, n := range done {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
	if len(done) != events {
		t.Errorf("%d of %d events delivered", len(done), events)
	}
}

// Single publishes at the same time: each caller gets its own event's result.
func TestPostgresGroupedPublishesGetTheirOwnResults(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	s := pgStore(t, db, pgstore.Config{})
	pgHook(t, s, "wh_1", "*")
	const callers, each, distinct = 32, 8, 100
	var mu sync.Mutex
	stored, duplicates, conflicts := map[string]int{}, 0, 0
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				req := pgEvent(eventID((c*each + i) % distinct))
				if c == 0 { // these IDs belong to other events
					req.Event.Data = fmt.Appendf(nil, `{"other":%d}`, i)
				}
				res, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{req})
				mu.Lock()
				switch {
				case err != nil:
					t.Errorf("Publish: %v", err)
				case res[0].Duplicate:
					duplicates++
				case res[0].Conflict:
					conflicts++
				default:
					stored[req.Event.ID] += res[0].Deliveries
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(stored) != distinct || len(stored)+duplicates+conflicts != callers*each || conflicts == 0 {
		t.Errorf("%d stored, %d duplicates, %d conflicts of %d calls for %d events", len(stored), duplicates, conflicts, callers*each, distinct)
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s has %d deliveries", id, n)
		}
	}
	if got := claimed(t, s); len(got) != distinct {
		t.Errorf("claimed %d, want %d", len(got), distinct)
	}
}
