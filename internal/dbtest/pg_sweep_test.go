package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// slowPast is a server whose index entries of the last day, up to a minute ago,
// belong to finished deliveries and cannot be removed: a statement that looks at
// more than an hour of them runs into the timeout.
type slowPast struct {
	driver.Connector
	ended atomic.Int64 // statements that ran into it
}

type slowPastConn struct {
	*stdlib.Conn
	s *slowPast
}

func (s *slowPast) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &slowPastConn{conn.(*stdlib.Conn), s}, nil
}

func (c *slowPastConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if slowStatement(q, args) {
		c.s.ended.Add(1)
		return nil, &pgconn.PgError{Code: "57014", Message: "canceling statement due to statement timeout"}
	}
	return c.Conn.QueryContext(ctx, q, args)
}

// slowHook is the key of the one webhook that has had deliveries.
const slowHook = 2

// slowStatement reports whether a statement looks at too many entries.
func slowStatement(q string, args []driver.NamedValue) bool {
	arg := func(i int) int64 { n, _ := strconv.ParseInt(fmt.Sprint(args[i-1].Value), 10, 64); return n }
	now := time.Now()
	slow := func(from, to int64) bool {
		from, to = max(from, now.Add(-24*time.Hour).UnixMicro()), min(to, now.Add(-time.Minute).UnixMicro())
		return to-from > time.Hour.Microseconds()
	}
	const ever = 1 << 62
	switch {
	case strings.Contains(q, "WITH RECURSIVE"):
		return true
	case strings.Contains(q, "SET waiting = false"), strings.Contains(q, "check_at <= "):
		return slow(arg(2), arg(3))
	case strings.Contains(q, "f AS MATERIALIZED"):
		return slow(arg(3), arg(4))
	case strings.Contains(q, "LEFT JOIN LATERAL"):
		return arg(2) < slowHook && arg(2)+arg(3) >= slowHook && slow(arg(4), arg(5))
	case strings.Contains(q, "picked AS"):
		for since := range strings.SplitSeq(strings.Trim(args[3].Value.(string), "{}"), ",") {
			if n, err := strconv.ParseInt(since, 10, 64); err == nil && slow(n, ever) {
				return true
			}
		}
		return slow(arg(12), ever) || slow(arg(13), ever)
	}
	return false
}

// A sweep that takes too long fails alone: claims go on without it, and deliveries
// that only a sweep can find are found by sweeps in parts.
func TestD20_ClaimsGoOnWithoutTheSweep(t *testing.T) {
	plain := pgOpen(t, "pgx", "")
	schema := pgSchema(t, plain)
	p := pgStore(t, plain, pgstore.Config{Schema: schema})
	for i := range 5 {
		pgHook(t, p, fmt.Sprint("wh_", i), fmt.Sprint("type.", i))
	}
	pgHook(t, p, "wh_new", "a.b")
	exec := pgExecutor(t, plain)
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).UnixMicro() }
	// Old deliveries: one ready for hours at a webhook that has had many, one
	// waiting for hours, one held by a claim that ended hours ago.
	exec(`INSERT INTO %[1]s.webhook_events (ekey, time, created_at, tenant, id, type, data)
		SELECT i, 1, 1, '%[2]s', 'late-' || i, 'a.b', '{}' FROM generate_series(1, 5) i;
		INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, waiting, token, lease_until, type, name)
		SELECT w.n, h.wkey, 1, w.due, w.waiting, w.token, w.until, 'a.b', 'n'
		FROM (VALUES (1, 'wh_1', %[3]d, false, 0, 0), (2, 'wh_1', %[4]d, false, 0, 0), (3, 'wh_2', %[5]d, true, 0, 0),
			(4, 'wh_3', %[6]d, true, 0, 0), (5, 'wh_4', 1, false, 77, %[7]d)) AS w(n, id, due, waiting, token, until)
		JOIN %[1]s.webhook_webhooks h USING (id);
		INSERT INTO %[1]s.webhook_claims (token, check_at, remaining, ekeys, wkeys)
		SELECT 77, %[7]d, 1, '{5}', ARRAY[wkey] FROM %[1]s.webhook_webhooks WHERE id = 'wh_4'`,
		schema, tenant, ago(5*time.Hour), ago(90*time.Second), ago(20*time.Hour), ago(100*time.Second), ago(7*time.Hour))

	cfg, err := pgx.ParseConfig(postgres(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowPast{Connector: stdlib.GetConnector(*cfg)}
	db := sql.OpenDB(slow)
	t.Cleanup(func() { db.Close() })
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	seen := map[string]int{}
	missing := func() (late []string) {
		for i := range 5 {
			if id := fmt.Sprint("late-", i+1); seen[id] == 0 {
				late = append(late, id)
			}
		}
		return late
	}
	claims := 0
	for ; len(missing()) > 0; claims++ {
		if claims == 200_000 {
			t.Fatalf("%v were not claimed", missing())
		}
		fresh := fmt.Sprint("new-", claims)
		if claims%50 == 0 {
			mustPublish(t, p, pgEvent(fresh))
		}
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: rand.Int64N(1<<62) + 1, Now: time.Now(), Lease: time.Hour, Limit: 100, PerWebhook: 100})
		if err != nil {
			t.Fatalf("claim %d: %v", claims, err)
		}
		for _, d := range res.Deliveries {
			if seen[d.Delivery.EventID]++; seen[d.Delivery.EventID] > 1 {
				t.Errorf("%s was claimed twice", d.Delivery.EventID)
			}
		}
		if claims%50 == 0 && seen[fresh] != 1 {
			t.Errorf("claim %d did not return the event just published: %v", claims, seen)
		}
	}
	t.Logf("%d claims", claims)
	t.Logf("%d statements ran into the time-out", slow.ended.Load())
	if slow.ended.Load() == 0 {
		t.Error("no statement ran into the time-out")
	}
}
