package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/merge"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// pageSize returns the number of items of a page.
func pageSize(limit int) int {
	if limit <= 0 {
		return 50
	}
	return limit
}

// GetEvent implements [webhook.LogStore].
func (s *Store) GetEvent(ctx context.Context, tenant, id string) (webhook.EventRecord, error) {
	var ev *webhook.EventRecord
	err := s.read(ctx, func(r runner) error {
		ev = nil
		return r.query(`SELECT type, time, data, trace FROM {events} WHERE tenant = ? AND id = ?`, []any{tenant, id}, func(v []driver.Value) error {
			ev = &webhook.EventRecord{ID: id, Tenant: tenant, Type: text(v[0]), Time: sqlstore.FromMicros(integer(v[1])), Data: blob(v[2]), Trace: text(v[3])}
			return nil
		})
	})
	if err == nil && ev == nil {
		err = refused("event %q: %w", id, webhook.ErrNotFound)
	}
	if err != nil {
		return webhook.EventRecord{}, wrap(ctx, "get event", err)
	}
	return *ev, nil
}

const deliveryColumns = `d.wkey, d.seq, d.created, d.state, d.attempts, d.tries, d.crashes,
	d.due + (SELECT shift FROM {counters} WHERE id = 1), d.finished, d.last_status,
	d.type, d.name, d.reason, d.last_class, ` + eventID

// eventID is the ID of a delivery's event. A subquery finds it by its number even
// after an ANALYZE that saw one event: a join would then scan all events.
const eventID = `(SELECT e.id FROM {events} e WHERE e.seq = coalesce(d.ekey, d.seq))`

// stored is a delivery with the key of its row.
type stored struct {
	key
	d webhook.Delivery
}

func scanDelivery(v []driver.Value, tenant, webhookID string) (stored, error) {
	out := stored{key: key{integer(v[0]), integer(v[1])}}
	state := integer(v[3])
	if state < pending || int(state) >= len(stateNames) {
		return out, fmt.Errorf("delivery %s has the unknown state %d", out.id(), state)
	}
	out.d = webhook.Delivery{
		ID: out.id(), Tenant: tenant, EventID: text(v[14]), EventType: text(v[10]), WebhookID: webhookID, WebhookName: text(v[11]),
		State: stateNames[state], Reason: webhook.Reason(text(v[12])),
		Attempts: int(integer(v[4])), Tries: int(integer(v[5])), Crashes: int(integer(v[6])),
		CreatedAt: sqlstore.FromMicros(integer(v[2])), FinishedAt: sqlstore.FromMicros(integer(v[8])),
		LastStatus: int(integer(v[9])), LastClass: webhook.ErrorClass(text(v[13])),
	}
	if state == pending {
		out.d.NextAttemptAt = sqlstore.FromMicros(cmp.Or(integer(v[7]), integer(v[2])))
	}
	return out, nil
}

// delivery reads one delivery of a tenant.
func (s *Store) delivery(r runner, tenant, id string) (stored, error) {
	var out stored
	k, ok := parseID(id)
	if ok {
		err := r.query(`SELECT `+deliveryColumns+`, w.id FROM {deliveries} d
			JOIN {webhooks} w ON w.wkey = d.wkey AND w.tenant = ?
			WHERE d.wkey = ? AND d.seq = ?`, []any{tenant, k.wkey, k.seq}, func(v []driver.Value) (err error) {
			out, err = scanDelivery(v, tenant, text(v[15]))
			return err
		})
		if err != nil {
			return out, err
		}
	}
	if out.seq == 0 {
		return out, refused("delivery %q: %w", id, webhook.ErrNotFound)
	}
	return out, nil
}

// GetDelivery implements [webhook.LogStore].
func (s *Store) GetDelivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	var out stored
	err := s.read(ctx, func(r runner) (err error) {
		out, err = s.delivery(r, tenant, id)
		return err
	})
	if err != nil {
		return webhook.Delivery{}, wrap(ctx, "get delivery", err)
	}
	return out.d, nil
}

