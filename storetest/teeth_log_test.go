package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// replaying changes the requests of replays.
func replaying(change func(req *webhook.ReplayRequest)) func() *twisted {
	return func() *twisted {
		return &twisted{replay: func(ctx context.Context, s webhook.Store, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
			change(&req)
			return s.Replay(ctx, req)
		}}
	}
}

// querying changes queries of deliveries.
func querying(change func(q *webhook.DeliveryQuery)) func() *twisted {
	return func() *twisted {
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			change(&q)
			return s.ListDeliveries(ctx, q)
		}}
	}
}

// paging changes pages of deliveries.
func paging(change func(q webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery])) func() *twisted {
	return func() *twisted {
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			p, err := s.ListDeliveries(ctx, q)
			change(q, &p)
			return p, err
		}}
	}
}

// pruning replaces Prune.
func pruning(prune func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error)) func() *twisted {
	return func() *twisted { return &twisted{prune: prune} }
}

// counting changes the results of Backlog.
func counting(change func(b *webhook.Backlog)) func() *twisted {
	return func() *twisted {
		return &twisted{backlog: func(ctx context.Context, s webhook.BacklogStore, q webhook.BacklogQuery) (webhook.Backlog, error) {
			b, err := s.Backlog(ctx, q)
			change(&b)
			return b, err
		}}
	}
}

