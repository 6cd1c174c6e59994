package memstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func addWebhook(t testing.TB, s *Store, tenant, id string, events ...string) {
	t.Helper()
	w := webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: id, Tenant: tenant, Name: "name of " + id, URL: "https://example.com/" + id,
			Events: events, Active: true, CreatedAt: epoch, UpdatedAt: epoch, Version: 1,
		},
		Secrets: []webhook.SecretRecord{{Value: "whsec_x", CreatedAt: epoch}},
	}
	if err := s.CreateWebhook(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
}

func request(tenant, id string) webhook.PublishRequest {
	return webhook.PublishRequest{
		Event:    webhook.EventRecord{ID: id, Tenant: tenant, Type: "a.b", Time: epoch, Data: []byte(`{"id":"` + id + `"}`)},
		Patterns: []string{"a.b", "a.*", "*"},
	}
}

// publish publishes n events that all the tenant's webhooks of these tests
// select.
func publish(t testing.TB, s *Store, tenant, prefix string, n int, now time.Time) {
	t.Helper()
	reqs := make([]webhook.PublishRequest, n)
	for i := range reqs {
		reqs[i] = request(tenant, fmt.Sprintf("%s%d", prefix, i))
	}
	if _, err := s.Publish(t.Context(), now, reqs); err != nil {
		t.Fatal(err)
	}
}

func TestStoreDelivers(t *testing.T) {
	s := New(Config{})
	addWebhook(t, s, "t", "w", "a.*")
	publish(t, s, "t", "e", 3, epoch)
	res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: 7, Now: epoch, Lease: time.Minute, Limit: 10, PerWebhook: 10})
	if err != nil || len(res.Deliveries) != 3 {
		t.Fatalf("claimed %d, %v; want 3", len(res.Deliveries), err)
	}
	if want := epoch.Add(time.Minute); !res.NextDue.Equal(want) {
		t.Errorf("NextDue = %v, want %v: when the leases expire", res.NextDue, want)
	}
	results := make([]webhook.Result, 3)
	for i, c := range res.Deliveries {
		results[i] = webhook.Result{
			DeliveryID: c.Delivery.ID, Token: 7, State: webhook.StateSucceeded,
			Attempt: &webhook.Attempt{Number: 1, StartedAt: epoch, Duration: time.Second, Status: 200, ResponseHeaders: map[string]string{"A": "b", "C": "d"}},
		}
	}
	for range 2 {
		outcomes, err := s.Complete(t.Context(), epoch.Add(time.Second), results)
		if diff := cmp.Diff([]webhook.Outcome{webhook.OutcomeApplied, webhook.OutcomeApplied, webhook.OutcomeApplied}, outcomes); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	}
	got, err := s.ListAttempts(t.Context(), "t", results[0].DeliveryID)
	want := *results[0].Attempt
	want.DeliveryID = results[0].DeliveryID
	if diff := cmp.Diff([]webhook.Attempt{want}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}
