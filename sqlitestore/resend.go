package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Resend implements [webhook.QueueStore]. If the delivery's lease has expired,
// Resend ends it and counts its attempt, which may have been sent.
func (s *Store) Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (webhook.Delivery, error) {
	var out stored
	err := s.write(ctx, &op{weight: 1, other: func(r runner) error {
		d, err := s.delivery(r, tenant, deliveryID)
		if err != nil {
			return err
		}
		if err := s.resend(r, d, s.queueTime(now)); err != nil {
			return err
		}
		out, err = s.delivery(r, tenant, deliveryID)
		return err
	}})
	if err != nil {
		return webhook.Delivery{}, wrap(ctx, "resend", err)
	}
	return out.d, nil
}

func (s *Store) resend(r runner, d stored, now int64) error {
	if d.d.State != webhook.StatePending {
		return s.revive(r, d.key, now)
	}
	book := newLedger(r)
	h, err := book.holder(d.key)
	if err != nil {
		return err
	}
	if h != nil {
		if h.find(d.key).expiry > now {
			return nil
		}
		h.drop(d.key)
		if err := book.save(); err != nil {
			return err
		}
		if _, err := r.exec(`UPDATE {deliveries} SET attempts = attempts + 1 WHERE wkey = ? AND seq = ?`, d.wkey, d.seq); err != nil {
			return err
		}
	}
	if _, err := r.exec(`UPDATE {deliveries} SET tries = 0, crashes = 0 WHERE wkey = ? AND seq = ?`, d.wkey, d.seq); err != nil {
		return err
	}
	due := d.d.NextAttemptAt.UnixMicro() - s.now.shift
	if h == nil && due <= now {
		return nil // it keeps its place
	}
	if _, err := r.exec(`DELETE FROM {waiting} WHERE wkey = ? AND due = ? AND seq = ?`, d.wkey, due, d.seq); err != nil {
		return err
	}
	return s.postpone(r, d.key, now)
}

// revive makes a finished delivery pending and due.
func (s *Store) revive(r runner, k key, now int64) error {
	if _, err := r.exec(`UPDATE {deliveries} SET state = 1, reason = NULL, finished = NULL, tries = 0, crashes = 0, due = ? WHERE wkey = ? AND seq = ?`,
		now, k.wkey, k.seq); err != nil {
		return err
	}
	return s.wait(r, k, now)
}

// Replay implements [webhook.QueueStore]. It goes through the webhook's deliveries
// in the order of their creation, and then through the events that it lacks in the
// order of theirs. One step looks at some thousands of rows at most. Events
// published to one webhook only are not missing at others.
func (s *Store) Replay(ctx context.Context, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
	p := &replay{s: s, req: req, now: req.Now.UnixMicro(), list: cursorResends, until: sqlstore.Micros(req.Until)}
	p.req.States = slices.Clone(req.States)
	if req.Cursor != "" {
		nums, _, err := parseCursor(cursorResends, 1, req.Cursor)
		if err != nil {
			p.list = cursorMissing
			if nums, _, err = parseCursor(cursorMissing, 1, req.Cursor); err != nil {
				return webhook.ReplayResult{}, wrap(ctx, "replay", err)
			}
		}
		p.after = nums[0]
	}
	begin := *p
	step := func(r runner) error {
		*p = begin
		return p.step(r)
	}
	var err error
	if req.DryRun {
		err = s.read(ctx, step)
	} else {
		err = s.write(ctx, &op{weight: req.Limit, other: step})
	}
	if err != nil {
		return webhook.ReplayResult{}, wrap(ctx, "replay", err)
	}
	return p.res, nil
}

// replay is one step of a replay.
type replay struct {
	s     *Store
	req   webhook.ReplayRequest
	now   int64
	since int64 // number of the first event that is late enough
	until int64 // a time; 0: no end
	list  byte  // the list it reads: deliveries, or events that lack one
	after int64 // the number after which it goes on
	wkey  int64
	hook  *webhook.WebhookRecord
	res   webhook.ReplayResult
}

// replayScan is how many rows a step looks at.
const replayScan = 5000

