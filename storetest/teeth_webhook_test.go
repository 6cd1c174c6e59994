package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// showing changes webhooks when they are read.
func showing(change func(w *webhook.WebhookRecord)) func() *twisted {
	return func() *twisted {
		return &twisted{get: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error) {
			w, err := s.GetWebhook(ctx, tenant, id)
			change(&w)
			return w, err
		}}
	}
}

// listing changes pages of webhooks.
func listing(list func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error)) func() *twisted {
	return func() *twisted { return &twisted{listWebhooks: list} }
}

// byOffset pages through a list by counting.
func byOffset(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	skip, limit := 0, q.Limit
	if q.Cursor != "" {
		n, isOurs := strings.CutPrefix(q.Cursor, "offset-")
		var err error
		if skip, err = strconv.Atoi(n); err != nil || !isOurs {
			return webhook.Page[webhook.Webhook]{}, webhook.ErrCursor
		}
	}
	if limit == 0 {
		limit = 50
	}
	q.Cursor, q.Limit = "", 500
	p, err := s.ListWebhooks(ctx, q)
	p.Items = p.Items[min(skip, len(p.Items)):]
	if len(p.Items) > limit {
		p.Items, p.Next = p.Items[:limit], "offset-"+strconv.Itoa(skip+limit)
	}
	return p, err
}

