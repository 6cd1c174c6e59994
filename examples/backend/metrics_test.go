package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// exposition is the parsed answer of /metrics.
type exposition map[string]*dto.MetricFamily

// scrape reads /metrics of a program as Prometheus does.
func (p *backendProcess) scrape(base string) exposition {
	p.t.Helper()
	q := *p
	q.base = base
	status, text := q.do(http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		p.t.Fatalf("/metrics: %d %s", status, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		p.t.Fatalf("/metrics: %v", err)
	}
	return families
}

// sum adds up the series of a metric that have these labels, given as pairs.
// For a histogram it adds up the counts.
func (e exposition) sum(name string, labels ...string) (n float64, series int) {
	family := e[name]
	for _, m := range family.GetMetric() {
		has := func(i int) bool {
			return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] })
		}
		all := true
		for i := 0; i < len(labels); i += 2 {
			all = all && has(i)
		}
		if all {
			n += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			series++
		}
	}
	return n, series
}

// missing returns the first wanted value that a metric does not have.
func (e exposition) missing(want []sample) string {
	for _, s := range want {
		n, series := e.sum(s.name, s.labels...)
		if n < s.atLeast || n > s.atMost || series == 0 {
			return s.name + " " + strings.Join(s.labels, " ")
		}
	}
	return ""
}

type sample struct {
	name            string
	labels          []string
	atLeast, atMost float64
}

func exactly(n float64, name string, labels ...string) sample { return sample{name, labels, n, n} }

// known holds all labels of the dispatcher's metrics with their possible
// values.
var known = map[string]*regexp.Regexp{
	"webhook_publish_outcome": regexp.MustCompile(`^(stored|unmatched|duplicate|conflict)$`),
	"webhook_attempt_status":  regexp.MustCompile(`^([1-5]xx|none)$`),
	"webhook_delivery_state":  regexp.MustCompile(`^(succeeded|failed|canceled)$`),
	"webhook_delivery_reason": regexp.MustCompile(`^(retries_exhausted|gone|quarantined|webhook_disabled|webhook_deleted)$`),
	"webhook_disabled_reason": regexp.MustCompile(`^(gone|failing)$`),
	"webhook_backlog_state":   regexp.MustCompile(`^(due|waiting|leased|expired)$`),
	"error_type":              regexp.MustCompile(`^(dns|connect|tls|timeout|blocked|status|protocol|internal|store|conflict|canceled)$`),
}

// tellsNothingOfTenants checks that no label holds a value that customers
// choose, or that identifies a customer.
func (e exposition) tellsNothingOfTenants(t *testing.T, marks ...string) {
	t.Helper()
	series := 0
	for name, family := range e {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				for _, mark := range marks {
					if strings.Contains(l.GetValue(), mark) || strings.Contains(l.GetName(), mark) {
						t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
					}
				}
				if strings.HasPrefix(name, "webhook_") && (known[l.GetName()] == nil || !known[l.GetName()].MatchString(l.GetValue())) {
					t.Errorf("%s has the label %s=%q, of which nobody knows", name, l.GetName(), l.GetValue())
				}
			}
			if strings.HasPrefix(name, "webhook_") {
				series++
			}
		}
	}
	if series < 20 || series > 60 {
		t.Errorf("%d series", series)
	}
}

