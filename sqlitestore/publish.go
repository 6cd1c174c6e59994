package sqlitestore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// publishing is the state of one call of Publish.
type publishing struct {
	now    int64
	reqs   []webhook.PublishRequest
	events []*webhook.EventRecord // copies in the form in which they are stored
	seqs   []int64                // of the events that this call stored
	out    []webhook.PublishResult
}

func newPublishing(now time.Time, reqs []webhook.PublishRequest) *publishing {
	p := &publishing{now: now.UnixMicro(), reqs: reqs, events: make([]*webhook.EventRecord, len(reqs)),
		seqs: make([]int64, len(reqs)), out: make([]webhook.PublishResult, len(reqs))}
	copies := make([]webhook.EventRecord, len(reqs))
	for i := range reqs {
		copies[i] = reqs[i].Event
		copies[i].Data = bytes.Clone(copies[i].Data)
		copies[i].Time = sqlstore.FromMicros(sqlstore.Micros(copies[i].Time))
		p.events[i] = &copies[i]
	}
	return p
}

// Publish implements [webhook.QueueStore]. Calls that arrive while others are being
// stored share the next transaction. If the context of such a call ends while its
// event is being stored, the error says that the outcome is unknown.
func (s *Store) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	p := newPublishing(now, append([]webhook.PublishRequest(nil), reqs...))
	err := s.write(ctx, &op{weight: s.weigh(reqs), publish: p, after: func() {
		s.turns.published(p)
		for i, seq := range p.seqs {
			if seq != 0 {
				s.fanouts.Note(audienceOf(&p.reqs[i]), p.out[i].Deliveries)
				s.events.put(seq, p.events[i])
			}
		}
	}})
	if err != nil {
		return nil, wrap(ctx, "publish", err)
	}
	return p.out, nil
}

// weigh estimates the number of rows of events and their deliveries, as far as
// earlier events of the same kind show it. All calls that share a transaction wait
// for all of its rows.
func (s *Store) weigh(reqs []webhook.PublishRequest) int {
	w := len(reqs)
	for i := range reqs {
		n, _ := s.fanouts.Of(audienceOf(&reqs[i]))
		w += n
	}
	return w
}

func audienceOf(r *webhook.PublishRequest) sqlstore.Audience {
	return sqlstore.Audience{Tenant: r.Event.Tenant, Type: r.Event.Type, Only: r.WebhookID}
}

// item is one event of a group of calls.
type item struct {
	p *publishing
	i int
}

func (it item) event() *webhook.EventRecord         { return it.p.events[it.i] }
func (it item) req() *webhook.PublishRequest        { return &it.p.reqs[it.i] }
func (it item) result(r webhook.PublishResult) item { it.p.out[it.i] = r; return it }

// audience identifies the events that go to the same webhooks.
type audience struct{ tenant, typ, only string }

