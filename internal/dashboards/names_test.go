package dashboards

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/seed68722ecd/webhook"
)

// scraped are labels that Prometheus adds to what it scrapes.
var scraped = map[string]bool{"job": true, "instance": true}

// values are those that a label of the dispatcher's can have.
var values = map[string][]string{
	"webhook_publish_outcome": {"stored", "unmatched", "duplicate", "conflict"},
	"webhook_attempt_status":  {"1xx", "2xx", "3xx", "4xx", "5xx", "none"},
	"webhook_delivery_state":  {string(webhook.StateSucceeded), string(webhook.StateFailed), string(webhook.StateCanceled)},
	"webhook_delivery_reason": {
		string(webhook.ReasonRetriesExhausted), string(webhook.ReasonGone), string(webhook.ReasonQuarantined),
		string(webhook.ReasonWebhookDisabled), string(webhook.ReasonWebhookDeleted),
	},
	"webhook_disabled_reason": {"gone", "failing"},
	"webhook_backlog_state":   {"due", "waiting", "leased", "expired"},
	"error_type": {
		string(webhook.ClassDNS), string(webhook.ClassConnect), string(webhook.ClassTLS), string(webhook.ClassTimeout), string(webhook.ClassBlocked),
		string(webhook.ClassStatus), string(webhook.ClassProtocol), string(webhook.ClassInternal), string(webhook.ClassUnsent), "store", "conflict", "canceled",
	},
}

// wrong returns what an expression asks for that is not measured: metrics, labels
// of those, values of these, and labels to group by or to show that its series
// do not have.
func wrong(measured exposition, expr, legend string) (out []string) {
	tree, err := promQL.ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}
	}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	// of returns the labels that the series below a node have between them.
	of := func(n parser.Node) map[string]bool {
		has := maps.Clone(scraped)
		parser.Inspect(n, func(n parser.Node, _ []parser.Node) error {
			if s, ok := n.(*parser.VectorSelector); ok {
				maps.Copy(has, measured[s.Name])
			}
			return nil
		})
		return has
	}
	shown := map[string]bool{}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			has, ok := measured[n.Name]
			if !ok {
				say("nothing is called %q", n.Name)
			}
			for _, m := range n.LabelMatchers {
				if m.Name == model.MetricNameLabel || scraped[m.Name] {
					continue
				}
				if !has[m.Name] {
					say("%s has no label %s", n.Name, m.Name)
				}
				for v := range strings.SplitSeq(m.Value, "|") {
					if v != "" && !slices.Contains(values[m.Name], v) {
						say("%s is never %q", m.Name, v)
					}
				}
			}
		case *parser.AggregateExpr:
			if n.Without {
				say("without: name the labels that are to stay")
			}
			has := of(n.Expr)
			for _, l := range n.Grouping {
				shown[l] = true
				if !has[l] {
					say("nothing to be grouped by %s", l)
				}
			}
		case *parser.BinaryExpr:
			if n.VectorMatching == nil {
				return nil
			}
			for _, l := range n.VectorMatching.MatchingLabels {
				if !of(n.LHS)[l] || !of(n.RHS)[l] {
					say("nothing to be matched on %s", l)
				}
			}
		}
		return nil
	})
	if _, plain := tree.(*parser.VectorSelector); plain {
		shown = of(tree)
	}
	for _, m := range regexp.MustCompile(`{{ *(\w+) *}}`).FindAllStringSubmatch(legend, -1) {
		if !shown[m[1]] {
			say("the legend shows %s, which the result does not have", m[1])
		}
	}
	return out
}

// family is the name of a histogram, for those of its parts.
func family(name string) string {
	for _, part := range []string{"_bucket", "_count", "_sum"} {
		name = strings.TrimSuffix(name, part)
	}
	return name
}

// Nothing is asked for that a backend does not report: a panel would stay empty,
// and an alert silent, without anybody knowing.
func TestEveryExpressionIsAboutWhatIsMeasured(t *testing.T) {
	measured := measure(t)
	asked := map[string]bool{}
	check := func(where, expr, legend string) {
		t.Helper()
		for _, w := range wrong(measured, expr, legend) {
			t.Errorf("%s: %s\n\tin %s", where, w, expr)
		}
		for name := range measured {
			if strings.Contains(expr, name) {
				asked[family(name)] = true
			}
		}
	}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			check("panel "+p.Title, plain(q.Expr), q.Legend)
		}
	}
	guide, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	for name := range measured {
		if !strings.HasPrefix(name, "webhook_") {
			continue
		}
		if !asked[family(name)] {
			t.Errorf("no panel shows %s", name)
		}
		if !strings.Contains(string(guide), "| `"+family(name)+"` |") {
			t.Errorf("docs/observability.md does not speak of %s", family(name))
		}
	}
	for _, r := range readAlerts(t) {
		check("alert "+r.Alert, r.Expr, "")
	}
}

func TestWhatIsNotMeasuredIsFound(t *testing.T) {
	measured := exposition{"webhook_a_total": {"error_type": true}, "webhook_b": {}}
	for _, c := range []struct{ expr, legend, want string }{
		{`sum by (job, error_type) (rate(webhook_a_total{error_type=~"dns|tls", job="x"}[5m])) > 1`, "{{error_type}}", ""},
		{`webhook_b`, "{{instance}}", ""},
		{`absent(webhook_b)`, "", ""},
		{`webhook_c`, "", `nothing is called "webhook_c"`},
		{`sum(rate(webhook_a_total{kind="x"}[5m]))`, "", "webhook_a_total has no label kind"},
		{`webhook_a_total{error_type=~"dns|dnss"}`, "", `error_type is never "dnss"`},
		{`sum by (error_type) (webhook_b)`, "", "nothing to be grouped by error_type"},
		{`webhook_a_total > on (error_type) webhook_b`, "", "nothing to be matched on error_type"},
		{`sum without (job) (webhook_b)`, "", "without"},
		{`sum by (job) (webhook_a_total)`, "{{error_type}}", "the legend shows error_type"},
		{`sum(webhook_b`, "", "parse error"},
	} {
		got := strings.Join(wrong(measured, c.expr, c.legend), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.expr, got, c.want)
		}
	}
}
