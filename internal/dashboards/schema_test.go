package dashboards

import (
	"errors"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The dashboard has what Grafana's own schema wants, of the panels and queries
// too, and nothing that it does not know.
func TestDashboardFollowsTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	d := dashboard.NewDashboard() // of the classic format, which every Grafana imports
	// It returns an error without any fault in it for what is right.
	if faults, ok := errors.AsType[cog.BuildErrors](d.UnmarshalJSONStrict(text)); !ok || len(faults) > 0 {
		t.Fatal(faults)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	if len(d.Panels) != len(readDashboard(t).Panels) {
		t.Errorf("%d panels were understood", len(d.Panels))
	}
}
