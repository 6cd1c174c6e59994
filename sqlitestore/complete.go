package sqlitestore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// The states as stored.
var (
	stateNumbers = map[webhook.State]int64{
		webhook.StatePending: 1, webhook.StateSucceeded: 2, webhook.StateFailed: 3, webhook.StateCanceled: 4,
	}
	stateNames = [...]webhook.State{1: webhook.StatePending, 2: webhook.StateSucceeded, 3: webhook.StateFailed, 4: webhook.StateCanceled}
)

const (
	pending   = 1
	succeeded = 2
)

// completion is the state of one call of Complete.
type completion struct {
	now     time.Time
	records []record
	out     []webhook.Outcome
}

// record is a Result in the form in which it is stored.
type record struct {
	key
	known     bool // the ID is valid
	token     int64
	state     int64
	delay     int64
	reason    string
	attempt   bool // false: only the token is kept
	ok        bool
	late      bool
	number    int64
	started   int64
	duration  int64
	status    int64
	truncated int64
	class     string
	err       string
	headers   string
	body      []byte
}

func newRecord(r *webhook.Result) (record, error) {
	out := record{token: r.Token, state: stateNumbers[r.State], delay: max(r.Delay, 0).Microseconds()}
	out.key, out.known = parseID(r.DeliveryID)
	if out.state == 0 {
		return out, fmt.Errorf("result for delivery %s: unknown state %q", r.DeliveryID, r.State)
	}
	if out.state > succeeded {
		out.reason = string(r.Reason)
	}
	a := r.Attempt
	if a == nil {
		return out, nil
	}
	out.attempt, out.ok, out.number, out.status = true, a.Succeeded(), int64(a.Number), int64(a.Status)
	out.started, out.duration, out.truncated = a.StartedAt.UnixMicro(), a.Duration.Microseconds(), flag(a.ResponseTruncated)
	out.class, out.err, out.body = string(a.Class), a.Error, bytes.Clone(a.ResponseBody)
	if len(a.ResponseHeaders) > 0 {
		b, err := json.Marshal(a.ResponseHeaders)
		if err != nil {
			return out, fmt.Errorf("headers of the answer: %w", err)
		}
		out.headers = string(b)
	}
	return out, nil
}

// bodyOrNull keeps an empty body out of the row.
func (r *record) bodyOrNull() any {
	if len(r.body) == 0 {
		return nil
	}
	return r.body
}

// startedOrNull returns null without an attempt.
func (r *record) startedOrNull() any {
	if !r.attempt {
		return nil
	}
	return r.started
}

// tries returns how many tries the attempt uses up.
func (r *record) tries() int64 {
	return flag(r.class != string(webhook.ClassUnsent))
}

// Complete implements [webhook.QueueStore]. A delivery's row is written once for
// each of its results. The first record is kept in that row, so that a delivery
// that succeeds at once ends as a single row.
func (s *Store) Complete(ctx context.Context, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
	c := &completion{now: now, records: make([]record, len(results)), out: make([]webhook.Outcome, len(results))}
	for i := range results {
		var err error
		if c.records[i], err = newRecord(&results[i]); err != nil {
			return nil, wrap(ctx, "complete", err)
		}
	}
	if err := s.write(ctx, &op{weight: len(results), complete: c}); err != nil {
		return nil, wrap(ctx, "complete", err)
	}
	return c.out, nil
}

// completeAll records the results of several calls.
func (s *Store) completeAll(r runner, calls []*completion) error {
	book := newLedger(r)
	sum := newTally()
	for _, c := range calls {
		for i := range c.records {
			rec := &c.records[i]
			if !rec.known {
				c.out[i] = webhook.OutcomeGone
				continue
			}
			h, err := book.claim(rec.token)
			if err != nil {
				return err
			}
			l := h.find(rec.key)
			if l == nil {
				if c.out[i], err = s.late(r, rec); err != nil {
					return err
				}
				continue
			}
			recorded := l.recorded
			h.drop(rec.key)
			if err := s.record(r, rec, recorded, c.now); err != nil {
				return err
			}
			if rec.attempt && !webhook.ErrorClass(rec.class).OurFault() {
				sum.add(rec)
			}
			c.out[i] = webhook.OutcomeApplied
		}
	}
	if err := book.save(); err != nil {
		return err
	}
	return sum.write(r)
}

const (
	firstSQL = `UPDATE {deliveries} SET state = ?, finished = ?, due = ?, reason = ?,
	attempts = attempts + 1, tries = tries + ?, crashes = 0, last_status = ?, last_class = ?,
	token = ?, number = ?, started = ?, duration = ?, status = ?, truncated = ?, class = ?, error = ?, headers = ?, body = ?, pad = NULL
	WHERE wkey = ? AND seq = ?`
	// cleanSQL is firstSQL for a success without details, which is the most
	// frequent result: binding a parameter costs as much as writing a column.
	cleanSQL = `UPDATE {deliveries} SET state = 2, finished = ?1, due = NULL, reason = NULL,
	attempts = attempts + 1, tries = tries + 1, crashes = 0, last_status = ?2, last_class = NULL,
	token = ?3, number = ?4, started = ?5, duration = ?6, status = ?2, truncated = 0, class = NULL, error = NULL, headers = NULL,
	body = ?7, pad = NULL WHERE wkey = ?8 AND seq = ?9`
	laterSQL = `UPDATE {deliveries} SET state = ?, finished = ?, due = ?, reason = ?,
	attempts = attempts + 1, tries = tries + ?, crashes = 0, last_status = ?, last_class = ? WHERE wkey = ? AND seq = ?`
	silentSQL      = `UPDATE {deliveries} SET state = ?, finished = ?, due = ?, reason = ? WHERE wkey = ? AND seq = ?`
	silentFirstSQL = `UPDATE {deliveries} SET state = ?, finished = ?, due = ?, reason = ?, token = ? WHERE wkey = ? AND seq = ?`
)

