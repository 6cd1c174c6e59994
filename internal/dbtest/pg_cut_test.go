package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/storetest"
)

// cutter acts at a chosen moment: before the first statement that its pool sends,
// after it, before the second, and so on.
type cutter struct {
	mu   sync.Mutex
	at   int // the moment, from 1; 0: never
	seen int
	do   func(pid uint32)
}

func (c *cutter) moment(conn *pgx.Conn) {
	c.mu.Lock()
	c.seen++
	do := c.do
	if c.at == 0 || c.seen != c.at {
		do = nil
	}
	c.mu.Unlock()
	if do != nil {
		do(conn.PgConn().PID())
	}
}

func (c *cutter) arm(at int, do func(pid uint32)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.seen, c.do = at, 0, do
}

// reached reports whether the moment came.
func (c *cutter) reached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at > 0 && c.seen >= c.at
}

func (c *cutter) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.moment(conn)
	return ctx
}

func (c *cutter) TraceQueryEnd(_ context.Context, conn *pgx.Conn, _ pgx.TraceQueryEndData) {
	c.moment(conn)
}

// cutStore opens a store in a schema with statements that can be cut off.
func cutStore(t testing.TB, schema string) (*pgstore.Store, *cutter) {
	t.Helper()
	cfg, err := pgx.ParseConfig(postgres(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutter{}
	cfg.Tracer = cut
	frail := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { frail.Close() })
	return pgStore(t, frail, pgstore.Config{Schema: schema}), cut
}

// cutWays are the ways in which a call is cut off.
var cutWays = []string{"session ended", "context cancelled"}

// during calls fn, cut off at a moment, and reports whether the moment came.
func (c *cutter) during(t *testing.T, db *sql.DB, how string, at int, fn func(ctx context.Context)) (reached bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.arm(at, func(pid uint32) {
		if how == "session ended" {
			terminate(t, db, pid)
		} else {
			cancel()
		}
	})
	defer c.arm(0, nil)
	fn(ctx)
	return c.reached()
}

// terminate ends a session of the server and waits until it is gone.
func terminate(t testing.TB, db *sql.DB, pid uint32) {
	var done bool
	if err := db.QueryRow(`SELECT pg_terminate_backend($1, 5000)`, int64(pid)).Scan(&done); err != nil || !done {
		t.Errorf("ending session %d: %v, %v", pid, done, err)
	}
}

// cutBatch is a batch with one result of each kind: a delivery that succeeded, one
// that failed for good, a retry, and a result whose lease was lost. Each batch has
// its own webhook.
type cutBatch struct {
	t       *testing.T
	db      *sql.DB
	schema  string
	s       *pgstore.Store
	hook    string
	token   int64
	results []webhook.Result
}

func newCutBatch(t *testing.T, db *sql.DB, schema string, s *pgstore.Store, n int) *cutBatch {
	t.Helper()
	b := &cutBatch{t: t, db: db, schema: schema, s: s, hook: fmt.Sprintf("wh_%d", n)}
	pgHook(t, s, b.hook, "never.published")
	for i := range 3 {
		req := pgEvent(fmt.Sprintf("cut-%d-%d", n, i))
		req.WebhookID = b.hook
		mustPublish(t, s, req)
	}
	var ds []webhook.ClaimedDelivery
	if ds, b.token = pgClaim(t, s, time.Now(), 10); len(ds) != 3 {
		t.Fatalf("claimed %d of 3", len(ds))
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	ok := webhook.Attempt{Number: 1, StartedAt: at, Duration: time.Second, Status: 204}
	bad := webhook.Attempt{Number: 1, StartedAt: at.Add(time.Second), Duration: time.Second, Status: 500, Class: webhook.ClassStatus}
	late := bad
	b.results = []webhook.Result{
		{DeliveryID: ds[0].Delivery.ID, Token: b.token, State: webhook.StateSucceeded, Attempt: &ok},
		{DeliveryID: ds[1].Delivery.ID, Token: b.token, State: webhook.StateFailed, Reason: webhook.ReasonRetriesExhausted, Attempt: &bad},
		{DeliveryID: ds[2].Delivery.ID, Token: b.token, State: webhook.StatePending, Delay: 24 * time.Hour, Attempt: &bad},
		{DeliveryID: ds[2].Delivery.ID, Token: b.token + 1, State: webhook.StateSucceeded, Attempt: &late},
	}
	return b
}

// cutState has all counters and rows that the batch changes, as one value.
type cutState struct {
	States                    [3]webhook.State
	Counted, Logged           [3]int
	Later                     bool // the retry waits until due
	Triggered, Failing        bool
	HourlySucceeded, HourlyNo int64
	Remaining                 int // count in the claim's row
}

var (
	cutNothing = cutState{States: [3]webhook.State{"pending", "pending", "pending"}, Remaining: 3}
	cutAll     = cutState{States: [3]webhook.State{"succeeded", "failed", "pending"}, Counted: [3]int{1, 1, 1}, Logged: [3]int{1, 1, 2},
		Later: true, Triggered: true, Failing: true, HourlySucceeded: 1, HourlyNo: 2}
)

// state reads the recorded state in its own session.
func (b *cutBatch) state() (st cutState) {
	b.t.Helper()
	for i := range st.States {
		d, err := b.s.GetDelivery(b.t.Context(), tenant, b.results[i].DeliveryID)
		if err != nil {
			b.t.Fatal(err)
		}
		as, err := b.s.ListAttempts(b.t.Context(), tenant, d.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		st.States[i], st.Counted[i], st.Logged[i] = d.State, d.Tries, len(as)
		st.Later = d.NextAttemptAt.After(time.Now().Add(time.Hour))
	}
	w, err := b.s.GetWebhook(b.t.Context(), tenant, b.hook)
	if err != nil {
		b.t.Fatal(err)
	}
	st.Triggered, st.Failing = !w.LastTriggeredAt.IsZero(), !w.FailingSince.IsZero()
	hours, err := b.s.Stats(b.t.Context(), webhook.StatsQuery{Tenant: tenant, WebhookIDs: []string{b.hook}, Since: time.Unix(0, 0)})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, h := range hours {
		st.HourlySucceeded += h.Succeeded
		st.HourlyNo += h.Failed
	}
	q := `SELECT remaining FROM ` + b.schema + `.webhook_claims WHERE token = $1`
	if err := b.db.QueryRow(q, b.token).Scan(&st.Remaining); err != nil {
		b.t.Fatal(err)
	}
	return st
}

// check requires that the batch is recorded completely or not at all, and
// completely if Complete returned no error. After it is recorded again, it is there
// once.
func (b *cutBatch) check(when string, err error) (recorded bool) {
	b.t.Helper()
	st := b.state()
	recorded = st == cutAll
	if !recorded && (st != cutNothing || err == nil) {
		b.t.Errorf("%s: Complete returned %v, recorded is %+v", when, err, st)
	}
	outcomes, err := b.s.Complete(b.t.Context(), time.Now(), b.results)
	if err != nil {
		b.t.Fatalf("%s: again: %v", when, err)
	}
	want := []webhook.Outcome{webhook.OutcomeApplied, webhook.OutcomeApplied, webhook.OutcomeApplied, webhook.OutcomeLate}
	if recorded {
		want[3] = webhook.OutcomeApplied
	}
	if !slices.Equal(outcomes, want) {
		b.t.Errorf("%s: again: outcomes %v, want %v", when, outcomes, want)
	}
	if st := b.state(); st != cutAll {
		b.t.Errorf("%s: after it was recorded again: %+v", when, st)
	}
	return recorded
}

// The session ends, or the caller gives up, before and after every statement of
// Complete, including BEGIN and COMMIT.
func TestD8_CutBetweenStatements(t *testing.T) {
	db := pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	s := pgStore(t, db, pgstore.Config{Schema: schema})
	victim, cut := cutStore(t, schema)

	n := 0
	for _, how := range cutWays {
		moments, recorded := 0, 0
		for at := 1; ; at++ {
			n++
			b := newCutBatch(t, db, schema, s, n)
			var err error
			reached := cut.during(t, db, how, at, func(ctx context.Context) { _, err = victim.Complete(ctx, time.Now(), b.results) })
			stored := b.check(fmt.Sprintf("%s at moment %d", how, at), err)
			if !reached {
				break
			}
			moments++
			if stored {
				recorded++
			}
		}
		// BEGIN, the settings, the results, late results looked up and logged, the
		// counters, COMMIT.
		if moments < 14 || recorded == 0 || recorded == moments {
			t.Errorf("%s at %d moments, recorded after %d of them", how, moments, recorded)
		}
		t.Logf("%s at %d moments: recorded after %d of them", how, moments, recorded)
	}
	storetest.CheckInvariants(t, s, tenant)
}

// The same in the middle of a statement that waits for a row locked by another
// session.
func TestD8_CutWithinAStatement(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			s := pgStore(t, db, pgstore.Config{Schema: schema})
			name := "cut_" + schema
			victim := pgStore(t, pgOpen(t, driver, "application_name="+name), pgstore.Config{Schema: schema})
			n := 0
			for _, how := range cutWays {
				for _, row := range []string{"queue WHERE ekey = (SELECT max(ekey) FROM %s.webhook_queue)", "queue WHERE ekey = (SELECT min(ekey) FROM %s.webhook_queue WHERE token <> 0)",
					"claims WHERE id = (SELECT max(id) FROM %s.webhook_claims)", "health WHERE wkey = (SELECT max(wkey) FROM %s.webhook_health)"} {
					n++
					b := newCutBatch(t, db, schema, s, n)
					inTx(t, db, false, func(tx *sql.Tx) error {
						q := `SELECT 1 FROM ` + schema + `.webhook_` + fmt.Sprintf(row, schema) + ` FOR UPDATE`
						var one int
						if err := tx.QueryRow(q).Scan(&one); err != nil {
							return err
						}
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						failed := make(chan error, 1)
						go func() {
							_, err := victim.Complete(ctx, time.Now(), b.results)
							failed <- err
						}()
						pid := waitingSession(t, db, name)
						if how == "session ended" {
							terminate(t, db, pid)
						} else {
							cancel()
						}
						if err := <-failed; err == nil {
							t.Errorf("%s while it waits for a row of %s: Complete succeeded", how, row)
						}
						return nil
					})
					if b.check(how+" while it waits for a row of "+row, context.Canceled) {
						t.Errorf("%s while it waits for a row of %s: recorded", how, row)
					}
				}
			}
			storetest.CheckInvariants(t, s, tenant)
		})
	}
}

