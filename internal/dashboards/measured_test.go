package dashboards

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/seed68722ecd/webhook/otelwebhook"
)

// exposition is what Prometheus stores of what was scraped: the names of series,
// and which labels those of a name have.
type exposition map[string]map[string]bool

// add takes in an answer of /metrics.
func (e exposition) add(t *testing.T, text string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for name, f := range families {
		parts := map[string][]string{name: nil}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			parts = map[string][]string{name + "_bucket": {"le"}, name + "_count": nil, name + "_sum": nil}
		}
		for part, extra := range parts {
			if e[part] == nil {
				e[part] = map[string]bool{}
			}
			for _, l := range extra {
				e[part][l] = true
			}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					e[part][l.GetName()] = true
				}
			}
		}
	}
}

// measure runs examples/backend, lets it succeed and fail, and returns what it
// reports; and what a dispatcher reports whose store fails, which that program's
// does not.
func measure(t *testing.T) exposition {
	t.Helper()
	base := runBackend(t)
	var asked atomic.Int64
	rx := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(rx.Close)
	post(t, base+"/webhooks/api/webhooks", `{"name":"a","url":"`+rx.URL+`","events":["*"],"maxRetries":0}`, http.StatusCreated)
	post(t, base+"/events", `{"tenant":"demo","type":"a.b","id":"1","data":{}}`, http.StatusAccepted)
	post(t, base+"/events", `{"tenant":"demo","type":"a.b","id":"1","data":{"x":1}}`, http.StatusBadRequest)
	post(t, base+"/events", `{"tenant":"demo","type":"a.b","id":"2","data":{}}`, http.StatusAccepted)

	e := exposition{}
	for deadline := time.Now().Add(5 * time.Minute); ; {
		status, text := do(t, http.MethodGet, base+"/metrics", "")
		if status != http.StatusOK {
			t.Fatalf("/metrics: %d %s", status, text)
		}
		// Both deliveries have ended, one well and one not.
		if strings.Contains(text, "webhook_delivery_duration_seconds_count 1") &&
			strings.Contains(text, `webhook_finished_deliveries_total{webhook_delivery_state="succeeded"} 1`) &&
			strings.Contains(text, `webhook_finished_deliveries_total{webhook_delivery_reason="retries_exhausted",webhook_delivery_state="failed"} 1`) {
			e.add(t, text)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the deliveries have not ended:\n%s", text)
		}
		<-time.After(20 * time.Millisecond)
	}
	if e["webhook_claim_duration_seconds_count"] == nil || len(e) < 60 {
		t.Fatalf("%d names measured: the test looks in the wrong place", len(e))
	}
	e.add(t, ofAFailingStore(t))
	return e
}

// ofAFailingStore returns the metrics of a claim that failed, by the exporter that
// the backend has.
func ofAFailingStore(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	if err != nil {
		t.Fatal(err)
	}
	telemetry, err := otelwebhook.New(otelwebhook.Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	telemetry.Observer().Claimed(0, time.Millisecond, errors.New("the database is away"))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// runBackend builds and starts examples/backend, and returns its URL.
func runBackend(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "backend")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = "../../examples/backend"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-addr", "127.0.0.1:0", "-allow-http", "-allow-private")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait() // it was killed
	})
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, lines) // until it ends
		close(read)
	}()
	m := regexp.MustCompile(`^listening on (\S+) `).FindStringSubmatch(first)
	if err != nil || m == nil {
		t.Fatalf("the backend says %q, %v", first, err)
	}
	return "http://" + m[1]
}

func post(t *testing.T, url, body string, want int) {
	t.Helper()
	if status, text := do(t, http.MethodPost, url, body); status != want {
		t.Fatalf("%s: %d %s, want %d", url, status, text, want)
	}
}

func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