// ListAttempts implements [webhook.LogStore].
func (s *Store) ListAttempts(ctx context.Context, tenant, deliveryID string) ([]webhook.Attempt, error) {
	var out []webhook.Attempt
	err := s.read(ctx, func(r runner) error {
		out = nil
		d, err := s.delivery(r, tenant, deliveryID)
		if err != nil {
			return err
		}
		return r.query(`SELECT 0 AS ord, number, started, duration, status, class, error, headers, body, truncated, 0 FROM {deliveries}
			WHERE wkey = ? AND seq = ? AND started IS NOT NULL
			UNION ALL
			SELECT ord, number, started, duration, status, class, error, headers, body, truncated, late FROM {attempts}
			WHERE wkey = ? AND seq = ? AND started IS NOT NULL
			ORDER BY ord`, []any{d.wkey, d.seq, d.wkey, d.seq}, func(v []driver.Value) error {
			a := webhook.Attempt{
				DeliveryID: deliveryID, Number: int(integer(v[1])), StartedAt: sqlstore.FromMicros(integer(v[2])),
				Duration: time.Duration(integer(v[3])) * time.Microsecond, Status: int(integer(v[4])), Class: webhook.ErrorClass(text(v[5])),
				Error: text(v[6]), ResponseBody: blob(v[8]), ResponseTruncated: integer(v[9]) != 0, Late: integer(v[10]) != 0,
			}
			if headers := text(v[7]); headers != "" {
				if err := json.Unmarshal([]byte(headers), &a.ResponseHeaders); err != nil {
					return fmt.Errorf("attempt %d of delivery %s: %w", a.Number, deliveryID, err)
				}
			}
			out = append(out, a)
			return nil
		})
	})
	if err != nil {
		return nil, wrap(ctx, "list attempts", err)
	}
	return out, nil
}

// tenantHook is a webhook of a tenant, possibly a deleted one.
type tenantHook struct {
	wkey int64
	id   string
}

// hooksOf returns the tenant's webhooks, or those with one ID.
func (s *Store) hooksOf(r runner, tenant, id string) (out []tenantHook, err error) {
	err = r.query(`SELECT wkey, id FROM {webhooks} WHERE tenant = ? AND (? = '' OR id = ?)`, []any{tenant, id, id}, func(v []driver.Value) error {
		out = append(out, tenantHook{integer(v[0]), text(v[1])})
		return nil
	})
	return out, err
}

