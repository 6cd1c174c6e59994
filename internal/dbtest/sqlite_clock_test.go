package dbtest

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/machineclock"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// The machine's clock is set forward and back by an hour while two processes use a
// file. No lease ends early or lasts longer, and delayed deliveries become due
// after the intended time has passed. Callers' clocks do not matter at all.
func TestD16_SQLiteClockThatJumps(t *testing.T) {
	var set time.Duration // error of the clock
	machineclock.Set(func() time.Time { return time.Now().Add(set) })
	defer machineclock.Set(nil)

	path := filepath.Join(t.TempDir(), "webhook.db")
	first := sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	second := sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	third := func() *sqlitestore.Store { // of a process that starts now
		return sqliteStoreOn(t, sqliteOpen(t, "sqlite", path), sqlitestore.Config{})
	}
	if err := first.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
		t.Fatal(err)
	}
	const lease = time.Minute
	claim := func(s *sqlitestore.Store) ([]webhook.ClaimedDelivery, int64, time.Duration) {
		t.Helper()
		token := rand.Int64N(1<<62) + 1
		now := time.Now().Add(rand.N(20*time.Hour) - 10*time.Hour) // the caller's wrong time
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
			near("by the clock, the delayed delivery is due in", d.NextAttemptAt.Sub(machineclock.Now()), 10*time.Minute)
			b, err := third().Backlog(t.Context(), webhook.BacklogQuery{})
			if err != nil || b != (webhook.Backlog{Waiting: 1, Leased: 1}) {
				t.Errorf("backlog %+v, %v", b, err)
			}
			// A lease that is renewed after the jump lasts as long as it should.
			if lost, err := first.Extend(t.Context(), time.Now(), []webhook.Lease{{DeliveryID: held[0].Delivery.ID, Token: token}}, lease); err != nil || len(lost) != 0 {
				t.Fatalf("Extend: lost %v, %v", lost, err)
			}

			// After a release, or a resend, both can be claimed at once.
			if err := first.Release(t.Context(), time.Now(), []webhook.Lease{{Token: token}}, 0); err != nil {
				t.Fatal(err)
			}
			again, token, next := claim(second)
			if len(again) != 1 || again[0].Delivery.ID != held[0].Delivery.ID {
				t.Fatalf("claimed %d, want the released one", len(again))
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
				t.Fatalf("claimed %d, want the resent one", len(ds))
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

// One publish while the machine's clock is ten years ahead does not change the time
// of later events. All events can be listed by time and are pruned.
func TestD16_SQLiteClockThatWasYearsAhead(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		var set time.Duration
		machineclock.Set(func() time.Time { return time.Now().Add(set) })
		defer machineclock.Set(nil)
		path := filepath.Join(t.TempDir(), "webhook.db")
		s := sqliteStoreOn(t, sqliteOpen(t, driver, path), sqlitestore.Config{})
		if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
			t.Fatal(err)
		}
		const year = 365 * 24 * time.Hour
		began := time.Now().Add(-time.Minute)
		for i, ahead := range []time.Duration{0, 10 * year, 0, 0} {
			set = ahead
			now := machineclock.Now()
			id := eventID(i)
			reqs := []webhook.PublishRequest{{Event: webhook.EventRecord{ID: id, Tenant: "t", Type: "a.b", Time: now, Data: []byte(`{}`)}, Patterns: []string{"*"}}}
			if _, err := s.Publish(t.Context(), now, reqs); err != nil {
				t.Fatal(err)
			}
			res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: int64(i + 1), Now: now, Lease: time.Minute, Limit: 10, PerWebhook: 10})
			if err != nil || len(res.Deliveries) != 1 {
				t.Fatalf("claimed %d deliveries, %v", len(res.Deliveries), err)
			}
			if _, err := s.Complete(t.Context(), now, []webhook.Result{{DeliveryID: res.Deliveries[0].Delivery.ID, Token: int64(i + 1), State: webhook.StateSucceeded,
				Attempt: &webhook.Attempt{Number: 1, StartedAt: now, Status: 200}}}); err != nil {
				t.Fatal(err)
			}
		}
		soon := time.Now().Add(time.Minute)
		page, err := s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: "t", Since: began, Until: soon, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, d := range page.Items {
			ids = append(ids, d.EventID)
		}
		if want := []string{eventID(3), eventID(2), eventID(0)}; !slices.Equal(ids, want) {
			t.Errorf("of this hour are %v, want %v", ids, want)
		}
		for n := 1; n > 0; {
			if n, err = s.Prune(t.Context(), soon, 100); err != nil {
				t.Fatal(err)
			}
		}
		if page, err = s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: "t", Limit: 10}); err != nil || len(page.Items) != 0 {
			t.Errorf("%d deliveries are not pruned, %v", len(page.Items), err)
		}
		if hours, err := s.Stats(t.Context(), webhook.StatsQuery{Tenant: "t", Since: soon.Add(time.Hour)}); err != nil || len(hours) != 0 {
			t.Errorf("statistics of %d hours to come are left, %v", len(hours), err)
		}
		// A machine that does not know the time yet does not set the log's time
		// back.
		if err := sqlitePublish(s, "t", "before", 10); err != nil {
			t.Fatal(err)
		}
		set = -50 * year
		if err := sqlitePublishAt(s, "t", "after", machineclock.Now()); err != nil {
			t.Fatal(err)
		}
		set = 0
		if page, err = s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: "t", Since: began, Limit: 10}); err != nil || len(page.Items) != 2 {
			t.Errorf("%d deliveries are of this hour, want 2, %v", len(page.Items), err)
		}
	})
}

