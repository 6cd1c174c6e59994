package dashboards

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// A history is a day and an hour of what Prometheus has scraped, once a minute:
// each series by its name and labels, and its value at each minute. The trouble
// begins with the last hour.
type history map[string]func(minute int) float64

const (
	lastMinute = 25*60 - 1
	trouble    = 24 * 60
)

// absent is the value of a series at a minute at which it was not scraped.
var absent = math.NaN()

// steady is a gauge, and grows a counter, by so much a minute.
func steady(v float64) func(int) float64 { return func(int) float64 { return v } }
func grows(perMin float64) func(int) float64 {
	return func(m int) float64 { return perMin * float64(m) }
}

// then is one thing until the trouble begins and another from then on. A counter
// goes on from where it was.
func then(before, after func(int) float64) func(int) float64 {
	return func(m int) float64 {
		if m < trouble {
			return before(m)
		}
		return after(m)
	}
}

func thenGrows(before, after float64) func(int) float64 {
	return func(m int) float64 {
		return before*float64(min(m, trouble)) + after*float64(max(m-trouble, 0))
	}
}

// steps is a counter that grows by n at once, five minutes into the trouble.
func steps(n float64) func(int) float64 {
	return func(m int) float64 {
		if m < trouble+5 {
			return 0
		}
		return n
	}
}

