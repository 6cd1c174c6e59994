package sqlitestore

import (
	"cmp"
	"database/sql/driver"
	"math"
	"slices"
)

// turns is the position from which the next claim of this Store goes on: a tenant,
// and for each tenant with more webhooks than a claim served, one of its webhooks.
type turns struct {
	tkey  int64
	wkeys map[int64]int64
	fresh []string // tenants that published through this Store since they were last served
}

// maxFresh bounds turns.fresh: other tenants wait for their turn.
const maxFresh = 1_000

// published notes the tenants whose events were stored.
func (s *turns) published(p *publishing) {
	for i, ev := range p.events {
		if p.out[i].Deliveries > 0 && len(s.fresh) < maxFresh && !slices.Contains(s.fresh, ev.Tenant) {
			s.fresh = append(s.fresh, ev.Tenant)
		}
	}
}

// maxTurns bounds the tenants whose position is remembered. When there are more,
// each begins with its first webhook again, once.
const maxTurns = 10_000

// note notes that the walk is at tenant at, that a webhook of tenant tkey was
// served, and whether that tenant has more.
func (s *turns) note(at, tkey, wkey int64, more bool) {
	s.tkey = at
	if !more {
		delete(s.wkeys, tkey)
		return
	}
	if s.wkeys == nil || len(s.wkeys) >= maxTurns {
		s.wkeys = map[int64]int64{}
	}
	s.wkeys[tkey] = wkey
}

// tenantTurn has the webhooks of a tenant with due deliveries, as far as a claim
// has read them.
type tenantTurn struct {
	tkey  int64
	lanes []*lane // read and not yet visited
	// The range that is left to read: after one key up to another, and then, if
	// wrap is above 0, from the beginning up to wrap.
	after, upTo, wrap int64
}

func (tt *tenantTurn) left() bool { return len(tt.lanes) > 0 || tt.after < tt.upTo || tt.wrap > 0 }

// walk visits a webhook of each tenant in turn, starting after the tenant at which
// the last claim ended, and then their other webhooks in the same way, until the
// claim is full or has visited all.
func (t *taking) walk(old []*held) error {
	passed, err := t.passedTenants()
	if err != nil {
		return err
	}
	again, err := t.expiredTurns(old, passed)
	if err != nil {
		return err
	}
	again, err = t.round(again)
	if err != nil {
		return err
	}
	if err := t.freshTurns(passed); err != nil {
		return err
	}
	start := t.s.turns.tkey
	for _, part := range [][2]int64{{start, math.MaxInt64}, {-1, start}} {
		for from := part[0]; t.room() > 0; {
			step := min(t.room(), laneStep)
			tenants, err := t.tenants(from, part[1], step)
			if err != nil {
				return err
			}
			if len(tenants) > 0 {
				from = tenants[len(tenants)-1].tkey
			}
			full := len(tenants) == step
			tenants = slices.DeleteFunc(tenants, func(tt *tenantTurn) bool { return passed[tt.tkey] })
			left, err := t.round(tenants)
			if err != nil {
				return err
			}
			again = append(again, left...)
			if !full {
				break
			}
		}
	}
	for len(again) > 0 && t.room() > 0 {
		if again, err = t.round(again); err != nil {
			return err
		}
	}
	return nil
}

// laneStep is how many tenants, or webhooks of one, a walk looks up at a time.
const laneStep = 64

// round visits the next webhook of each tenant, and returns the tenants that have
// more.
func (t *taking) round(tenants []*tenantTurn) ([]*tenantTurn, error) {
	left := make([]*tenantTurn, 0, len(tenants))
	for _, tt := range tenants {
		if t.room() == 0 {
			return left, nil
		}
		l, err := t.nextLane(tt, len(tenants))
		if err != nil {
			return nil, err
		}
		if l == nil {
			continue
		}
		if err := t.visit(l); err != nil {
			return nil, err
		}
		more := tt.left()
		t.s.turns.note(tt.tkey, tt.tkey, l.wkey, more)
		if more {
			left = append(left, tt)
		}
	}
	return left, nil
}

