package items

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every item is shown by a test or has its reason. With -v it prints which test
// shows which item.
func TestEveryItemHasATestOrAReason(t *testing.T) {
	ev, err := Collect("../../..")
	if err != nil {
		t.Fatal(err)
	}
	all := All()
	if len(all) < 200 || len(ev.Tests) < 50 {
		t.Fatalf("%d items and tests for %d of them only: the check would hold for no reason", len(all), len(ev.Tests))
	}
	for _, problem := range Check(all, ev) {
		t.Error(problem)
	}
	for _, line := range Overtaken(all, ev) {
		t.Log(line)
	}
	for _, item := range all {
		shown := strings.Join(ev.Tests[item.ID], ", ")
		if reason := ev.Reasons[item.ID]; reason != "" {
			shown = strings.TrimPrefix(shown+"; "+reason, "; ")
		}
		t.Logf("%s %s: %s", item.ID, item.Title, shown)
	}
}

func TestCheckHasTeeth(t *testing.T) {
	const scenario = "internal/hostile/rows.go"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // part of the only problem; empty: none
	}{
		{"a test", map[string]string{"a_test.go": "package a\nfunc TestS1_Guarded() {}\n"}, ""},
		{"a test of two", map[string]string{"a_test.go": "package a\nfunc TestH2_S1_Both() {}\n"}, ""},
		{"a test in a nested module", map[string]string{"nested/go.mod": "module n\n", "nested/a_test.go": "package a\nfunc TestS1_Guarded() {}\n"}, ""},
		{"a scenario", map[string]string{scenario: "package a\nvar _ = \"S1 dials nothing\"\n"}, ""},
		{"a scenario of two", map[string]string{scenario: "package a\nvar _ = \"H2 S1 dials nothing\"\n"}, ""},
		{"a line", map[string]string{"docs/threat-model.md": "- S1: it has no dialer to speak of\n"}, ""},
		{"a line for two", map[string]string{"docs/threat-model.md": "- H2, S1: it has no dialer to speak of\n"}, ""},
		{"a row", map[string]string{"docs/threat-model.md": "| S1 | it has no dialer to speak of |\n"}, ""},

		{"nothing", nil, "S1 (guarded): no test is named after it"},
		{"another item's test", map[string]string{"a_test.go": "package a\nfunc TestS10_Redirects() {}\n"}, "S1 (guarded)"},
		{"no name behind it", map[string]string{"a_test.go": "package a\nfunc TestS1() {}\n"}, "S1 (guarded)"},
		{"a function that go test does not run", map[string]string{"a.go": "package a\nfunc TestS1_Guarded() {}\n"}, "S1 (guarded)"},
		{"a method", map[string]string{"a_test.go": "package a\ntype t int\nfunc (t) TestS1_Guarded() {}\n"}, "S1 (guarded)"},
		{"a string elsewhere", map[string]string{"a_test.go": "package a\nvar _ = \"S1 dials nothing\"\n"}, "S1 (guarded)"},
		{"a message", map[string]string{scenario: "package a\nvar _ = \"S1: failed\"\n"}, "S1 (guarded)"},
		{"a comment", map[string]string{"a_test.go": "package a\n// func TestS1_Guarded() {}\n"}, "S1 (guarded)"},
		{"a line without a reason", map[string]string{"docs/threat-model.md": "- S1: no\n"}, "S1 (guarded)"},
		{"a row without a reason", map[string]string{"docs/threat-model.md": "| S1 | |\n"}, "S1 (guarded)"},
		{"a sentence", map[string]string{"docs/threat-model.md": "S1: it has no dialer to speak of\n"}, "S1 (guarded)"},
		{"an item that nobody listed", map[string]string{"a_test.go": "package a\nfunc TestS1_S99_Guarded() {}\n"}, "S99: there is TestS1_S99_Guarded"},
		{"a line about one", map[string]string{"docs/threat-model.md": "- S1, S99: it has no dialer to speak of\n"}, "S99: docs/threat-model.md"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			files := map[string]string{"docs/threat-model.md": "# Threat model\n"}
			for name, text := range tt.files {
				files[name] = text
			}
			for name, text := range files {
				path := filepath.Join(root, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ev, err := Collect(root)
			if err != nil {
				t.Fatal(err)
			}
			list := []Item{{"S1", "guarded"}, {"S10", "redirects"}, {"H2", "names"}}
			var found []string
			for _, problem := range Check(list, ev) {
				// The other two have no tests here.
				if !strings.HasPrefix(problem, "S10 (") && !strings.HasPrefix(problem, "H2 (") {
					found = append(found, problem)
				}
			}
			switch {
			case tt.want == "" && len(found) > 0:
				t.Errorf("found %q in what is well", found)
			case tt.want != "" && (len(found) != 1 || !strings.Contains(found[0], tt.want)):
				t.Errorf("found %q, want one that says %q", found, tt.want)
			}
		})
	}
	t.Run("a test that has overtaken its line", func(t *testing.T) {
		ev := Evidence{
			Tests:   map[string][]string{"S1": {"TestS1_Guarded in a_test.go"}},
			Reasons: map[string]string{"S1": "not shown yet: on its way", "H2": "not shown yet: on its way"},
		}
		if got := Overtaken([]Item{{"S1", "guarded"}, {"H2", "names"}}, ev); len(got) != 1 || !strings.HasPrefix(got[0], "S1:") {
			t.Errorf("overtaken: %q, want S1", got)
		}
	})
	t.Run("no threat model", func(t *testing.T) {
		if _, err := Collect(t.TempDir()); err == nil {
			t.Error("a repository without one passed")
		}
	})
}
