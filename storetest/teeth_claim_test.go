package storetest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// asking changes the requests of claims.
func asking(change func(req *webhook.ClaimRequest)) func() *twisted {
	return func() *twisted {
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			change(&req)
			return s.Claim(ctx, req)
		}}
	}
}

// handing changes the results of claims.
func handing(change func(res *webhook.ClaimResult)) func() *twisted {
	return func() *twisted {
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			res, err := s.Claim(ctx, req)
			change(&res)
			return res, err
		}}
	}
}

// without leaves out deliveries of a claim, and keeps their leases.
func without(left func(d webhook.ClaimedDelivery) bool) func() *twisted {
	return handing(func(res *webhook.ClaimResult) { res.Deliveries = slices.DeleteFunc(res.Deliveries, left) })
}

// holders records the leases, with token and expiry.
type holders struct {
	mu      sync.Mutex
	token   map[string]int64
	expires map[string]time.Time
}

// noting is a Store that records the leases of its claims.
func noting() (*twisted, *holders) {
	h := &holders{token: map[string]int64{}, expires: map[string]time.Time{}}
	return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
		res, err := s.Claim(ctx, req)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, d := range res.Deliveries {
			h.token[d.Delivery.ID], h.expires[d.Delivery.ID] = req.Token, req.Now.Add(req.Lease)
		}
		return res, err
	}}, h
}

func (h *holders) of(id string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.token[id]
}

func (h *holders) expired(id string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.expires[id].Before(now)
}

