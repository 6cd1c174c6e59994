package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// publishSQL stores events and fans them out. It takes no lock that two publishers
// could share: it inserts rows of its own and only reads the subscriptions. It can
// only wait for a publisher of the same event ID, because of the unique index, and
// for no longer than parameter 15, if set.
//
// Events with the same tenant and type form a group, whose subscribers are looked
// up once. ekey is the millisecond and a counter. An event for one webhook only has
// a lookup of its own: as a plain join it made every publish scan all webhooks as
// soon as there were hundreds.
//
// Parameters: 1 clock; groups: 2 number, 3 tenant, 4 type, 5 only; patterns: 6
// group, 7 pattern; events: 8 group, 9 ID, 10 time, 11 data, 12 offset, 13 length,
// 14 trace; 15 lock_timeout, empty to keep the session's. Shorter arrays are
// continued by nulls. An empty only or trace means null: the statement runs with
// the session's settings, and with array_nulls off the literal NULL would be text.
// The result has, for each stored event, its position, its key and its number of
// deliveries, which is the number of its group's hits.
const publishSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now, CASE WHEN $15::text <> '' THEN set_config('lock_timeout', $15::text, true) END),
g AS MATERIALIZED (
	SELECT g, tenant, type, nullif(only_id, '') AS only_id
	FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[]) AS g(g, tenant, type, only_id)),
hit AS MATERIALIZED (
	SELECT p.g, s.wkey, s.name
	FROM unnest($6::integer[], $7::text[]) AS p(g, pattern)
	JOIN g ON g.g = p.g AND g.only_id IS NULL
	JOIN {subscriptions} s ON s.tenant = g.tenant AND s.pattern = p.pattern
	UNION
	SELECT g.g, w.wkey, w.name FROM g CROSS JOIN LATERAL (
		SELECT wkey, name FROM {webhooks} w
		WHERE w.id = g.only_id AND w.tenant = g.tenant AND w.active AND w.deleted_at = 0 LIMIT 1) w
	WHERE g.only_id IS NOT NULL),
e AS MATERIALIZED (
	SELECT e.ord, e.g, e.id, e.time, e.off, e.len, nullif(e.trace, '') AS trace,
		((SELECT now FROM n) / 1000) << 21 | (nextval('{event_seq}') & 2097151) AS ekey
	FROM unnest($8::integer[], $9::text[], $10::bigint[], $12::integer[], $13::integer[], $14::text[])
		WITH ORDINALITY AS e(g, id, time, off, len, trace, ord)),
ins AS (
	INSERT INTO {events} (ekey, time, created_at, tenant, id, type, data, only_id, trace)
	SELECT e.ekey, e.time, (SELECT now FROM n), g.tenant, e.id, g.type, substring($11::bytea FROM e.off FOR e.len), g.only_id, e.trace
	FROM e JOIN g USING (g)
	ORDER BY g.tenant COLLATE "C", e.id COLLATE "C" -- the order of locks
	ON CONFLICT (tenant, id) DO NOTHING
	RETURNING ekey),
fan AS (
	INSERT INTO {queue} (ekey, wkey, due, created_at, type, name)
	SELECT e.ekey, hit.wkey, (SELECT now FROM n), (SELECT now FROM n), g.type, hit.name
	FROM ins JOIN e USING (ekey) JOIN g USING (g) JOIN hit USING (g))