// clean reports whether cleanSQL stores the whole record.
func (r *record) clean() bool {
	return r.state == succeeded && r.truncated == 0 && r.class == "" && r.err == "" && r.headers == ""
}

// record moves a leased delivery to its next state.
func (s *Store) record(r runner, rec *record, recorded bool, now time.Time) error {
	var finished, due any
	if rec.state == pending {
		due = s.queueTime(now) + rec.delay
	} else {
		finished = s.wallTime(now)
	}
	reason := orNull(rec.reason)
	var err error
	var n int64
	switch {
	case rec.attempt && !recorded && rec.clean():
		n, err = r.exec(cleanSQL, finished, rec.status, rec.token, rec.number, rec.started, rec.duration, rec.bodyOrNull(), rec.wkey, rec.seq)
	case rec.attempt && !recorded:
		n, err = r.exec(firstSQL, rec.state, finished, due, reason, rec.tries(), rec.status, orNull(rec.class),
			rec.token, rec.number, rec.started, rec.duration, rec.status, rec.truncated, orNull(rec.class), orNull(rec.err), orNull(rec.headers),
			rec.bodyOrNull(), rec.wkey, rec.seq)
	case rec.attempt:
		n, err = r.exec(laterSQL, rec.state, finished, due, reason, rec.tries(), rec.status, orNull(rec.class), rec.wkey, rec.seq)
	case recorded:
		n, err = r.exec(silentSQL, rec.state, finished, due, reason, rec.wkey, rec.seq)
	default:
		n, err = r.exec(silentFirstSQL, rec.state, finished, due, reason, rec.token, rec.wkey, rec.seq)
	}
	if err == nil && n != 1 {
		err = fmt.Errorf("delivery %s is claimed but does not exist", rec.id())
	}
	if err == nil && recorded {
		err = s.log(r, rec, `SELECT max(coalesce(max(ord), 0), 0) + 1 FROM {attempts} WHERE wkey = ? AND seq = ?`)
	}
	if err == nil && rec.state == pending {
		err = s.wait(r, rec.key, due.(int64))
	}
	return err
}

// silentKept is how many results without an attempt a delivery remembers, so that
// it can acknowledge repetitions.
const silentKept = 8

// log adds a record to the table of attempts, at the position that the query place
// returns.
func (s *Store) log(r runner, rec *record, place string) error {
	var ord int64
	if err := r.query(place, []any{rec.wkey, rec.seq}, func(v []driver.Value) error { ord = integer(v[0]); return nil }); err != nil {
		return err
	}
	if _, err := r.exec(`INSERT INTO {attempts} (wkey, seq, ord, token, started, duration, number, status, truncated, late, class, error, headers, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, rec.wkey, rec.seq, ord, rec.token, rec.startedOrNull(), rec.duration, rec.number,
		rec.status, rec.truncated, flag(rec.late), orNull(rec.class), orNull(rec.err), orNull(rec.headers), rec.bodyOrNull()); err != nil {
		return err
	}
	if rec.attempt {
		return nil
	}
	_, err := r.exec(`DELETE FROM {attempts} WHERE wkey = ? AND seq = ? AND started IS NULL AND ord <= ?`, rec.wkey, rec.seq, ord-silentKept)
	return err
}

// late handles a result whose token holds no lease. A result recorded before is
// acknowledged; another attempt is logged if its delivery exists. The record in the
// delivery's row has position 0; an attempt that is late before there is such a
// record gets a position below 0.
func (s *Store) late(r runner, rec *record) (webhook.Outcome, error) {
	outcome, first := webhook.OutcomeGone, int64(0)
	err := r.query(`SELECT coalesce(token, 0), EXISTS (SELECT 1 FROM {attempts} a WHERE a.wkey = d.wkey AND a.seq = d.seq AND a.token = ?)
		FROM {deliveries} d WHERE wkey = ? AND seq = ?`, []any{rec.token, rec.wkey, rec.seq}, func(v []driver.Value) error {
		outcome, first = webhook.OutcomeLate, integer(v[0])
		if first == rec.token || integer(v[1]) != 0 {
			outcome = webhook.OutcomeApplied
		}
		return nil
	})
	if err != nil || outcome != webhook.OutcomeLate || !rec.attempt {
		return outcome, err
	}
	rec.late = true
	place := `SELECT max(coalesce(max(ord), 0), 0) + 1 FROM {attempts} WHERE wkey = ? AND seq = ?`
	if first == 0 {
		place = `SELECT coalesce(max(ord), -1000000) + 1 FROM {attempts} WHERE wkey = ? AND seq = ? AND ord < 0`
	}
	return outcome, s.log(r, rec, place)
}
