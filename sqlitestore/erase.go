package sqlitestore

import (
	"context"
	"database/sql/driver"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// EraseTenant implements [webhook.EraseStore].
func (s *Store) EraseTenant(ctx context.Context, tenant string, limit int) (webhook.Erased, error) {
	e := &erasing{s: s, tenant: tenant, limit: int64(limit)}
	err := s.write(ctx, &op{weight: limit, other: e.tenantStep})
	if err != nil {
		return webhook.Erased{}, wrap(ctx, "erase tenant", err)
	}
	s.events.forget(e.events)
	return e.Erased, nil
}

// EraseEvent implements [webhook.EraseStore].
func (s *Store) EraseEvent(ctx context.Context, tenant, eventID string, limit int) (webhook.Erased, error) {
	e := &erasing{s: s, tenant: tenant, limit: int64(limit)}
	err := s.write(ctx, &op{weight: limit, other: func(r runner) error { return e.eventStep(r, eventID) }})
	if err != nil {
		return webhook.Erased{}, wrap(ctx, "erase event", err)
	}
	s.events.forget(e.events)
	return e.Erased, nil
}

// erasing is one step of an erasure.
type erasing struct {
	webhook.Erased
	s      *Store
	tenant string
	limit  int64
	events []int64 // deleted
}

func (e *erasing) begin() { e.Erased, e.events = webhook.Erased{}, nil }

// column returns the values of a query with one column.
func column(r runner, query string, args ...any) (out []int64, err error) {
	err = r.query(query, args, func(v []driver.Value) error {
		out = append(out, integer(v[0]))
		return nil
	})
	return out, err
}

func (e *erasing) tenantStep(r runner) error {
	e.begin()
	live, err := column(r, `SELECT wkey FROM {webhooks} WHERE tenant = ? AND deleted_at = 0 ORDER BY created_at, id LIMIT ?`, e.tenant, e.limit)
	if err != nil {
		return err
	}
	for _, wkey := range live {
		if err := e.s.remove(r, e.tenant, wkey); err != nil {
			return err
		}
	}
	if e.Webhooks = len(live); len(live) > 0 {
		e.More = true
		return nil
	}
	hooks, err := column(r, `SELECT wkey FROM {webhooks} WHERE tenant = ? ORDER BY created_at, id LIMIT 100`, e.tenant)
	if err != nil {
		return err
	}
	for _, wkey := range hooks {
		e.More = true
		if full, err := e.hook(r, wkey); full || err != nil {
			return err
		}
	}
	if len(hooks) > 0 {
		return nil
	}
	if e.events, err = column(r, `SELECT seq FROM {events} WHERE tenant = ? ORDER BY id LIMIT ?`, e.tenant, e.limit); err != nil {
		return err
	}
	e.More = int64(len(e.events)) == e.limit
	return e.dropEvents(r)
}

// hook deletes the rows of a deleted webhook, and the webhook itself when it has no
// other rows left. full means that the step has deleted as many rows as it may.
func (e *erasing) hook(r runner, wkey int64) (full bool, err error) {
	found, err := deliveryRows(r, `SELECT wkey, seq, due FROM {deliveries} WHERE wkey = ? ORDER BY seq LIMIT ?`, wkey, e.limit-int64(e.Deliveries))
	if err != nil {
		return false, err
	}
	if err := e.dropDeliveries(r, found); err != nil || int64(e.Deliveries) == e.limit {
		return true, err
	}
	n, err := r.exec(`DELETE FROM {stats} WHERE wkey = ?1 AND hour IN (SELECT hour FROM {stats} WHERE wkey = ?1 ORDER BY hour LIMIT ?2)`, wkey, e.limit)
	if err != nil || n == e.limit {
		return true, err
	}
	for _, q := range []string{`DELETE FROM {lanes} WHERE wkey = ?`, `DELETE FROM {webhooks} WHERE wkey = ?`} {
		if _, err := r.exec(q, wkey); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (e *erasing) eventStep(r runner, eventID string) error {
	e.begin()
	events, err := column(r, `SELECT seq FROM {events} WHERE tenant = ? AND id = ?`, e.tenant, eventID)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return refused("event %q: %w", eventID, webhook.ErrNotFound)
	}
	found, err := deliveryRows(r, `SELECT d.wkey, d.seq, d.due FROM {webhooks} w CROSS JOIN {deliveries} d ON d.wkey = w.wkey AND d.seq = ?1
			WHERE w.tenant = ?2 AND d.ekey IS NULL
		UNION ALL
		SELECT wkey, seq, due FROM {deliveries} INDEXED BY {prefix}deliveries_ekey WHERE ekey = ?1
		LIMIT ?3`, events[0], e.tenant, e.limit)
	if err != nil {
		return err
	}
	if err := e.dropDeliveries(r, found); err != nil {
		return err
	}
	if e.More = int64(e.Deliveries) == e.limit; e.More {
		return nil
	}
	e.events = events
	return e.dropEvents(r)
}

// eraseScan is how many events a step of EraseOld looks at, and eraseProbes how
// many look-ups of deliveries it makes for the events that are old enough.
const (
	eraseScan   = 10_000
	eraseProbes = 20_000
)

// oldCursor marks the cursors of EraseOld.
const oldCursor = 'o'

// EraseOld implements [webhook.EraseStore]. It searches in a read transaction,
// without blocking writers, and deletes in a short write transaction.
func (s *Store) EraseOld(ctx context.Context, req webhook.EraseOldRequest) (res webhook.EraseOldResult, err error) {
	e := &oldErasing{erasing: erasing{s: s, limit: int64(req.Limit)}, before: req.Before.UnixMicro(), req: &req}
	if req.After != "" {
		nums, _, ok := sqlstore.ParseCursor(oldCursor, 1, req.After)
		if !ok {
			return res, wrap(ctx, "erase old", webhook.ErrCursor)
		}
		e.after = nums[0]
	}
	if err = s.read(ctx, e.find); err == nil && len(e.candidates) > 0 {
		err = s.write(ctx, &op{weight: len(e.rows) + len(e.candidates), other: e.step})
	}
	if err != nil {
		return res, wrap(ctx, "erase old", err)
	}
	s.events.forget(e.events)
	e.More = e.more
	return webhook.EraseOldResult{Erased: e.Erased, Next: sqlstore.Cursor(oldCursor, "", e.next)}, nil
}

// oldErasing is one step of EraseOld.
type oldErasing struct {
	erasing
	req         *webhook.EraseOldRequest
	before      int64
	after, next int64
	more        bool
	candidates  []oldEvent // may be deleted
	rows        []deliveryRow
}

// oldEvent is an event that find has looked at.
type oldEvent struct {
	seq    int64
	tenant string
	wanted bool
}

// find finds events all of whose deliveries were finished before the given time.
func (e *oldErasing) find(r runner) error {
	e.candidates, e.rows, e.next, e.more = nil, nil, e.after, false
	top, err := e.s.numberAt(r, e.before)
	if err != nil {
		return err
	}
	var looked []oldEvent
	if err := r.query(`SELECT seq, tenant, type, published FROM {events} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?`,
		[]any{e.after, top, int64(eraseScan)}, func(v []driver.Value) error {
			typ := text(v[2])
			looked = append(looked, oldEvent{integer(v[0]), text(v[1]), integer(v[3]) < e.before && eventtype.AnyMatches(e.req.Types, typ) && !eventtype.AnyMatches(e.req.Except, typ)})
			return nil
		}); err != nil {
		return err
	}
	hooks := map[string][]int64{}
	probes := 0
	for _, ev := range looked {
		if !ev.wanted {
			e.next = ev.seq
			continue
		}
		if probes >= eraseProbes || int64(len(e.candidates)) == e.limit || int64(len(e.rows)) >= e.limit {
			e.more = true
			return nil
		}
		if _, ok := hooks[ev.tenant]; !ok {
			if hooks[ev.tenant], err = column(r, `SELECT wkey FROM {webhooks} WHERE tenant = ?`, ev.tenant); err != nil {
				return err
			}
		}
		rows, free, err := e.deliveries(r, ev.seq, hooks[ev.tenant])
		if err != nil {
			return err
		}
		probes += 1 + len(hooks[ev.tenant])
		if free {
			e.candidates, e.rows = append(e.candidates, ev), append(e.rows, rows...)
		}
		e.next = ev.seq
	}
	e.more = len(looked) == eraseScan
	return nil
}

// deliveries returns the deliveries of an event, and whether all were finished
// before the given time.
func (e *oldErasing) deliveries(r runner, seq int64, hooks []int64) (rows []deliveryRow, free bool, err error) {
	free = true
	add := func(v []driver.Value) error {
		rows = append(rows, deliveryRow{key{integer(v[0]), integer(v[1])}, v[2]})
		free = free && integer(v[3]) > pending && integer(v[4]) < e.before
		return nil
	}
	for _, wkey := range hooks {
		if err := r.query(`SELECT wkey, seq, due, state, finished FROM {deliveries} WHERE wkey = ? AND seq = ? AND ekey IS NULL`, []any{wkey, seq}, add); err != nil {
			return nil, false, err
		}
	}
	err = r.query(`SELECT wkey, seq, due, state, finished FROM {deliveries} INDEXED BY {prefix}deliveries_ekey WHERE ekey = ?`, []any{seq}, add)
	return rows, free, err
}

// step deletes the rows that find has found, unless they have changed since.
func (e *oldErasing) step(r runner) error {
	e.begin()
	for _, d := range e.rows[:min(int64(len(e.rows)), e.limit)] {
		n, err := r.exec(`DELETE FROM {deliveries} WHERE wkey = ? AND seq = ? AND state > 1 AND finished < ?`, d.wkey, d.seq, e.before)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		e.Deliveries++
		if _, err := r.exec(`DELETE FROM {attempts} WHERE wkey = ? AND seq = ?`, d.wkey, d.seq); err != nil {
			return err
		}
	}
	if int64(len(e.rows)) > e.limit { // the last event is too wide for one step
		e.candidates = e.candidates[:len(e.candidates)-1]
		e.next, e.more = e.after, true
	}
	for _, ev := range e.candidates {
		free, err := unsent(r, ev.tenant, []int64{ev.seq})
		if err != nil {
			return err
		}
		e.events = append(e.events, free...)
	}
	return e.dropEvents(r)
}

// deliveryRow is the key of a delivery, and its due time if it is waiting.
type deliveryRow struct {
	key
	due any
}

// deliveryRows returns the rows of a query for keys and due times.
func deliveryRows(r runner, query string, args ...any) (out []deliveryRow, err error) {
	err = r.query(query, args, func(v []driver.Value) error {
		out = append(out, deliveryRow{key{integer(v[0]), integer(v[1])}, v[2]})
		return nil
	})
	return out, err
}

// dropDeliveries deletes deliveries with all rows that refer to them. Their leases
// end: for a later result the delivery is gone.
func (e *erasing) dropDeliveries(r runner, rows []deliveryRow) error {
	if len(rows) == 0 {
		return nil
	}
	gone := make(map[key]bool, len(rows))
	for _, d := range rows {
		gone[d.key] = true
		if _, err := r.exec(`DELETE FROM {attempts} WHERE wkey = ? AND seq = ?`, d.wkey, d.seq); err != nil {
			return err
		}
		if d.due != nil {
			if _, err := r.exec(`DELETE FROM {waiting} WHERE wkey = ? AND due = ? AND seq = ?`, d.wkey, d.due, d.seq); err != nil {
				return err
			}
		}
		if _, err := r.exec(`DELETE FROM {deliveries} WHERE wkey = ? AND seq = ?`, d.wkey, d.seq); err != nil {
			return err
		}
	}
	e.Deliveries += len(rows)
	return newLedger(r).dropAll(gone)
}

// dropEvents deletes the events of e, which have no deliveries.
func (e *erasing) dropEvents(r runner) error {
	for _, seq := range e.events {
		if _, err := r.exec(`DELETE FROM {events} WHERE seq = ?`, seq); err != nil {
			return err
		}
	}
	e.Events = len(e.events)
	return nil
}
