package memstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// bench is a store with some webhooks of as many tenants, and what a
// dispatcher would do with it.
type bench struct {
	s     *Store
	now   time.Time
	hooks int
	n     int // events published so far
	token int64
	data  []byte
}

func newMemBench(b *testing.B, hooks int) *bench {
	m := &bench{s: New(Config{MaxPending: 1 << 30}), now: epoch, hooks: hooks, data: make([]byte, 1024)}
	for i := range hooks {
		addWebhook(b, m.s, "t"+strconv.Itoa(i), "w"+strconv.Itoa(i), "a.b")
	}
	return m
}

func (m *bench) requests(n int) []webhook.PublishRequest {
	patterns := []string{"a.b", "a.*", "*"}
	reqs := make([]webhook.PublishRequest, n)
	for i := range reqs {
		m.n++
		reqs[i] = webhook.PublishRequest{
			Event:    webhook.EventRecord{ID: "evt_" + strconv.Itoa(m.n), Tenant: "t" + strconv.Itoa(m.n%m.hooks), Type: "a.b", Time: m.now, Data: m.data},
			Patterns: patterns,
		}
	}
	m.now = m.now.Add(time.Millisecond)
	return reqs
}

func (m *bench) publish(b *testing.B, reqs []webhook.PublishRequest) {
	if _, err := m.s.Publish(context.Background(), m.now, reqs); err != nil {
		b.Fatal(err)
	}
}

func (m *bench) claim(b *testing.B, n int) []webhook.ClaimedDelivery {
	m.token++
	res, err := m.s.Claim(context.Background(), webhook.ClaimRequest{Token: m.token, Now: m.now, Lease: 30 * time.Second, Limit: n, PerWebhook: n})
	if err != nil || len(res.Deliveries) != n {
		b.Fatal(len(res.Deliveries), err)
	}
	return res.Deliveries
}

func (m *bench) results(ds []webhook.ClaimedDelivery) []webhook.Result {
	results := make([]webhook.Result, len(ds))
	for i := range ds {
		results[i] = webhook.Result{
			DeliveryID: ds[i].Delivery.ID, Token: m.token, State: webhook.StateSucceeded,
			Attempt: &webhook.Attempt{
				Number: 1, StartedAt: m.now, Duration: time.Millisecond, Status: 200,
				ResponseHeaders: map[string]string{"Content-Type": "text/plain", "Date": "Mon, 23 Nov 2026 16:57:53 GMT"},
				ResponseBody:    []byte("ok"),
			},
		}
	}
	return results
}

func (m *bench) complete(b *testing.B, results []webhook.Result) {
	if _, err := m.s.Complete(context.Background(), m.now, results); err != nil {
		b.Fatal(err)
	}
}

// perDelivery reports the time of one delivery where an operation is several.
func perDelivery(b *testing.B, n int) {
	b.ReportAllocs()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m := newMemBench(b, 16)
			waiting := 0
			for b.Loop() {
				b.StopTimer()
				if waiting += n; waiting > 100_000 {
					m, waiting = newMemBench(b, 16), n
				}
				reqs := m.requests(n)
				b.StartTimer()
				m.publish(b, reqs)
			}
			perDelivery(b, n)
		})
	}
}

func BenchmarkClaim256(b *testing.B) {
	m := newMemBench(b, 16)
	for b.Loop() {
		b.StopTimer()
		m.publish(b, m.requests(256))
		b.StartTimer()
		ds := m.claim(b, 256)
		b.StopTimer()
		m.complete(b, m.results(ds))
		b.StartTimer()
	}
	perDelivery(b, 256)
}

func BenchmarkComplete256(b *testing.B) {
	m := newMemBench(b, 16)
	for b.Loop() {
		b.StopTimer()
		m.publish(b, m.requests(256))
		results := m.results(m.claim(b, 256))
		b.StartTimer()
		m.complete(b, results)
	}
	perDelivery(b, 256)
}

// BenchmarkCycle is the whole of a store's work on a delivery, published
// in hundreds and singly.
func BenchmarkCycle(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			m := newMemBench(b, 16)
			for b.Loop() {
				for range 200 / batch {
					m.publish(b, m.requests(batch))
				}
				m.complete(b, m.results(m.claim(b, 200)))
			}
			perDelivery(b, 200)
		})
	}
}

func BenchmarkFanOut10000(b *testing.B) {
	m := newMemBench(b, 1)
	for i := 1; i < 10_000; i++ {
		addWebhook(b, m.s, "t0", "x"+strconv.Itoa(i), "*")
	}
	for b.Loop() {
		m.publish(b, m.requests(1))
		b.StopTimer()
		for range 10 {
			m.complete(b, m.results(m.claim(b, 1000)))
		}
		b.StartTimer()
	}
	perDelivery(b, 10_000)
}
