package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/merge"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// params collects the parameters of a statement that is assembled from parts.
type params []any

// add adds a parameter and returns its placeholder, with its type.
func (p *params) add(v any, typ string) string {
	*p = append(*p, v)
	return fmt.Sprintf("$%d::%s", len(*p), typ)
}

// snapshot makes the statements of a transaction see one state of the database: a
// delivery that ends between two of them is found exactly once.
const snapshot = `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; ` + setPlans

// place is a position in a list of deliveries.
type place struct {
	created int64
	key
}

// latest orders places as the list does: the result is below 0 if a comes first.
func latest(a, b place) int {
	return cmp.Or(cmp.Compare(b.created, a.created), cmp.Compare(b.event, a.event), cmp.Compare(b.webhook, a.webhook))
}

// stream is a webhook's part of the queue or of the log, in order.
type stream = merge.Stream[place]

// listing is one call of ListDeliveries.
type listing struct {
	q     webhook.DeliveryQuery
	limit int
	from  place // end of the previous page
	// The selected webhooks, including deleted ones, and their IDs.
	hooks intArray
	ids   map[int64]string
}

// ListDeliveries implements [webhook.LogStore]. Two indexes, of the queue and of
// the log, have each webhook's deliveries in order; a third index has the
// failed ones. A page is merged from these. There is no index by event type: it would
// make storing and completing every delivery more expensive, only for a search that
// q.Scan bounds.
func (s *Store) ListDeliveries(ctx context.Context, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
	l := listing{q: q, limit: cmp.Or(q.Limit, defaultPage), from: place{math.MaxInt64, key{math.MaxInt64 - 1, math.MaxInt64}}}
	if q.Cursor != "" {
		nums, tail, ok := sqlstore.ParseCursor(cursorDeliveries, 3, q.Cursor)
		if !ok || tail != "" || nums[1] <= 0 || nums[1] == math.MaxInt64 {
			return webhook.Page[webhook.Delivery]{}, wrap(ctx, "list deliveries", badCursor(nil))
		}
		l.from = place{nums[0], key{nums[1], nums[2]}}
	}
	if until := (place{created: sqlstore.Micros(q.Until)}); !q.Until.IsZero() && latest(l.from, until) < 0 {
		l.from = until
	}
	var found merge.Page[place, webhook.Delivery]
	err := s.inTx(ctx, snapshot, func(tx *sql.Tx) (err error) {
		found = merge.Page[place, webhook.Delivery]{}
		hooks := `SELECT wkey, id FROM {webhooks} WHERE tenant = $1::text`
		args := []any{q.Tenant}
		if q.WebhookID != "" {
			hooks, args = hooks+` AND id = $2::text`, append(args, q.WebhookID)
		}
		l.hooks, l.ids = intArray{}, map[int64]string{}
		rows, err := tx.QueryContext(ctx, s.sql(hooks), args...)
		err = each(rows, err, func() error {
			var wkey int64
			var id string
			if err := rows.Scan(&wkey, &id); err != nil {
				return err
			}
			l.hooks.add(wkey)
			l.ids[wkey] = id
			return nil
		})
		if err != nil || len(l.ids) == 0 {
			return err
		}
		if q.EventID != "" {
			found, err = l.ofEvent(ctx, tx, s)
			return err
		}
		// If there are many streams, one statement finds out which come first.
		streams := l.streams()
		placed := len(streams) > l.limit && len(l.ids) > 1
		if placed {
			if streams, err = l.heads(ctx, tx, s, streams); err != nil {
				return err
			}
		}
		source := merge.Source[place, webhook.Delivery]{Order: latest, Placed: placed, Read: func(streams []*stream, step int) ([]merge.Row[place, webhook.Delivery], error) {
			return l.read(ctx, tx, s, streams, step)
		}}
		found, err = source.Newest(streams, l.limit, cmp.Or(q.Scan, webhook.MaxScan))
		return err
	})
	if err != nil {
		return webhook.Page[webhook.Delivery]{}, wrap(ctx, "list deliveries", err)
	}
	var page webhook.Page[webhook.Delivery]
	for _, r := range found.Rows {
		page.Items = append(page.Items, r.Item)
	}
	if found.More {
		page.Next = sqlstore.Cursor(cursorDeliveries, "", found.Next.created, found.Next.event, found.Next.webhook)
	}
	if found.Short {
		page.Reached = sqlstore.FromMicros(found.Next.created)
	}
	return page, nil
}

