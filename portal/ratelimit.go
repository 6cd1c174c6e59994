package portal

import (
	"net/http"
	"sync"
	"time"
)

// Limits bounds how much a tenant can make the portal send, per webhook and
// minute. All webhooks of a tenant together may use four times as much.
// Requests above a limit get 429 with Retry-After. Each process counts for
// itself.
type Limits struct {
	Tests       int // test events; 0 means 10, below 0 means no bound
	Resends     int // deliveries resent one by one; 0 means 60, below 0 means no bound
	ReplaySteps int // steps of replays, of up to 1000 deliveries each; 0 means 120, below 0 means no bound
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v   *int
		def int
	}{{&l.Tests, 10}, {&l.Resends, 60}, {&l.ReplaySteps, 120}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	return l
}

// tenantShare is the limit for all webhooks of a tenant, as a multiple of the
// limit for one.
const tenantShare = 4

// budgets holds token buckets, each of which refills within a minute.
type budgets struct {
	limits Limits

	mu      sync.Mutex
	buckets map[budgetKey]bucket
	swept   time.Time
}

type budgetKey struct{ what, tenant, webhookID string } // webhookID is "" for the tenant's bucket

type bucket struct {
	left float64
	at   time.Time
}

// spend takes one token from the bucket of a webhook and one from its tenant's.
// If either bucket is empty, it takes no token and returns a refusal with the
// time to wait.
func (b *budgets) spend(now time.Time, what string, perMinute int, tenant, webhookID string) error {
	if perMinute < 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	own, all := budgetKey{what, tenant, webhookID}, budgetKey{what, tenant, ""}
	o, a := b.filled(own, now, perMinute), b.filled(all, now, tenantShare*perMinute)
	if o.left < 1 || a.left < 1 {
		wait := max(untilOne(o, perMinute), untilOne(a, tenantShare*perMinute))
		p := newProblem(http.StatusTooManyRequests, codeRateLimited, "That was too often: at most %d a minute for one webhook, %d for all together.", perMinute, tenantShare*perMinute)
		p.retryAfter = wait
		return &problemError{p}
	}
	o.left--
	a.left--
	b.buckets[own], b.buckets[all] = o, a
	return nil
}

func (b *budgets) filled(k budgetKey, now time.Time, perMinute int) bucket {
	full := float64(perMinute)
	old, ok := b.buckets[k]
	if !ok {
		return bucket{full, now}
	}
	return bucket{min(full, old.left+max(now.Sub(old.at), 0).Minutes()*full), now}
}

func untilOne(b bucket, perMinute int) time.Duration {
	return time.Duration(max(1-b.left, 0) / float64(perMinute) * float64(time.Minute))
}

// sweep removes full buckets from time to time.
func (b *budgets) sweep(now time.Time) {
	if b.buckets == nil {
		b.buckets = make(map[budgetKey]bucket)
	}
	if now.Sub(b.swept) < time.Minute {
		return
	}
	b.swept = now
	for k, v := range b.buckets {
		if now.Sub(v.at) >= time.Minute {
			delete(b.buckets, k)
		}
	}
}
