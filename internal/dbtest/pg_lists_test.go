package dbtest

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

var (
	scanned = regexp.MustCompile(`Scan[^\n]* on webhook_(?:queue|deliveries)\b[^\n]*actual rows=([0-9.]+) loops=(\d+)\)((?s:.*?))(?:->|\z)`)
	removed = regexp.MustCompile(`Rows Removed by [^:\n]*: (\d+)`)
)

// scans returns how many rows of the queue and the log the explained statements
// read, including those they filtered out.
func scans(t testing.TB, plans string) (rows int) {
	t.Helper()
	for _, m := range scanned.FindAllStringSubmatch(plans, -1) {
		n, err1 := strconv.ParseFloat(m[1], 64)
		loops, err2 := strconv.Atoi(m[2])
		if err1 != nil || err2 != nil {
			t.Fatal(m[0])
		}
		for _, r := range removed.FindAllStringSubmatch(m[3], -1) {
			more, err := strconv.ParseFloat(r[1], 64)
			if err != nil {
				t.Fatal(m[0])
			}
			n += more
		}
		rows += int(n * float64(loops))
	}
	return rows
}

// pgListsAreBounded checks how much lists read beside rows due deliveries of wh_1,
// as many waiting ones of wh_2 and as many finished ones of wh_3, which were
// created one in each of the first microseconds.
func pgListsAreBounded(t *testing.T, s *pgstore.Store, db *explained, schema string, rows int) {
	t.Helper()
	const hooks = 4
	calls, mostRows, mostPages, most := 0, 0, 0, ""
	defer func() { t.Logf("%d lists: at most %d rows (%s), %d pages", calls, mostRows, most, mostPages) }()
	early := func(us int) time.Time { return time.UnixMicro(int64(us)).UTC() }
	list := func(what string, q webhook.DeliveryQuery) webhook.Page[webhook.Delivery] {
		t.Helper()
		q.Tenant = tenant
		db.pages(t)
		p, err := s.ListDeliveries(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		touched, plans := db.pages(t)
		read := scans(t, plans)
		if read > webhook.MaxScan+2*hooks || touched > webhook.MaxScan*3/2 {
			t.Errorf("list %s read %d rows and touched %d pages, at most %d rows are allowed:\n%s", what, read, touched, webhook.MaxScan, plans)
		}
		if read == 0 && len(p.Items) > 0 {
			t.Fatalf("no row is counted in\n%s", plans)
		}
		if calls++; read > mostRows {
			mostRows, most = read, what
		}
		mostPages = max(mostPages, touched)
		return p
	}
	for _, id := range []string{"", "wh_1", "wh_2", "wh_3"} {
		for _, state := range []webhook.State{"", webhook.StatePending, webhook.StateSucceeded, webhook.StateFailed, webhook.StateCanceled} {
			for name, q := range map[string]webhook.DeliveryQuery{
				"all": {}, "no such type": {EventType: "no.such"}, "no such event": {EventID: "none"}, "an event": {EventID: "alone-1-a"},
				"later than all": {Since: time.Now().Add(time.Hour)}, "earlier than all": {Until: early(1)},
				"a window in the middle": {Since: early(rows / 2), Until: early(rows/2 + 100)}, "a long one": {Since: early(rows / 4), Until: early(rows / 2), EventType: "no.such"},
			} {
				q.WebhookID, q.State = id, state
				list(fmt.Sprintf("of %q, state %q, %s", id, state, name), q)
			}
		}
	}
	// Three among all finished deliveries are found, each once, also with changes
	// meanwhile.
	if _, err := db.Exec(fmt.Sprintf(`UPDATE %s.webhook_deliveries SET type = 'needle' WHERE wkey = 3 AND created_at IN (%d, %d, 3)`, schema, rows-3, rows/2)); err != nil {
		t.Fatal(err)
	}
	var found []int64
	q := webhook.DeliveryQuery{WebhookID: "wh_3", EventType: "needle"}
	for calls, reached := 0, time.Now(); ; calls++ {
		p := list("for a needle", q)
		for _, d := range p.Items {
			found = append(found, d.CreatedAt.UnixMicro())
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
		if calls > 2*rows/webhook.MaxScan+10 || !p.Reached.Before(reached) {
			t.Fatalf("call %d reached %v after %v", calls, p.Reached, reached)
		}
		if reached = p.Reached; calls%10 == 0 {
			mustPublish(t, s, pgEvent(fmt.Sprint("meanwhile-", calls)))
			res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: int64(calls) + 1, Now: time.Now(), Lease: time.Minute,
				Limit: 1, PerWebhook: 1, Limits: map[string]int{"wh_1": 0}})
			if err != nil || len(res.Deliveries) != 1 {
				t.Fatal(len(res.Deliveries), err)
			}
			if _, err := s.Complete(t.Context(), time.Now(), []webhook.Result{
				{DeliveryID: res.Deliveries[0].Delivery.ID, Token: int64(calls) + 1, State: webhook.StateSucceeded},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if fmt.Sprint(found) != fmt.Sprint([]int{rows - 3, rows / 2, 3}) {
		t.Errorf("found those of %v", found)
	}
	// A step of a replay is bounded too.
	for name, req := range map[string]webhook.ReplayRequest{
		"a type": {EventType: "no.such", States: []webhook.State{webhook.StateSucceeded}}, "a state": {States: []webhook.State{webhook.StateCanceled}},
		"a time": {Until: early(1), States: []webhook.State{webhook.StateSucceeded}},
	} {
		req.Tenant, req.WebhookID, req.Now, req.DryRun, req.Limit = tenant, "wh_3", time.Now(), true, 500
		for calls := range 3 {
			db.pages(t)
			res, err := s.Replay(t.Context(), req)
			if err != nil || res.Resent != 0 || (res.Next == "") != (name == "a state") {
				t.Fatalf("replay of %s: %+v, %v", name, res, err)
			}
			if touched, plans := db.pages(t); scans(t, plans) > webhook.MaxScan {
				t.Errorf("replay of %s: step %d read %d rows and touched %d pages:\n%s", name, calls, scans(t, plans), touched, plans)
			}
			if req.Cursor = res.Next; req.Cursor == "" {
				break
			}
		}
	}
	// Statistics are read by webhook and hour, however many others there are.
	db.pages(t)
	if _, err := s.Stats(t.Context(), webhook.StatsQuery{Tenant: tenant, Since: time.Now().Add(-31 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if touched, plans := db.pages(t); touched > 100 || scans(t, plans) > 0 {
		t.Errorf("statistics touched %d pages:\n%s", touched, plans)
	}
}