// streams returns the streams that the list is merged from. The ID of a stream is
// the webhook's key, negated for the log.
func (l *listing) streams() (out []*stream) {
	for wkey := range l.ids {
		if l.q.State == "" || l.q.State == webhook.StatePending {
			out = append(out, &stream{From: l.from, ID: wkey})
		}
		if l.q.State != webhook.StatePending {
			out = append(out, &stream{From: l.from, ID: -wkey})
		}
	}
	return out
}

// matches returns the condition for a row of a table, apart from its place.
func (l *listing) matches(p *params, table string) string {
	cond := "true"
	if n := stateNumbers[l.q.State]; n > statePending && table == "d" {
		cond = `d.state = ` + strconv.FormatInt(n, 10)
	}
	if l.q.EventType != "" {
		cond += ` AND ` + table + `.type = ` + p.add(l.q.EventType, "text")
	}
	return cond
}

// places returns the streams of the queue (as q) or of the log (as d), each with
// the place where it goes on, as a table s.
func (p *params) places(streams []*stream, alias string) string {
	var hooks, times, events intArray
	for _, x := range streams {
		if x.ID > 0 == (alias == "q") {
			wkey := max(x.ID, -x.ID)
			hooks.add(wkey)
			times.add(x.From.created)
			// In the order (created_at, ekey, wkey) a webhook with a smaller key
			// may still have a delivery of the event at that place.
			if wkey < x.From.webhook {
				events.add(x.From.event + 1)
			} else {
				events.add(x.From.event)
			}
		}
	}
	return fmt.Sprintf(`unnest(%s, %s, %s) AS s (wkey, created_at, ekey)`,
		p.add(hooks.String(), "bigint[]"), p.add(times.String(), "bigint[]"), p.add(events.String(), "bigint[]"))
}

// next selects columns of the next rows of the stream s in the order of an index.
// since and size are placeholders.
func (l *listing) next(alias, columns, since, size string) string {
	// The index of the queue's pages requires this condition.
	table, more := "queue", ` AND q.created_at >= 0`
	if alias == "d" {
		table, more = "deliveries", ""
		if n := stateNumbers[l.q.State]; n > stateSucceeded {
			more = ` AND d.state <> ` + strconv.Itoa(stateSucceeded) // the smaller index
		}
	}
	return fmt.Sprintf(`SELECT %[2]s FROM {%[3]s} %[1]s WHERE %[1]s.wkey = s.wkey AND (%[1]s.created_at, %[1]s.ekey) < (s.created_at, s.ekey)
			AND %[1]s.created_at >= %[4]s%[5]s
		ORDER BY %[1]s.created_at DESC, %[1]s.ekey DESC LIMIT %[6]s`, alias, columns, table, since, more, size)
}

// heads returns the streams that have rows, each right before its first row.
func (l *listing) heads(ctx context.Context, tx *sql.Tx, s *Store, streams []*stream) (out []*stream, err error) {
	var p params
	since := p.add(sqlstore.Micros(l.q.Since), "bigint")
	part := func(alias, id string) string {
		return `SELECT ` + id + `, r.created_at, r.ekey FROM ` + p.places(streams, alias) + `
			CROSS JOIN LATERAL (` + l.next(alias, alias+`.created_at, `+alias+`.ekey`, since, "1") + `) r`
	}
	rows, err := tx.QueryContext(ctx, s.sql(part("q", "s.wkey")+` UNION ALL `+part("d", "-s.wkey")), p...)
	err = each(rows, err, func() error {
		x := &stream{}
		if err := rows.Scan(&x.ID, &x.From.created, &x.From.event); err != nil {
			return err
		}
		x.From.webhook = max(x.ID, -x.ID) + 1
		out = append(out, x)
		return nil
	})
	return out, err
}

