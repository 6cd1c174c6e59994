package dbtest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
	"github.com/seed68722ecd/webhook/pgstore"
)

// wide is a store with very many pending deliveries, and as many finished ones,
// whose keys share one half: those of one event to very many webhooks, or of very
// many events to one webhook. A look-up positioned by that half alone steps over
// all of them.
type wide struct {
	t      *testing.T
	db     *explained
	plain  *sql.DB
	schema string
	s      *pgstore.Store
	rows   int
	event  bool // the event is the shared half
	next   int  // the first of the next probes
}

// wideProbes is how many deliveries each call is about.
const wideProbes = 500

// newWide fills a schema. With emptied the server has the statistics of tables that
// were found empty.
func newWide(t *testing.T, rows int, event, emptied bool) *wide {
	t.Helper()
	w := &wide{t: t, plain: pgOpen(t, "pgx", ""), rows: rows, event: event}
	w.schema = pgSchema(t, w.plain)
	s := pgStore(t, w.plain, pgstore.Config{Schema: w.schema})
	pgHook(t, s, "wh_1", "a.b")
	tables := []string{"queue", "deliveries", "attempts", "claims", "webhooks", "events"}
	for _, table := range tables { // the statistics are not corrected meanwhile
		w.exec(`ALTER TABLE %s.webhook_%s SET (autovacuum_enabled = false)`, w.schema, table)
	}
	pending, finished, hooks, events := "1, i", "2, i", rows, 2
	if !event {
		pending, finished, hooks, events = "i, 1", fmt.Sprintf("%d + i, 1", rows), 1, 2*rows
	}
	fill := func() {
		w.exec(`INSERT INTO %[1]s.webhook_queue (ekey, wkey, created_at, due, token, waiting, type, name)
			SELECT %[3]s, 1000 + i, 4000000000000000, 7, true, 'a.b', 'n' FROM generate_series(1, %[2]d) i;
			INSERT INTO %[1]s.webhook_deliveries (ekey, wkey, created_at, finished_at, token, ord, started_at, number, duration, truncated,
				state, attempts, tries, crashes, last_status, status, type, name)
			SELECT %[4]s, 1000 + i, 4000000000000000, 8, i, 1, 1, 1, false, 2, 1, 1, 0, 200, 200, 'a.b', 'n' FROM generate_series(1, %[2]d) i;
			INSERT INTO %[1]s.webhook_attempts (ekey, wkey, token, ord, started_at, number, duration, status, truncated, late)
			SELECT %[4]s, 6, 1, 1, 1, 1, 500, false, false FROM generate_series(1, %[2]d) i;
			INSERT INTO %[1]s.webhook_claims (token, check_at, remaining, ekeys, wkeys)
			SELECT 1000 + i, 4000000000000000, 0, '{}', '{}' FROM generate_series(1, 2000) i;`, w.schema, rows, pending, finished)
		w.exec(`INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
				max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
			SELECT i, 'wh_' || i, '%[4]s', 'n', 'https://example.com', '', '["a.b"]', '{}', '[]', true, true, 1, 3, '', 0, 1, 1, 1
			FROM generate_series(2, %[2]d) i;
			INSERT INTO %[1]s.webhook_events (ekey, time, created_at, tenant, id, type, data)
			SELECT i, 1, 1000 + i, '%[4]s', 'ev-' || i, 'a.b', '{}' FROM generate_series(1, %[3]d) i`, w.schema, hooks, events, tenant)
	}
	if emptied {
		fill()
		for _, table := range tables[:4] {
			w.exec(`DELETE FROM %[1]s.webhook_%[2]s`, w.schema, table)
			w.exec(`ANALYZE %[1]s.webhook_%[2]s`, w.schema, table)
		}
		w.exec(`DELETE FROM %[1]s.webhook_events; DELETE FROM %[1]s.webhook_webhooks WHERE wkey > 1`, w.schema)
	}
	fill()
	for _, table := range tables {
		if !emptied || table == "webhooks" {
			w.exec(`ANALYZE %[1]s.webhook_%[2]s`, w.schema, table)
		}
	}
	w.db = pgExplained(t)
	w.s = pgStore(t, w.db.DB, pgstore.Config{Schema: w.schema})
	return w
}