// An attempt and a delivery, by what became of them.
const (
	accepted  = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="2xx"}`
	refused   = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="5xx",error_type="status"}`
	noName    = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="none",error_type="dns"}`
	blocked   = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="none",error_type="blocked"}`
	ownFault  = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="none",error_type="internal"}`
	unsent    = `webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="none",error_type="unsent"}`
	succeeded = `webhook_finished_deliveries_total{job="hooks",webhook_delivery_state="succeeded"}`
	givenUp   = `webhook_finished_deliveries_total{job="hooks",webhook_delivery_state="failed",webhook_delivery_reason="retries_exhausted"}`
	setAside  = `webhook_finished_deliveries_total{job="hooks",webhook_delivery_state="failed",webhook_delivery_reason="quarantined"}`
	disabled  = `webhook_disabled_webhooks_total{job="hooks",webhook_disabled_reason="failing"}`
	late      = `webhook_late_results_total{job="hooks",instance="a"}`
	claimed   = `webhook_claimed_deliveries_total{job="hooks"}`
	claims    = `webhook_claim_duration_seconds_count{job="hooks"}`
	noClaims  = `webhook_claim_duration_seconds_count{job="hooks",error_type="store"}`
	noPublish = `webhook_publish_duration_seconds_count{job="hooks",error_type="store"}`
	due       = `webhook_backlog_deliveries{job="hooks",webhook_backlog_state="due"}`
	leased    = `webhook_backlog_deliveries{job="hooks",webhook_backlog_state="leased"}`
	expired   = `webhook_backlog_deliveries{job="hooks",webhook_backlog_state="expired"}`
	oldest    = `webhook_backlog_oldest_age_seconds{job="hooks"}`
	running   = `webhook_dispatcher_running{job="hooks",instance="a"}`
	inFlight  = `webhook_attempts_in_flight{job="hooks",instance="a"}`
	fast      = `webhook_delivery_duration_seconds_bucket{job="hooks",le="0.25"}`
	slow      = `webhook_delivery_duration_seconds_bucket{job="hooks",le="60"}`
	slower    = `webhook_delivery_duration_seconds_bucket{job="hooks",le="300"}`
	all       = `webhook_delivery_duration_seconds_bucket{job="hooks",le="+Inf"}`
	unread    = `webhook_webhooks_unreadable{job="hooks"}`
)

// healthy is ten deliveries a second, of which one in ten needs a retry and one
// in a hundred is given up.
func healthy() history {
	return history{
		accepted: grows(600), refused: grows(60), noName: grows(6), succeeded: grows(600), givenUp: grows(6), setAside: steady(0),
		disabled: steady(0), late: steady(0), claimed: grows(666), claims: grows(120),
		`webhook_publish_duration_seconds_count{job="hooks"}`: grows(606),
		due: steady(3), leased: steady(20), expired: steady(0), oldest: steady(0.2),
		running: steady(1), `webhook_dispatcher_running{job="hooks",instance="b"}`: steady(1),
		inFlight: steady(20), `webhook_attempts_limit{job="hooks",instance="a"}`: steady(512),
		fast: grows(500), slow: grows(590), slower: grows(600), all: grows(600), unread: steady(0),
	}
}

// with returns a history in which some series are others.
func (h history) with(other history) history {
	h = maps.Clone(h)
	maps.Copy(h, other)
	return h
}

// Querier and Select are what the engine asks.
func (h history) Querier(from, to int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		var found series
		for name, value := range h {
			metric, err := promQL.ParseMetric(name)
			if err != nil {
				return storage.ErrSeriesSet(err)
			}
			if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(metric.Get(m.Name)) }) {
				continue
			}
			s := promql.Series{Metric: metric}
			for m := range lastMinute + 1 {
				if at := int64(m) * 60_000; at >= from && at <= to && !math.IsNaN(value(m)) {
					s.Floats = append(s.Floats, promql.FPoint{T: at, F: value(m)})
				}
			}
			found.list = append(found.list, s)
		}
		slices.SortFunc(found.list, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
		return &found
	}}, nil
}

// series is a storage.SeriesSet.
type series struct {
	list []promql.Series
	at   int
}

func (s *series) Next() bool                        { s.at++; return s.at <= len(s.list) }
func (s *series) At() storage.Series                { return promql.NewStorageSeries(s.list[s.at-1]) }
func (s *series) Err() error                        { return nil }
func (s *series) Warnings() annotations.Annotations { return nil }

// fires says whether an alert fires in the last hour and a half: its expression
// has held for as long as it says, with the labels that its texts show.
func (h history) fires(t *testing.T, engine *promql.Engine, r *rulefmt.Rule) bool {
	t.Helper()
	minute := func(m int) time.Time { return time.UnixMilli(int64(m) * 60_000) }
	q, err := engine.NewRangeQuery(t.Context(), h, nil, r.Expr, minute(trouble-30), minute(lastMinute), time.Minute)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	defer q.Close()
	result, err := q.Exec(context.Background()).Matrix()
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	for _, s := range result {
		if strings.Contains(r.Annotations["summary"], "$labels.job") && s.Metric.Get("job") != "hooks" {
			t.Errorf("%s speaks of a job and is about %s", r.Alert, s.Metric)
		}
		since := int64(0)
		for i, p := range s.Floats {
			if i == 0 || p.T != s.Floats[i-1].T+60_000 {
				since = p.T
			}
			if time.Duration(p.T-since)*time.Millisecond >= time.Duration(r.For) {
				return true
			}
		}
	}
	return false
}

// Each alert fires for what it is about. None does on a day like others, nor, but
// for the one that only informs, when it is a customer's receivers that have
// trouble, or a deploy comes by.
func TestAlertsFireForWhatTheyAreAbout(t *testing.T) {
	gone := history{}
	for name := range healthy() {
		gone[name] = then(healthy()[name], steady(absent))
	}
	uncounted := history{}
	for _, name := range []string{due, leased, expired, oldest} {
		uncounted[name] = then(healthy()[name], steady(absent))
	}
	troubles := map[string]history{
		"WebhookMetricsAbsent":    gone,
		"WebhookNoDispatcher":     {running: then(steady(1), steady(0)), `webhook_dispatcher_running{job="hooks",instance="b"}`: then(steady(1), steady(0))},
		"WebhookNothingClaimed":   {claimed: thenGrows(666, 0), due: then(steady(3), grows(10)), inFlight: then(steady(20), steady(0))},
		"WebhookStoreFails":       {claims: thenGrows(120, 60), noClaims: thenGrows(0, 60)},
		"WebhookPublishFails":     {noPublish: thenGrows(0, 60)},
		"WebhookLeasesExpired":    {expired: then(steady(0), steady(5))},
		"WebhookDeliveriesLate":   {fast: thenGrows(500, 0), slow: thenGrows(590, 100), slower: grows(600)},
		"WebhookOldestDue":        {oldest: func(m int) float64 { return max(0.2, float64(m-trouble)*60) }},
		"WebhookSaturated":        {inFlight: then(steady(20), steady(500))},
		"WebhookAttemptsFail":     {accepted: thenGrows(600, 200), refused: thenGrows(60, 460)},
		"WebhookNetworkFails":     {accepted: thenGrows(600, 100), noName: thenGrows(6, 560)},
		"WebhookBlockedAddresses": {blocked: thenGrows(0, 1)},
		"WebhookInternalErrors":   {ownFault: thenGrows(0, 1)},
		"WebhookCannotSend":       {unsent: thenGrows(0, 1)},
		"WebhookGivenUp":          {succeeded: thenGrows(600, 400), givenUp: thenGrows(6, 200)},
		"WebhookQuarantined":      {setAside: steps(1)},
		"WebhookUnreadable":       {unread: then(steady(0), steady(1))},
		"WebhookManyDisabled":     {disabled: steps(4)},
		"WebhookLateResults":      {late: thenGrows(0, 2)},
		"WebhookBacklogUnknown":   uncounted,
	}
	// After a restart nothing has succeeded, so that there is no such series at all.
	neverAgain := healthy().with(history{accepted: then(grows(600), steady(absent)), refused: thenGrows(60, 660)})
	restart := func(m int) float64 {
		switch m {
		case trouble + 20:
			return 0 // it drains
		case trouble + 21:
			return absent
		}
		return 1
	}
	// One receiver in ten is dead, so that its events are given up after three retries
	// and the oldest of them grows old; a customer is disabled, results were late,
	// somebody tried out an address, and everything is restarted at once.
	customers := healthy().with(history{
		accepted: thenGrows(600, 540), refused: thenGrows(60, 300), succeeded: thenGrows(600, 540), givenUp: thenGrows(6, 66),
		due: then(steady(3), grows(60)), oldest: func(m int) float64 { return max(0.2, float64(m-trouble)*60) },
		fast: thenGrows(500, 450), slow: thenGrows(590, 530), slower: thenGrows(600, 540), all: thenGrows(600, 540),
		disabled: steps(1), late: steps(3), blocked: steps(4),
		running: restart, `webhook_dispatcher_running{job="hooks",instance="b"}`: restart,
		expired: func(m int) float64 {
			if m == trouble+21 {
				return 20
			}
			return 0
		},
	})
	// At night nothing is left but one receiver that hangs and has all that was
	// claimed for it in advance.
	night := healthy().with(history{
		accepted: thenGrows(600, 0), refused: thenGrows(60, 0), noName: thenGrows(6, 0), succeeded: thenGrows(600, 0), givenUp: thenGrows(6, 0),
		claimed: thenGrows(666, 0), `webhook_publish_duration_seconds_count{job="hooks"}`: thenGrows(606, 0),
		fast: thenGrows(500, 0), slow: thenGrows(590, 0), slower: thenGrows(600, 0), all: thenGrows(600, 0),
		`webhook_attempt_duration_seconds_count{job="hooks",webhook_attempt_status="none",error_type="timeout"}`: thenGrows(0, 0.2),
		inFlight: then(steady(20), steady(1)), oldest: func(m int) float64 { return max(0.2, float64(m-trouble)*60) },
	})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: 5 * time.Minute, Parser: promQL, EnableNegativeOffset: true, EnableAtModifier: true})
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, r := range readAlerts(t) {
		if healthy().fires(t, engine, &r) {
			t.Errorf("%s fires on a day like others", r.Alert)
		}
		for when, h := range map[string]history{"one receiver in ten is dead": customers, "one receiver hangs at night": night} {
			if h.fires(t, engine, &r) != (r.Labels["severity"] == "info") {
				t.Errorf("%s, of severity %s, fires where it should not, or the other way round, when %s", r.Alert, r.Labels["severity"], when)
			}
		}
		h, ok := troubles[r.Alert]
		if !ok {
			t.Errorf("%s: nothing shows when it fires", r.Alert)
		} else if !healthy().with(h).fires(t, engine, &r) {
			t.Errorf("%s does not fire for what it is about", r.Alert)
		}
		if r.Alert == "WebhookAttemptsFail" && !neverAgain.fires(t, engine, &r) {
			t.Errorf("%s does not fire when nothing has succeeded since a restart", r.Alert)
		}
		delete(troubles, r.Alert)
	}
	for name := range troubles {
		t.Errorf("there is no alert %s", name)
	}
}
