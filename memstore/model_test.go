package memstore

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// model is the contract of Store written down as plainly as possible: one
// slice, searched from end to end. The random test holds Store to it.
type model struct {
	maxPending int
	webhooks   map[string]*webhook.WebhookRecord
	events     []*modelEvent
	deliveries []*modelDelivery // in the order of creation
	stats      map[modelHour]webhook.StatsBucket
	rests      map[string]time.Time // until when claims pass webhooks over, by tenant and ID
}

type modelEvent struct {
	webhook.EventRecord
	published time.Time
	only      string
}

type modelDelivery struct {
	webhook.Delivery
	token    int64 // that holds it; 0 when none does
	expiry   time.Time
	recorded map[int64]bool
	attempts []webhook.Attempt
}

type modelHour struct {
	tenant, id string
	hour       time.Time
}

// ready is when the delivery can be claimed.
func (d *modelDelivery) ready() time.Time {
	if d.token != 0 {
		return d.expiry
	}
	return d.NextAttemptAt
}

func (d *modelDelivery) claimable(now time.Time) bool {
	return d.State == webhook.StatePending && !d.ready().After(now)
}

func (m *model) find(tenant, id string) *modelDelivery {
	for _, d := range m.deliveries {
		if d.ID == id && (tenant == "" || d.Tenant == tenant) {
			return d
		}
	}
	return nil
}

func (m *model) event(tenant, id string) *modelEvent {
	for _, e := range m.events {
		if e.Tenant == tenant && e.ID == id {
			return e
		}
	}
	return nil
}

func (m *model) webhook(tenant, id string) *webhook.WebhookRecord {
	if w := m.webhooks[id]; w != nil && w.Tenant == tenant {
		return w
	}
	return nil
}

// pick returns the deliveries that a test selects.
func (m *model) pick(keep func(*modelDelivery) bool) (picked []*modelDelivery) {
	for _, d := range m.deliveries {
		if keep(d) {
			picked = append(picked, d)
		}
	}
	return picked
}

func (m *model) pending() int {
	return len(m.pick(func(d *modelDelivery) bool { return d.State == webhook.StatePending }))
}

func (m *model) create(w webhook.WebhookRecord, limit int) error {
	count := 0
	for _, o := range m.webhooks {
		if o.Tenant == w.Tenant {
			count++
		}
	}
	if m.webhooks[w.ID] != nil {
		return webhook.ErrExists
	}
	if limit > 0 && count >= limit {
		return webhook.ErrTooManyWebhooks
	}
	m.webhooks[w.ID] = &w
	return nil
}

func (m *model) update(w webhook.WebhookRecord) error {
	old := m.webhook(w.Tenant, w.ID)
	if old == nil {
		return webhook.ErrNotFound
	}
	if old.Version != w.Version {
		return webhook.ErrConflict
	}
	delete(m.rests, w.Tenant+w.ID)
	w.Version++
	w.CreatedAt, w.LastTriggeredAt, w.LastSuccessAt, w.FailingSince = old.CreatedAt, old.LastTriggeredAt, old.LastSuccessAt, old.FailingSince
	if w.Active && !old.Active {
		w.FailingSince = time.Time{}
	}
	m.webhooks[w.ID] = &w
	return nil
}

func (m *model) remove(tenant, id string) error {
	if m.webhook(tenant, id) == nil {
		return webhook.ErrNotFound
	}
	delete(m.webhooks, id)
	delete(m.rests, tenant+id)
	return nil
}

func (m *model) makeDelivery(e *modelEvent, w *webhook.WebhookRecord, now time.Time) {
	m.deliveries = append(m.deliveries, &modelDelivery{
		Delivery: webhook.Delivery{
			Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, WebhookID: w.ID, WebhookName: w.Name,
			State: webhook.StatePending, CreatedAt: now, NextAttemptAt: now,
		},
		recorded: map[int64]bool{},
	})
}