func (w *wide) exec(q string, args ...any) { w.t.Helper(); pgExecutor(w.t, w.plain)(q, args...) }

// keys returns the keys of the next deliveries to be asked for, spread over all of
// them.
func (w *wide) keys(finished bool) (events, hooks []int) {
	other := make([]int, wideProbes)
	for i := range other {
		other[i] = (i*(w.rows/wideProbes)+w.next)%w.rows + 1
	}
	w.next++
	rand.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
	same := slices.Repeat([]int{1}, wideProbes)
	switch {
	case w.event && finished:
		return slices.Repeat([]int{2}, wideProbes), other
	case w.event:
		return same, other
	case finished:
		for i := range other {
			other[i] += w.rows
		}
	}
	return other, same
}

func (w *wide) ids(finished bool) []string {
	events, hooks := w.keys(finished)
	out := make([]string, wideProbes)
	for i := range out {
		out[i] = sqlstore.FormatID(int64(events[i]), int64(hooks[i]))
	}
	return out
}

func (w *wide) leases(token int64) []webhook.Lease {
	var out []webhook.Lease
	for _, id := range w.ids(false) {
		out = append(out, webhook.Lease{DeliveryID: id, Token: token})
	}
	return out
}

func (w *wide) complete(finished bool, token int64, want webhook.Outcome, states ...webhook.State) {
	w.t.Helper()
	var results []webhook.Result
	for i, id := range w.ids(finished) {
		r := webhook.Result{DeliveryID: id, Token: token, State: states[i%len(states)], Delay: time.Hour,
			Attempt: &webhook.Attempt{Number: 1, StartedAt: time.Now(), Duration: time.Millisecond, Status: 200}}
		if r.State == webhook.StatePending {
			r.Attempt.Status = 500
		}
		results = append(results, r)
	}
	got, err := w.s.Complete(w.t.Context(), time.Now(), results)
	w.must(err)
	if i := slices.IndexFunc(got, func(o webhook.Outcome) bool { return o != want }); i >= 0 {
		w.t.Errorf("outcome %d is %v, want %v", i, got[i], want)
	}
}

func (w *wide) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// hold lets a new claim hold the next deliveries until a time.
func (w *wide) hold(until int64) (token int64) {
	w.t.Helper()
	events, hooks := w.keys(false)
	token = 100_000 + int64(w.next)
	w.exec(`UPDATE %[1]s.webhook_queue SET token = %[2]d, lease_until = %[3]d, waiting = false, due = 1
		WHERE (ekey, wkey) IN (SELECT * FROM unnest('%[4]s'::bigint[], '%[5]s'::bigint[]))`, w.schema, token, until, pgInts(events), pgInts(hooks))
	w.exec(`INSERT INTO %[1]s.webhook_claims (token, check_at, remaining, ekeys, wkeys)
		VALUES (%[2]d, %[3]d, %[4]d, '%[5]s', '%[6]s')`, w.schema, token, until, len(events), pgInts(events), pgInts(hooks))
	w.db.pages(w.t)
	return token
}

// wideCall is a call about so many deliveries, with the most pages that it may
// touch for each.
type wideCall struct {
	what  string
	pages int
	call  func() (deliveries int)
}

