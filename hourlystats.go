package webhook

import (
	"cmp"
	"context"
	"strconv"
)

// maxAllStats is how many buckets HourlyStats returns when the caller sets no limit.
const maxAllStats = 10 * MaxStats

// HourlyStats returns counts of attempts per webhook and hour, for a chart or a
// success rate, ordered by webhook ID, then hour.
//
// With q.Limit 0 it returns all that q selects. When that is more than 100,000
// buckets it returns none and a *ValidationError of the field "limit", so that no sum
// over an answer leaves something out unnoticed: name fewer webhooks, ask for a
// shorter time, or set q.Limit. With q.Limit, which is reduced to [MaxStats], it returns
// that many, and the caller goes on by setting q.After to the last of them, until
// there are fewer. It returns a *ValidationError when q makes no sense, too; other errors
// are the Store's.
func (d *Dispatcher) HourlyStats(ctx context.Context, q StatsQuery) ([]StatsBucket, error) {
	var bad ValidationError
	checkTenant(&bad, q.Tenant)
	for i, id := range q.WebhookIDs {
		if !validID(id) {
			bad.add("webhookIds["+strconv.Itoa(i)+"]", "is not an ID, got %s", quoted(id))
		}
	}
	if id := q.After.WebhookID; id != "" && !validID(id) {
		bad.add("after", "must be a bucket of the answer before, its webhook ID is %s", quoted(id))
	}
	all := q.Limit == 0
	checkLimit(&bad, &q.Limit, MaxStats, MaxStats)
	if err := bad.err(); err != nil {
		return nil, prefixed("stats", err)
	}
	q.Since, q.Until, q.After.Hour = storedTime(q.Since), storedTime(q.Until), storedTime(q.After.Hour)
	if !all {
		b, err := d.store.Stats(ctx, q)
		return b, prefixed("stats", err)
	}
	b, err := allStats(ctx, d.store, q)
	if err == nil && len(b) > maxAllStats {
		bad.add("limit", "must be set, or fewer webhooks named, or a shorter time asked for: there are more than %d hours with attempts", maxAllStats)
		b, err = nil, bad.err()
	}
	return b, prefixed("stats", err)
}

// allStats returns all statistics that q selects, or some more than maxAllStats.
func allStats(ctx context.Context, s LogStore, q StatsQuery) (all []StatsBucket, err error) {
	q.Limit = MaxStats
	for {
		some, err := s.Stats(ctx, q)
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < q.Limit || len(all) > maxAllStats {
			return all, nil
		}
		q.After = some[len(some)-1]
	}
}

// before reports whether b comes before o in statistics.
func (b StatsBucket) before(o StatsBucket) bool {
	return cmp.Or(cmp.Compare(b.WebhookID, o.WebhookID), b.Hour.Compare(o.Hour)) < 0
}
