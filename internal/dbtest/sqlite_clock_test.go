package dbtest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/machineclock"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// The clock of the machine is set forward and back by an hour while two
// processes use a file: no lease ends early and none lasts longer, and what was
// put off is due when it was to be, by the time that passes. Callers' clocks do
// not count at all.
func TestD16_SQLiteClockThatJumps(t *testing.T) {
	var set time.Duration // by how much the clock is wrong
	machineclock.Set(func() time.Time { return time.Now().Add(set) })
	defer machineclock.Set(nil)

	path := filepath.Join(t.TempDir(), "webhook.db")
	first := sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	second := sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	third := func() *sqlitestore.Store { // a process that starts now
		return sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	}
	if err := first.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
		t.Fatal(err)
	}
	const lease = time.Minute
	claim := func(s *sqlitestore.Store) ([]webhook.ClaimedDelivery, int64, time.Duration) {
		t.Helper()
		token := rand.Int64N(1<<62) + 1
		now := time.Now().Add(rand.N(20*time.Hour) - 10*time.Hour) // what the caller believes
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: now, Lease: lease, Limit: 10, PerWebhook: 10})
		if err != nil {
			t.Fatal(err)
		}
		return res.Deliveries, token, res.NextDue.Sub(now)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if got < want-5*time.Second || got > want+5*time.Second {
			t.Errorf("%s: %v, want %v or so", what, got, want)
		}
	}
	for name, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			if err := sqlitePublish(first, "t", "leased-"+name, 10); err != nil {
				t.Fatal(err)
			}
			held, token, _ := claim(first)
			if len(held) != 1 {
				t.Fatalf("claimed %d, want 1", len(held))
			}
			if err := sqlitePublish(first, "t", "later-"+name, 10); err != nil {
				t.Fatal(err)
			}
			put, other, _ := claim(second)
			if len(put) != 1 {
				t.Fatalf("claimed %d, want 1", len(put))
			}
			retry := webhook.Result{DeliveryID: put[0].Delivery.ID, Token: other, State: webhook.StatePending, Delay: 10 * time.Minute}
			if _, err := second.Complete(t.Context(), time.Now(), []webhook.Result{retry}); err != nil {
				t.Fatal(err)
			}

			set += jump
			for i, s := range []*sqlitestore.Store{second, first, second, third()} {
				if ds, _, next := claim(s); len(ds) != 0 {
					t.Errorf("process %d took %d deliveries when the clock was set", i, len(ds))
				} else {
					near("the lease ends in", next, lease)
				}
			}
			d, err := first.GetDelivery(t.Context(), "t", put[0].Delivery.ID)
			if err != nil {
				t.Fatal(err)
			}
			near("by the clock, what was put off is due in", d.NextAttemptAt.Sub(machineclock.Now()), 10*time.Minute)
			b, err := third().Backlog(t.Context(), webhook.BacklogQuery{})
			if err != nil || b != (webhook.Backlog{Waiting: 1, Leased: 1}) {
				t.Errorf("backlog %+v, %v", b, err)
			}
			// A lease that is renewed after the jump lasts as long as it should.
			if lost, err := first.Extend(t.Context(), time.Now(), []webhook.Lease{{DeliveryID: held[0].Delivery.ID, Token: token}}, lease); err != nil || len(lost) != 0 {
				t.Fatalf("Extend: lost %v, %v", lost, err)
			}

			// Given back, or sent again by hand, both can be had at once.
			if err := first.Release(t.Context(), time.Now(), []webhook.Lease{{Token: token}}, 0); err != nil {
				t.Fatal(err)
			}
			again, token, next := claim(second)
			if len(again) != 1 || again[0].Delivery.ID != held[0].Delivery.ID {
				t.Fatalf("claimed %d, want the one that was given back", len(again))
			}
			near("the next lease ends in", next, lease)
			done := webhook.Result{DeliveryID: again[0].Delivery.ID, Token: token, State: webhook.StateSucceeded}
			if _, err := second.Complete(t.Context(), time.Now(), []webhook.Result{done}); err != nil {
				t.Fatal(err)
			}
			if _, err := first.Resend(t.Context(), time.Now(), "t", put[0].Delivery.ID); err != nil {
				t.Fatal(err)
			}
			ds, token, _ := claim(first)
			if len(ds) != 1 || ds[0].Delivery.ID != put[0].Delivery.ID {
				t.Fatalf("claimed %d, want the one that was sent again", len(ds))
			}
			done = webhook.Result{DeliveryID: ds[0].Delivery.ID, Token: token, State: webhook.StateSucceeded}
			if _, err := first.Complete(t.Context(), time.Now(), []webhook.Result{done}); err != nil {
				t.Fatal(err)
			}
			if b, err := first.Backlog(t.Context(), webhook.BacklogQuery{}); err != nil || b.Pending() != 0 {
				t.Errorf("left: %+v, %v", b, err)
			}
		})
	}
}