// calls returns every call that looks up deliveries by their keys.
func (w *wide) calls() []wideCall {
	t, s := w.t, w.s
	each := func(n int, finished bool, f func(id string) error) func() int {
		return func() int {
			for _, id := range w.ids(finished)[:n] {
				w.must(f(id))
			}
			return n
		}
	}
	probes := func(f func()) func() int { return func() int { f(); return wideProbes } }
	return []wideCall{
		{"backlog", 12, probes(func() {
			_, err := s.Backlog(t.Context(), webhook.BacklogQuery{Now: time.Now(), Limit: wideProbes})
			w.must(err)
		})},
		{"extend", 8, probes(func() {
			lost, err := s.Extend(t.Context(), time.Now(), w.leases(7), time.Hour)
			w.must(err)
			if len(lost) > 0 {
				t.Errorf("lost %d", len(lost))
			}
		})},
		{"complete", 12, probes(func() { w.complete(false, 7, webhook.OutcomeApplied, webhook.StateSucceeded) })},
		{"retry", 20, probes(func() { w.complete(false, 7, webhook.OutcomeApplied, webhook.StatePending) })},
		{"some of each", 20, probes(func() {
			w.complete(false, 7, webhook.OutcomeApplied, webhook.StatePending, webhook.StateSucceeded)
		})},
		{"late", 35, probes(func() { w.complete(false, 9, webhook.OutcomeLate, webhook.StateSucceeded) })},
		{"late, finished", 35, probes(func() { w.complete(true, 9, webhook.OutcomeLate, webhook.StateSucceeded) })},
		{"again", 20, probes(func() { w.complete(true, 8, webhook.OutcomeApplied, webhook.StateSucceeded) })},
		{"release", 20, probes(func() { w.must(s.Release(t.Context(), time.Now(), w.leases(7), time.Hour)) })},
		{"release all", 20, probes(func() {
			w.must(s.Release(t.Context(), time.Now(), []webhook.Lease{{Token: w.hold(4000000000000000)}}, time.Hour))
		})},
		{"expired leases", 50, func() int { // found, claimed and loaded
			w.hold(1000)
			s := pgStore(t, w.db.DB, pgstore.Config{Schema: w.schema}) // another process, whose sweep looks at all rows
			w.db.pages(t)
			res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: rand.Int64N(1<<62) + 1, Now: time.Now(), Lease: time.Hour, Limit: 1000, PerWebhook: 1000})
			w.must(err)
			if len(res.Deliveries) < wideProbes {
				t.Errorf("claimed %d of %d whose lease has run out", len(res.Deliveries), wideProbes)
			}
			return len(res.Deliveries)
		}},
		{"delivery", 30, each(20, true, func(id string) error { _, err := s.GetDelivery(t.Context(), tenant, id); return err })},
		{"attempts", 50, each(20, true, func(id string) error { _, err := s.ListAttempts(t.Context(), tenant, id); return err })},
		{"resend", 120, each(20, true, func(id string) error { _, err := s.Resend(t.Context(), time.Now(), tenant, id); return err })},
		{"list", 60, each(20, true, func(id string) error {
			event, hook, _ := sqlstore.ParseID(id)
			_, err := s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant, EventID: fmt.Sprint("ev-", event), WebhookID: fmt.Sprint("wh_", hook)})
			return err
		})},
		{"replay", 80, probes(func() {
			if !w.event { // with one event to a webhook there is no delivery to replay
				res, err := s.Replay(t.Context(), webhook.ReplayRequest{Tenant: tenant, WebhookID: "wh_1", Now: time.Now(), Limit: wideProbes,
					States: []webhook.State{webhook.StateSucceeded}})
				if err != nil || res.Resent != wideProbes {
					t.Fatalf("replay: %+v, %v", res, err)
				}
			}
		})},
	}
}

// One event for very many webhooks, or very many events for one: the cost of a call
// depends on the deliveries it is about. Each is found by one probe of the primary
// key, whatever other rows share a part of the key, and whatever the server's
// statistics say.
func TestD29_CallsAboutAWideEvent(t *testing.T) {
	most := max(backlogRows(), 50_000)
	for _, event := range []bool{true, false} {
		for _, emptied := range []bool{false, true} {
			pages := map[string]int{}
			for _, rows := range []int{20_000, most} {
				w := newWide(t, rows, event, emptied)
				for _, c := range w.calls() {
					w.db.pages(t)
					least, plans := 0, ""
					for i := range 3 {
						per := c.call()
						n, p := w.db.pages(t)
						if n /= per; i == 0 || n < least {
							least, plans = n, p
						}
					}
					what := fmt.Sprintf("%s among %d (one event: %v, statistics of empty tables: %v)", c.what, rows, event, emptied)
					t.Logf("%s: %d pages for each", what, least)
					if least > c.pages {
						t.Errorf("%s touched %d pages for each, want at most %d:\n%s", what, least, c.pages, plans)
					} else if before, ok := pages[c.what]; ok && least > before+before/2+3 {
						t.Errorf("%s touched %d pages for each, and %d among 20,000:\n%s", what, least, before, plans)
					}
					pages[c.what] = least
				}
			}
		}
	}
}

