package sqlitestore

import (
	"fmt"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// key identifies a delivery by its webhook and its number there.
type key struct{ wkey, seq int64 }

// id returns the public form of k. IDs sort by number, then by webhook.
func (k key) id() string { return sqlstore.FormatID(k.seq, k.wkey) }

// parseID is the inverse of id; ok is false for a string that id never returns.
func parseID(id string) (k key, ok bool) {
	k.seq, k.wkey, ok = sqlstore.ParseID(id)
	return k, ok
}

// The kinds of cursor.
const (
	cursorWebhooks   = 'w'
	cursorDeliveries = 'd'
	cursorResends    = 'r'
	cursorMissing    = 'm'
)

// parseCursor reads a cursor of n numbers and, for a list of webhooks, a text.
func parseCursor(kind byte, n int, s string) (nums []int64, tail string, err error) {
	nums, tail, ok := sqlstore.ParseCursor(kind, n, s)
	if !ok || kind != cursorWebhooks && tail != "" {
		return nil, "", fmt.Errorf("%w: start again without one", webhook.ErrCursor)
	}
	return nums, tail, nil
}
