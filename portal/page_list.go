package portal

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed68722ecd/webhook"
)

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// listView is the page of all webhooks.
type listView struct {
	Root, Search string
	Manage       bool
	Rows         []hookRow
	Next         string // query of the next page
	Later        bool   // this is not the first page
}

// perPage is the number of webhooks or deliveries on a page.
const perPage = 25

// listPage shows the webhooks of the tenant, newest first.
func (s *server) listPage(w http.ResponseWriter, r *http.Request, a Access) {
	q := r.URL.Query()
	search, cursor := q.Get("q"), q.Get("cursor")
	found, err := s.listWebhooks(r.Context(), a, webhook.WebhookQuery{Search: search, Cursor: cursor, Limit: perPage})
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	buckets, err := s.statsOf(r, a, found.Items, periods[0])
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	p := s.page(r, a, "")
	view := listView{Root: p.Root, Search: search, Manage: a.Manage, Later: cursor != ""}
	for i := range found.Items {
		view.Rows = append(view.Rows, s.hookRow(a, &found.Items[i], buckets[found.Items[i].ID]))
	}
	if found.Next != "" {
		view.Next = nextQuery(q, found.Next)
	}
	p.Every, p.V = 5000, view
	s.show(w, r, http.StatusOK, "list", p)
}

// statsOf returns the statistics of the webhooks over a period, by webhook ID.
func (s *server) statsOf(r *http.Request, a Access, hooks []webhook.Webhook, p period) (map[string][]webhook.StatsBucket, error) {
	if len(hooks) == 0 {
		return nil, nil
	}
	ids := make([]string, len(hooks))
	for i := range hooks {
		ids[i] = hooks[i].ID
	}
	all, err := s.d.HourlyStats(r.Context(), webhook.StatsQuery{Tenant: a.Tenant, WebhookIDs: ids, Since: p.since(s.now())})
	if err != nil {
		return nil, err
	}
	out := make(map[string][]webhook.StatsBucket, len(hooks))
	for _, b := range all {
		out[b.WebhookID] = append(out[b.WebhookID], b)
	}
	return out, nil
}

// nextQuery returns a page's query with the cursor of the next page.
func nextQuery(q url.Values, cursor string) string {
	next := maps.Clone(q)
	for _, k := range []string{"live", "done"} {
		next.Del(k)
	}
	next.Set("cursor", cursor)
	return "?" + next.Encode()
}
