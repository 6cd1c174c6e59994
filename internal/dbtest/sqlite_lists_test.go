package dbtest

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// sqliteListsAreBounded looks for rare deliveries among rows finished ones. The
// table shows how far a call has looked: according to the plans, which
// TestD9_SQLiteClaimsWalkIndexes checks, a call reads only the rows from there to
// the end of the previous call.
func sqliteListsAreBounded(t *testing.T, s *sqlitestore.Store, conn *sql.Conn, rows int) {
	t.Helper()
	const done = `wkey = (SELECT wkey FROM webhook_webhooks WHERE id = 'done')`
	newest := sqliteOne(t, conn, `SELECT max(created) FROM webhook_deliveries WHERE `+done)
	sqliteExec(t, conn, fmt.Sprintf(`UPDATE webhook_deliveries SET type = 'needle' WHERE `+done+` AND created IN (%d, %d, %d)`, newest-2, newest-rows/2, newest-rows+3))
	at := func(created int) time.Time { return time.UnixMicro(int64(created)).UTC() }
	for name, c := range map[string]struct {
		q     webhook.DeliveryQuery
		calls int // at least, and at most one in twenty more
		found string
	}{
		"of one webhook by type":        {webhook.DeliveryQuery{WebhookID: "done", EventType: "needle"}, rows / webhook.MaxScan, fmt.Sprint([]int{newest - 2, newest - rows/2, newest - rows + 3})},
		"of all of them by type":        {webhook.DeliveryQuery{EventType: "needle"}, rows / webhook.MaxScan, fmt.Sprint([]int{newest - 2, newest - rows/2, newest - rows + 3})},
		"in a state without deliveries": {webhook.DeliveryQuery{WebhookID: "done", State: webhook.StatePending, Until: at(newest + 1)}, rows / webhook.MaxScan, "[]"},
		"in a window, by type": {
			webhook.DeliveryQuery{WebhookID: "done", EventType: "needle", Since: at(newest - rows*3/4), Until: at(newest - rows/4)}, rows / 2 / webhook.MaxScan, fmt.Sprint([]int{newest - rows/2}),
		},
		"that failed":      {webhook.DeliveryQuery{WebhookID: "done", State: webhook.StateFailed, EventType: "needle"}, 1, "[]"},
		"later than all":   {webhook.DeliveryQuery{WebhookID: "done", Since: time.Now().Add(time.Hour)}, 1, "[]"},
		"earlier than all": {webhook.DeliveryQuery{WebhookID: "done", Until: at(newest - rows)}, 1, "[]"},
		"of no event":      {webhook.DeliveryQuery{WebhookID: "done", EventID: "none"}, 1, "[]"},
	} {
		c.q.Tenant = "done"
		found, calls, most, from := []int{}, 0, 0, int(time.Now().Add(time.Hour).UnixMicro())
		if !c.q.Until.IsZero() {
			from = int(c.q.Until.UnixMicro())
		}
		for {
			p, err := s.ListDeliveries(t.Context(), c.q)
			if err != nil {
				t.Fatal(err)
			}
			calls++
			for _, d := range p.Items {
				found = append(found, int(d.CreatedAt.UnixMicro()))
			}
			if c.q.Cursor = p.Next; c.q.Cursor == "" || calls > 2*rows/webhook.MaxScan {
				break
			}
			to := int(p.Reached.UnixMicro())
			looked := sqliteOne(t, conn, fmt.Sprintf(`SELECT count(*) FROM webhook_deliveries WHERE `+done+` AND created >= %d AND created < %d`, to, from))
			if most, from = max(most, looked), to; looked > webhook.MaxScan {
				t.Errorf("list %s: call %d looked at %d rows, at most %d are allowed", name, calls, looked, webhook.MaxScan)
			}
			// Deliveries created meanwhile are on no later page.
			if calls%10 == 1 && c.q.State == "" {
				if _, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{sqliteRequest("done", fmt.Sprint(name, calls), 10)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Logf("list %s: %d calls, at most %d rows each", name, calls, most)
		if fmt.Sprint(found) != c.found || calls < c.calls || calls > c.calls+c.calls/20+1 {
			t.Errorf("list %s: found those of %v in %d calls, want %s in about %d", name, found, calls, c.found, c.calls)
		}
	}
}
