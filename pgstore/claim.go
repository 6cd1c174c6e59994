package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// claimSQL takes deliveries of the webhooks whose turn it is, with one probe of the
// index of ready deliveries per webhook, until it has enough; the LIMIT ends the
// nested loop. It also looks at the events published since the last look, to find
// webhooks that have become due; those come after the webhooks in turn. It records
// the claim in {claims}, and returns when the next waiting delivery is due.
//
// A claim writes one new row version per delivery, within its page and without any
// change of an index. Fewer writes would need leases that are not kept per
// delivery; but each lease is extended, released and ended on its own.
//
// Parameters: 1 clock; webhooks: 2 key, 3 most, 4 due from; 5 most per other
// webhook, 6 webhooks excluded from the others; 7 and 8 where the look at published
// events starts: key, age; 9 deliveries in all, 10 token, 11 lease; 12, 13 where
// the looks for the next waiting delivery and the next expiring lease start; 14 how
// much earlier than the earliest delivery found at a webhook the look for its other
// deliveries starts: without a bound it would step over all deliveries of the
// webhook finished since the last vacuum. The next sweep finds older deliveries. 15
// tenants that are passed over.
const claimSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now),
seen AS MATERIALIZED (
	SELECT x.wkey, max(x.ekey) AS last, count(*) AS n, min(x.due) - $14::bigint AS since FROM (
		SELECT q.ekey, q.wkey, q.due FROM {queue} q
		WHERE q.ekey >= greatest($7::bigint, (((SELECT now FROM n) - $8::bigint) / 1000) << 21)
			AND NOT q.waiting AND q.lease_until <= (SELECT now FROM n)
		ORDER BY q.ekey LIMIT 256) x
	GROUP BY x.wkey),
turn AS MATERIALIZED (
	SELECT * FROM unnest($2::bigint[], $3::integer[], $4::bigint[]) AS t(wkey, most, since)
	UNION ALL
	SELECT wkey, $5::integer, since FROM seen WHERE wkey <> ALL ($6::bigint[]) AND ($15::text[] = '{}' OR NOT EXISTS (
		SELECT 1 FROM {webhooks} w WHERE w.wkey = seen.wkey AND w.tenant = ANY ($15::text[])))),
picked AS (
	SELECT p.id FROM turn t CROSS JOIN LATERAL (
		SELECT q.ctid AS id FROM {queue} q
		WHERE q.wkey = t.wkey AND NOT q.waiting AND q.due >= t.since AND q.lease_until <= (SELECT now FROM n)
		ORDER BY q.due, q.ekey LIMIT t.most
		FOR UPDATE SKIP LOCKED) p
	LIMIT $9::bigint),
held AS (
	UPDATE {queue} q SET token = $10::bigint, lease_until = (SELECT now FROM n) + $11::bigint,
		attempts = q.attempts + (q.lease_until > 0)::integer, crashes = q.crashes + (q.lease_until > 0)::integer
	FROM picked WHERE q.ctid = picked.id
	RETURNING q.ekey, q.wkey, q.due, q.created_at, q.attempts, q.tries, q.crashes, q.last_status, q.type, q.name, q.last_class),
noted AS (
	INSERT INTO {claims} (token, check_at, remaining, ekeys, wkeys)
	SELECT $10::bigint, (SELECT now FROM n) + $11::bigint, count(*), array_agg(ekey), array_agg(wkey) FROM held HAVING count(*) > 0)
SELECT 1, ekey, wkey, due, created_at, attempts, tries, crashes, last_status, type, name, coalesce(last_class, '') FROM held
UNION ALL
SELECT 2, last, wkey, n, since, 0, 0, 0, 0, '', '', '' FROM seen
UNION ALL
SELECT 3, now,
	coalesce((SELECT due FROM {queue} WHERE waiting AND due >= $12::bigint ORDER BY due LIMIT 1), 0),
	coalesce((SELECT check_at FROM {claims} WHERE check_at >= $13::bigint ORDER BY check_at LIMIT 1), 0),
	0, 0, 0, 0, 0, '', '', '' FROM n`

// promoteSQL makes deliveries ready whose due time has come: retries, and
// deliveries that were released or resent. This is the second new row version of a
// retry; in return, waiting deliveries are not in the index that claims walk
// through. The sub-select makes the time a constant, by which the index can be
// searched.
//
// Parameters: 1 clock; due times: 2 from, 3 before.
const promoteSQL = `
UPDATE {queue} q SET waiting = false
FROM (
	SELECT ctid AS id FROM {queue}
	WHERE waiting AND due <= (SELECT {now}) AND due >= $2::bigint AND due < $3::bigint
	ORDER BY due LIMIT ` + promoteLimit + ` FOR UPDATE SKIP LOCKED) p
