package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Stats implements [webhook.LogStore]. The hours of a webhook are stored in order:
// they are read webhook by webhook, and no more of them than the limit.
func (s *Store) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	since, until := hourOf(sqlstore.Micros(q.Since)), int64(math.MaxInt64)
	if !q.Until.IsZero() {
		until = q.Until.UnixMicro()
	}
	ids, err := json.Marshal(q.WebhookIDs)
	if err != nil {
		return nil, wrap(ctx, "stats", err)
	}
	limit := cmp.Or(q.Limit, webhook.MaxStats)
	var out []webhook.StatsBucket
	err = s.read(ctx, func(r runner) error {
		out = nil
		var hooks []tenantHook
		err := r.query(`SELECT wkey, id FROM {webhooks} WHERE tenant = ? AND deleted_at = 0 AND (? = 0 OR id IN (SELECT value FROM json_each(?)))`,
			[]any{q.Tenant, int64(len(q.WebhookIDs)), string(ids)}, func(v []driver.Value) error {
				if id := text(v[1]); id >= q.After.WebhookID {
					hooks = append(hooks, tenantHook{integer(v[0]), id})
				}
				return nil
			})
		if err != nil {
			return err
		}
		slices.SortFunc(hooks, func(a, b tenantHook) int { return cmp.Compare(a.id, b.id) })
		for _, h := range hooks {
			if len(out) == limit {
				return nil
			}
			from := since
			if h.id == q.After.WebhookID {
				from = max(from, q.After.Hour.UnixMicro()+1)
			}
			err := r.query(`SELECT hour, succeeded, failed, duration FROM {stats} WHERE wkey = ? AND hour >= ? AND hour < ? ORDER BY hour LIMIT ?`,
				[]any{h.wkey, from, until, int64(limit - len(out))}, func(v []driver.Value) error {
					out = append(out, webhook.StatsBucket{
						WebhookID: h.id, Hour: time.UnixMicro(integer(v[0])).UTC(), Succeeded: integer(v[1]), Failed: integer(v[2]),
						Duration: time.Duration(integer(v[3])) * time.Microsecond,
					})
					return nil
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, wrap(ctx, "stats", err)
}