var brokenQueues = []broken{
	{"hands out what is leased", "Claim/LeaseKeepsOthersAway", func() *twisted {
		var mu sync.Mutex
		var last []webhook.ClaimedDelivery
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			res, err := s.Claim(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if len(res.Deliveries) == 0 {
				res.Deliveries = last
			}
			last = res.Deliveries
			return res, err
		}}
	}},
	{"hands out one delivery twice when it is busy", "Claim/NoDoubleClaimAmongRacers", func() *twisted {
		var mu sync.Mutex
		var all []webhook.ClaimedDelivery
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			res, err := s.Claim(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, res.Deliveries...); len(all) > 200 && len(all) < 210 {
				res.Deliveries = append(res.Deliveries, all[0])
			}
			return res, err
		}}
	}},
	{"makes retries due early", "Claim/NotBeforeDue", func() *twisted {
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			results = slices.Clone(results)
			for i := range results {
				results[i].Delay /= 2
			}
			return s.Complete(ctx, now, results)
		}}
	}},
	{"ignores Limit", "Claim/Limit", asking(func(req *webhook.ClaimRequest) { req.Limit += 5 })},
	{"ignores PerWebhook", "Claim/PerWebhook", asking(func(req *webhook.ClaimRequest) { req.PerWebhook = req.Limit })},
	{"ignores Limits", "Claim/LimitsOfOneWebhook", asking(func(req *webhook.ClaimRequest) { req.Limits = nil })},
	{"ignores PassTenants", "Claim/PassTenants", asking(func(req *webhook.ClaimRequest) { req.PassTenants = nil })},
	{"passes a tenant over for good", "Claim/PassTenants", func() *twisted {
		var mu sync.Mutex
		var all []string
		return asking(func(req *webhook.ClaimRequest) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, req.PassTenants...)
			req.PassTenants = slices.Clone(all)
		})()
	}},
	{"lets a webhook rest for good", "Claim/RestIsOver", func() *twisted {
		var mu sync.Mutex
		limits := map[string]int{}
		return asking(func(req *webhook.ClaimRequest) {
			mu.Lock()
			defer mu.Unlock()
			for id := range req.Rest {
				limits[id] = 0
			}
			req.Rest, req.Limits = nil, maps.Clone(limits)
		})()
	}},
	{"walks webhooks whoever they belong to", "Fairness/TenantsTakeTurns", func() *twisted {
		// As if the deliveries of the first tenant had come first.
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			first := req
			for i := range 3 {
				first.PassTenants = append(first.PassTenants, "small "+itoa(i))
			}
			if res, err := s.Claim(ctx, first); err != nil || len(res.Deliveries) > 0 {
				return res, err
			}
			return s.Claim(ctx, req)
		}}
	}},
	{"takes 0 in Limits for no limit", "Claim/LimitsOfOneWebhook", asking(func(req *webhook.ClaimRequest) {
		limits := map[string]int{}
		for id, n := range req.Limits {
			if n > 0 {
				limits[id] = n
			}
		}
		req.Limits = limits
	})},
	{"stops at a webhook that is passed over", "Fairness/PassedOverWebhookBlocksNoOne", func() *twisted {
		return &twisted{claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			for _, n := range req.Limits {
				if n == 0 {
					return webhook.ClaimResult{}, nil
				}
			}
			return s.Claim(ctx, req)
		}}
	}},
	{"returns the youngest first", "Claim/InOrderOfDueTime", handing(func(res *webhook.ClaimResult) { slices.Reverse(res.Deliveries) })},
	{"orders by age and not by due time", "Claim/RetriesInOrderOfDueTime", handing(func(res *webhook.ClaimResult) {
		slices.SortStableFunc(res.Deliveries, func(a, b webhook.ClaimedDelivery) int {
			return a.Delivery.CreatedAt.Compare(b.Delivery.CreatedAt)
		})
	})},
	{"serves the first webhook while it has anything", "Fairness/CallsGoOnInTurn", greedy},
	{"lets a backlog go first", "Fairness/BacklogDoesNotDelayOthers", greedy},
	{"names a late NextDue", "Claim/NextDueIsNotLate", handing(func(res *webhook.ClaimResult) {
		if !res.NextDue.IsZero() {
			res.NextDue = res.NextDue.Add(time.Minute)
		}
	})},
	{"names a NextDue that has passed", "Claim/NextDueIsNotLate", handing(func(res *webhook.ClaimResult) {
		res.NextDue = start
	})},
	{"caches webhooks", "Claim/WebhookIsAsItIsNow", func() *twisted {
		cache := map[string]webhook.WebhookRecord{}
		return &twisted{
			create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
				cache[w.ID] = w
				return s.CreateWebhook(ctx, w, limit)
			},
			claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
				res, err := s.Claim(ctx, req)
				for i, d := range res.Deliveries {
					if w, cached := cache[d.Delivery.WebhookID]; cached && d.Webhook != nil {
						res.Deliveries[i].Webhook = &w
					}
				}
				return res, err
			},
			only: true, // the map is not safe for other checks, which use it concurrently
		}
	}},
	{"hides deliveries of deleted webhooks", "Claim/DeletedWebhookIsNil", without(func(d webhook.ClaimedDelivery) bool { return d.Webhook == nil })},
	{"hides deliveries of inactive webhooks", "Claim/InactiveWebhookIsClaimed", without(func(d webhook.ClaimedDelivery) bool {
		return d.Webhook != nil && !d.Webhook.Active
	})},
	{"claims without secrets", "Claim/ReturnsWhatAnAttemptNeeds", handing(func(res *webhook.ClaimResult) {
		for i, d := range res.Deliveries {
			if d.Webhook != nil {
				w := *d.Webhook
				w.Secrets = nil
				res.Deliveries[i].Webhook = &w
			}
		}
	})},
	{"never gives up a lease", "Crash/ExpiredLeaseIsReclaimable", asking(func(req *webhook.ClaimRequest) { req.Lease = 1e6 * time.Hour })},
	{"does not count crashes", "Crash/ReclaimCountsTheCrash", handing(func(res *webhook.ClaimResult) {
		for i := range res.Deliveries {
			res.Deliveries[i].Delivery.Crashes = 0
		}
	})},
	{"counts a crash as a try", "Crash/CrashUsesUpNoTry", handing(func(res *webhook.ClaimResult) {
		for i := range res.Deliveries {
			res.Deliveries[i].Delivery.Tries += res.Deliveries[i].Delivery.Crashes
		}
	})},
	{"counts every claim as an attempt", "Crash/FirstClaimCountsNothing", handing(func(res *webhook.ClaimResult) {
		for i := range res.Deliveries {
			res.Deliveries[i].Delivery.Attempts++
		}
	})},
	{"does not extend", "Extend/KeepsOthersAway", func() *twisted {
		return &twisted{extend: func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
			return s.Extend(ctx, now, leases, time.Millisecond)
		}}
	}},
	{"does not say what it could not extend", "Extend/LostToAnotherClaim", func() *twisted {
		return &twisted{extend: func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
			_, err := s.Extend(ctx, now, leases, d)
			return nil, err
		}}
	}},
	{"extends the lease of someone else", "Extend/OldHolderMovesNothing", func() *twisted {
		x, h := noting()
		x.extend = func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
			for _, l := range leases {
				if _, err := s.Extend(ctx, now, []webhook.Lease{{DeliveryID: l.DeliveryID, Token: h.of(l.DeliveryID)}}, d); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
		return x
	}},
	{"takes an expired lease for lost", "Extend/ExpiredUnclaimedLease", func() *twisted {
		x, h := noting()
		x.extend = func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
			for _, l := range leases {
				if h.expired(l.DeliveryID, now) {
					return []string{l.DeliveryID}, nil
				}
			}
			return s.Extend(ctx, now, leases, d)
		}
		return x
	}},
	{"releases at once, whatever the delay", "Release/DueAgainAfterDelay", func() *twisted {
		return &twisted{release: func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, _ time.Duration) error {
			return s.Release(ctx, now, leases, 0)
		}}
	}},
	{"releases by letting the lease expire", "Release/CountsNothing", func() *twisted {
		return &twisted{release: func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) error {
			_, err := s.Extend(ctx, now.Add(-time.Hour), leases, time.Hour-time.Microsecond)
			return err
		}}
	}},
	{"lets anyone release", "Release/OldHolderIsIgnored", func() *twisted {
		x, h := noting()
		x.release = func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, delay time.Duration) error {
			leases = slices.Clone(leases)
			for i := range leases {
				if id := leases[i].DeliveryID; id != "" {
					leases[i].Token = h.of(id)
				}
			}
			return s.Release(ctx, now, leases, delay)
		}
		return x
	}},
	{"does not release by token", "Release/ByToken", func() *twisted {
		return &twisted{release: func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, delay time.Duration) error {
			leases = slices.DeleteFunc(slices.Clone(leases), func(l webhook.Lease) bool { return l.DeliveryID == "" })
			return s.Release(ctx, now, leases, delay)
		}}
	}},
	{"resends what is being attempted", "Resend/UnderALease", func() *twisted {
		x, h := noting()
		x.resend = func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error) {
			if err := s.Release(ctx, now, []webhook.Lease{{DeliveryID: id, Token: h.of(id)}}, 0); err != nil {
				return webhook.Delivery{}, err
			}
			return s.Resend(ctx, now, tenant, id)
		}
		return x
	}},
	{"resends with the tries used up", "Resend/NumbersGoOn", func() *twisted {
		tries := map[string]int{}
		return &twisted{
			only: true,
			resend: func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error) {
				before, err := s.GetDelivery(ctx, tenant, id)
				if err != nil {
					return before, err
				}
				tries[id] += before.Tries
				return s.Resend(ctx, now, tenant, id)
			},
			getDelivery: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error) {
				d, err := s.GetDelivery(ctx, tenant, id)
				d.Tries += tries[id]
				return d, err
			},
		}
	}},
	{"returns what was there before a resend", "Resend/Succeeded", func() *twisted {
		return &twisted{resend: func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error) {
			before, err := s.GetDelivery(ctx, tenant, id)
			if err == nil {
				_, err = s.Resend(ctx, now, tenant, id)
			}
			return before, err
		}}
	}},
}

// greedy serves the webhook that was created first while it has deliveries.
func greedy() *twisted {
	var mu sync.Mutex
	var ids []string
	return &twisted{
		create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			mu.Lock()
			ids = append(ids, w.ID)
			mu.Unlock()
			return s.CreateWebhook(ctx, w, limit)
		},
		claim: func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
			first := req
			first.Limits = map[string]int{}
			mu.Lock()
			for i, id := range ids {
				if i > 0 {
					first.Limits[id] = 0
				}
			}
			mu.Unlock()
			res, err := s.Claim(ctx, first)
			if err != nil || len(res.Deliveries) > 0 {
				return res, err
			}
			return s.Claim(ctx, req)
		},
	}
}
