package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// claiming is the state of one call of Claim.
type claiming struct {
	req webhook.ClaimRequest
	out webhook.ClaimResult
}

// Claim implements [webhook.QueueStore]. It changes a row per webhook and one per
// claim, but no row per delivery. Deliveries that were never claimed are a range:
// those of their webhook after lanes.head. Deliveries with a due time of their own
// are in waiting, and deliveries whose lease expired in the rows of old claims. If
// no delivery is due, Claim writes nothing. It does not wait for the disk: a lease
// that is lost with the power has ended early.
func (s *Store) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	req.Limits, req.Rest, req.PassTenants = maps.Clone(req.Limits), maps.Clone(req.Rest), slices.Clone(req.PassTenants)
	c := &claiming{req: req}
	if err := s.write(ctx, &op{weight: 1, lease: true, claim: c}); err != nil {
		return webhook.ClaimResult{}, wrap(ctx, "claim", err)
	}
	return c.out, nil
}

// nothingDue answers claims that find no due delivery, without a transaction. They
// are the most frequent claims of a quiet process.
func (s *Store) nothingDue(r runner, ops []*op) bool {
	for _, o := range ops {
		if o.claim == nil {
			return false
		}
	}
	due, next := false, int64(0)
	at := s.moment()
	err := r.query(`SELECT EXISTS (SELECT 1 FROM {lanes} INDEXED BY {prefix}lanes_ready WHERE ready = 1), (SELECT shift FROM {counters} WHERE id = 1),
		(SELECT min(next_due) FROM {lanes} INDEXED BY {prefix}lanes_due WHERE ready = 0 AND next_due IS NOT NULL),
		(SELECT min(expiry) FROM {claims})`, nil, func(v []driver.Value) error {
		due, at.shift = integer(v[0]) != 0, integer(v[1])
		for _, v := range v[2:] {
			if v != nil && (next == 0 || integer(v) < next) {
				next = integer(v)
			}
		}
		return nil
	})
	if err != nil || due || !s.cfg.PassedClock && jumped(s.last, at) != 0 {
		return false // the transaction deals with an error, or with a clock that was set
	}
	for _, o := range ops {
		s.now = at
		now := s.queueTime(o.claim.req.Now)
		if next != 0 && next <= now {
			return false
		}
		o.claim.out = webhook.ClaimResult{}
		if next != 0 {
			o.claim.out.NextDue = o.claim.req.Now.Add(time.Duration(next-now) * time.Microsecond)
		}
	}
	return true
}

// lane is the queue and health of a webhook as stored.
type lane struct {
	wkey, head, tail, due       int64 // due: 0 if no delivery is waiting
	tkey                        int64 // of its tenant
	version                     int64
	triggered, success, failing int64
	expired                     []candidate // deliveries whose lease expired
}

const laneColumns = `wkey, head, tail, next_due, version, last_triggered, last_success, failing_since, tkey`

func scanLane(v []driver.Value) *lane {
	return &lane{
		wkey: integer(v[0]), head: integer(v[1]), tail: integer(v[2]), due: integer(v[3]), version: integer(v[4]),
		triggered: integer(v[5]), success: integer(v[6]), failing: integer(v[7]), tkey: integer(v[8]),
	}
}

// candidate is a delivery that may be claimed, and the time since when.
type candidate struct {
	key
	due     int64
	from    *held // claim whose lease expired
	waiting bool
	row     *row // nil: not read yet
}

// row holds the columns of a delivery that a claim needs.
type row struct {
	created, event           int64
	due                      int64
	attempts, tries, crashes int
	status                   int
	recorded                 bool
	typ, name, class         string
}

const rowColumns = `seq, created, coalesce(ekey, seq), due, attempts, tries, crashes, last_status, token IS NOT NULL, type, name, last_class`

func scanRow(v []driver.Value) (seq int64, r *row) {
	return integer(v[0]), &row{
		created: integer(v[1]), event: integer(v[2]), due: integer(v[3]), attempts: int(integer(v[4])), tries: int(integer(v[5])),
		crashes: int(integer(v[6])), status: int(integer(v[7])), recorded: integer(v[8]) != 0,
		typ: text(v[9]), name: text(v[10]), class: text(v[11]),
	}
}

// next returns when the delivery became due, by the wall clock.
func (r *row) next(shift int64) int64 {
	if r.due != 0 {
		return r.due + shift
	}
	return r.created
}