SELECT e.ord, e.ekey, (SELECT now FROM n), coalesce(h.n, 0)
FROM ins JOIN e USING (ekey)
LEFT JOIN (SELECT g, count(*) AS n FROM hit GROUP BY g) h USING (g)`

// Publish implements [webhook.QueueStore]. It runs one statement, and returns when
// its transaction is committed and on the server's disk. Calls with a single event
// that arrive while others are being stored wait and share a transaction. If the
// context of such a call ends while its event is being stored, the error says that
// the outcome is unknown.
func (s *Store) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, wrap(ctx, "publish", err)
	}
	if len(reqs) == 0 {
		return nil, nil
	}
	if len(reqs) == 1 && !s.cfg.PassedClock {
		req := reqs[0]
		// The batch may outlive this call: Do returns when ctx ends.
		req.Event.Data = bytes.Clone(req.Event.Data)
		res, err := s.joined.publish(ctx, req)
		if err != nil {
			return nil, wrap(ctx, "publish", err)
		}
		return []webhook.PublishResult{res}, nil
	}
	res, err := s.publishAll(ctx, now, reqs, 0)
	return res, wrap(ctx, "publish", err)
}

// publishAll stores events in one transaction, which waits for another one for at
// most lock; 0: for as long as the session's settings allow. The time is the
// database's, so the callers' own times do not matter.
func (s *Store) publishAll(ctx context.Context, now time.Time, reqs []webhook.PublishRequest, lock time.Duration) (out []webhook.PublishResult, err error) {
	p := newPublication(reqs)
	p.lock = lock
	err = retried(ctx, func() error {
		return s.onConn(ctx, func(l *lent) error {
			if err := p.insert(ctx, s, l, now); err != nil {
				return err
			}
			return p.compare(ctx, s, l)
		})
	})
	if err != nil {
		return nil, err
	}
	for i := range reqs {
		if k := p.keys[i]; k != 0 {
			s.events.put(k, &reqs[i].Event)
		}
	}
	return p.out, nil
}

// onPrimary keeps pgpool-II from sending a query to a standby, which may not have
// the rows yet that the previous statement has met on the primary.
const onPrimary = `/*NO LOAD BALANCE*/ `

// publication is the state of one call's events.
type publication struct {
	reqs []webhook.PublishRequest
	send []int   // positions in reqs of the events that are sent: the first of each ID
	keys []int64 // of the events that this call stored, by position in reqs
	now  int64   // the time of the publication, from the Store's clock
	lock time.Duration
	out  []webhook.PublishResult
}

// groupKey identifies a group: events with equal keys go to the same webhooks.
type groupKey struct{ tenant, typ, only string }

// newPublication decides about events that repeat an ID of the same call.
func newPublication(reqs []webhook.PublishRequest) *publication {
	p := &publication{reqs: reqs, send: make([]int, 0, len(reqs)), keys: make([]int64, len(reqs)), out: make([]webhook.PublishResult, len(reqs))}
	if len(reqs) == 1 {
		p.send = append(p.send, 0)
		return p
	}
	type name struct{ tenant, id string }
	first := make(map[name]int, len(reqs))
	for i := range reqs {
		ev := &reqs[i].Event
		if j, ok := first[name{ev.Tenant, ev.ID}]; ok {
			p.out[i] = again(&reqs[j].Event, ev)
			continue
		}
		first[name{ev.Tenant, ev.ID}] = i
		p.send = append(p.send, i)
	}
	return p
}

// again returns the result for an event whose ID is taken by stored.
func again(stored, ev *webhook.EventRecord) webhook.PublishResult {
	same := stored.Type == ev.Type && bytes.Equal(stored.Data, ev.Data)
	return webhook.PublishResult{Duplicate: same, Conflict: !same}
}

// args encodes the parameters of publishSQL.
func (p *publication) args(clock int64) []any {
	var gNum, pNum, eNum, times intArray
	var gTenant, gType, gOnly, patterns, ids, traces textArray
	traced := slices.ContainsFunc(p.reqs, func(r webhook.PublishRequest) bool { return r.Event.Trace != "" })
	var data blobs
	lock := ""
	if p.lock > 0 {
		lock = strconv.FormatInt(p.lock.Milliseconds(), 10)
	}
	groups := make(map[groupKey]int64)
	for _, i := range p.send {
		req := &p.reqs[i]
		ev := &req.Event
		k := groupKey{ev.Tenant, ev.Type, req.WebhookID}
		g, ok := groups[k]
		if !ok {
			g = int64(len(groups) + 1)
			groups[k] = g
			gNum.add(g)
			gTenant.add(ev.Tenant)
			gType.add(ev.Type)
			gOnly.add(req.WebhookID)
			if req.WebhookID == "" {
				for _, pattern := range req.Patterns {
					pNum.add(g)
					patterns.add(pattern)
				}
			}
		}
		eNum.add(g)
		ids.add(ev.ID)
		times.add(sqlstore.Micros(ev.Time))
		data.add(ev.Data)
		if traced {
			traces.add(ev.Trace)
		}
	}
	return []any{
		clock, gNum.String(), gTenant.String(), gType.String(), gOnly.String(), pNum.String(), patterns.String(),
		eNum.String(), ids.String(), times.String(), data.bytes(), data.offs.String(), data.len.String(), traces.String(), lock,
	}
}

// insert runs publishSQL.
func (p *publication) insert(ctx context.Context, s *Store, q querier, now time.Time) error {
	clear(p.keys)
	rows, err := q.QueryContext(ctx, s.publishSQL, p.args(s.clock(now))...)
	var ord, ekey, n int64
	return each(rows, err, func() error {
		if err := rows.Scan(&ord, &ekey, &p.now, &n); err != nil {
			return err
		}
		if ord < 1 || int(ord) > len(p.send) {
			return fmt.Errorf("row for event %d of %d", ord, len(p.send))
		}
		i := p.send[ord-1]
		p.keys[i] = ekey
		p.out[i] = webhook.PublishResult{Deliveries: int(n)}
		return nil
	})
}

// compare tells duplicates from conflicts among the events that were not stored
// because their ID was taken.
func (p *publication) compare(ctx context.Context, s *Store, q querier) error {
	var rest []int
	for _, i := range p.send {
		if p.keys[i] == 0 {
			rest = append(rest, i)
			p.out[i] = webhook.PublishResult{Conflict: true}
		}
	}
	if len(rest) == 0 {
		return nil
	}
	rows, err := q.QueryContext(ctx, s.sql(onPrimary+sameSQL), p.sameArgs(rest)...)
	var ord int
	return each(rows, err, func() error {
		if err := rows.Scan(&ord); err != nil {
			return err
		}
		p.out[rest[ord-1]] = webhook.PublishResult{Duplicate: true}
		return nil
	})
}