func sqlitePublishAt(s *sqlitestore.Store, tenant, id string, now time.Time) error {
	_, err := s.Publish(context.Background(), now, []webhook.PublishRequest{{
		Event:    webhook.EventRecord{ID: id, Tenant: tenant, Type: "a.b", Time: now, Data: []byte(`{}`)},
		Patterns: []string{"*"},
	}})
	return err
}

// A machine sleeps for eight hours: a retry after ten minutes is due when it wakes,
// and earlier leases have ended.
func TestD16_SQLiteMachineThatSleeps(t *testing.T) {
	var slept time.Duration
	machineclock.Set(func() time.Time { return time.Now().Add(slept) })
	defer machineclock.Set(nil)
	began := time.Now()
	machineclock.SetElapsed(func() time.Duration { return time.Since(began) + slept })
	defer machineclock.SetElapsed(nil)
	s := sqliteStoreOn(t, sqliteOpen(t, "sqlite", filepath.Join(t.TempDir(), "webhook.db")), sqlitestore.Config{})
	if err := s.CreateWebhook(t.Context(), sqliteHook("t", "wh"), 0); err != nil {
		t.Fatal(err)
	}
	claim := func(token int64) []webhook.ClaimedDelivery {
		t.Helper()
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: machineclock.Now(), Lease: time.Minute, Limit: 10, PerWebhook: 10})
		if err != nil {
			t.Fatal(err)
		}
		return res.Deliveries
	}
	for i, id := range []string{"retried", "leased"} {
		if err := sqlitePublish(s, "t", id, 10); err != nil {
			t.Fatal(err)
		}
		ds := claim(int64(i + 1))
		if len(ds) != 1 {
			t.Fatalf("claimed %d, want 1", len(ds))
		}
		if id == "retried" {
			retry := webhook.Result{DeliveryID: ds[0].Delivery.ID, Token: 1, State: webhook.StatePending, Delay: 10 * time.Minute}
			if _, err := s.Complete(t.Context(), time.Now(), []webhook.Result{retry}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ds := claim(3); len(ds) != 0 {
		t.Errorf("claimed %d before the machine slept, want none", len(ds))
	}
	slept = 8 * time.Hour
	if ds := claim(4); len(ds) != 2 {
		t.Errorf("claimed %d after the machine woke, want 2", len(ds))
	}
}