// read looks at the next rows of streams and returns the matching ones. For each
// stream that has more rows, it also sets the place where the next read goes on.
func (l *listing) read(ctx context.Context, tx *sql.Tx, s *Store, streams []*stream, step int) ([]merge.Row[place, webhook.Delivery], error) {
	var p params
	size := p.add(step, "bigint")
	since := p.add(sqlstore.Micros(l.q.Since), "bigint")
	part := func(alias, columns string) string {
		return fmt.Sprintf(`
			SELECT r.* FROM %[1]s CROSS JOIN LATERAL (
				SELECT %[2]s, %[3]s AS matches, row_number() OVER (ORDER BY %[4]s.created_at DESC, %[4]s.ekey DESC) = %[5]s AS last
				FROM (%[6]s) %[4]s) r
			WHERE r.matches OR r.last`, p.places(streams, alias), columns, l.matches(&p, alias), alias, size, l.next(alias, "*", since, size))
	}
	text := `SELECT x.*, coalesce(e.id, '') FROM (` + part("q", queuedColumns) + `
			UNION ALL` + part("d", finishedColumns) + `) x
		LEFT JOIN {events} e ON e.ekey = x.ekey`
	byID := make(map[int64]*stream, len(streams))
	for _, x := range streams {
		x.Done, byID[x.ID] = true, x
	}
	var out []merge.Row[place, webhook.Delivery]
	rows, err := tx.QueryContext(ctx, s.sql(text), p...)
	err = each(rows, err, func() error {
		var matches, last bool
		var d webhook.Delivery
		k, err := scanDelivery(rows, l.q.Tenant, &d, &matches, &last, &d.EventID)
		if err != nil {
			return err
		}
		at := place{sqlstore.Micros(d.CreatedAt), k}
		if last {
			id := k.webhook
			if d.State != webhook.StatePending {
				id = -id
			}
			byID[id].From, byID[id].Done = at, false
		}
		if matches {
			d.WebhookID = l.ids[k.webhook]
			out = append(out, merge.Row[place, webhook.Delivery]{At: at, Item: d})
		}
		return nil
	})
	return out, err
}

// ofEvent returns the deliveries of one event, of which each webhook has at most
// one. OFFSET 0 keeps the conditions about time out of the inner query; with them
// the server would choose an index in the order of the list, which is slower.
func (l *listing) ofEvent(ctx context.Context, tx *sql.Tx, s *Store) (page merge.Page[place, webhook.Delivery], err error) {
	p := params{l.q.Tenant, l.q.EventID, l.from.created, l.from.event, l.from.webhook, sqlstore.Micros(l.q.Since), l.limit + 1}
	hooks, key := "", `%[1]s.ekey = ANY (ARRAY[ev.ekey])` // as in sameLogged
	if l.q.WebhookID != "" {                              // there is more than one if it was deleted and created again
		hooks = ` CROSS JOIN unnest(` + p.add(l.hooks.String(), "bigint[]") + `) AS h (wkey)`
		key += ` AND %[1]s.wkey = h.wkey`
	}
	part := func(table, alias, columns string) string {
		return fmt.Sprintf(`
			SELECT %[2]s, ev.id FROM {events} ev`+hooks+`
			CROSS JOIN LATERAL (SELECT * FROM {%[3]s} %[1]s WHERE `+key+` ORDER BY %[1]s.ekey OFFSET 0) %[1]s
			WHERE ev.tenant = $1::text AND ev.id = $2::text AND %[1]s.created_at >= $6::bigint AND %[4]s
				AND (%[1]s.created_at, %[1]s.ekey, %[1]s.wkey) < ($3::bigint, $4::bigint, $5::bigint)`, alias, columns, table, l.matches(&p, alias))
	}
	var parts []string
	if l.q.State == "" || l.q.State == webhook.StatePending {
		parts = append(parts, part("queue", "q", queuedColumns))
	}
	if l.q.State != webhook.StatePending {
		parts = append(parts, part("deliveries", "d", finishedColumns))
	}
	rows, err := tx.QueryContext(ctx, s.sql(strings.Join(parts, ` UNION ALL`)+` ORDER BY 3 DESC, 1 DESC, 2 DESC LIMIT $7::bigint`), p...)
	err = each(rows, err, func() error {
		var d webhook.Delivery
		k, err := scanDelivery(rows, l.q.Tenant, &d, &d.EventID)
		if err != nil {
			return err
		}
		if len(page.Rows) == l.limit {
			page.More, page.Next = true, page.Rows[l.limit-1].At
			return nil
		}
		d.WebhookID = l.ids[k.webhook]
		page.Rows = append(page.Rows, merge.Row[place, webhook.Delivery]{At: place{sqlstore.Micros(d.CreatedAt), k}, Item: d})
		return nil
	})
	return page, err
}
