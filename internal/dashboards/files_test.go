package dashboards

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	dashboardFile = "../../docs/observability/dashboard.json"
	alertsFile    = "../../docs/observability/alerts.yml"
	guideFile     = "../../docs/observability.md"
)

var promQL = parser.NewParser(parser.Options{})

// dashboardFormat is what of Grafana's format these tests look at.
type dashboardFormat struct {
	Title         string  `json:"title"`
	UID           string  `json:"uid"`
	ID            *int    `json:"id"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct {
			Name       string          `json:"name"`
			Type       string          `json:"type"`
			Query      json.RawMessage `json:"query"`
			Datasource *datasource     `json:"datasource"`
		} `json:"list"`
	} `json:"templating"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Datasource  *datasource `json:"datasource"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Targets []struct {
		RefID      string      `json:"refId"`
		Expr       string      `json:"expr"`
		Legend     string      `json:"legendFormat"`
		Datasource *datasource `json:"datasource"`
	} `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

func readDashboard(t *testing.T) (d dashboardFormat) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// readAlerts reads the rules as Prometheus does, and as promtool check rules does,
// which is the same code.
func readAlerts(t *testing.T) (all []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.LegacyValidation, promQL, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// plain replaces what Grafana replaces before it asks Prometheus.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "2m", "$job", ".*").Replace(expr)
}

// Grafana imports the dashboard, into whatever data source it is told to use.
func TestDashboardCanBeImported(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.ID != nil {
		t.Errorf("title %q, uid %q, id %v: want the first two and not the third, which belongs to one Grafana", d.Title, d.UID, d.ID)
	}
	if d.SchemaVersion != 42 {
		t.Errorf("schemaVersion %d, want 42", d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if variables["datasource"] != "datasource" || variables["job"] != "query" {
		t.Errorf("variables %v: the data source and the job are to be chosen", variables)
	}
	guide, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	chosen := func(d *datasource) bool { return d != nil && d.Type == "prometheus" && d.UID == "${datasource}" }
	ids, titles := map[int]bool{}, map[string]bool{}
	taken := map[[2]int]string{}
	shown := 0
	for _, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d, %q: an ID and a title of its own are needed", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q overlaps %q at %d, %d, or is out of the grid", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		shown++
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || !chosen(p.Datasource) || len(p.Targets) == 0 {
			t.Errorf("%q: description, unit, the chosen data source and queries are needed", p.Title)
		}
		if !strings.Contains(string(guide), "| "+p.Title+" |") {
			t.Errorf("docs/observability.md does not explain the panel %q", p.Title)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.RefID == "" || !chosen(q.Datasource) || !strings.Contains(q.Expr, `job=~"$job"`) {
				t.Errorf("%q: the query %s", p.Title, q.Expr)
			}
			refs[q.RefID] = true
		}
	}
	if shown < 20 {
		t.Errorf("%d panels found: the test looks for the wrong thing", shown)
	}
}

// Prometheus takes the rules, and each says what it is about, why that matters and
// what to do, here and in the guide.
func TestAlertsAreValidAndExplained(t *testing.T) {
	guide, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	rules := readAlerts(t)
	names := map[string]bool{}
	for _, r := range rules {
		if r.Alert == "" || r.Record != "" || names[r.Alert] || !strings.HasPrefix(r.Alert, "Webhook") {
			t.Errorf("%q is no alert with a name of its own", r.Alert)
		}
		names[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, a := range []string{"summary", "why", "do"} {
			if text := r.Annotations[a]; len(text) < 20 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: its annotation %s is %q", r.Alert, a, text)
			}
		}
		if !strings.Contains(string(guide), "| `"+r.Alert+"` |") {
			t.Errorf("docs/observability.md does not explain %s", r.Alert)
		}
	}
	if len(rules) < 15 {
		t.Errorf("%d alerts found: the test looks for the wrong thing", len(rules))
	}
}
