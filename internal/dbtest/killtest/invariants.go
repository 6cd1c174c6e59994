package killtest

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/storetest"
)

// invariants looks for what can never be in a database, and compares the
// counters with the log. Nobody else writes meanwhile.
func (r *run) invariants(ev *evidence) {
	r.t.Helper()
	storetest.CheckInvariants(r.t, r.db.store, tenants()...)
	r.counters(ev)
	if r.base.Schema != "" {
		r.postgresInvariants()
	} else {
		r.sqliteInvariants()
	}
}

// counters compares the hourly statistics with the attempts in the log.
func (r *run) counters(ev *evidence) {
	r.t.Helper()
	type count struct{ good, bad int64 }
	want := map[string]count{}
	for _, rec := range ev.stored {
		c := want[rec.WebhookID]
		for _, a := range rec.attempts {
			switch {
			case a.Late, a.Class.OurFault():
			case a.Succeeded():
				c.good++
			default:
				c.bad++
			}
		}
		want[rec.WebhookID] = c
	}
	got := map[string]count{}
	for _, tenant := range tenants() {
		buckets, err := r.db.store.Stats(r.t.Context(), webhook.StatsQuery{Tenant: tenant, Since: time.Unix(0, 0).UTC()})
		if err != nil {
			r.t.Errorf("reading statistics: %v", err)
			return
		}
		for _, b := range buckets {
			c := got[b.WebhookID]
			got[b.WebhookID] = count{c.good + b.Succeeded, c.bad + b.Failed}
		}
	}
	for key, w := range r.ids {
		if got[w.ID] != want[w.ID] {
			r.t.Errorf("seed %d: webhook %s (%s): the statistics count %d successes and %d failures, the log has %d and %d",
				r.opt.Seed, key, w.ID, got[w.ID].good, got[w.ID].bad, want[w.ID].good, want[w.ID].bad)
		}
	}
}

// postgresInvariants looks at the tables themselves. All work is done.
func (r *run) postgresInvariants() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(background(), time.Minute)
	defer cancel()
	q := `"` + r.base.Schema + `".webhook_`
	for what, query := range map[string]string{
		"deliveries are still in the queue":                    `SELECT count(*) FROM ` + q + `queue`,
		"finished deliveries are still in the queue":           `SELECT count(*) FROM ` + q + `queue JOIN ` + q + `deliveries USING (ekey, wkey)`,
		"finished deliveries have no event":                    `SELECT count(*) FROM ` + q + `deliveries d WHERE NOT EXISTS (SELECT 1 FROM ` + q + `events e WHERE e.ekey = d.ekey)`,
		"attempts have no delivery":                            `SELECT count(*) FROM ` + q + `attempts a WHERE NOT EXISTS (SELECT 1 FROM ` + q + `deliveries d WHERE d.ekey = a.ekey AND d.wkey = a.wkey)`,
		"deliveries have no webhook":                           `SELECT count(*) FROM ` + q + `deliveries d WHERE NOT EXISTS (SELECT 1 FROM ` + q + `webhooks w WHERE w.wkey = d.wkey)`,
		"subscriptions are of webhooks that are off or gone":   `SELECT count(*) FROM ` + q + `subscriptions s LEFT JOIN ` + q + `webhooks w USING (wkey) WHERE w.active IS NOT TRUE OR w.deleted_at <> 0`,
		"sessions have sat in an open transaction for a while": `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND now() - state_change > interval '1 second'`,
	} {
		var n int
		if err := r.db.db.QueryRowContext(ctx, query).Scan(&n); err != nil {
			r.t.Errorf("%s: %v", query, err)
		} else if n > 0 {
			r.t.Errorf("seed %d: %d %s", r.opt.Seed, n, what)
		}
	}
}

// logLines is how many lines a dispatcher may log in ten seconds.
const logLines = 100

// healthyProcesses is claim F, as far as the logs tell: goroutines are counted
// by each dispatcher itself when its Run has returned.
func (l *ledger) healthyProcesses() {
	for _, p := range l.r.all {
		text, err := os.ReadFile(p.spec.file("log"))
		if err != nil {
			l.r.t.Error(err)
			continue
		}
		for _, word := range []string{"panic", "DATA RACE", "fatal error"} {
			if i := bytes.Index(text, []byte(word)); i >= 0 {
				l.fault("F", "%s: %s", p.spec.Name, text[i:min(len(text), i+3000)])
			}
		}
		seconds := map[int64]int{}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "a lease was lost") {
				continue // one line for each: bounded by what is claimed
			}
			stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
			if at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", stamp); err == nil {
				seconds[at.Unix()]++
			}
		}
		for s := range seconds {
			sum := 0
			for i := range int64(10) {
				sum += seconds[s+i]
			}
			if sum > logLines {
				l.fault("F", "%s logged %d lines within ten seconds, such as %s", p.spec.Name, sum, tail(text, 300))
				break
			}
		}
	}
}
