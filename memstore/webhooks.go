package memstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// hook is a webhook with its queue. It outlives its deletion while it has
// deliveries or statistics.
type hook struct {
	node[hook]
	id     string
	tenant *tenant
	order  uint64 // of creation: the order of a fan-out
	ready  bool   // in its tenant's ready
	rest   int64  // claims pass it over until then, in microseconds; 0 when they do not
	orphan bool   // in orphans; when in neither of the two, perhaps in timers

	// rec is nil once the webhook is deleted. The record is immutable: claims
	// share it. Its health is put right by snapshot, which makes a new one.
	rec   *webhook.WebhookRecord
	stale bool

	lastTriggered, lastSuccess, failingSince int64 // microseconds; zeroMicros if never

	queue  timeline[delivery] // pending and not leased, by due time
	leases timeline[delivery] // leased, by expiry
	log    sequence[*delivery]
	stats  []hourly // by hour
}

// snapshot returns the record with the health of now, to be shared and not
// modified. It copies the record, but not its slices and maps, when the health
// has changed since the last call.
func (h *hook) snapshot() *webhook.WebhookRecord {
	if h.stale && h.rec != nil {
		rec := *h.rec
		rec.LastTriggeredAt = timeOf(h.lastTriggered)
		rec.LastSuccessAt = timeOf(h.lastSuccess)
		rec.FailingSince = timeOf(h.failingSince)
		h.rec, h.stale = &rec, false
	}
	return h.rec
}

func (h *hook) compare(created time.Time, id string) int {
	return cmp.Or(h.rec.CreatedAt.Compare(created), cmp.Compare(h.id, id))
}

// index adds the webhook to, or removes it from, the sets that Publish looks
// up: for each selection of the tenant the active webhooks, by creation.
func (h *hook) index(add bool) {
	if !h.rec.Active {
		return
	}
	for _, pattern := range h.rec.Events {
		set := h.tenant.selects[pattern]
		i, found := slices.BinarySearchFunc(set, h.order, func(o *hook, order uint64) int {
			return cmp.Compare(o.order, order)
		})
		switch {
		case add && !found:
			set = slices.Insert(set, i, h)
		case !add && found:
			set = slices.Delete(set, i, i+1)
		}
		if len(set) == 0 {
			delete(h.tenant.selects, pattern)
		} else {
			h.tenant.selects[pattern] = set
		}
	}
}

// CreateWebhook implements [webhook.WebhookStore].
func (s *Store) CreateWebhook(ctx context.Context, w webhook.WebhookRecord, limit int) error {
	rec := cloneRecord(w)
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.webhooks[w.ID] != nil {
		return fmt.Errorf("webhook %q: %w", w.ID, webhook.ErrExists)
	}
	if t := s.tenants[w.Tenant]; limit > 0 && t != nil && len(t.order) >= limit {
		return fmt.Errorf("tenant has %d of %d webhooks: %w", len(t.order), limit, webhook.ErrTooManyWebhooks)
	}
	t := s.tenant(w.Tenant)
	h := t.webhooks[w.ID]
	if h == nil {
		h = &hook{id: w.ID, tenant: t}
		h.owner = h
		t.webhooks[w.ID] = h
	}
	if h.orphan {
		s.unschedule(h)
	}
	s.lastOrder++
	h.order, h.rec, h.stale = s.lastOrder, rec, true
	h.lastTriggered = w.LastTriggeredAt.UnixMicro()
	h.lastSuccess = w.LastSuccessAt.UnixMicro()
	h.failingSince = w.FailingSince.UnixMicro()
	s.webhooks[h.id] = h
	i, _ := slices.BinarySearchFunc(t.order, h, func(a, b *hook) int { return a.compare(b.rec.CreatedAt, b.id) })
	t.order = slices.Insert(t.order, i, h)
	h.index(true)
	return nil
}

// GetWebhook implements [webhook.WebhookStore].
func (s *Store) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	if err := s.lock(ctx); err != nil {
		return webhook.WebhookRecord{}, err
	}
	defer s.mu.Unlock()
	h, err := s.hook(tenant, id)
	if err != nil {
		return webhook.WebhookRecord{}, err
	}
	return *cloneRecord(*h.snapshot()), nil
}

