package memstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

// attempt is a recorded attempt, or the token of a result without an attempt.
// Headers are kept flat, name and value in turn: a map is dear.
type attempt struct {
	next      *attempt
	token     int64
	none      bool // there was no request: only the token counts
	late      bool
	truncated bool
	number    int32
	status    int32
	startedAt int64 // microseconds
	duration  time.Duration
	class     webhook.ErrorClass
	err       string
	headers   []string
	body      []byte
}

// maxSilent is how many results without an attempt a delivery remembers, to
// acknowledge them when they are repeated.
const maxSilent = 8

func newAttempt(r *webhook.Result) *attempt {
	a := r.Attempt
	if a == nil {
		return &attempt{token: r.Token, none: true}
	}
	m := &attempt{
		token:     r.Token,
		truncated: a.ResponseTruncated,
		number:    int32(a.Number),
		status:    int32(a.Status),
		startedAt: a.StartedAt.UnixMicro(),
		duration:  a.Duration,
		class:     a.Class,
		err:       a.Error,
		body:      bytes.Clone(a.ResponseBody),
	}
	if a.ResponseHeaders != nil {
		m.headers = make([]string, 0, 2*len(a.ResponseHeaders))
		for name, value := range a.ResponseHeaders {
			m.headers = append(m.headers, name, value)
		}
	}
	return m
}

func (m *attempt) view(deliveryID string) webhook.Attempt {
	a := webhook.Attempt{
		DeliveryID:        deliveryID,
		Number:            int(m.number),
		StartedAt:         timeOf(m.startedAt),
		Duration:          m.duration,
		Status:            int(m.status),
		Class:             m.class,
		Error:             m.err,
		ResponseBody:      bytes.Clone(m.body),
		ResponseTruncated: m.truncated,
		Late:              m.late,
	}
	if m.headers != nil {
		a.ResponseHeaders = maps.Collect(func(yield func(string, string) bool) {
			for pair := range slices.Chunk(m.headers, 2) {
				if !yield(pair[0], pair[1]) {
					return
				}
			}
		})
	}
	return a
}

// size is the attempt's part of MaxBytes.
func (m *attempt) size() int64 {
	n := len(m.err) + len(m.body)
	for _, h := range m.headers {
		n += len(h)
	}
	return int64(n)
}

// Complete implements [webhook.QueueStore].
func (s *Store) Complete(ctx context.Context, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
	outcomes := make([]webhook.Outcome, len(results))
	attempts := make([]*attempt, len(results))
	for i := range results {
		attempts[i] = newAttempt(&results[i])
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := range results {
		outcomes[i] = s.complete(&results[i], attempts[i], now)
	}
	s.trim()
	return outcomes, nil
}

func (s *Store) complete(r *webhook.Result, m *attempt, now time.Time) webhook.Outcome {
	d := s.delivery(r.DeliveryID)
	if d == nil {
		return webhook.OutcomeGone
	}
	if d.claim == nil || d.claim.token != r.Token {
		if d.recorded(r.Token) {
			return webhook.OutcomeApplied
		}
		if !m.none {
			m.late = true
			s.record(d, m)
		}
		return webhook.OutcomeLate
	}
	s.unhold(d)
	if m.none {
		d.forgetSilent()
	} else {
		d.attempts++
		if m.class != webhook.ClassUnsent {
			d.tries++
		}
		d.crashes = 0
		d.lastStatus, d.lastClass = m.status, m.class
		if !m.class.OurFault() {
			d.hook.count(m)
		}
	}
	s.record(d, m)
	if r.State == webhook.StatePending {
		s.enqueue(d, now.Add(r.Delay).UnixMicro(), now.UnixMicro())
		return webhook.OutcomeApplied
	}
	d.state = r.State
	if r.State != webhook.StateSucceeded {
		d.reason = r.Reason
	}
	d.due, d.finished = zeroMicros, now.UnixMicro()
	s.countPending(d, -1)
	s.finished.push(&d.node, d.finished, s.turn(), true)
	return webhook.OutcomeApplied
}

// record appends to the log of a delivery.
func (s *Store) record(d *delivery, m *attempt) {
	if d.logTail == nil {
		d.log = m
	} else {
		d.logTail.next = m
	}
	d.logTail = m
	size := m.size()
	d.logBytes += size
	s.bytes += size
	if d.state == webhook.StatePending {
		s.pendingBytes += size
	}
}

// recorded reports whether the result of a claim has been recorded.
func (d *delivery) recorded(token int64) bool {
	for m := d.log; m != nil; m = m.next {
		if m.token == token {
			return true
		}
	}
	return false
}

// forgetSilent makes room for one more result without an attempt.
func (d *delivery) forgetSilent() {
	n := 0
	for m := d.log; m != nil; m = m.next {
		if m.none {
			n++
		}
	}
	if n < maxSilent {
		return
	}
	var before *attempt
	for m := d.log; ; before, m = m, m.next {
		if !m.none {
			continue
		}
		if before == nil {
			d.log = m.next
		} else {
			before.next = m.next
		}
		if d.logTail == m {
			d.logTail = before
		}
		return
	}
}

// hourly is one hour of a webhook's statistics.
type hourly struct {
	hour              int32 // since 1970
	succeeded, failed uint32
	duration          time.Duration
}

const hourMicros = int64(time.Hour / time.Microsecond)

// hourOf returns the hour that contains a time.
func hourOf(micros int64) int32 {
	h := micros / hourMicros
	if micros%hourMicros < 0 {
		h--
	}
	return int32(h)
}

// count brings health and statistics up to date with an attempt. Attempts that
// overlap are recorded in any order, so their starts decide which is the latest.
func (h *hook) count(m *attempt) {
	ok := m.class == "" && m.status >= 200 && m.status <= 299
	h.lastTriggered = max(h.lastTriggered, m.startedAt)
	switch {
	case ok:
		h.lastSuccess = max(h.lastSuccess, m.startedAt)
		if m.startedAt >= h.failingSince {
			h.failingSince = zeroMicros
		}
	case m.startedAt < h.lastSuccess:
	case h.failingSince == zeroMicros || m.startedAt < h.failingSince:
		h.failingSince = m.startedAt
	}
	h.stale = h.rec != nil

	hour := hourOf(m.startedAt)
	i := len(h.stats) - 1
	if i < 0 || h.stats[i].hour != hour {
		var found bool
		i, found = slices.BinarySearchFunc(h.stats, hour, func(b hourly, hour int32) int { return cmp.Compare(b.hour, hour) })
		if !found {
			h.stats = slices.Insert(h.stats, i, hourly{hour: hour})
			old, oldest := 0, h.stats[len(h.stats)-1].hour-statsHours
			for h.stats[old].hour <= oldest {
				old++
			}
			h.stats = slices.Delete(h.stats, 0, old)
			if i -= old; i < 0 {
				return
			}
		}
	}
	b := &h.stats[i]
	b.duration += m.duration
	if ok {
		b.succeeded++
	} else {
		b.failed++
	}
}