// Every process serves its dispatcher's metrics at /metrics, whatever its role.
func metricsTellWhatHappens(t *testing.T, bin string) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "hooks.db")
	accepts, fails, gone := webhooktest.NewReceiver(), webhooktest.NewReceiver(), webhooktest.NewReceiver()
	fails.Answer(webhooktest.Status(503))
	gone.Answer(webhooktest.Status(410))
	hangs := &gate{webhooktest.NewReceiver(), make(chan struct{}, 1), make(chan struct{})}
	slow := httptest.NewServer(hangs)
	t.Cleanup(slow.Close)
	release := sync.OnceFunc(func() { close(hangs.release) })
	t.Cleanup(release) // runs before Close, which waits for it

	// One process publishes and does not deliver.
	p := start(t, bin, append(slices.Clone(local), "-store", store, "-no-dispatch")...)
	tenant, json := with("X-Tenant", "marker-tenant"), with("Content-Type", "application/json")
	marks := []string{"marker", "wh_", "127.0.0.1", "http"}
	for url, rx := range map[string]*webhooktest.Receiver{accepts.Serve(t).URL: accepts, fails.Serve(t).URL: fails, gone.Serve(t).URL: gone, slow.URL: hangs.Receiver} {
		w := p.want(http.StatusCreated, http.MethodPost, "/webhooks/api/webhooks",
			`{"name":"marker-name","url":"`+url+`/marker-path","events":["*"],"maxRetries":0,"headers":{"X-Key":"marker-header"}}`, json, tenant)
		rx.Trust(webhook.NewSecret(w["secret"].(string)))
		marks = append(marks, w["id"].(string))
	}
	const event = `{"tenant":"marker-tenant","type":"marker.type","id":"marker-1","data":{"a":"marker-data"}}`
	p.want(http.StatusAccepted, http.MethodPost, "/events", event)
	p.want(http.StatusAccepted, http.MethodPost, "/events", event)
	p.want(http.StatusBadRequest, http.MethodPost, "/events", strings.Replace(event, "marker-data", "other", 1))
	p.want(http.StatusAccepted, http.MethodPost, "/events", `{"tenant":"nobody","type":"a.b","data":{}}`)
	e := p.scrape(p.base)
	if at := e.missing([]sample{
		exactly(1, "webhook_published_events_total", "webhook_publish_outcome", "stored"),
		exactly(1, "webhook_published_events_total", "webhook_publish_outcome", "duplicate"),
		exactly(1, "webhook_published_events_total", "webhook_publish_outcome", "conflict"),
		exactly(1, "webhook_published_events_total", "webhook_publish_outcome", "unmatched"),
		exactly(4, "webhook_publish_duration_seconds"),
		exactly(1, "webhook_publish_duration_seconds", "error_type", "conflict"),
		exactly(0, "webhook_dispatcher_running"), exactly(0, "webhook_attempts_limit"), exactly(0, "webhook_claimed_deliveries_total"),
		exactly(4, "webhook_backlog_deliveries", "webhook_backlog_state", "due"),
		exactly(0, "webhook_backlog_deliveries", "webhook_backlog_state", "leased"),
		exactly(0, "webhook_backlog_partial"),
		{"webhook_backlog_oldest_age_seconds", nil, 0.000001, 60},
		{"process_open_fds", nil, 1, 10_000}, {"go_goroutines", nil, 1, 10_000},
	}); at != "" {
		t.Errorf("-no-dispatch: %s is %v", at, e[strings.Fields(at)[0]])
	}
	e.tellsNothingOfTenants(t, marks...)
	if code := p.Interrupt(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Output())
	}

	// Another process delivers, with its metrics at an address of its own.
	p = start(t, bin, append(slices.Clone(local), "-store", store, "-workers", "-metrics-addr", "127.0.0.1:0")...)
	apart := p.WaitFor(t, `Metrics for Prometheus: +(http://\S+)/metrics\n`)[1]
	if status, _ := p.do(http.MethodGet, "/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics among the rest, though it has a place of its own: %d", status)
	}
	<-hangs.began
	first := p.scrape(apart)
	if n, _ := first.sum("webhook_backlog_deliveries", "webhook_backlog_state", "leased"); n < 1 {
		t.Errorf("%v deliveries are leased while one is being made", n)
	}
	delivered := []sample{
		exactly(1, "webhook_dispatcher_running"), exactly(512, "webhook_attempts_limit"),
		exactly(1, "webhook_attempts_in_flight"), exactly(1, "webhook_deliveries_held"),
		exactly(4, "webhook_claimed_deliveries_total"),
		{"webhook_claim_duration_seconds", nil, 1, 1e6},
		exactly(3, "webhook_attempt_duration_seconds"),
		exactly(1, "webhook_attempt_duration_seconds", "webhook_attempt_status", "2xx"),
		exactly(1, "webhook_attempt_duration_seconds", "webhook_attempt_status", "5xx", "error_type", "status"),
		exactly(1, "webhook_attempt_duration_seconds", "webhook_attempt_status", "4xx", "error_type", "status"),
		exactly(1, "webhook_finished_deliveries_total", "webhook_delivery_state", "succeeded"),
		exactly(1, "webhook_finished_deliveries_total", "webhook_delivery_state", "failed", "webhook_delivery_reason", "retries_exhausted"),
		exactly(1, "webhook_finished_deliveries_total", "webhook_delivery_state", "failed", "webhook_delivery_reason", "gone"),
		exactly(0, "webhook_finished_deliveries_total", "webhook_delivery_reason", "quarantined"),
		exactly(1, "webhook_delivery_duration_seconds"),
		exactly(1, "webhook_disabled_webhooks_total", "webhook_disabled_reason", "gone"),
		exactly(0, "webhook_late_results_total"), exactly(0, "webhook_webhooks_unreadable"),
	}
	at := "nothing"
	t.Cleanup(func() {
		if at != "" {
			t.Logf("looked for %s in vain", at)
		}
	})
	eventually(t, "all that is known by now is measured", func() bool {
		e = p.scrape(apart)
		at = e.missing(delivered)
		return at == ""
	})
	buckets := e["webhook_attempt_duration_seconds"].GetMetric()[0].GetHistogram().GetBucket()
	if len(buckets) < 15 || buckets[0].GetUpperBound() != 0.005 || buckets[len(buckets)-2].GetUpperBound() != 300 {
		t.Errorf("the histogram of attempts: %v", buckets)
	}
	e.tellsNothingOfTenants(t, marks...)
	release()
	p.signal(syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Output())
	}
}

// /metrics is on the main address only if both are reachable from this machine
// alone, and never for pages that point their own name at this machine.
func TestMetricsAreForThisMachine(t *testing.T) {
	m, err := newMetrics(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Observer: m.telemetry.Observer()})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := m.watch(d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		options
		host string
		want int
	}{
		{options{addr: "127.0.0.1:8080"}, "127.0.0.1:8080", http.StatusOK},
		{options{addr: "localhost:8080", workers: true}, "localhost:8080", http.StatusOK},
		{options{addr: "[::1]:8080", noDispatch: true}, "[::1]:8080", http.StatusOK},
		{options{addr: "127.0.0.1:8080"}, "evil.example", http.StatusMisdirectedRequest},
		{options{addr: "127.0.0.1:8080", workers: true}, "evil.example", http.StatusMisdirectedRequest},
		{options{addr: "127.0.0.1:8080", metricsAddr: "127.0.0.1:9464"}, "127.0.0.1:8080", http.StatusNotFound},
		{options{addr: ":8080"}, "127.0.0.1:8080", http.StatusNotFound},
		{options{addr: "0.0.0.0:8080", workers: true}, "127.0.0.1:8080", http.StatusNotFound},
		{options{addr: "10.0.0.1:8080"}, "10.0.0.1:8080", http.StatusNotFound},
	} {
		h, err := newServer(d, slog.New(slog.DiscardHandler), m, c.options)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.host+"/metrics", nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (w.Code == http.StatusOK) != strings.Contains(w.Body.String(), "webhook_dispatcher_running") {
			t.Errorf("%+v as %s: %d, want %d", c.options, c.host, w.Code, c.want)
		}
	}
}
