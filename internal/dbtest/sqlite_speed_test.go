package dbtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// sqliteHook returns an active webhook that selects all events.
func sqliteHook(tenant, id string) webhook.WebhookRecord {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: id, Tenant: tenant, Name: "name of " + id, URL: "https://example.com/" + id, Events: []string{"*"},
			Active: true, VerifyTLS: true, Timeout: 30 * time.Second, MaxRetries: 3, CreatedAt: now, UpdatedAt: now, Version: 1,
		},
		Secrets: []webhook.SecretRecord{{Value: "secret", CreatedAt: now}},
	}
}

// sqliteRequest returns an event of n bytes for every webhook of a tenant.
func sqliteRequest(tenant, id string, n int) webhook.PublishRequest {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	return webhook.PublishRequest{
		Event:    webhook.EventRecord{ID: id, Tenant: tenant, Type: "agent.message", Time: time.Now().UTC(), Data: data},
		Patterns: []string{"agent.message", "agent.*", "*"},
	}
}

// BenchmarkSQLite measures the whole way of a delivery through the Store, without
// HTTP: publish, claim and complete at the same time, as in a process under load.
// The unit is one delivery.
func BenchmarkSQLite(b *testing.B) {
	for _, driver := range sqliteDrivers {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/batch=%d", driver, batch), func(b *testing.B) { sqliteLoad(b, driver, batch) })
		}
	}
}

func sqliteLoad(b *testing.B, driver string, batch int) {
	s, _ := sqliteStore(b, driver, sqlitestore.Config{})
	const hooks = 20
	for i := range hooks {
		if err := s.CreateWebhook(b.Context(), sqliteHook("t"+fmt.Sprint(i), fmt.Sprintf("wh_%d", i)), 0); err != nil {
			b.Fatal(err)
		}
	}
	var published, done atomic.Int64
	var wg sync.WaitGroup
	work := make(chan []webhook.Result, 1000)
	b.ResetTimer()
	for range 64 / min(batch, 16) {
		wg.Go(func() {
			for {
				n := published.Add(int64(batch))
				if n-int64(batch) >= int64(b.N) {
					return
				}
				reqs := make([]webhook.PublishRequest, batch)
				for i := range reqs {
					k := n - int64(i)
					reqs[i] = sqliteRequest("t"+fmt.Sprint(k%hooks), fmt.Sprintf("ev_%012d", k), 1024)
				}
				if _, err := s.Publish(b.Context(), time.Now(), reqs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	total := (int64(b.N) + int64(batch) - 1) / int64(batch) * int64(batch)
	wg.Go(func() { // the claim loop
		defer close(work)
		for claimed := int64(0); claimed < total && !b.Failed(); {
			token := rand.Int64N(1<<62) + 1
			res, err := s.Claim(b.Context(), webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: time.Minute, Limit: 256, PerWebhook: 64})
			if err != nil {
				b.Error(err)
				return
			}
			claimed += int64(len(res.Deliveries))
			var results []webhook.Result
			for _, d := range res.Deliveries {
				results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded,
					Attempt: &webhook.Attempt{DeliveryID: d.Delivery.ID, Number: 1, StartedAt: time.Now(), Duration: time.Millisecond, Status: 200,
						ResponseHeaders: map[string]string{"Content-Type": "text/plain"}, ResponseBody: []byte("ok")}})
			}
			if len(results) > 0 {
				work <- results
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for results := range work {
				out, err := s.Complete(b.Context(), time.Now(), results)
				if err != nil {
					b.Error(err)
					return
				}
				done.Add(int64(len(out)))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(done.Load())/b.Elapsed().Seconds(), "deliveries/s")
}
