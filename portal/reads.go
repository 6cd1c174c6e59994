package portal

import (
	"context"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// listWebhooks returns a page of webhooks, newest first. It searches in names
// and URLs as the access sees them: a Store searches whole URLs, and would let
// a viewer guess the hidden query letter by letter.
func (s *server) listWebhooks(ctx context.Context, a Access, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	q.Tenant = a.Tenant
	if a.Manage || q.Search == "" {
		return s.d.Webhooks(ctx, q)
	}
	search := asciiLower(q.Search)
	if _, err := s.d.Webhooks(ctx, webhook.WebhookQuery{Tenant: a.Tenant, Search: q.Search, Limit: 1}); err != nil {
		return webhook.Page[webhook.Webhook]{}, err // the search is refused
	}
	q.Search = ""
	if q.Limit == 0 {
		q.Limit = 50
	}
	var out webhook.Page[webhook.Webhook]
	for range maxScan {
		page, err := s.d.Webhooks(ctx, q)
		if err != nil {
			return webhook.Page[webhook.Webhook]{}, err
		}
		for _, w := range page.Items {
			if strings.Contains(asciiLower(w.Name), search) || strings.Contains(asciiLower(a.shownURL(w)), search) {
				out.Items = append(out.Items, w)
			}
		}
		q.Cursor, out.Next = page.Next, page.Next
		if page.Next == "" || len(out.Items) > 0 {
			break
		}
	}
	return out, nil
}

// maxScan bounds the store's pages that are searched for one page of results.
const maxScan = 10

// asciiLower lowers ASCII letters, as Stores do for a search.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