// claimOne serves one claim.
func (s *Store) claimOne(x *session, c *claiming) error {
	c.out = webhook.ClaimResult{}
	now := s.queueTime(c.req.Now)
	book := newLedger(x)
	old, next, err := book.expired(now)
	if err != nil {
		return err
	}
	if _, err := x.exec(`UPDATE {lanes} SET ready = 1 WHERE wkey IN (SELECT wkey FROM {lanes} INDEXED BY {prefix}lanes_due
		WHERE ready = 0 AND next_due IS NOT NULL AND next_due <= ? LIMIT 1000)`, now); err != nil {
		return err
	}
	t := &taking{s: s, x: x, c: c, now: now, next: next, book: book}
	if t.mine, err = book.claim(c.req.Token); err != nil {
		return err
	}
	if err := t.setRests(); err != nil {
		return err
	}
	if err := t.walk(old); err != nil {
		return err
	}
	if err := book.save(); err != nil {
		return err
	}
	if err := x.query(`SELECT min(next_due) FROM {lanes} INDEXED BY {prefix}lanes_due WHERE ready = 0 AND next_due IS NOT NULL`, nil,
		func(v []driver.Value) error { t.soon(integer(v[0])); return nil }); err != nil {
		return err
	}
	if t.next != math.MaxInt64 {
		c.out.NextDue = c.req.Now.Add(time.Duration(t.next-now) * time.Microsecond)
	}
	return nil
}

// taking is the work of one claim.
type taking struct {
	s    *Store
	x    *session
	c    *claiming
	now  int64
	next int64 // when the next delivery becomes due
	book *ledger
	mine *held
	// early has the webhooks with expired leases, which come before others.
	early map[int64]bool
}

// soon notes that a delivery becomes due.
func (t *taking) soon(at int64) {
	if at > t.now {
		t.next = min(t.next, at)
	}
}

func (t *taking) room() int { return t.c.req.Limit - len(t.c.out.Deliveries) }

