package dbtest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// documentedRepair returns the SQL that docs/operating.md gives for a clock that
// was ahead.
func documentedRepair(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "```sql\n-- repair:")
	text, _, ended := strings.Cut(text, "```")
	if !found || !ended {
		t.Fatal("docs/operating.md has no repair")
	}
	return "-- " + text
}

// The server's clock was a year ahead when deliveries were claimed and put off. The
// documented statements make all of them due.
func TestD16_DocumentedRepairMakesDeliveriesDue(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	pgHook(t, s, "wh_1", "*")
	retry := func(ds []webhook.ClaimedDelivery, token int64, delay time.Duration) {
		t.Helper()
		var results []webhook.Result
		for _, d := range ds {
			results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StatePending, Delay: delay})
		}
		if _, err := s.Complete(t.Context(), time.Now(), results); err != nil {
			t.Fatal(err)
		}
	}
	mustPublish(t, s, pgEvent("put off"))
	ds, token := pgClaim(t, s, time.Now(), 10)
	retry(ds, token, time.Hour)
	mustPublish(t, s, pgEvent("leased"))
	pgClaim(t, s, time.Now(), 10)
	mustPublish(t, s, pgEvent("published"))
	if _, err := db.Exec(`
		UPDATE ` + schema + `.webhook_queue SET due = due + 31536000000000, lease_until = CASE WHEN lease_until > 0 THEN lease_until + 31536000000000 ELSE 0 END;
		UPDATE ` + schema + `.webhook_claims SET check_at = check_at + 31536000000000`); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, pgEvent("later"))
	ds, token = pgClaim(t, s, time.Now(), 10)
	if len(ds) != 2 || ds[0].Delivery.EventID == "put off" || ds[0].Delivery.EventID == "leased" {
		t.Fatalf("claimed %d deliveries before the repair, want the two unclaimed ones", len(ds))
	}
	retry(ds, token, 5*time.Hour) // stays as it is
	if _, err := db.Exec(`SET search_path = ` + schema + `; ` + documentedRepair(t) + `; RESET search_path`); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	other := pgStore(t, db, pgstore.Config{Schema: schema}) // of a process that starts now
	eventually(t, "all of it is claimed", func() bool {
		for _, store := range []*pgstore.Store{s, other} {
			for _, id := range claimed(t, store) {
				got[id] = true
			}
		}
		return len(got) >= 2
	})
	if !got["put off"] || !got["leased"] || len(got) > 2 {
		t.Errorf("claimed %v: a delivery put off after the clock was right was changed", got)
	}
}

// A logical replica has the rows but not the sequences. Until Migrate has set them,
// errors say what to do; then all calls work, and attempts are in order.
func TestD16_MigrateAdvancesSequencesThatAreBehind(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			s := pgStore(t, db, pgstore.Config{Schema: schema})
			for i := range 5 {
				pgHook(t, s, eventID(i), "*")
			}
			mustPublish(t, s, pgEvent("e1"), pgEvent("e2"))
			fail := func(attempt int) []webhook.ClaimedDelivery {
				t.Helper()
				ds, token := pgClaim(t, s, time.Now(), 1)
				var results []webhook.Result
				for _, d := range ds {
					results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StatePending,
						Attempt: &webhook.Attempt{Number: attempt, StartedAt: time.Now(), Status: 500, Class: webhook.ClassStatus}})
				}
				if _, err := s.Complete(t.Context(), time.Now(), results); err != nil {
					t.Fatal(err)
				}
				return ds
			}
			for range 12 {
				fail(1)
			}
			pgClaim(t, s, time.Now(), 1)
			if _, err := db.Exec(`SET search_path = ` + schema + `;
				ALTER SEQUENCE webhook_webhooks_wkey_seq RESTART; ALTER SEQUENCE webhook_claims_id_seq RESTART;
				ALTER SEQUENCE webhook_record_seq RESTART; ALTER SEQUENCE webhook_event_seq RESTART; RESET search_path`); err != nil {
				t.Fatal(err)
			}
			w := webhook.WebhookRecord{Webhook: webhook.Webhook{ID: "new", Tenant: tenant, Name: "n", URL: "https://example.com/", Events: []string{"*"}, Version: 1}}
			if err := s.CreateWebhook(t.Context(), w, 0); err == nil || !strings.Contains(err.Error(), "call Migrate") {
				t.Errorf("beside a sequence that is behind: %v", err)
			}
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.CreateWebhook(t.Context(), w, 0); err != nil {
				t.Error(err)
			}
			ds := fail(2)
			for range 20 {
				if len(ds) > 0 {
					as, err := s.ListAttempts(t.Context(), tenant, ds[0].Delivery.ID)
					if err != nil {
						t.Fatal(err)
					}
					for i := 1; i < len(as); i++ {
						if as[i].Number < as[i-1].Number {
							t.Errorf("attempts come out of order: %d after %d", as[i].Number, as[i-1].Number)
						}
					}
				}
				ds = fail(2)
			}
		})
	}
}