var brokenLogs = []broken{
	{"counts expired leases as held", "Backlog/EachInOneCount", counting(func(b *webhook.Backlog) { b.Leased, b.Expired = b.Leased+b.Expired, 0 })},
	{"says nothing of how old the queue is", "Backlog/OldestDue", counting(func(b *webhook.Backlog) { b.OldestDue = 0 })},
	{"counts what ended at any time", "Backlog/HowTheyEnded", func() *twisted {
		return &twisted{backlog: func(ctx context.Context, s webhook.BacklogStore, q webhook.BacklogQuery) (webhook.Backlog, error) {
			q.Since = time.Time{}
			return s.Backlog(ctx, q)
		}}
	}},
	{"keeps quiet about its limit", "Backlog/Limit", counting(func(b *webhook.Backlog) { b.AtLeast = false })},
	{"lists what was made at Until", "ListDeliveries/Filters", querying(func(q *webhook.DeliveryQuery) {
		if !q.Until.IsZero() {
			q.Until = q.Until.Add(time.Microsecond)
		}
	})},
	{"ignores the state asked for", "ListDeliveries/Filters", querying(func(q *webhook.DeliveryQuery) { q.State = "" })},
	{"repeats a delivery on the next page", "ListDeliveries/NewestFirst", func() *twisted {
		var mu sync.Mutex
		last := map[string]webhook.Delivery{}
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			p, err := s.ListDeliveries(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			if d, repeated := last[q.Cursor]; repeated && len(p.Items) > 0 {
				p.Items[0] = d
			}
			if p.Next != "" {
				last[p.Next] = p.Items[len(p.Items)-1]
			}
			return p, err
		}}
	}},
	{"takes an empty page for the last one", "ListDeliveries/ShortPages", paging(func(_ webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery]) {
		if len(p.Items) == 0 {
			p.Next, p.Reached = "", time.Time{}
		}
	})},
	{"takes a short page for the last one", "ListDeliveries/ShortPages", paging(func(q webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery]) {
		if len(p.Items) < q.Limit {
			p.Next, p.Reached = "", time.Time{}
		}
	})},
	{"looks at all webhooks before a page has a second delivery", "ListDeliveries/FullPagesOfManyWebhooks", func() *twisted {
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			hooks, err := s.ListWebhooks(ctx, webhook.WebhookQuery{Tenant: q.Tenant, Limit: 500})
			short := len(hooks.Items) > 10 && q.Limit > 1
			if err != nil || !short {
				return s.ListDeliveries(ctx, q)
			}
			q.Limit = 1
			p, err := s.ListDeliveries(ctx, q)
			if p.Next != "" {
				p.Reached = p.Items[0].CreatedAt
			}
			return p, err
		}}
	}},
	{"looks again at what an empty page was looked for in", "ListDeliveries/ShortPages", paging(func(q webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery]) {
		if len(p.Items) == 0 && p.Next != "" && q.Cursor != "" {
			p.Next = q.Cursor
		}
	})},
	{"goes on behind what it has not looked at", "ListDeliveries/LeftOutIsOnALaterPage", func() *twisted {
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			p, err := s.ListDeliveries(ctx, q)
			if err == nil && len(p.Items) == 0 && p.Next != "" {
				q.Cursor, q.Scan, q.Limit = p.Next, 0, 1
				var after webhook.Page[webhook.Delivery]
				after, err = s.ListDeliveries(ctx, q)
				p.Next = after.Next
			}
			return p, err
		}}
	}},
	{"does not say how far it looked", "ListDeliveries/Reached", paging(func(_ webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery]) {
		p.Reached = time.Time{}
	})},
	{"says that it looked further than it did", "ListDeliveries/Reached", paging(func(_ webhook.DeliveryQuery, p *webhook.Page[webhook.Delivery]) {
		if !p.Reached.IsZero() {
			p.Reached = p.Reached.Add(-time.Hour)
		}
	})},
	{"finds no error in a missing delivery", "Attempt/MissingDelivery", func() *twisted {
		return &twisted{listAttempts: func(ctx context.Context, s webhook.Store, tenant, id string) ([]webhook.Attempt, error) {
			as, err := s.ListAttempts(ctx, tenant, id)
			if errors.Is(err, webhook.ErrNotFound) {
				err = nil
			}
			return as, err
		}}
	}},
	{"adds up days", "Stats/CountsPerWebhookAndHour", func() *twisted {
		return &twisted{stats: func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
			st, err := s.Stats(ctx, q)
			var days []webhook.StatsBucket
			for _, b := range st {
				if n := len(days); n > 0 && days[n-1].WebhookID == b.WebhookID {
					days[n-1].Succeeded += b.Succeeded
					days[n-1].Failed += b.Failed
					days[n-1].Duration += b.Duration
					continue
				}
				days = append(days, b)
			}
			return days, err
		}}
	}},
	{"leaves out the hour that Since is in", "Stats/Since", func() *twisted {
		return &twisted{stats: func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
			st, err := s.Stats(ctx, q)
			return slices.DeleteFunc(st, func(b webhook.StatsBucket) bool { return b.Hour.Before(q.Since) }), err
		}}
	}},
	{"goes on with the hours of the webhook it has ended with", "Stats/InPages", func() *twisted {
		return &twisted{stats: func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
			q.After.Hour = time.Time{}
			return s.Stats(ctx, q)
		}}
	}},
	{"returns all statistics at once", "Stats/InPages", func() *twisted {
		return &twisted{stats: func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
			q.Limit = 0
			return s.Stats(ctx, q)
		}}
	}},
	{"leaves out the hours of a webhook that a page ends in", "Stats/InPages", func() *twisted {
		return &twisted{stats: func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
			if q.After.WebhookID != "" {
				q.After.Hour = q.After.Hour.Add(1000 * time.Hour)
			}
			return s.Stats(ctx, q)
		}}
	}},
	{"replays everything in one step", "Replay/InSteps", replaying(func(req *webhook.ReplayRequest) { req.Limit = 1000 })},
	{"replays on a dry run", "Replay/DryRun", replaying(func(req *webhook.ReplayRequest) { req.DryRun = false })},
	{"makes no missing deliveries", "Replay/MissingDeliveries", replaying(func(req *webhook.ReplayRequest) { req.Missing = false })},
	{"replays what was published at Until", "Replay/SinceAndUntil", replaying(func(req *webhook.ReplayRequest) {
		if !req.Until.IsZero() {
			req.Until = req.Until.Add(time.Microsecond)
		}
	})},
	{"replays every type", "Replay/EventType", replaying(func(req *webhook.ReplayRequest) { req.EventType = "" })},
	{"makes waiting deliveries due", "Replay/PendingIsLeftAlone", func() *twisted {
		return &twisted{replay: func(ctx context.Context, s webhook.Store, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
			q := webhook.DeliveryQuery{Tenant: req.Tenant, WebhookID: req.WebhookID, State: webhook.StatePending, Limit: 500}
			p, err := s.ListDeliveries(ctx, q)
			for _, d := range p.Items {
				if _, resendErr := s.Resend(ctx, req.Now, req.Tenant, d.ID); resendErr != nil {
					err = resendErr
				}
			}
			if err != nil {
				return webhook.ReplayResult{}, err
			}
			return s.Replay(ctx, req)
		}}
	}},
	{"starts over with every step", "Replay/EndsThoughDeliveriesFailAgain", replaying(func(req *webhook.ReplayRequest) { req.Cursor = "" })},
	{"replays nothing at a missing webhook", "Replay/MissingWebhook", func() *twisted {
		return &twisted{replay: func(ctx context.Context, s webhook.Store, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
			res, err := s.Replay(ctx, req)
			if errors.Is(err, webhook.ErrNotFound) {
				err = nil
			}
			return res, err
		}}
	}},
	{"deletes pending deliveries", "Prune/PendingStays", pruning(func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error) {
		req := webhook.ClaimRequest{Token: token(), Now: before, Lease: lease, Limit: limit, PerWebhook: limit}
		res, err := s.Claim(ctx, req)
		if err != nil {
			return 0, err
		}
		for _, d := range res.Deliveries {
			long := before.Add(-time.Minute)
			if _, err := s.Complete(ctx, long, []webhook.Result{cancel(d.Delivery.ID, req.Token)}); err != nil {
				return 0, err
			}
		}
		return s.Prune(ctx, before, limit)
	})},
	{"deletes what is as old as asked", "Prune/NotWhatIsYounger", pruning(func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error) {
		return s.Prune(ctx, before.Add(time.Microsecond), limit)
	})},
	{"deletes more than asked", "Prune/InSteps", pruning(func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error) {
		return s.Prune(ctx, before, 10*limit)
	})},
	{"says too early that it is done", "Prune/FewerMeansDone", pruning(func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error) {
		n, err := s.Prune(ctx, before, limit)
		return min(n, limit-1), err
	})},
	{"reads although the context is done", "Context/DeadlinePassedBefore", func() *twisted {
		return &twisted{getDelivery: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error) {
			return s.GetDelivery(context.WithoutCancel(ctx), tenant, id)
		}}
	}},
}