// waitingSession returns the session of an application that waits for a lock.
func waitingSession(t testing.TB, db *sql.DB, application string) uint32 {
	t.Helper()
	ctx := within(t, 10*time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var pid int64
		err := db.QueryRowContext(ctx, `SELECT coalesce(max(pid), 0) FROM pg_stat_activity
			WHERE application_name = $1 AND wait_event_type = 'Lock'`, application).Scan(&pid)
		if err != nil {
			t.Fatalf("no session of %s waits: %v", application, err)
		}
		if pid > 0 {
			return uint32(pid)
		}
		<-tick.C
	}
}

// Sessions are ended in the middle of their statements while many callers publish
// and record. Each repeats its call until it succeeds.
func TestD18_CallsSucceedAlthoughSessionsEndMidStatement(t *testing.T) {
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			s := pgStore(t, db, pgstore.Config{Schema: schema})
			pgHook(t, s, "wh_1", "*")
			pgHook(t, s, "wh_2", "a.b")
			name := "cut_" + schema
			frail := pgStore(t, pgOpen(t, driver, "application_name="+name), pgstore.Config{Schema: schema})
			kills := 100
			if testing.Short() {
				kills = 30
			}
			r := &cutLoad{s: frail, acked: map[string]bool{}}
			ctx, stop := context.WithCancel(within(t, 40*time.Second))
			defer stop()
			var all sync.WaitGroup
			for c := range 8 {
				all.Go(func() { r.publish(ctx, c) })
			}
			for range 2 {
				all.Go(func() { r.deliver(ctx) })
			}
			ended := 0
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ended < kills && ctx.Err() == nil {
				<-tick.C
				var n int
				if err := db.QueryRow(`SELECT count(*) FILTER (WHERE ended) FROM (SELECT pg_terminate_backend(pid) AS ended
					FROM pg_stat_activity WHERE application_name = $1 AND state = 'active' ORDER BY random() LIMIT 1) x`, name).Scan(&n); err != nil {
					t.Error(err)
					break
				}
				ended += n
			}
			if ended < kills {
				t.Errorf("%d sessions ended, want %d", ended, kills)
			}
			r.last.Store(true) // all workers finish their current work
			all.Wait()
			if err := ctx.Err(); err != nil {
				t.Fatal(err)
			}
			events, deliveries := 0, 0
			if err := db.QueryRow(`SELECT (SELECT count(*) FROM `+schema+`.webhook_events), (SELECT count(*) FROM `+schema+`.webhook_queue)
				+ (SELECT count(*) FROM `+schema+`.webhook_deliveries)`).Scan(&events, &deliveries); err != nil {
				t.Fatal(err)
			}
			for id := range r.acked {
				if _, err := s.GetEvent(t.Context(), tenant, id); err != nil {
					t.Errorf("acknowledged event %s: %v", id, err)
				}
			}
			if events != len(r.acked) || deliveries != 2*events {
				t.Errorf("%d events were acknowledged, %d are stored, with %d deliveries", len(r.acked), events, deliveries)
			}
			storetest.CheckInvariants(t, s, tenant)
			t.Logf("%d sessions ended mid-statement: %d events, %d failed publishes of which %d had been stored; %d failed records",
				ended, events, r.failed.Load(), r.stored.Load(), r.unrecorded.Load())
		})
	}
}