// visit claims due deliveries of one webhook, as many as the request allows.
func (t *taking) visit(l *lane) error {
	hook, err := t.s.hook(t.x, l)
	if err != nil {
		return err
	}
	most, ok := t.c.req.Limits[hook.id]
	if !ok {
		most = t.c.req.PerWebhook
	}
	if slices.Contains(t.c.req.PassTenants, hook.tenant) {
		most = 0
	}
	most = min(most, t.room())
	if most <= 0 {
		return nil
	}
	cands := slices.Clone(l.expired)
	if l.due != 0 && l.due <= t.now {
		if err := t.x.query(`SELECT due, seq FROM {waiting} WHERE wkey = ? AND due <= ? ORDER BY due, seq LIMIT ?`,
			[]any{l.wkey, t.now, int64(most)}, func(v []driver.Value) error {
				cands = append(cands, candidate{key: key{l.wkey, integer(v[1])}, due: integer(v[0]), waiting: true})
				return nil
			}); err != nil {
			return err
		}
	}
	fresh := 0
	if l.tail > l.head {
		if err := t.x.query(`SELECT `+rowColumns+` FROM {deliveries} WHERE wkey = ? AND seq > ? ORDER BY seq LIMIT ?`,
			[]any{l.wkey, l.head, int64(most)}, func(v []driver.Value) error {
				fresh++
				seq, r := scanRow(v)
				cands = append(cands, candidate{key: key{l.wkey, seq}, due: r.created - t.s.now.shift, row: r})
				return nil
			}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(cands, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
	readAll := fresh < most
	for _, cand := range cands[:min(len(cands), most)] {
		if cand.row != nil {
			fresh--
		}
		if err := t.take(l, cand, hook); err != nil {
			return err
		}
	}
	if fresh == 0 && readAll {
		l.head = l.tail
	}
	return t.settle(l)
}

// settle stores the state of a webhook's queue.
func (t *taking) settle(l *lane) error {
	var due any
	if l.due != 0 {
		err := t.x.query(`SELECT min(due) FROM {waiting} WHERE wkey = ?`, []any{l.wkey}, func(v []driver.Value) error {
			if v[0] != nil {
				due = integer(v[0])
				t.soon(integer(v[0]))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	ready := l.tail > l.head || due != nil && due.(int64) <= t.now
	_, err := t.x.exec(`UPDATE {lanes} SET head = ?, ready = ?, next_due = ? WHERE wkey = ?`, l.head, flag(ready), due, l.wkey)
	return err
}

// take adds one delivery to the claim.
func (t *taking) take(l *lane, cand candidate, hook *hookEntry) error {
	switch {
	case cand.from != nil:
		cand.from.drop(cand.key)
		if _, err := t.x.exec(`UPDATE {deliveries} SET attempts = attempts + 1, crashes = crashes + 1 WHERE wkey = ? AND seq = ?`,
			cand.wkey, cand.seq); err != nil {
			return err
		}
	case cand.waiting:
		if _, err := t.x.exec(`DELETE FROM {waiting} WHERE wkey = ? AND due = ? AND seq = ?`, cand.wkey, cand.due, cand.seq); err != nil {
			return err
		}
	default:
		l.head = cand.seq
	}
	r := cand.row
	if r == nil {
		if err := t.x.query(`SELECT `+rowColumns+` FROM {deliveries} WHERE wkey = ? AND seq = ?`, []any{cand.wkey, cand.seq},
			func(v []driver.Value) error { _, r = scanRow(v); return nil }); err != nil {
			return err
		}
		if r == nil {
			return nil // deleted by hand
		}
	}
	t.mine.leases = append(t.mine.leases, lease{cand.key, t.now + t.c.req.Lease.Microseconds(), r.recorded})
	t.mine.changed = true
	t.soon(t.now + t.c.req.Lease.Microseconds())
	d := webhook.ClaimedDelivery{Delivery: webhook.Delivery{
		ID: cand.id(), EventType: r.typ, WebhookID: hook.id, WebhookName: r.name, State: webhook.StatePending,
		Attempts: r.attempts, Tries: r.tries, Crashes: r.crashes, CreatedAt: sqlstore.FromMicros(r.created), NextAttemptAt: sqlstore.FromMicros(r.next(t.s.now.shift)),
		LastStatus: r.status, LastClass: webhook.ErrorClass(r.class), Tenant: hook.tenant,
	}, Webhook: hook.rec, Err: hook.err}
	var err error
	if d.Event, err = t.s.event(t.x, r.event); err != nil {
		return err
	}
	if d.Event != nil {
		d.Delivery.EventID = d.Event.ID
	} else {
		d.Err = fmt.Errorf("sqlitestore: delivery %s: its event is missing from the table %s", d.Delivery.ID, t.s.sql("{events}"))
	}
	t.c.out.Deliveries = append(t.c.out.Deliveries, d)
	return nil
}

// event returns an event by its number, or nil.
func (s *Store) event(r runner, seq int64) (*webhook.EventRecord, error) {
	if ev := s.events.get(seq); ev != nil {
		return ev, nil
	}
	var ev *webhook.EventRecord
	err := r.query(`SELECT tenant, id, type, time, data, trace FROM {events} WHERE seq = ?`, []any{seq}, func(v []driver.Value) error {
		ev = &webhook.EventRecord{Tenant: text(v[0]), ID: text(v[1]), Type: text(v[2]), Time: sqlstore.FromMicros(integer(v[3])), Data: blob(v[4]), Trace: text(v[5])}
		return nil
	})
	return ev, err
}

// Extend implements [webhook.QueueStore].
func (s *Store) Extend(ctx context.Context, now time.Time, leases []webhook.Lease, d time.Duration) (lost []string, err error) {
	leases = slices.Clone(leases)
	var out []string
	err = s.write(ctx, &op{weight: len(leases), lease: true, other: func(r runner) error {
		out = nil
		book := newLedger(r)
		for _, l := range leases {
			h, err := book.claim(l.Token)
			if err != nil {
				return err
			}
			k, ok := parseID(l.DeliveryID)
			if mine := h.find(k); ok && mine != nil {
				mine.expiry = s.queueTime(now) + d.Microseconds()
				h.changed = true
			} else {
				out = append(out, l.DeliveryID)
			}
		}
		return book.save()
	}})
	if err != nil {
		return nil, wrap(ctx, "extend", err)
	}
	return out, nil
}

// Release implements [webhook.QueueStore].
func (s *Store) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
	leases = slices.Clone(leases)
	return wrap(ctx, "release", s.write(ctx, &op{weight: len(leases), other: func(r runner) error {
		due := s.queueTime(now) + delay.Microseconds()
		book := newLedger(r)
		for _, l := range leases {
			h, err := book.claim(l.Token)
			if err != nil {
				return err
			}
			var keys []key
			if k, ok := parseID(l.DeliveryID); ok && h.find(k) != nil {
				keys = append(keys, k)
			}
			for _, x := range h.leases {
				if l.DeliveryID == "" {
					keys = append(keys, x.key)
				}
			}
			for _, k := range keys {
				h.drop(k)
				if err := s.postpone(r, k, due); err != nil {
					return err
				}
			}
		}
		return book.save()
	}}))
}

// postpone makes a pending delivery without a lease wait until due.
func (s *Store) postpone(r runner, k key, due int64) error {
	if _, err := r.exec(`UPDATE {deliveries} SET due = ? WHERE wkey = ? AND seq = ?`, due, k.wkey, k.seq); err != nil {
		return err
	}
	return s.wait(r, k, due)
}

// wait adds a delivery to the waiting ones.
func (s *Store) wait(r runner, k key, due int64) error {
	if _, err := r.exec(`INSERT OR IGNORE INTO {waiting} (wkey, due, seq) VALUES (?, ?, ?)`, k.wkey, due, k.seq); err != nil {
		return err
	}
	_, err := r.exec(`UPDATE {lanes} SET next_due = min(coalesce(next_due, ?), ?) WHERE wkey = ?`, due, due, k.wkey)
	return err
}