var brokenWebhooks = []broken{
	{"keeps webhook IDs unique within a tenant only", "Webhook/IDIsTakenByAnotherTenant", func() *twisted {
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			err := s.CreateWebhook(ctx, w, limit)
			if _, own := s.GetWebhook(ctx, w.Tenant, w.ID); errors.Is(err, webhook.ErrExists) && own != nil {
				return nil
			}
			return err
		}}
	}},
	{"replaces a webhook whose ID is taken", "Webhook/IDIsTaken", func() *twisted {
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			err := s.CreateWebhook(ctx, w, limit)
			if errors.Is(err, webhook.ErrExists) && s.UpdateWebhook(ctx, w) == nil {
				return nil
			}
			return err
		}}
	}},
	{"ignores the limit of webhooks", "Webhook/TooMany", func() *twisted {
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, _ int) error {
			return s.CreateWebhook(ctx, w, 0)
		}}
	}},
	{"counts before it writes", "Webhook/RacingCreatorsKeepTheLimit", func() *twisted {
		// As if all had counted before any of them wrote.
		var mu sync.Mutex
		counted := map[string]int{}
		return &twisted{create: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error {
			if limit > 0 {
				mu.Lock()
				defer mu.Unlock()
				n, ok := counted[w.Tenant]
				if !ok {
					p, err := s.ListWebhooks(ctx, webhook.WebhookQuery{Tenant: w.Tenant})
					if err != nil {
						return err
					}
					n = len(p.Items)
					counted[w.Tenant] = n
				}
				if n >= limit {
					return webhook.ErrTooManyWebhooks
				}
			}
			return s.CreateWebhook(ctx, w, 0)
		}}
	}},
	{"keeps whole rates only", "Webhook/RateLimitComesBack", showing(func(w *webhook.WebhookRecord) { w.RateLimit = math.Round(w.RateLimit) })},
	{"lists without the rate", "Webhook/RateLimitComesBack", listing(func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
		p, err := s.ListWebhooks(ctx, q)
		for i := range p.Items {
			p.Items[i].RateLimit = 0
		}
		return p, err
	})},
	{"sorts secrets", "Webhook/SecretsComeBackInOrder", showing(func(w *webhook.WebhookRecord) {
		slices.SortFunc(w.Secrets, func(a, b webhook.SecretRecord) int { return strings.Compare(a.Value, b.Value) })
	})},
	{"keeps only the current secret", "Webhook/SecretsComeBackInOrder", showing(func(w *webhook.WebhookRecord) {
		w.Secrets = w.Secrets[:min(1, len(w.Secrets))]
	})},
	{"deletes what does not exist", "Webhook/Delete", func() *twisted {
		return &twisted{remove: func(ctx context.Context, s webhook.Store, tenant, id string) error {
			if err := s.DeleteWebhook(ctx, tenant, id); !errors.Is(err, webhook.ErrNotFound) {
				return err
			}
			return nil
		}}
	}},
	{"deletes the log with the webhook", "Webhook/DeleteKeepsTheLog", func() *twisted {
		return &twisted{getDelivery: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error) {
			d, err := s.GetDelivery(ctx, tenant, id)
			if err == nil {
				_, err = s.GetWebhook(ctx, tenant, d.WebhookID)
			}
			return d, err
		}}
	}},
	{"overwrites any version", "Update/OtherVersion", func() *twisted {
		return &twisted{update: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord) error {
			if stored, err := s.GetWebhook(ctx, w.Tenant, w.ID); err == nil {
				w.Version = stored.Version
			}
			return s.UpdateWebhook(ctx, w)
		}}
	}},
	{"lets every editor of a version win", "Update/OneOfManyEditorsWins", func() *twisted {
		// As if all had read before any of them wrote.
		var mu sync.Mutex
		var last int64
		return &twisted{
			get: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error) {
				mu.Lock()
				defer mu.Unlock()
				last = 0
				return s.GetWebhook(ctx, tenant, id)
			},
			update: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord) error {
				mu.Lock()
				defer mu.Unlock()
				err := s.UpdateWebhook(ctx, w)
				if err == nil {
					last = w.Version
				} else if last == w.Version {
					err = nil
				}
				return err
			},
		}
	}},
	{"creates what an update does not find", "Update/Missing", func() *twisted {
		return &twisted{update: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord) error {
			err := s.UpdateWebhook(ctx, w)
			if errors.Is(err, webhook.ErrNotFound) && s.CreateWebhook(ctx, w, 0) == nil {
				return nil
			}
			return err
		}}
	}},
	{"moves the end of failing along", "Health/FailingSinceTheFirstFailure", showing(func(w *webhook.WebhookRecord) {
		if !w.FailingSince.IsZero() {
			w.FailingSince = w.LastTriggeredAt
		}
	})},
	{"takes health from an update", "Health/UpdateLeavesItAlone", func() *twisted {
		var mu sync.Mutex
		var updated *webhook.WebhookRecord
		return &twisted{
			update: func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord) error {
				mu.Lock()
				defer mu.Unlock()
				updated = &w
				return s.UpdateWebhook(ctx, w)
			},
			get: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error) {
				mu.Lock()
				defer mu.Unlock()
				w, err := s.GetWebhook(ctx, tenant, id)
				if updated != nil && updated.ID == id {
					w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince = updated.LastTriggeredAt, updated.LastSuccessAt, updated.FailingSince
				}
				return w, err
			},
		}
	}},
	{"remembers failing after enabling", "Health/EnablingClearsFailingSince", func() *twisted {
		var mu sync.Mutex
		var since time.Time
		return &twisted{get: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error) {
			mu.Lock()
			defer mu.Unlock()
			w, err := s.GetWebhook(ctx, tenant, id)
			if w.FailingSince.IsZero() {
				w.FailingSince = since
			}
			since = w.FailingSince
			return w, err
		}}
	}},
	{"lists the oldest first", "ListWebhooks/NewestFirst", listing(func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
		p, err := s.ListWebhooks(ctx, q)
		slices.Reverse(p.Items)
		return p, err
	})},
	{"counts through a list that shrinks", "ListWebhooks/WalkWhileDeleting", listing(byOffset)},
	{"counts through a list that grows", "ListWebhooks/WalkWhileCreating", listing(byOffset)},
	{"takes any cursor for the first page", "ListWebhooks/ForeignCursor", listing(func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
		p, err := s.ListWebhooks(ctx, q)
		if errors.Is(err, webhook.ErrCursor) {
			q.Cursor = ""
			return s.ListWebhooks(ctx, q)
		}
		return p, err
	})},
	{"finds no page for a tenant without webhooks", "ListWebhooks/NoWebhooks", listing(func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
		p, err := s.ListWebhooks(ctx, q)
		if err == nil && len(p.Items) == 0 {
			err = webhook.ErrNotFound
		}
		return p, err
	})},
	{"searches with wildcards", "ListWebhooks/Search", listing(func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
		q.Search = strings.Trim(q.Search, "%")
		return s.ListWebhooks(ctx, q)
	})},
	{"lets other tenants read", "Tenant/ForeignIsLikeMissing", func() *twisted {
		return &twisted{get: func(ctx context.Context, s webhook.Store, _, id string) (webhook.WebhookRecord, error) {
			return s.GetWebhook(ctx, t1, id)
		}}
	}},
	{"tells other tenants that it is there", "Tenant/ForeignIsLikeMissing", func() *twisted {
		return &twisted{remove: func(ctx context.Context, s webhook.Store, tenant, id string) error {
			err := s.DeleteWebhook(ctx, tenant, id)
			if _, foreign := s.GetWebhook(ctx, t1, id); err != nil && foreign == nil {
				return fmt.Errorf("not yours: %w", err)
			}
			return err
		}}
	}},
	{"hands out its own webhooks", "Alias/ReadWebhook", func() *twisted {
		var mu sync.Mutex
		own := map[string]webhook.WebhookRecord{}
		return &twisted{get: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error) {
			mu.Lock()
			defer mu.Unlock()
			w, err := s.GetWebhook(ctx, tenant, id)
			if kept, known := own[id]; known && kept.Version == w.Version {
				w.Events, w.Headers, w.Secrets = kept.Events, kept.Headers, kept.Secrets
			}
			own[id] = w
			return w, err
		}}
	}},
	{"keeps milliseconds", "Bytes/TimesKeepMicroseconds", showing(func(w *webhook.WebhookRecord) { w.UpdatedAt = w.UpdatedAt.Truncate(time.Millisecond) })},
	{"shows local times", "Bytes/TimesAreUTC", showing(func(w *webhook.WebhookRecord) { w.CreatedAt = w.CreatedAt.In(time.FixedZone("here", 3600)) })},
}