func (m *model) publish(now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	results := make([]webhook.PublishResult, len(reqs))
	events, deliveries := len(m.events), len(m.deliveries)
	for i, req := range reqs {
		if old := m.event(req.Event.Tenant, req.Event.ID); old != nil {
			results[i].Duplicate = old.Type == req.Event.Type && bytes.Equal(old.Data, req.Event.Data)
			results[i].Conflict = !results[i].Duplicate
			continue
		}
		e := &modelEvent{req.Event, now, req.WebhookID}
		m.events = append(m.events, e)
		for _, id := range slices.Sorted(maps.Keys(m.webhooks)) {
			w := m.webhooks[id]
			if w.Tenant != e.Tenant || !w.Active {
				continue
			}
			selected := slices.ContainsFunc(w.Events, func(p string) bool { return slices.Contains(req.Patterns, p) })
			if req.WebhookID == id || req.WebhookID == "" && selected {
				m.makeDelivery(e, w, now)
				results[i].Deliveries++
			}
		}
	}
	if len(m.deliveries) > deliveries && m.pending() > m.maxPending {
		m.events, m.deliveries = m.events[:events], m.deliveries[:deliveries]
		return nil, webhook.ErrBacklogFull
	}
	return results, nil
}

// lease does to one delivery what a claim does.
func (d *modelDelivery) lease(token int64, expiry time.Time) {
	if d.token != 0 {
		d.Attempts++
		d.Crashes++
	}
	d.token, d.expiry = token, expiry
}

func (m *model) held(l webhook.Lease) *modelDelivery {
	if d := m.find("", l.DeliveryID); d != nil && d.token == l.Token {
		return d
	}
	return nil
}

func (m *model) extend(now time.Time, leases []webhook.Lease, by time.Duration) (lost []string) {
	for _, l := range leases {
		if d := m.held(l); d != nil {
			d.expiry = now.Add(by)
		} else {
			lost = append(lost, l.DeliveryID)
		}
	}
	return lost
}

func (m *model) release(now time.Time, leases []webhook.Lease, delay time.Duration) {
	for _, l := range leases {
		for _, d := range m.pick(func(d *modelDelivery) bool {
			return d.token == l.Token && (l.DeliveryID == "" || l.DeliveryID == d.ID)
		}) {
			d.token, d.NextAttemptAt = 0, now.Add(delay)
		}
	}
}

func (m *model) complete(now time.Time, results []webhook.Result) (outcomes []webhook.Outcome) {
	for _, r := range results {
		outcomes = append(outcomes, m.completeOne(now, r))
	}
	return outcomes
}

func (m *model) completeOne(now time.Time, r webhook.Result) webhook.Outcome {
	d := m.find("", r.DeliveryID)
	if d == nil {
		return webhook.OutcomeGone
	}
	if d.recorded[r.Token] {
		return webhook.OutcomeApplied
	}
	late := d.token != r.Token
	if a := r.Attempt; a != nil {
		logged := *a
		logged.DeliveryID, logged.Late = d.ID, late
		d.attempts = append(d.attempts, logged)
	}
	if late {
		d.recorded[r.Token] = r.Attempt != nil
		return webhook.OutcomeLate
	}
	d.recorded[r.Token] = true
	d.token = 0
	if a := r.Attempt; a != nil {
		d.Attempts++
		d.Tries++
		d.Crashes = 0
		d.LastStatus, d.LastClass = a.Status, a.Class
		m.count(d, a)
	}
	d.State, d.NextAttemptAt = r.State, now.Add(r.Delay)
	if r.State != webhook.StatePending {
		d.NextAttemptAt, d.FinishedAt = time.Time{}, now
	}
	if r.State == webhook.StateFailed || r.State == webhook.StateCanceled {
		d.Reason = r.Reason
	}
	return webhook.OutcomeApplied
}