// ListWebhooks implements [webhook.WebhookStore].
func (s *Store) ListWebhooks(ctx context.Context, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	var page webhook.Page[webhook.Webhook]
	at, id, err := s.openWebhookCursor(q.Cursor)
	if err != nil {
		return page, err
	}
	if err := s.lock(ctx); err != nil {
		return page, err
	}
	defer s.mu.Unlock()
	t := s.tenants[q.Tenant]
	if t == nil {
		return page, nil
	}
	i := len(t.order)
	if q.Cursor != "" {
		i, _ = slices.BinarySearchFunc(t.order, id, func(h *hook, id string) int { return h.compare(at, id) })
	}
	limit, search := pageLimit(q.Limit), lower(q.Search)
	for i--; i >= 0; i-- {
		h := t.order[i]
		if !strings.Contains(lower(h.rec.Name), search) && !strings.Contains(lower(h.rec.URL), search) {
			continue
		}
		if len(page.Items) == limit {
			last := &page.Items[limit-1]
			page.Next = s.webhookCursor(last.CreatedAt, last.ID)
			break
		}
		page.Items = append(page.Items, cloneWebhook(h.snapshot().Webhook))
	}
	return page, nil
}

// WalkWebhooks implements [webhook.WebhookWalker]. A call looks at every webhook.
func (s *Store) WalkWebhooks(ctx context.Context, after string, limit int) ([]webhook.WebhookRecord, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var ids []string
	for id := range s.webhooks {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = ids[:min(limit, len(ids))]
	out := make([]webhook.WebhookRecord, len(ids))
	for i, id := range ids {
		out[i] = *cloneRecord(*s.webhooks[id].snapshot())
	}
	return out, nil
}

// UpdateWebhook implements [webhook.WebhookStore].
func (s *Store) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	rec := cloneRecord(w)
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	h, err := s.hook(w.Tenant, w.ID)
	if err != nil {
		return err
	}
	if h.rec.Version != w.Version {
		return fmt.Errorf("webhook %q: version is %d, not %d: %w", w.ID, h.rec.Version, w.Version, webhook.ErrConflict)
	}
	if rec.Active && !h.rec.Active {
		h.failingSince = zeroMicros
	}
	rec.Version++
	rec.CreatedAt = h.rec.CreatedAt
	h.index(false)
	h.rec, h.stale = rec, true
	h.index(true)
	s.endRest(h)
	return nil
}

// DeleteWebhook implements [webhook.WebhookStore].
func (s *Store) DeleteWebhook(ctx context.Context, tenant, id string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	h, err := s.hook(tenant, id)
	if err != nil {
		return err
	}
	s.deleteHook(h)
	return nil
}

func (s *Store) deleteHook(h *hook) {
	t := h.tenant
	h.index(false)
	i, _ := slices.BinarySearchFunc(t.order, h, func(a, b *hook) int { return a.compare(b.rec.CreatedAt, b.id) })
	t.order = slices.Delete(t.order, i, i+1)
	delete(s.webhooks, h.id)
	h.rec, h.stale = nil, false
	s.endRest(h)
	s.orphaned(h)
}

// orphaned looks at a deleted webhook that may have no delivery left: it is
// forgotten with its last delivery, or joins the bounded queue of deleted
// webhooks that still have statistics.
func (s *Store) orphaned(h *hook) {
	if h.rec != nil || h.log.n > 0 {
		return
	}
	if len(h.stats) == 0 {
		s.dropHook(h)
		return
	}
	s.unschedule(h)
	h.orphan = true
	s.orphans.push(&h.node, 0, s.turn(), true)
	if s.orphans.n > max(s.cfg.Retain, keptOrphans) {
		s.dropHook(s.orphans.first().owner)
	}
}

// dropHook forgets a deleted webhook without deliveries.
func (s *Store) dropHook(h *hook) {
	s.unschedule(h)
	delete(h.tenant.webhooks, h.id)
	s.dropTenant(h.tenant)
}

// lower makes ASCII letters small.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