func (p *replay) step(r runner) (err error) {
	if p.wkey, p.hook, err = p.s.find(r, p.req.Tenant, p.req.WebhookID); err != nil {
		return err
	}
	if !p.req.Since.IsZero() {
		n, err := p.s.numberAt(r, p.req.Since.UnixMicro())
		if err != nil {
			return err
		}
		p.since = n - 1
	}
	done := true
	if p.list == cursorResends && len(p.req.States) > 0 {
		if done, err = p.finished(r); err != nil {
			return err
		}
	}
	if done && p.req.Missing {
		if p.list == cursorResends {
			p.list, p.after = cursorMissing, 0
		}
		if done, err = p.missing(r); err != nil {
			return err
		}
	}
	if !done {
		p.res.Next = sqlstore.Cursor(p.list, "", p.after)
	}
	return nil
}

func (p *replay) full() bool { return p.res.Resent+p.res.Created >= p.req.Limit }

// published reports whether an event's time of publication and type match the
// request.
func (p *replay) published(at int64, typ string) bool {
	return (p.req.Since.IsZero() || at >= p.req.Since.UnixMicro()) && (p.until == 0 || at < p.until) &&
		(p.req.EventType == "" || typ == p.req.EventType)
}

// finished goes through deliveries and reports whether it has reached the end.
func (p *replay) finished(r runner) (bool, error) {
	type found struct {
		seq  int64
		mine bool
	}
	var rows []found
	err := r.query(`SELECT d.seq, d.state, d.type, e.published FROM {deliveries} d CROSS JOIN {events} e ON e.seq = coalesce(d.ekey, d.seq)
		WHERE d.wkey = ? AND d.seq > ? ORDER BY d.seq LIMIT ?`, []any{p.wkey, max(p.after, p.since), int64(replayScan)}, func(v []driver.Value) error {
		state := integer(v[1])
		mine := state > pending && int(state) < len(stateNames) && slices.Contains(p.req.States, stateNames[state])
		rows = append(rows, found{integer(v[0]), mine && p.published(integer(v[3]), text(v[2]))})
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, f := range rows {
		if p.full() {
			return false, nil
		}
		p.after = f.seq
		if !f.mine {
			continue
		}
		p.res.Resent++
		if p.req.DryRun {
			continue
		}
		if err := p.s.revive(r, key{p.wkey, f.seq}, p.s.queueTime(p.req.Now)); err != nil {
			return false, err
		}
	}
	return len(rows) < replayScan, nil
}

// missing goes through events without a delivery to the webhook in the same way.
func (p *replay) missing(r runner) (bool, error) {
	type found struct {
		seq  int64
		typ  string
		mine bool
	}
	var rows []found
	err := r.query(`SELECT seq, tenant, type, only_id, published FROM {events} WHERE seq > ? ORDER BY seq LIMIT ?`,
		[]any{max(p.after, p.since), int64(replayScan)}, func(v []driver.Value) error {
			f := found{seq: integer(v[0]), typ: text(v[2])}
			f.mine = text(v[1]) == p.req.Tenant && p.published(integer(v[4]), f.typ)
			if only := text(v[3]); only != "" {
				f.mine = f.mine && only == p.hook.ID
			} else {
				f.mine = f.mine && eventtype.AnyMatches(p.hook.Events, f.typ)
			}
			rows = append(rows, f)
			return nil
		})
	if err != nil {
		return false, err
	}
	for _, f := range rows {
		if p.full() {
			return false, nil
		}
		p.after = f.seq
		if !f.mine {
			continue
		}
		has := false
		err := r.query(`SELECT 1 FROM {deliveries} WHERE wkey = ? AND seq = ? UNION ALL
			SELECT 1 FROM {deliveries} INDEXED BY {prefix}deliveries_ekey WHERE ekey = ? AND wkey = ?`, []any{p.wkey, f.seq, f.seq, p.wkey},
			func([]driver.Value) error { has = true; return nil })
		if err != nil {
			return false, err
		}
		if has {
			continue
		}
		p.res.Created++
		if p.req.DryRun {
			continue
		}
		seq, clock, err := p.s.number(r, p.now, 1)
		if err != nil {
			return false, err
		}
		if _, err := r.exec(`INSERT INTO {deliveries} (wkey, seq, created, ekey, type, name) VALUES (?, ?, ?, ?, ?, ?)`,
			p.wkey, seq, clock, f.seq, f.typ, p.hook.Name); err != nil {
			return false, err
		}
		if _, err := r.exec(`UPDATE {lanes} SET ready = 1, tail = ? WHERE wkey = ?`, seq, p.wkey); err != nil {
			return false, err
		}
	}
	return len(rows) < replayScan, nil
}

// jsonNumbers returns numbers as a list for json_each.
func jsonNumbers(n []int64) (string, error) {
	b, err := json.Marshal(n)
	return string(b), err
}
