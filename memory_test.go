package webhook

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var memEpoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func memAddWebhook(t testing.TB, s *MemoryStore, tenant, id string, events ...string) {
	t.Helper()
	w := WebhookRecord{
		Webhook: Webhook{
			ID: id, Tenant: tenant, Name: "name of " + id, URL: "https://example.com/" + id,
			Events: events, Active: true, CreatedAt: memEpoch, UpdatedAt: memEpoch, Version: 1,
		},
		Secrets: []SecretRecord{{Value: "whsec_x", CreatedAt: memEpoch}},
	}
	if err := s.CreateWebhook(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
}

func memRequest(tenant, id string) PublishRequest {
	return PublishRequest{
		Event:    EventRecord{ID: id, Tenant: tenant, Type: "a.b", Time: memEpoch, Data: []byte(`{"id":"` + id + `"}`)},
		Patterns: []string{"a.b", "a.*", "*"},
	}
}

// memPublish publishes n events that all the tenant's webhooks of these tests
// select.
func memPublish(t testing.TB, s *MemoryStore, tenant, prefix string, n int, now time.Time) {
	t.Helper()
	reqs := make([]PublishRequest, n)
	for i := range reqs {
		reqs[i] = memRequest(tenant, fmt.Sprintf("%s%d", prefix, i))
	}
	if _, err := s.Publish(t.Context(), now, reqs); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryStoreDelivers(t *testing.T) {
	s := NewMemoryStore(MemoryConfig{})
	memAddWebhook(t, s, "t", "w", "a.*")
	memPublish(t, s, "t", "e", 3, memEpoch)
	res, err := s.Claim(t.Context(), ClaimRequest{Token: 7, Now: memEpoch, Lease: time.Minute, Limit: 10, PerWebhook: 10})
	if err != nil || len(res.Deliveries) != 3 {
		t.Fatalf("claimed %d, %v; want 3", len(res.Deliveries), err)
	}
	if want := memEpoch.Add(time.Minute); !res.NextDue.Equal(want) {
		t.Errorf("NextDue = %v, want %v: when the leases expire", res.NextDue, want)
	}
	results := make([]Result, 3)
	for i, c := range res.Deliveries {
		results[i] = Result{
			DeliveryID: c.Delivery.ID, Token: 7, State: StateSucceeded,
			Attempt: &Attempt{Number: 1, StartedAt: memEpoch, Duration: time.Second, Status: 200, ResponseHeaders: map[string]string{"A": "b", "C": "d"}},
		}
	}
	for range 2 {
		outcomes, err := s.Complete(t.Context(), memEpoch.Add(time.Second), results)
		if diff := cmp.Diff([]Outcome{OutcomeApplied, OutcomeApplied, OutcomeApplied}, outcomes); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	}
	got, err := s.ListAttempts(t.Context(), "t", results[0].DeliveryID)
	want := *results[0].Attempt
	want.DeliveryID = results[0].DeliveryID
	if diff := cmp.Diff([]Attempt{want}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}
