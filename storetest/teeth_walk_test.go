package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// walking changes the walk through all webhooks.
func walking(walk func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error)) func() *twisted {
	return func() *twisted { return &twisted{walk: walk} }
}

var brokenWalks = []broken{
	{"walks through one tenant", "WalkWebhooks/AllTenants", walking(func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error) {
		recs, err := s.WalkWebhooks(ctx, after, limit)
		return slices.DeleteFunc(recs, func(w webhook.WebhookRecord) bool { return w.Tenant != t1 }), err
	})},
	{"ignores case in IDs", "WalkWebhooks/AllTenants", walking(func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error) {
		recs, err := s.WalkWebhooks(ctx, "", 1000)
		slices.SortFunc(recs, func(a, b webhook.WebhookRecord) int {
			return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID))
		})
		i := slices.IndexFunc(recs, func(w webhook.WebhookRecord) bool { return strings.ToLower(w.ID) > strings.ToLower(after) })
		if i < 0 {
			return nil, err
		}
		return recs[i:min(i+limit, len(recs))], err
	})},
	{"walks without secrets", "WalkWebhooks/RecordsAreWhole", walking(func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error) {
		recs, err := s.WalkWebhooks(ctx, after, limit)
		for i := range recs {
			recs[i].Secrets = nil
		}
		return recs, err
	})},
	{"counts what it has passed", "WalkWebhooks/ExactlyOnceBesideChanges", walking(func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error) {
		if after == "" {
			return s.WalkWebhooks(ctx, after, limit)
		}
		recs, err := s.WalkWebhooks(ctx, after, limit+2) // as if by offset: a deletion before the offset shifts all later webhooks
		return recs[min(2, len(recs)):], err
	})},
}