// freshTurns visits a webhook of each tenant that has published recently, so that
// it does not wait for all tenants with a backlog. It may take half of the claim.
func (t *taking) freshTurns(passed map[int64]bool) error {
	room := t.room() / 2
	for len(t.s.turns.fresh) > 0 && t.room() > room {
		tenant := t.s.turns.fresh[0]
		t.s.turns.fresh = t.s.turns.fresh[1:]
		var l *lane
		more := false
		if err := t.x.query(`SELECT `+laneColumns+moreSQL+` FROM {lanes} l INDEXED BY {prefix}lanes_ready
			WHERE ready = 1 AND tkey = (`+tenantKeySQL+`) ORDER BY wkey LIMIT 1`, []any{tenant},
			func(v []driver.Value) error { l, more = scanLane(v), integer(v[len(v)-1]) != 0; return nil }); err != nil {
			return err
		}
		if l == nil || passed[l.tkey] || t.early[l.wkey] || t.s.turns.wkeys[l.tkey] > 0 {
			continue // a tenant with more webhooks than a claim serves is not fresh
		}
		t.early[l.wkey] = true
		if err := t.visit(l); err != nil {
			return err
		}
		if more {
			t.s.turns.note(t.s.turns.tkey, l.tkey, l.wkey, true)
		}
	}
	return nil
}

// nextLane returns the next webhook of a tenant, or nil. It reads several at a
// time: as many as are likely to be visited, next to those of other tenants.
func (t *taking) nextLane(tt *tenantTurn, others int) (*lane, error) {
	for len(tt.lanes) == 0 && tt.left() {
		n := min(max(t.room()/others, 1), laneStep)
		if err := t.x.query(`SELECT `+laneColumns+` FROM {lanes} INDEXED BY {prefix}lanes_ready
			WHERE ready = 1 AND tkey = ? AND wkey > ? AND wkey <= ? ORDER BY wkey LIMIT ?`, []any{tt.tkey, tt.after, tt.upTo, int64(n)}, func(v []driver.Value) error {
			tt.add(t, scanLane(v))
			n--
			return nil
		}); err != nil {
			return nil, err
		}
		if n > 0 {
			tt.after, tt.upTo, tt.wrap = 0, tt.wrap, 0
		}
	}
	if len(tt.lanes) == 0 {
		return nil, nil
	}
	l := tt.lanes[0]
	tt.lanes = tt.lanes[1:]
	return l, nil
}

// add adds a webhook that was read, unless this claim has visited it already.
func (tt *tenantTurn) add(t *taking, l *lane) {
	tt.after = l.wkey
	if !t.early[l.wkey] {
		tt.lanes = append(tt.lanes, l)
	}
}

// tenantsSQL is a skip scan over the tenants with due deliveries. It returns the
// first webhook of each, and whether there are more.
const tenantsSQL = `
WITH RECURSIVE t(k) AS (
	SELECT * FROM (SELECT tkey FROM {lanes} INDEXED BY {prefix}lanes_ready WHERE ready = 1 AND tkey > ?1 ORDER BY tkey LIMIT 1)
	UNION ALL
	SELECT (SELECT tkey FROM {lanes} INDEXED BY {prefix}lanes_ready WHERE ready = 1 AND tkey > t.k ORDER BY tkey LIMIT 1)
	FROM t WHERE t.k IS NOT NULL LIMIT ?3),
f AS MATERIALIZED (
	SELECT (SELECT wkey FROM {lanes} INDEXED BY {prefix}lanes_ready WHERE ready = 1 AND tkey = t.k ORDER BY wkey LIMIT 1) AS first FROM t WHERE t.k <= ?2)
SELECT ` + laneColumns + moreSQL + `
FROM f CROSS JOIN {lanes} l ON l.wkey = f.first`

// moreSQL says whether the tenant of a webhook l has more webhooks with due
// deliveries.
const moreSQL = `, EXISTS (SELECT 1 FROM {lanes} o INDEXED BY {prefix}lanes_ready WHERE o.ready = 1 AND o.tkey = l.tkey AND o.wkey > l.wkey)`

