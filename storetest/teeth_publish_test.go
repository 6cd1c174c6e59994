package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
)

// publishing changes requests before they are published.
func publishing(change func(req *webhook.PublishRequest)) func() *twisted {
	return func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			reqs = slices.Clone(reqs)
			for i := range reqs {
				change(&reqs[i])
			}
			return s.Publish(ctx, now, reqs)
		}}
	}
}

// answering changes the results of publishing.
func answering(change func(res []webhook.PublishResult)) func() *twisted {
	return func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			res, err := s.Publish(ctx, now, reqs)
			change(res)
			return res, err
		}}
	}
}

var brokenPublishers = []broken{
	{"forgets traces", "Bytes/TraceIsKept", func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			reqs = slices.Clone(reqs)
			for i := range reqs {
				reqs[i].Event.Trace = ""
			}
			return s.Publish(ctx, now, reqs)
		}}
	}},
	{"publishes the events of a batch one after the other", "Publish/FanOutIsSeenWholeOrNotAtAll", func() *twisted {
		seen := make(chan struct{})
		var once sync.Once
		return &twisted{
			publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
				if len(reqs) == 0 || reqs[len(reqs)-1].Event.ID != "last" {
					return s.Publish(ctx, now, reqs)
				}
				last, err := s.Publish(ctx, now, reqs[len(reqs)-1:])
				if err != nil {
					return nil, err
				}
				<-seen
				rest, err := s.Publish(ctx, now, reqs[:len(reqs)-1])
				return append(rest, last...), err
			},
			getEvent: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.EventRecord, error) {
				defer once.Do(func() { close(seen) })
				return s.GetEvent(ctx, tenant, id)
			},
		}
	}},
	{"shows a fan-out while it is being made", "Publish/FanOutIsSeenWholeOrNotAtAll", func() *twisted {
		var early atomic.Bool
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			p, err := s.ListDeliveries(ctx, q)
			if len(p.Items) > 30 && !early.Swap(true) {
				p.Items = p.Items[:17]
			}
			return p, err
		}}
	}},
	{"stores part of a batch when it is full", "Bounded/FullStoresNone", func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			var all []webhook.PublishResult
			for i := range reqs {
				res, err := s.Publish(ctx, now, reqs[i:i+1])
				if err != nil {
					return nil, err
				}
				all = append(all, res...)
			}
			return all, nil
		}}
	}},
	{"does not know prefixes", "Publish/MatchesExactPrefixAndStar", publishing(func(req *webhook.PublishRequest) {
		req.Patterns = []string{req.Event.Type, "*"}
	})},
	{"sends to every webhook, whatever it selects", "Publish/MatchesExactPrefixAndStar", func() *twisted {
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			w.Events = []string{"*"}
			return s.CreateWebhook(ctx, w, limit)
		}}
	}},
	{"sends to inactive webhooks", "Publish/InactiveWebhookGetsNothing", func() *twisted {
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			w.Active = true
			return s.CreateWebhook(ctx, w, limit)
		}}
	}},
	{"ignores the one webhook an event is for", "Publish/TargetIsTheOnlyOne", publishing(func(req *webhook.PublishRequest) { req.WebhookID = "" })},
	{"forgets events that match no webhook", "Publish/UnmatchedEventIsStored", func() *twisted {
		return &twisted{getEvent: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.EventRecord, error) {
			p, err := s.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, EventID: id})
			if err == nil && len(p.Items) == 0 {
				err = webhook.ErrNotFound
			}
			if err != nil {
				return webhook.EventRecord{}, err
			}
			return s.GetEvent(ctx, tenant, id)
		}}
	}},
	{"returns results in another order", "Publish/ResultsAreInOrder", answering(slices.Reverse[[]webhook.PublishResult])},
	{"stores an event again under another ID", "Idempotence/DuplicateAcrossCalls", func() *twisted {
		var n atomic.Int64
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			reqs = slices.Clone(reqs)
			for i := range reqs {
				if _, err := s.GetEvent(ctx, reqs[i].Event.Tenant, reqs[i].Event.ID); err == nil {
					reqs[i].Event.ID += fmt.Sprint("x", n.Add(1))
				}
			}
			return s.Publish(ctx, now, reqs)
		}}
	}},
	{"calls every event that exists a duplicate", "Idempotence/ConflictAcrossCalls", answering(func(res []webhook.PublishResult) {
		for i := range res {
			res[i].Duplicate, res[i].Conflict = res[i].Duplicate || res[i].Conflict, false
		}
	})},
	{"compares events as JSON", "Idempotence/DataIsComparedAsBytes", func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			res, err := s.Publish(ctx, now, reqs)
			for i := range res {
				var a, b any
				ev, getErr := s.GetEvent(ctx, reqs[i].Event.Tenant, reqs[i].Event.ID)
				if res[i].Conflict && getErr == nil && json.Unmarshal(ev.Data, &a) == nil && json.Unmarshal(reqs[i].Event.Data, &b) == nil &&
					fmt.Sprint(a) == fmt.Sprint(b) {
					res[i] = webhook.PublishResult{Duplicate: true}
				}
			}
			return res, err
		}}
	}},
	{"compares times", "Idempotence/TimeIsNotCompared", func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			res, err := s.Publish(ctx, now, reqs)
			for i := range res {
				ev, getErr := s.GetEvent(ctx, reqs[i].Event.Tenant, reqs[i].Event.ID)
				if res[i].Duplicate && getErr == nil && !ev.Time.Equal(reqs[i].Event.Time) {
					res[i] = webhook.PublishResult{Conflict: true}
				}
			}
			return res, err
		}}
	}},
	{"looks first and stores later", "Idempotence/AmongRacers", func() *twisted {
		// All goroutines of that check look before any of them stores, as
		// happens at times if looking and storing are two steps.
		var looked sync.WaitGroup
		looked.Add(8)
		return &twisted{only: true, publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			_, err := s.GetEvent(ctx, reqs[0].Event.Tenant, reqs[0].Event.ID)
			looked.Done()
			looked.Wait()
			res, pubErr := s.Publish(ctx, now, reqs)
			if err != nil {
				res = []webhook.PublishResult{{Deliveries: 1}}
			}
			return res, pubErr
		}}
	}},
	{"keeps event IDs unique across tenants", "Idempotence/TenantsAreIndependent", func() *twisted {
		owners := map[string]string{}
		var mu sync.Mutex
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			res, err := s.Publish(ctx, now, reqs)
			mu.Lock()
			defer mu.Unlock()
			for i := range res {
				owner, known := owners[reqs[i].Event.ID]
				if known && owner != reqs[i].Event.Tenant {
					res[i] = webhook.PublishResult{Conflict: true}
				} else if err == nil {
					owners[reqs[i].Event.ID] = reqs[i].Event.Tenant
				}
			}
			return res, err
		}}
	}},
	{"publishes although the context is done", "Context/CanceledBefore", func() *twisted {
		return &twisted{publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			res, err := s.Publish(context.WithoutCancel(ctx), now, reqs)
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return res, err
		}}
	}},
	{"keeps data as JSON", "Bytes/DataIsUnchanged", publishing(func(req *webhook.PublishRequest) {
		var v any
		if json.Unmarshal(req.Event.Data, &v) == nil {
			if data, err := json.Marshal(v); err == nil {
				req.Event.Data = data
			}
		}
	})},
	{"keeps data as text", "Bytes/DataIsUnchanged", publishing(func(req *webhook.PublishRequest) {
		req.Event.Data = bytes.ToValidUTF8(bytes.ReplaceAll(req.Event.Data, []byte{0}, nil), []byte("\ufffd"))
	})},
	{"hands out the caller's data", "Alias/DataIsNotChanged", func() *twisted {
		kept := map[string][]byte{}
		return &twisted{
			only: true, // the map is not safe for other checks, which use it concurrently
			publish: func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
				for _, req := range reqs {
					if req.Event.ID == "e1" && kept["e1"] == nil {
						kept["e1"] = req.Event.Data
					}
				}
				return s.Publish(ctx, now, reqs)
			},
			getEvent: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.EventRecord, error) {
				ev, err := s.GetEvent(ctx, tenant, id)
				if data := kept[id]; data != nil {
					ev.Data = data
				}
				return ev, err
			},
		}
	}},
	{"names a delivery after the webhook of today", "Publish/NameStaysAsPublished", func() *twisted {
		return &twisted{getDelivery: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error) {
			d, err := s.GetDelivery(ctx, tenant, id)
			if w, getErr := s.GetWebhook(ctx, tenant, d.WebhookID); getErr == nil {
				d.WebhookName = w.Name
			}
			return d, err
		}}
	}},
	{"uses one delivery ID in two tenants", "Publish/DeliveryIDsAreUnique", func() *twisted {
		return &twisted{listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
			p, err := s.ListDeliveries(ctx, q)
			for i := range p.Items {
				p.Items[i].ID = p.Items[i].EventID + "-" + strings.TrimSuffix(p.Items[i].WebhookID, p.Items[i].Tenant)
			}
			return p, err
		}}
	}},
}