// publishAll stores the events of several calls. The events of one audience get
// consecutive numbers, so that one statement inserts all of their deliveries.
func (s *Store) publishAll(r runner, pubs []*publishing) error {
	type name struct{ tenant, id string }
	first := map[name]item{}
	groups := map[audience][]item{}
	var order []audience
	now, n := int64(0), 0
	for _, p := range pubs {
		clear(p.seqs)
		now = max(now, p.now)
		for i := range p.reqs {
			it := item{p, i}.result(webhook.PublishResult{})
			ev := it.event()
			if f, ok := first[name{ev.Tenant, ev.ID}]; ok {
				it.result(again(f.event().Type, f.event().Data, ev))
				continue
			}
			first[name{ev.Tenant, ev.ID}] = it
			a := audience{ev.Tenant, ev.Type, it.req().WebhookID}
			if groups[a] == nil {
				order = append(order, a)
			}
			groups[a] = append(groups[a], it)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	seq, clock, err := s.number(r, now, n)
	if err != nil {
		return err
	}
	begin := seq
	var all []item
	for _, a := range order {
		for _, it := range groups[a] {
			it.p.seqs[it.i] = seq
			seq++
		}
		all = append(all, groups[a]...)
	}
	stored, err := s.insertEvents(r, all, begin, clock)
	if err != nil {
		return err
	}
	if stored < n {
		// Some IDs are taken. That is rare: start again without these events.
		if _, err := r.exec(`DELETE FROM {events} WHERE seq BETWEEN ? AND ?`, begin, seq-1); err != nil {
			return err
		}
		seq = begin
		fresh := all[:0]
		for _, a := range order {
			kept, err := s.withoutTaken(r, groups[a])
			if err != nil {
				return err
			}
			for _, it := range kept {
				it.p.seqs[it.i] = seq
				seq++
			}
			groups[a] = kept
			fresh = append(fresh, kept...)
		}
		if stored, err = s.insertEvents(r, fresh, begin, clock); err != nil {
			return err
		}
		if stored != len(fresh) {
			return fmt.Errorf("%d of %d events were stored", stored, len(fresh))
		}
	}
	for _, a := range order {
		if err := s.fanOut(r, a, groups[a], clock); err != nil {
			return err
		}
	}
	return nil
}

// number takes n consecutive numbers and returns the first one and the time of the
// publication. That time is never before an earlier publication's, unless the
// earlier one came from a clock that was ahead by more than maxAhead. If the
// present time is before the oldest stored event, it is this clock that is wrong,
// as on a machine that has just been switched on.
func (s *Store) number(r runner, now int64, n int) (seq, clock int64, err error) {
	future := s.future()
	if now > future {
		now = future - maxAhead.Microseconds()
	}
	err = r.query(`UPDATE {counters} SET seq = seq + ?, clock = CASE
			WHEN clock > ? AND coalesce((SELECT published FROM {events} ORDER BY seq LIMIT 1), 0) <= ? THEN ?
			ELSE max(clock, ?) END
		RETURNING seq, clock`, []any{int64(n), future, now, now, now},
		func(v []driver.Value) error {
			seq, clock = integer(v[0])-int64(n)+1, integer(v[1])
			return nil
		})
	return seq, clock, err
}

// again returns the result for an event whose ID is taken.
func again(typ string, data []byte, ev *webhook.EventRecord) webhook.PublishResult {
	same := typ == ev.Type && bytes.Equal(data, ev.Data)
	return webhook.PublishResult{Duplicate: same, Conflict: !same}
}

// withoutTaken returns the items whose ID is free, and sets the results of the
// others.
func (s *Store) withoutTaken(r runner, items []item) ([]item, error) {
	var free []item
	for _, it := range items {
		ev, taken := it.event(), false
		err := r.query(`SELECT type, data FROM {events} WHERE tenant = ? AND id = ?`, []any{ev.Tenant, ev.ID}, func(v []driver.Value) error {
			taken = true
			it.result(again(text(v[0]), blob(v[1]), ev))
			return nil
		})
		if err != nil {
			return nil, err
		}
		if taken {
			it.p.seqs[it.i] = 0
		} else {
			free = append(free, it)
		}
	}
	return free, nil
}

// insertEvents stores items under consecutive numbers, except those whose IDs are
// taken, and returns how many it stored.
func (s *Store) insertEvents(r runner, items []item, seq, clock int64) (int, error) {
	stored := 0
	args := make([]any, 0, 9*chunkLarge)
	for len(items) > 0 {
		n := chunk(len(items))
		args = args[:0]
		for _, it := range items[:n] {
			ev := it.event()
			args = append(args, seq, ev.Tenant, ev.ID, ev.Type, orNull(it.req().WebhookID), sqlstore.Micros(ev.Time), clock, ev.Data, orNull(ev.Trace))
			seq++
		}
		k, err := r.exec(insertEventsSQL[n], args...)
		if err != nil {
			return 0, err
		}
		stored += int(k)
		items = items[n:]
	}
	return stored, nil
}

// Statements for several rows exist in a few sizes, so that they can be kept
// prepared.
const (
	chunkSmall  = 1
	chunkMedium = 8
	chunkLarge  = 64
)

func chunk(n int) int {
	switch {
	case n >= chunkLarge:
		return chunkLarge
	case n >= chunkMedium:
		return chunkMedium
	}
	return chunkSmall
}

// chunked builds a statement for each size by repeating a row of placeholders.
func chunked(head, row, tail string) map[int]string {
	out := map[int]string{}
	for _, n := range []int{chunkSmall, chunkMedium, chunkLarge} {
		b := []byte(head)
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, row...)
		}
		out[n] = string(append(b, tail...))
	}
	return out
}