// tenants returns up to n tenants with due deliveries, after one number up to
// another.
func (t *taking) tenants(after, upTo int64, n int) (out []*tenantTurn, err error) {
	err = t.x.query(tenantsSQL, []any{after, upTo, int64(n)}, func(v []driver.Value) error {
		l := scanLane(v)
		tt := &tenantTurn{tkey: l.tkey}
		switch begin, more := t.s.turns.wkeys[l.tkey], integer(v[len(v)-1]) != 0; {
		case begin > 0: // the tenant goes on at its position
			tt.after, tt.upTo, tt.wrap = begin, math.MaxInt64, begin
		case more:
			tt.upTo = math.MaxInt64
			tt.add(t, l)
		default:
			tt.add(t, l)
			tt.after = 0
		}
		out = append(out, tt)
		return nil
	})
	return out, err
}

// expiredTurns returns the webhooks with expired leases, by tenant. They need not
// be marked as ready.
func (t *taking) expiredTurns(old []*held, passed map[int64]bool) ([]*tenantTurn, error) {
	expired := map[int64][]candidate{}
	for _, h := range old {
		for _, l := range h.leases {
			if l.expiry <= t.now {
				expired[l.wkey] = append(expired[l.wkey], candidate{key: l.key, due: l.expiry, from: h})
			}
		}
	}
	t.early = map[int64]bool{}
	byTenant := map[int64]*tenantTurn{}
	var out []*tenantTurn
	for wkey, cands := range expired {
		if err := t.x.query(`SELECT `+laneColumns+` FROM {lanes} WHERE wkey = ?`, []any{wkey}, func(v []driver.Value) error {
			l := scanLane(v)
			if l.expired = cands; passed[l.tkey] {
				return nil
			}
			tt := byTenant[l.tkey]
			if tt == nil {
				tt = &tenantTurn{tkey: l.tkey}
				byTenant[l.tkey] = tt
				out = append(out, tt)
			}
			t.early[wkey] = true
			tt.lanes = append(tt.lanes, l)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, tt := range out {
		slices.SortFunc(tt.lanes, func(a, b *lane) int { return cmp.Compare(a.wkey, b.wkey) })
	}
	slices.SortFunc(out, func(a, b *tenantTurn) int { return cmp.Compare(a.tkey, b.tkey) })
	return out, nil
}

// tenantKeySQL finds the number of a tenant.
const tenantKeySQL = `SELECT k FROM (SELECT (SELECT t.tkey FROM {lanes} t WHERE t.wkey = w.wkey) AS k FROM {webhooks} w WHERE w.tenant = ?) WHERE k > 0 LIMIT 1`

// passedTenants returns the numbers of the tenants to be passed over. Webhooks
// without a tenant's number are checked one by one when they are visited.
func (t *taking) passedTenants() (map[int64]bool, error) {
	passed := map[int64]bool{}
	for _, tenant := range t.c.req.PassTenants {
		if err := t.x.query(tenantKeySQL, []any{tenant}, func(v []driver.Value) error { passed[integer(v[0])] = true; return nil }); err != nil {
			return nil, err
		}
	}
	return passed, nil
}

// endRestSQL makes the next claim look at a webhook that rests or has due
// deliveries.
const endRestSQL = `ready = (ready = 1 OR tail > head OR next_due IS NOT NULL)`

// setRests makes webhooks rest: until then they count as having no due delivery,
// unless a new event wakes them.
func (t *taking) setRests() error {
	for id, d := range t.c.req.Rest {
		q, args := `UPDATE {lanes} SET ready = 0, next_due = ?2 WHERE wkey = (SELECT wkey FROM {webhooks} WHERE id = ?1 AND deleted_at = 0)
			AND (ready = 1 OR next_due < ?2)`, []any{id, t.now + d.Microseconds()}
		if d <= 0 {
			q, args = `UPDATE {lanes} SET `+endRestSQL+` WHERE wkey = (SELECT wkey FROM {webhooks} WHERE id = ?1 AND deleted_at = 0)`, args[:1]
		}
		if _, err := t.x.exec(q, args...); err != nil {
			return err
		}
	}
	return nil
}