// numberAt returns the first number that an event published at or after a time may
// have: numbers and times of publication have the same order. It skips events with
// a time of a wrong clock.
func (s *Store) numberAt(r runner, at int64) (int64, error) {
	low, high, future := int64(1), int64(1), s.future()
	if err := r.query(`SELECT seq + 1 FROM {counters}`, nil, func(v []driver.Value) error { high = integer(v[0]); return nil }); err != nil {
		return 0, err
	}
	for low < high {
		mid := low + (high-low)/2
		before := int64(0) // number of an event, from mid on, that is too early
		err := r.query(`SELECT seq, published FROM {events} WHERE seq >= ? AND published <= ? ORDER BY seq LIMIT 1`, []any{mid, future}, func(v []driver.Value) error {
			if integer(v[1]) < at {
				before = integer(v[0])
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		if before != 0 {
			low = before + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

// place is a position in a list of deliveries, with the time of creation.
type place struct {
	key
	created int64
}

// latest orders places as the list does: the result is below 0 if a comes first.
func latest(a, b place) int {
	return cmp.Or(cmp.Compare(b.seq, a.seq), cmp.Compare(b.wkey, a.wkey))
}

// found is a list of deliveries with their places.
type found = []merge.Row[place, webhook.Delivery]

// listing is one call of ListDeliveries.
type listing struct {
	q     webhook.DeliveryQuery
	limit int
	low   int64 // lowest number
	from  place // end of the previous page
	event int64 // 0: all events
	ids   map[int64]string
}

// ListDeliveries implements [webhook.LogStore]. The deliveries of a webhook are
// stored in the order of the list, so a page of one webhook is read from its start;
// a page of all webhooks is merged from the pages of each. Failed and canceled
// deliveries have an index; other filters read the rows they skip, as far as q.Scan
// allows.
func (s *Store) ListDeliveries(ctx context.Context, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
	l := listing{q: q, limit: pageSize(q.Limit), low: 1, from: place{key: key{math.MaxInt64, math.MaxInt64}}}
	if q.Cursor != "" {
		nums, _, err := parseCursor(cursorDeliveries, 2, q.Cursor)
		if err != nil {
			return webhook.Page[webhook.Delivery]{}, wrap(ctx, "list deliveries", err)
		}
		l.from.key = key{nums[1], nums[0]}
	}
	var p merge.Page[place, webhook.Delivery]
	err := s.read(ctx, func(r runner) (err error) {
		p, err = l.find(r, s)
		return err
	})
	if err != nil {
		return webhook.Page[webhook.Delivery]{}, wrap(ctx, "list deliveries", err)
	}
	var page webhook.Page[webhook.Delivery]
	for _, row := range p.Rows {
		page.Items = append(page.Items, row.Item)
	}
	if p.More {
		page.Next = sqlstore.Cursor(cursorDeliveries, "", p.Next.seq, p.Next.wkey)
	}
	if p.Short {
		page.Reached = sqlstore.FromMicros(p.Next.created)
	}
	return page, nil
}

// find returns the page.
func (l *listing) find(r runner, s *Store) (page merge.Page[place, webhook.Delivery], err error) {
	hooks, err := s.hooksOf(r, l.q.Tenant, l.q.WebhookID)
	if err != nil || len(hooks) == 0 {
		return page, err
	}
	if l.q.EventID != "" {
		err := r.query(`SELECT seq FROM {events} WHERE tenant = ? AND id = ?`, []any{l.q.Tenant, l.q.EventID},
			func(v []driver.Value) error { l.event = integer(v[0]); return nil })
		if err != nil || l.event == 0 {
			return page, err
		}
	}
	from := l.from
	if !l.q.Since.IsZero() {
		if l.low, err = s.numberAt(r, l.q.Since.UnixMicro()); err != nil {
			return page, err
		}
	}
	if !l.q.Until.IsZero() {
		// The event with this number, and any later one, is too late.
		n, err := s.numberAt(r, l.q.Until.UnixMicro())
		if err != nil {
			return page, err
		}
		if err := r.query(`SELECT min(seq) FROM {events} WHERE seq >= ?`, []any{n}, func(v []driver.Value) error {
			if v[0] != nil && integer(v[0]) <= from.seq {
				from.key = key{0, integer(v[0])}
			}
			return nil
		}); err != nil {
			return page, err
		}
	}
	l.ids = make(map[int64]string, len(hooks))
	for _, h := range hooks {
		l.ids[h.wkey] = h.id
	}
	if l.event != 0 {
		return l.ofEvent(r, from.key)
	}
	// If there are many webhooks, one statement finds out which come first.
	placed := len(hooks) > l.limit && l.q.WebhookID == ""
	var streams []*merge.Stream[place]
	if placed {
		streams, err = l.heads(r, from)
	} else {
		for _, h := range hooks {
			streams = append(streams, &merge.Stream[place]{From: from, ID: h.wkey})
		}
	}
	if err != nil {
		return page, err
	}
	source := merge.Source[place, webhook.Delivery]{Order: latest, Placed: placed, Read: func(streams []*merge.Stream[place], step int) (out found, err error) {
		for _, x := range streams {
			if out, err = l.look(r, x, step, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	}}
	return source.Newest(streams, l.limit, cmp.Or(l.q.Scan, webhook.MaxScan))
}

// ofEvent returns the deliveries of one event: those created with it and those
// created by replays. Each webhook has at most one.
func (l *listing) ofEvent(r runner, from key) (page merge.Page[place, webhook.Delivery], err error) {
	var keys []int64
	for wkey := range l.ids {
		keys = append(keys, wkey)
	}
	where, filters := l.filter()
	if l.q.WebhookID != "" {
		list, err := jsonNumbers(keys)
		if err != nil {
			return page, err
		}
		where += ` AND d.wkey IN (SELECT value FROM json_each(?))`
		filters = append(filters, list)
	}
	before := []any{from.seq, from.wkey, l.low}
	args := append([]any{l.q.Tenant, l.event}, append(before, filters...)...)
	args = append(append(append(args, l.event), before...), filters...)
	args = append(args, int64(l.limit+1))
	const after = ` AND (d.seq, d.wkey) < (?, ?) AND d.seq >= ?`
	err = r.query(`SELECT `+deliveryColumns+` FROM {webhooks} w CROSS JOIN {deliveries} d ON d.wkey = w.wkey
		WHERE w.tenant = ? AND d.seq = ?`+after+where+`
		UNION ALL
		SELECT `+deliveryColumns+` FROM {deliveries} d INDEXED BY {prefix}deliveries_ekey
		WHERE d.ekey = ?`+after+where+`
		ORDER BY 2 DESC, 1 DESC LIMIT ?`, args, func(v []driver.Value) error {
		if len(page.Rows) == l.limit {
			page.More, page.Next = true, page.Rows[l.limit-1].At
			return nil
		}
		return l.add(&page.Rows, v)
	})
	return page, err
}

// add appends a row of deliveryColumns.
func (l *listing) add(out *found, v []driver.Value) error {
	it, err := scanDelivery(v, l.q.Tenant, l.ids[integer(v[0])])
	*out = append(*out, merge.Row[place, webhook.Delivery]{At: place{it.key, it.d.CreatedAt.UnixMicro()}, Item: it.d})
	return err
}

// filter returns the conditions of a query apart from webhook, event and place.
func (l *listing) filter() (where string, args []any) {
	if l.q.State != "" {
		where += ` AND d.state = ?`
		args = append(args, stateNumbers[l.q.State])
	}
	if l.q.EventType != "" {
		where += ` AND d.type = ?`
		args = append(args, l.q.EventType)
	}
	if !l.q.Since.IsZero() {
		where += ` AND d.created >= ?`
		args = append(args, l.q.Since.UnixMicro())
	}
	if !l.q.Until.IsZero() {
		where += ` AND d.created < ?`
		args = append(args, l.q.Until.UnixMicro())
	}
	return where, args
}

// source returns the table of deliveries, with the index of failed ones if the
// query excludes all others.
func (l *listing) source(where string) string {
	index, failed := "", ""
	if stateNumbers[l.q.State] > succeeded {
		index, failed = ` INDEXED BY {prefix}deliveries_failed`, ` AND d.state > 2`
	}
	return `{deliveries} d` + index + ` WHERE ` + where + failed
}

// heads returns the webhooks that have deliveries after a place, each right before
// its first delivery.
func (l *listing) heads(r runner, from place) (out []*merge.Stream[place], err error) {
	err = r.query(`SELECT d.wkey, d.seq, d.created FROM (
			SELECT w.wkey, (SELECT d.seq FROM `+l.source(`d.wkey = w.wkey AND d.seq >= ? AND d.seq <= ? - (w.wkey >= ?)`)+`
				ORDER BY d.seq DESC LIMIT 1) AS seq FROM {webhooks} w WHERE w.tenant = ?) h
		CROSS JOIN {deliveries} d ON d.wkey = h.wkey AND d.seq = h.seq`, []any{l.low, from.seq, from.wkey, l.q.Tenant}, func(v []driver.Value) error {
		wkey := integer(v[0])
		out = append(out, &merge.Stream[place]{From: place{key{wkey + 1, integer(v[1])}, integer(v[2])}, ID: wkey})
		return nil
	})
	return out, err
}

// look adds the matching deliveries among the next rows of one webhook. It first
// finds the end of this range, for which it reads only keys.
func (l *listing) look(r runner, x *merge.Stream[place], step int, out found) (found, error) {
	const between = `d.wkey = ? AND d.seq >= ? AND d.seq <= ?`
	low, top := l.low, x.From.seq-flag(x.ID >= x.From.wkey)
	x.Done = true
	err := r.query(`SELECT d.seq, d.created FROM `+l.source(between)+` ORDER BY d.seq DESC LIMIT 1 OFFSET ?`,
		[]any{x.ID, low, top, int64(step - 1)}, func(v []driver.Value) error {
			low = integer(v[0])
			x.From, x.Done = place{key{x.ID, low}, integer(v[1])}, false
			return nil
		})
	if err != nil {
		return nil, err
	}
	where, args := l.filter()
	err = r.query(`SELECT `+deliveryColumns+` FROM `+l.source(between)+where,
		append([]any{x.ID, low, top}, args...), func(v []driver.Value) error { return l.add(&out, v) })
	return out, err
}
