package pgstore

import "github.com/seed68722ecd/webhook/internal/sqlstore"

// key identifies a delivery by the keys of its event and webhook. So a delivery
// needs no index of its own, and an event cannot have two deliveries to one webhook
// in the same table.
type key struct{ event, webhook int64 }

// id returns the public form of k. IDs sort as their keys do.
func (k key) id() string { return sqlstore.FormatID(k.event, k.webhook) }

// parseID is the inverse of id; ok is false for a string that id never returns.
func parseID(id string) (k key, ok bool) {
	k.event, k.webhook, ok = sqlstore.ParseID(id)
	return k, ok
}