WHERE q.ctid = p.id
RETURNING q.wkey, q.due`

// reapSQL looks at the claims whose first lease has expired. Deliveries that are
// still leased are found by their keys. Claims without any are deleted; the others
// are checked again when their next lease expires, but not within a second, in case
// this process dies before it has claimed the deliveries it found.
const reapSQL = `
WITH n AS MATERIALIZED (SELECT {now} AS now),
c AS MATERIALIZED (
	SELECT id, token, remaining, ekeys, wkeys FROM {claims}
	WHERE check_at <= (SELECT now FROM n) AND check_at >= $2::bigint AND check_at < $3::bigint
	ORDER BY check_at LIMIT 64 FOR UPDATE SKIP LOCKED),
m AS MATERIALIZED (
	SELECT c.id, q.ekey, q.wkey, q.due, q.lease_until
	FROM c CROSS JOIN LATERAL unnest(c.ekeys, c.wkeys) AS r(ekey, wkey)
	JOIN {queue} q ON ` + sameKey + ` AND q.token = c.token
	WHERE c.remaining > 0),
gone AS (
	DELETE FROM {claims} x USING c WHERE x.id = ANY (ARRAY[c.id]) AND NOT EXISTS (SELECT 1 FROM m WHERE m.id = c.id)),
later AS (
	UPDATE {claims} x SET check_at = greatest((SELECT now FROM n) + 1000000, l.until)
	FROM (SELECT id, min(lease_until) AS until FROM m GROUP BY id) l WHERE x.id = ANY (ARRAY[l.id]))