var insertEventsSQL = chunked(`INSERT INTO {events} (seq, tenant, id, type, only_id, time, published, data, trace) VALUES `,
	`(?,?,?,?,?,?,?,?,?)`, ` ON CONFLICT DO NOTHING`)

// deliverSQL inserts the deliveries of a range of events for all matching webhooks.
// Parameters: time, type, first and last event, tenant, audience. wakeSQL updates
// their lanes: last event, tenant, audience.
const (
	deliverSQL = `
INSERT INTO {deliveries} (wkey, seq, created, type, name, pad)
SELECT h.wkey, e.seq, x.created, x.type, h.name, zeroblob(80)
FROM (SELECT ? AS created, ? AS type, ? AS low, ? AS high) x CROSS JOIN (%s) h CROSS JOIN {events} e WHERE e.seq BETWEEN x.low AND x.high`

	wakeSQL = `UPDATE {lanes} SET ready = 1, tail = ? WHERE wkey IN (SELECT wkey FROM (%s))`
)

// audienceSQL selects the webhooks that receive events: by a number of patterns, or
// by the ID of a webhook.
func audienceSQL(patterns int) string {
	if patterns == 0 {
		return `SELECT wkey, name FROM {webhooks} WHERE tenant = ? AND id = ? AND deleted_at = 0 AND active = 1`
	}
	return `SELECT wkey, max(name) AS name FROM {subscriptions} WHERE tenant = ? AND pattern IN (?` +
		strings.Repeat(",?", patterns-1) + `) GROUP BY wkey`
}

// fanOutSQL holds both statements for a number of patterns.
type fanOutSQL struct{ deliver, wake string }

var fanOuts sync.Map // fanOutSQL by number of patterns

func fanOutFor(patterns int) fanOutSQL {
	if q, ok := fanOuts.Load(patterns); ok {
		return q.(fanOutSQL)
	}
	whom := audienceSQL(patterns)
	q := fanOutSQL{fmt.Sprintf(deliverSQL, whom), fmt.Sprintf(wakeSQL, whom)}
	fanOuts.Store(patterns, q)
	return q
}

// fanOut inserts the deliveries of events with consecutive numbers.
func (s *Store) fanOut(r runner, a audience, items []item, clock int64) error {
	if len(items) == 0 {
		return nil
	}
	whom := []any{a.tenant}
	q := fanOutFor(0)
	if a.only != "" {
		whom = append(whom, a.only)
	} else {
		patterns := items[0].req().Patterns
		if len(patterns) == 0 {
			return nil
		}
		for _, pattern := range patterns {
			whom = append(whom, pattern)
		}
		q = fanOutFor(len(patterns))
	}
	begin := items[0].p.seqs[items[0].i]
	end := begin + int64(len(items)) - 1
	made, err := r.exec(q.deliver, append([]any{clock, a.typ, begin, end}, whom...)...)
	if err != nil || made == 0 {
		return err
	}
	if made%int64(len(items)) != 0 {
		return fmt.Errorf("%d deliveries of %d events", made, len(items))
	}
	for _, it := range items {
		it.result(webhook.PublishResult{Deliveries: int(made) / len(items)})
	}
	_, err = r.exec(q.wake, append([]any{end}, whom...)...)
	return err
}