// cutLoad publishes and delivers while its sessions keep being ended.
type cutLoad struct {
	s                          *pgstore.Store
	last                       atomic.Bool
	failed, stored, unrecorded atomic.Int64

	mu    sync.Mutex
	acked map[string]bool
}

func (r *cutLoad) publish(ctx context.Context, caller int) {
	for i := 0; !r.last.Load() && ctx.Err() == nil; i++ {
		reqs := []webhook.PublishRequest{pgEvent(fmt.Sprintf("c%d-%d", caller, i))}
		if caller%2 == 1 { // events of one call
			reqs = append(reqs, pgEvent(fmt.Sprintf("c%d-%d-more", caller, i)))
		}
		for ctx.Err() == nil {
			res, err := r.s.Publish(ctx, time.Now(), reqs)
			if err != nil {
				r.failed.Add(1)
				continue
			}
			r.mu.Lock()
			for i := range reqs {
				r.acked[reqs[i].Event.ID] = true
			}
			r.mu.Unlock()
			if res[0].Duplicate {
				r.stored.Add(1)
			}
			break
		}
	}
}

func (r *cutLoad) deliver(ctx context.Context) {
	for token := time.Now().UnixNano(); !r.last.Load() && ctx.Err() == nil; token++ {
		res, err := r.s.Claim(ctx, webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: time.Minute, Limit: 20, PerWebhook: 20})
		if err != nil || len(res.Deliveries) == 0 {
			continue
		}
		var results []webhook.Result
		for _, d := range res.Deliveries {
			results = append(results, webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded,
				Attempt: &webhook.Attempt{Number: d.Delivery.Attempts + 1, StartedAt: time.Now(), Status: 200}})
		}
		for ctx.Err() == nil {
			if _, err := r.s.Complete(ctx, time.Now(), results); err == nil {
				break
			}
			r.unrecorded.Add(1)
		}
	}
}
