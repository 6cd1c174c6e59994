package sqlitestore

import (
	"cmp"
	"database/sql/driver"
	"maps"
	"slices"
	"time"
)

const microsPerHour = int64(time.Hour / time.Microsecond)

// hourOf returns the start of the hour that contains a time.
func hourOf(us int64) int64 { return us - (us%microsPerHour+microsPerHour)%microsPerHour }

// tally sums up the effects of a group of results on the health and statistics of
// webhooks, so that they cost one row per webhook and one per hour for the whole
// group.
type tally struct {
	hooks map[int64][]*record
	hours map[bucket]*hour
}

type bucket struct{ wkey, hour int64 }

type hour struct{ succeeded, failed, duration int64 }

func newTally() *tally {
	return &tally{map[int64][]*record{}, map[bucket]*hour{}}
}

func (t *tally) add(rec *record) {
	t.hooks[rec.wkey] = append(t.hooks[rec.wkey], rec)
	b := bucket{rec.wkey, hourOf(rec.started)}
	h := t.hours[b]
	if h == nil {
		h = &hour{}
		t.hours[b] = h
	}
	h.duration += rec.duration
	if rec.ok {
		h.succeeded++
	} else {
		h.failed++
	}
}

// health updates a webhook's health with an attempt. Overlapping attempts are
// recorded in any order, so their start times decide which one is the latest.
func (l *lane) health(rec *record) {
	at := rec.started
	l.triggered = max(l.triggered, at)
	switch {
	case rec.ok:
		l.success = max(l.success, at)
		if at >= l.failing {
			l.failing = 0
		}
	case at < l.success:
	case l.failing == 0 || at < l.failing:
		l.failing = at
	}
}

func (t *tally) write(r runner) error {
	for _, wkey := range slices.Sorted(maps.Keys(t.hooks)) {
		var l *lane
		err := r.query(`SELECT `+laneColumns+` FROM {lanes} WHERE wkey = ?`, []any{wkey}, func(v []driver.Value) error { l = scanLane(v); return nil })
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		for _, rec := range t.hooks[wkey] {
			l.health(rec)
		}
		if _, err := r.exec(`UPDATE {lanes} SET last_triggered = ?, last_success = ?, failing_since = ? WHERE wkey = ?`,
			l.triggered, l.success, l.failing, wkey); err != nil {
			return err
		}
	}
	for _, b := range slices.SortedFunc(maps.Keys(t.hours), func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.wkey, b.wkey), cmp.Compare(a.hour, b.hour))
	}) {
		h := t.hours[b]
		if _, err := r.exec(`INSERT INTO {stats} (wkey, hour, succeeded, failed, duration) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed,
			duration = duration + excluded.duration`, b.wkey, b.hour, h.succeeded, h.failed, h.duration); err != nil {
			return err
		}
	}
	return nil
}
