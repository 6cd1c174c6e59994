package dbtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// A claim that is cut off, because the dispatcher stops or the session ends,
// returns no delivery that it does not hold: an attempt of such a delivery would
// run beside the one of the dispatcher that claims it next.
func TestD4_ClaimCutBetweenStatements(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	victim, cut := cutStore(t, schema)
	pgHook(t, s, "wh_1", "*")
	n := 0
	for _, how := range cutWays {
		moments, refused := 0, 0
		for at := 1; ; at++ {
			n++
			mustPublish(t, s, pgEvent(fmt.Sprint("e", n)))
			req := webhook.ClaimRequest{Token: rand.Int64N(1<<62) + 1, Now: time.Now(), Lease: time.Minute, Limit: 10, PerWebhook: 10}
			var res webhook.ClaimResult
			var err error
			reached := cut.during(t, db, how, at, func(ctx context.Context) { res, err = victim.Claim(ctx, req) })
			var leases []webhook.Lease
			for _, d := range res.Deliveries {
				leases = append(leases, webhook.Lease{DeliveryID: d.Delivery.ID, Token: req.Token})
			}
			if lost, err := s.Extend(t.Context(), time.Now(), leases, time.Minute); err != nil || len(lost) > 0 {
				t.Errorf("%s at moment %d: the claim returned %d deliveries and does not hold %v, %v", how, at, len(leases), lost, err)
			}
			switch {
			case err != nil:
				refused++
				// The token releases the deliveries that it may hold nevertheless.
				if err := s.Release(t.Context(), time.Now(), []webhook.Lease{{Token: req.Token}}, 0); err != nil {
					t.Fatal(err)
				}
			case len(leases) != 1:
				t.Errorf("%s at moment %d: claimed %d, want 1", how, at, len(leases))
			}
			ds, token := res.Deliveries, req.Token
			// The server keeps the row locks until it notices that the session has
			// ended.
			for end := time.Now().Add(10 * time.Second); err != nil && len(ds) == 0 && time.Now().Before(end); {
				ds, token = pgClaim(t, s, time.Now(), 10)
			}
			if len(ds) != 1 {
				t.Fatalf("%s at moment %d: %d deliveries can be claimed afterwards, want 1", how, at, len(ds))
			}
			done := []webhook.Result{{DeliveryID: ds[0].Delivery.ID, Token: token, State: webhook.StateSucceeded,
				Attempt: &webhook.Attempt{Number: 1, StartedAt: time.Now(), Status: 200}}}
			if out, err := s.Complete(t.Context(), time.Now(), done); err != nil || out[0] != webhook.OutcomeApplied {
				t.Fatalf("%s at moment %d: %v, %v", how, at, out, err)
			}
			if !reached {
				break
			}
			moments++
		}
		// BEGIN, the settings, due deliveries, the claim, their webhooks and
		// events, COMMIT.
		if moments < 10 || refused < 5 {
			t.Errorf("%s at %d moments, refused at %d of them", how, moments, refused)
		}
		t.Logf("%s at %d moments: refused at %d of them", how, moments, refused)
	}
}