SELECT wkey, min(due) FROM m WHERE lease_until <= (SELECT now FROM n) GROUP BY wkey`

// Claim implements [webhook.QueueStore]. Leases and due times are measured by the
// database's clock. Claim is one short transaction, which does not wait for the
// disk: leases that are lost in a crash of the server end early, as the leases of a
// crashed process do.
func (s *Store) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	c := &claim{s: s, req: req}
	if err := c.resolve(ctx); err != nil {
		return webhook.ClaimResult{}, wrap(ctx, "claim", err)
	}
	// A round finds no delivery if other processes took the expected ones; there
	// may be more webhooks to look at. Deliveries that one round makes ready are
	// claimed by the next.
	for i := range claimRounds {
		if i == 0 || s.cfg.PassedClock { // a passed clock may have jumped, either way
			c.sweep(ctx)
		}
		if err := s.inTx(ctx, setLeases, func(tx *sql.Tx) error { return c.round(ctx, tx) }); err != nil {
			if len(c.all) > 0 {
				break // the caller gets the deliveries claimed by earlier rounds
			}
			return webhook.ClaimResult{}, wrap(ctx, "claim", err)
		}
		c.all = append(c.all, c.loaded...)
		c.settle()
		if len(c.all) >= req.Limit || !c.more {
			break
		}
	}
	return webhook.ClaimResult{Deliveries: c.all, NextDue: c.nextDue()}, nil
}

const (
	claimRounds = 6
	// claimSpare is how many webhooks a claim looks at beyond its limit, in case
	// other processes have emptied some.
	claimSpare = 64
	// promoteRows is how many deliveries one statement makes ready.
	promoteRows  = 1000
	promoteLimit = "1000"
)

// claim is one call of Claim.
type claim struct {
	s     *Store
	req   webhook.ClaimRequest
	limit map[int64]int             // Limits by webhook key
	all   []webhook.ClaimedDelivery // of committed rounds
	per   map[int64]int             // claimed so far, by webhook

	// The last round.
	cands          []candidate
	got            []row
	loaded         []webhook.ClaimedDelivery
	seen           map[int64]int64 // other webhooks found, and the due time to look from
	perOther       int             // most deliveries taken of each of these
	now            int64
	waiting, check int64
	more           bool
}

// row is a claimed delivery as it is stored.
type row struct {
	k                        key
	due, created             int64
	attempts, tries, crashes int64 // int64, because database/sql scans smaller integers by way of text
	status                   int64
	typ, name, class         string
}

// resolve translates the webhook IDs of Limits and Rest to keys.
func (c *claim) resolve(ctx context.Context) error {
	c.limit = make(map[int64]int, len(c.req.Limits))
	c.per = make(map[int64]int)
	if len(c.req.Limits)+len(c.req.Rest) == 0 {
		return c.s.ensure(ctx)
	}
	ids := make([]string, 0, len(c.req.Limits)+len(c.req.Rest))
	for id := range c.req.Limits {
		ids = append(ids, id)
	}
	for id := range c.req.Rest {
		ids = append(ids, id)
	}
	keys, err := c.s.hookKeysOf(ctx, ids)
	if err != nil {
		return err
	}
	for id, k := range keys {
		if most, ok := c.req.Limits[id]; ok {
			c.limit[k] = most
		}
		if d, ok := c.req.Rest[id]; ok {
			c.s.walk.rest(k, c.req.Now, d)
		}
	}
	return nil
}

// most returns how many more deliveries of a webhook may be taken.
func (c *claim) most(hook int64) int {
	most, ok := c.limit[hook]
	if !ok {
		most = c.req.PerWebhook
	}
	return min(most-c.per[hook], c.req.Limit-len(c.all))
}

// round is one transaction of a claim.
func (c *claim) round(ctx context.Context, tx *sql.Tx) error {
	w := c.s.walk
	c.more, c.got, c.loaded, c.seen = false, nil, nil, nil
	if err := c.prepare(ctx, tx); err != nil {
		return err
	}
	if err := c.lineUp(ctx, tx); err != nil {
		return err
	}
	c.cands = w.next(c.req.Limit-len(c.all)+claimSpare, c.req.Now, func(tenant string) bool { return slices.Contains(c.req.PassTenants, tenant) }, c.most)
	if err := c.take(ctx, tx, w.horizons(c.s.cfg.PassedClock)); err != nil {
		return err
	}
	return c.load(ctx, tx)
}

// take runs claimSQL.
func (c *claim) take(ctx context.Context, tx *sql.Tx, h horizons) error {
	var hooks, most, since, others intArray
	for _, cand := range c.cands {
		hooks.add(cand.hook)
		most.add(int64(cand.cap))
		since.add(cand.since)
		others.add(cand.hook)
	}
	for hook := range c.limit {
		others.add(hook)
	}
	for hook, n := range c.per {
		if n > 0 {
			others.add(hook)
		}
	}
	// Resting webhooks are excluded too. If they are too many to list, other
	// webhooks wait for the next round, in which the walk knows them.
	c.perOther = c.req.PerWebhook
	rests, few := c.s.walk.restingHooks(claimSpare)
	if !few {
		c.perOther = 0
	}
	for _, hook := range rests {
		others.add(hook)
	}
	var passed textArray
	for _, tenant := range c.req.PassTenants {
		passed.add(tenant)
	}
	c.seen = map[int64]int64{}
	var found, last int64
	rows, err := tx.QueryContext(ctx, c.s.claimSQL, c.s.clock(c.req.Now), hooks.String(), most.String(), since.String(),
		c.perOther, others.String(), h.discover, h.slack, c.req.Limit-len(c.all), c.req.Token, c.req.Lease.Microseconds(),
		h.waiting, h.check, looksBack, passed.String())
	err = each(rows, err, func() error {
		var kind int64
		var r row
		if err := rows.Scan(&kind, &r.k.event, &r.k.webhook, &r.due, &r.created, &r.attempts, &r.tries, &r.crashes,
			&r.status, &r.typ, &r.name, &r.class); err != nil {
			return err
		}
		switch kind {
		case 1:
			c.got = append(c.got, r)
		case 2:
			c.seen[r.k.webhook] = r.created
			found += r.due
			last = max(last, r.k.event)
		case 3:
			c.now, c.waiting, c.check = r.k.event, r.k.webhook, r.due
		default:
			return fmt.Errorf("row of kind %d", kind)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.s.walk.looked(found, last, c.now, c.req.Now, c.waiting, c.check)
	return nil
}

// settle enters the webhooks found by a committed round into the walk.
func (c *claim) settle() {
	w := c.s.walk
	full := len(c.all) >= c.req.Limit
	got := make(map[int64]taken)
	for _, r := range c.got {
		t := got[r.k.webhook]
		got[r.k.webhook] = taken{t.n + 1, max(t.due, r.due)}
		c.per[r.k.webhook]++
	}
	w.served(c.cands, got, full, c.now-settledAfter)
	for _, cand := range c.cands {
		delete(c.seen, cand.hook) // it had its turn, or keeps it
	}
	for hook, since := range c.seen {
		// A webhook without a limit that gave less than allowed is empty.
		if _, limited := c.limit[hook]; full || limited || got[hook].n >= c.perOther {
			w.add(hook, since)
			c.more = c.more || c.perOther == 0
		}
	}
	w.claimed(len(c.got))
	c.more = !full && (c.more || len(c.got) == 0 && len(c.cands) > 0 && w.len() > 0 ||
		c.waiting > 0 && c.waiting <= c.now || c.check > 0 && c.check <= c.now)
}

// settledAfter is how long a publish may take to commit. The deliveries of a slower
// one, to a webhook that is busy, are only found by the next sweep.
const settledAfter = int64(50 * time.Millisecond / time.Microsecond)

// nextDue translates the next due time to the caller's clock.
func (c *claim) nextDue() time.Time {
	next := c.waiting
	if c.check > 0 && (next == 0 || c.check < next) {
		next = c.check
	}
	if rest := c.s.walk.nextRest(); rest > c.now && (next <= c.now || rest < next) {
		next = rest
	}
	if next <= c.now {
		return time.Time{}
	}
	return c.req.Now.Add(time.Duration(next-c.now) * time.Microsecond)
}

// load makes deliveries of the rows, with their events, each read once, and with
// the current settings of their webhooks.
func (c *claim) load(ctx context.Context, tx *sql.Tx) error {
	if len(c.got) == 0 {
		return nil
	}
	slices.SortFunc(c.got, func(a, b row) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.k.event, b.k.event)) })
	hooks := make(map[int64]*webhook.WebhookRecord)
	ids := make(map[int64]string)
	events := make(map[int64]*webhook.EventRecord)
	var hookKeys, eventKeys []int64
	for _, r := range c.got {
		if _, ok := hooks[r.k.webhook]; !ok {
			hooks[r.k.webhook] = nil
			hookKeys = append(hookKeys, r.k.webhook)
		}
		if _, ok := events[r.k.event]; !ok {
			events[r.k.event] = nil
			eventKeys = append(eventKeys, r.k.event)
		}
	}
	if err := c.s.loadHooks(ctx, tx, hookKeys, hooks, ids); err != nil {
		return err
	}
	if missing := c.s.events.get(eventKeys, events); len(missing) > 0 {
		if err := c.s.loadEvents(ctx, tx, missing, events); err != nil {
			return err
		}
	}
	for _, r := range c.got {
		d := webhook.ClaimedDelivery{Delivery: r.delivery(), Event: events[r.k.event], Webhook: hooks[r.k.webhook]}
		d.Delivery.WebhookID = ids[r.k.webhook]
		if d.Event == nil {
			d.Err = fmt.Errorf("pgstore: the event of delivery %s is missing from the table of events", d.Delivery.ID)
		} else {
			d.Delivery.Tenant, d.Delivery.EventID = d.Event.Tenant, d.Event.ID
		}
		c.loaded = append(c.loaded, d)
	}
	return nil
}

// delivery returns the delivery without the fields of its event and webhook.
func (r *row) delivery() webhook.Delivery {
	return webhook.Delivery{
		ID: r.k.id(), EventType: r.typ, WebhookName: r.name, State: webhook.StatePending,
		Attempts: int(r.attempts), Tries: int(r.tries), Crashes: int(r.crashes),
		CreatedAt: sqlstore.FromMicros(r.created), NextAttemptAt: sqlstore.FromMicros(r.due),
		LastStatus: int(r.status), LastClass: webhook.ErrorClass(r.class),
	}
}

// loadEvents reads events by key.
func (s *Store) loadEvents(ctx context.Context, q querier, keys []int64, into map[int64]*webhook.EventRecord) error {
	rows, err := q.QueryContext(ctx, s.sql(`
		SELECT ekey, tenant, id, type, time, data, coalesce(trace, '') FROM {events} WHERE ekey = ANY ($1::bigint[])`), ints(keys))
	return each(rows, err, func() error {
		var k, at int64
		ev := new(webhook.EventRecord)
		if err := rows.Scan(&k, &ev.Tenant, &ev.ID, &ev.Type, &at, &ev.Data, &ev.Trace); err != nil {
			return err
		}
		ev.Time = sqlstore.FromMicros(at)
		into[k] = ev
		return nil
	})
}

// ints is the array literal of keys.
func ints(keys []int64) string {
	var a intArray
	for _, k := range keys {
		a.add(k)
	}
	return a.String()
}
