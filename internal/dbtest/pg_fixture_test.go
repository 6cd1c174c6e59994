package dbtest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

const tenant = "tenant-1"

var rowsFlag = flag.Int("rows", 200_000, "how many deliveries of each kind wait in tests of backlogs; the documentation's figures are of 1000000")

// backlogRows returns how many deliveries of each kind a test of backlogs has.
func backlogRows() int {
	if testing.Short() {
		return min(*rowsFlag, 50_000)
	}
	return *rowsFlag
}

// pgHook stores an active webhook that selects these types.
func pgHook(t testing.TB, s webhook.Store, id string, events ...string) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	err := s.CreateWebhook(t.Context(), webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: id, Tenant: tenant, Name: "name of " + id, URL: "https://example.com/" + id, Events: events,
			Active: true, VerifyTLS: true, Timeout: 30 * time.Second, Version: 1, CreatedAt: now, UpdatedAt: now,
		},
		Secrets: []webhook.SecretRecord{{Value: "secret", CreatedAt: now}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
}

// pgEvent is a request to publish an event of type "a.b".
func pgEvent(id string) webhook.PublishRequest {
	return webhook.PublishRequest{
		Event: webhook.EventRecord{
			ID: id, Tenant: tenant, Type: "a.b", Time: time.Now().UTC().Truncate(time.Microsecond), Data: []byte(`{"id":"` + id + `"}`),
		},
		Patterns: []string{"a.b", "a.*", "*"},
	}
}

// pgClaim claims with a new token.
func pgClaim(t testing.TB, s webhook.Store, now time.Time, limit int) ([]webhook.ClaimedDelivery, int64) {
	t.Helper()
	token := rand.Int64N(1<<62) + 1
	res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: now, Lease: 30 * time.Second, Limit: limit, PerWebhook: limit})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range res.Deliveries {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return res.Deliveries, token
}

// claimed returns the IDs of the events that are due.
func claimed(t testing.TB, s webhook.Store) []string {
	t.Helper()
	ds, _ := pgClaim(t, s, time.Now(), 1000)
	ids := []string{}
	for _, d := range ds {
		ids = append(ids, d.Delivery.EventID)
	}
	return ids
}

// inTx runs fn in a transaction of the host's own and commits or rolls back.
func inTx(t testing.TB, db *sql.DB, commit bool, fn func(tx *sql.Tx) error) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		t.Fatal(err)
	}
	if commit {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// mustPublish publishes in one call and wants every event stored.
func mustPublish(t testing.TB, s *pgstore.Store, reqs ...webhook.PublishRequest) {
	t.Helper()
	res, err := s.Publish(t.Context(), time.Now(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res {
		if r.Duplicate || r.Conflict {
			t.Fatalf("event %s: %+v", reqs[i].Event.ID, r)
		}
	}
}

// pgExecutor returns a function that runs formatted SQL.
func pgExecutor(t testing.TB, db *sql.DB) func(q string, args ...any) {
	return func(q string, args ...any) {
		t.Helper()
		if len(args) > 0 {
			q = fmt.Sprintf(q, args...)
		}
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// pgHeld begins a transaction that may still see rows deleted from now on, and
// returns a function that ends it.
func pgHeld(t testing.TB, db *sql.DB, schema string) (end func()) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM ` + schema + `.webhook_queue`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return func() { tx.Rollback() }
}

// within returns a context with the time limit of a call that must not wait.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func eventID(i int) string { return fmt.Sprintf("ev%06d", i) }

// claimEachOnce claims the due deliveries: one of each of so many webhooks.
func claimEachOnce(t testing.TB, s webhook.Store, hooks int) {
	t.Helper()
	seen := map[string]bool{}
	for len(seen) < hooks {
		ds, _ := pgClaim(t, s, time.Now(), 1000)
		if len(ds) == 0 {
			t.Fatalf("claimed %d of %d", len(seen), hooks)
		}
		for _, d := range ds {
			if seen[d.Delivery.WebhookID] {
				t.Fatalf("webhook %s was claimed twice", d.Delivery.WebhookID)
			}
			seen[d.Delivery.WebhookID] = true
		}
	}
}
