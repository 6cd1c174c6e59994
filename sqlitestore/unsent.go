package sqlitestore

import (
	"database/sql/driver"
	"math"
	"slices"
)

// unsentHooks is how many webhooks one query looks up.
const unsentHooks = 64

// unsent returns those of a tenant's events, in ascending order, that have no
// delivery. Deliveries are found by webhook, and there may be very many webhooks:
// looking up each pair of event and webhook would multiply the two numbers. So one
// look-up per webhook finds the webhooks with any delivery in the range of the
// events. For these, as many deliveries are read as needed to decide about the
// remaining events.
func unsent(r runner, tenant string, events []int64) ([]int64, error) {
	list, err := jsonNumbers(events)
	if err != nil {
		return nil, err
	}
	replayed, err := column(r, `SELECT value FROM json_each(?)
		WHERE EXISTS (SELECT 1 FROM {deliveries} INDEXED BY {prefix}deliveries_ekey WHERE ekey = value)`, list)
	if err != nil {
		return nil, err
	}
	events = without(events, replayed)
	created, id := int64(math.MinInt64), ""
	for len(events) > 0 {
		var hooks []int64
		err := r.query(`SELECT w.wkey, w.created_at, w.id FROM {webhooks} w INDEXED BY {prefix}webhooks_list
			WHERE w.tenant = ? AND (w.created_at, w.id) > (?, ?)
				AND EXISTS (SELECT 1 FROM {deliveries} d WHERE d.wkey = w.wkey AND d.seq >= ? AND d.seq <= ?)
			ORDER BY w.created_at, w.id LIMIT ?`,
			[]any{tenant, created, id, events[0], events[len(events)-1], int64(unsentHooks)}, func(v []driver.Value) error {
				hooks = append(hooks, integer(v[0]))
				created, id = integer(v[1]), text(v[2])
				return nil
			})
		if err != nil {
			return nil, err
		}
		for _, wkey := range hooks {
			if events, err = unsentTo(r, wkey, events); err != nil || len(events) == 0 {
				return nil, err
			}
		}
		if len(hooks) < unsentHooks {
			break
		}
	}
	return events, nil
}

// unsentTo returns the events that have no delivery to a webhook. It reads the
// webhook's deliveries in their range or, if those outnumber the events, looks up
// each event.
func unsentTo(r runner, wkey int64, events []int64) ([]int64, error) {
	found, err := column(r, `SELECT seq FROM {deliveries} WHERE wkey = ? AND seq >= ? AND seq <= ? ORDER BY seq LIMIT ?`,
		wkey, events[0], events[len(events)-1], int64(len(events)+1))
	if err != nil {
		return nil, err
	}
	if len(found) > len(events) {
		list, err := jsonNumbers(events)
		if err != nil {
			return nil, err
		}
		if found, err = column(r, `SELECT value FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM {deliveries} WHERE wkey = ?2 AND seq = value)`, list, wkey); err != nil {
			return nil, err
		}
	}
	return without(events, found), nil
}

// without returns the numbers that are not among others.
func without(numbers, others []int64) []int64 {
	if len(others) == 0 {
		return numbers
	}
	slices.Sort(others)
	return slices.DeleteFunc(slices.Clone(numbers), func(n int64) bool {
		_, found := slices.BinarySearch(others, n)
		return found
	})
}