// pgInts returns the array literal of numbers.
func pgInts(n []int) string {
	b := []byte{'{'}
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Append(b, v)
	}
	return string(append(b, '}'))
}

// One event for very many webhooks costs as much per delivery as as many events for
// one webhook each: to claim, to extend, to record.
func TestD29_AWideEventCostsItsDeliveries(t *testing.T) {
	hooks := max(backlogRows()/10, 5_000)
	cost := func(wide bool) map[string]int {
		plain := pgOpen(t, "pgx", "")
		schema := pgSchema(t, plain)
		s := pgStore(t, plain, pgstore.Config{Schema: schema})
		pgHook(t, s, "wh_1", "none")
		for _, q := range []string{
			`INSERT INTO %[1]s.webhook_webhooks (wkey, id, tenant, name, url, description, events, headers, secrets, active, verify_tls, timeout,
				max_retries, disabled_reason, disabled_at, created_at, updated_at, version)
			SELECT i, 'wh_' || i, tenant, 'hook ' || i, url, '', events, headers, secrets, true, true, timeout, 3, '', 0, created_at, updated_at, 1
			FROM %[1]s.webhook_webhooks, generate_series(2, %[2]d) i`,
			`INSERT INTO %[1]s.webhook_health (wkey) SELECT i FROM generate_series(2, %[2]d) i`,
			`INSERT INTO %[1]s.webhook_subscriptions SELECT tenant, CASE WHEN %[3]v THEN 'a.b' ELSE 'a.' || wkey END, wkey, name FROM %[1]s.webhook_webhooks`,
			`ANALYZE %[1]s.webhook_webhooks`,
		} {
			if _, err := plain.Exec(fmt.Sprintf(q, schema, hooks, wide)); err != nil {
				t.Fatal(err)
			}
		}
		if wide {
			mustPublish(t, s, pgEvent("wide"))
		} else {
			var reqs []webhook.PublishRequest
			for i := range hooks {
				r := pgEvent(fmt.Sprint("narrow-", i))
				r.Event.Type = fmt.Sprint("a.", i+1)
				r.Patterns = []string{r.Event.Type}
				if reqs = append(reqs, r); len(reqs) == 500 || i == hooks-1 {
					mustPublish(t, s, reqs...)
					reqs = reqs[:0]
				}
			}
		}
		db := pgExplained(t)
		s = pgStore(t, db.DB, pgstore.Config{Schema: schema})
		db.pages(t)
		pages := map[string]int{}
		for left := hooks; left > 0; {
			ds, token := pgClaim(t, s, time.Now(), 500)
			if len(ds) == 0 {
				t.Fatalf("nothing to claim, %d are left", left)
			}
			left -= len(ds)
			n, _ := db.pages(t)
			pages["claim"] += n
			leases := make([]webhook.Lease, len(ds))
			for i, d := range ds {
				leases[i] = webhook.Lease{DeliveryID: d.Delivery.ID, Token: token}
			}
			if lost, err := s.Extend(t.Context(), time.Now(), leases, time.Minute); err != nil || len(lost) > 0 {
				t.Fatal(lost, err)
			}
			n, _ = db.pages(t)
			pages["extend"] += n
			succeed(t, s, time.Now(), ds, token)
			n, _ = db.pages(t)
			pages["complete"] += n
		}
		return pages
	}
	one, many := cost(true), cost(false)
	for _, what := range []string{"claim", "extend", "complete"} {
		t.Logf("%s: one event for %d webhooks %d pages, as many events %d", what, hooks, one[what], many[what])
		if one[what] > many[what]*12/10 {
			t.Errorf("%s: one event for %d webhooks touches %d pages, as many events for one each %d", what, hooks, one[what], many[what])
		}
	}
}
