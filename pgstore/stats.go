package pgstore

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// statsPlans lets the server sort the hours of one webhook after the other, so that
// it stops reading at the limit.
const statsPlans = setPlans + `; SET LOCAL enable_incremental_sort = on`

// Stats implements [webhook.LogStore]. There is no index of webhooks by tenant and
// ID: all selected webhooks are read, but no more of their hours than the limit.
func (s *Store) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	since, until := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.Since.IsZero() {
		since = sqlstore.Micros(q.Since.Truncate(time.Hour))
	}
	if !q.Until.IsZero() {
		until = sqlstore.Micros(q.Until)
	}
	var out []webhook.StatsBucket
	err := s.inTx(ctx, statsPlans, func(tx *sql.Tx) error {
		out = nil
		hooks, err := s.hooksWithStats(ctx, tx, q)
		if err != nil || len(hooks) == 0 {
			return err
		}
		var keys, from intArray
		for _, h := range hooks {
			keys.add(h.wkey)
			if h.id == q.After.WebhookID {
				from.add(max(since, sqlstore.Micros(q.After.Hour)+1))
			} else {
				from.add(since)
			}
		}
		rows, err := tx.QueryContext(ctx, s.sql(`
			SELECT h.ord, r.hour, r.succeeded, r.failed, r.duration
			FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS h (wkey, since, ord) CROSS JOIN LATERAL (
				SELECT t.hour, t.succeeded, t.failed, t.duration FROM {stats} t
				WHERE t.wkey = h.wkey AND t.hour >= h.since AND t.hour < $3::bigint ORDER BY t.hour LIMIT $4::bigint) r
			ORDER BY h.ord, r.hour LIMIT $4::bigint`), keys.String(), from.String(), until, cmp.Or(q.Limit, webhook.MaxStats))
		return each(rows, err, func() error {
			var b webhook.StatsBucket
			var at, hour, duration int64
			if err := rows.Scan(&at, &hour, &b.Succeeded, &b.Failed, &duration); err != nil {
				return err
			}
			b.WebhookID, b.Hour, b.Duration = hooks[at-1].id, time.UnixMicro(hour).UTC(), time.Duration(duration)*time.Microsecond
			out = append(out, b)
			return nil
		})
	})
	return out, wrap(ctx, "stats", err)
}

// statsHook is a webhook whose statistics are asked for.
type statsHook struct {
	wkey int64
	id   string
}

// hooksWithStats returns the webhooks that q selects, from q.After on, in the order
// of their IDs.
func (s *Store) hooksWithStats(ctx context.Context, tx *sql.Tx, q webhook.StatsQuery) (out []statsHook, err error) {
	var p params
	text := `SELECT w.wkey, w.id FROM {webhooks} w WHERE w.deleted_at = 0 AND w.tenant = ` + p.add(q.Tenant, "text")
	if len(q.WebhookIDs) > 0 {
		var ids textArray
		for _, id := range q.WebhookIDs {
			ids.add(id)
		}
		text += ` AND w.id = ANY (` + p.add(ids.String(), "text[]") + `)`
	}
	rows, err := tx.QueryContext(ctx, s.sql(text), p...)
	err = each(rows, err, func() error {
		var h statsHook
		if err := rows.Scan(&h.wkey, &h.id); err != nil {
			return err
		}
		if h.id >= q.After.WebhookID {
			out = append(out, h)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b statsHook) int { return cmp.Compare(a.id, b.id) })
	return out, err
}