func (m *model) count(d *modelDelivery, a *webhook.Attempt) {
	key := modelHour{d.Tenant, d.WebhookID, a.StartedAt.Truncate(time.Hour)}
	b := m.stats[key]
	b.WebhookID, b.Hour = key.id, key.hour
	b.Duration += a.Duration
	if a.Succeeded() {
		b.Succeeded++
	} else {
		b.Failed++
	}
	m.stats[key] = b
	w := m.webhooks[d.WebhookID]
	if w == nil {
		return
	}
	at := a.StartedAt
	if at.After(w.LastTriggeredAt) {
		w.LastTriggeredAt = at
	}
	if a.Succeeded() {
		if at.After(w.LastSuccessAt) {
			w.LastSuccessAt = at
		}
		if !at.Before(w.FailingSince) {
			w.FailingSince = time.Time{}
		}
	} else if !at.Before(w.LastSuccessAt) && (w.FailingSince.IsZero() || at.Before(w.FailingSince)) {
		w.FailingSince = at
	}
}

func (d *modelDelivery) resend(now time.Time) {
	if d.State == webhook.StatePending && d.token != 0 && d.expiry.After(now) {
		return
	}
	if d.State != webhook.StatePending || d.token != 0 || d.NextAttemptAt.After(now) {
		d.NextAttemptAt = now
	}
	d.State, d.Reason, d.FinishedAt, d.token = webhook.StatePending, "", time.Time{}, 0
	d.Tries, d.Crashes = 0, 0
}

func (m *model) replay(req webhook.ReplayRequest) (resent, created int, err error) {
	w := m.webhook(req.Tenant, req.WebhookID)
	if w == nil {
		return 0, 0, webhook.ErrNotFound
	}
	for _, e := range m.events {
		if e.Tenant != req.Tenant || e.published.Before(req.Since) || !req.Until.IsZero() && !e.published.Before(req.Until) ||
			req.EventType != "" && e.Type != req.EventType {
			continue
		}
		sent := m.pick(func(d *modelDelivery) bool {
			return d.Tenant == e.Tenant && d.EventID == e.ID && d.WebhookID == w.ID
		})
		for _, d := range sent {
			if d.State != webhook.StatePending && slices.Contains(req.States, d.State) {
				resent++
				if !req.DryRun {
					d.resend(req.Now)
				}
			}
		}
		selected := e.only == w.ID || e.only == "" && slices.ContainsFunc(w.Events, func(p string) bool {
			return p == "*" || p == e.Type || strings.HasSuffix(p, ".*") && strings.HasPrefix(e.Type, p[:len(p)-1])
		})
		if req.Missing && len(sent) == 0 && selected {
			created++
			if !req.DryRun {
				now := req.Now
				if now.Before(e.published) { // the clock went back
					now = e.published
				}
				m.makeDelivery(e, w, now)
			}
		}
	}
	return resent, created, nil
}

func (m *model) prune(before time.Time) (deleted int) {
	n := len(m.deliveries) + len(m.events)
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d *modelDelivery) bool {
		return d.State != webhook.StatePending && d.FinishedAt.Before(before)
	})
	m.events = slices.DeleteFunc(m.events, func(e *modelEvent) bool {
		return e.published.Before(before) && !slices.ContainsFunc(m.deliveries, func(d *modelDelivery) bool {
			return d.Tenant == e.Tenant && d.EventID == e.ID
		})
	})
	maps.DeleteFunc(m.stats, func(k modelHour, _ webhook.StatsBucket) bool { return k.hour.Before(before.Truncate(time.Hour)) })
	return n - len(m.deliveries) - len(m.events)
}

// list returns what ListDeliveries does, on one page.
func (m *model) list(q webhook.DeliveryQuery) []webhook.Delivery {
	var items []webhook.Delivery
	for _, d := range m.deliveries {
		if d.Tenant == q.Tenant && (q.WebhookID == "" || d.WebhookID == q.WebhookID) && (q.EventID == "" || d.EventID == q.EventID) &&
			(q.EventType == "" || d.EventType == q.EventType) && (q.State == "" || d.State == q.State) &&
			!d.CreatedAt.Before(q.Since) && (q.Until.IsZero() || d.CreatedAt.Before(q.Until)) {
			items = append(items, d.Delivery)
		}
	}
	slices.SortFunc(items, func(a, b webhook.Delivery) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return items
}

// sameError reports whether err is as the model has it.
func sameError(want, err error) bool {
	return want == nil && err == nil || want != nil && errors.Is(err, want)
}
