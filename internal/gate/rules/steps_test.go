package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/gate/rules"
)

// The way of an event in docs/architecture.md has at most ten steps, and each names functions that exist.
func TestStepsOfTheArchitectureExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, way, _ := strings.Cut(string(page), "\n## The way of an event\n")
	way, _, _ = strings.Cut(way, "\n## ")
	steps := regexp.MustCompile(`(?m)^\d+\. `).Split(way, -1)[1:]
	if len(steps) < 6 || len(steps) > 10 {
		t.Errorf("%d steps, want 6 to 10", len(steps))
	}
	for i, step := range steps {
		found, functions := rules.CheckSteps(root, step)
		if functions == 0 {
			t.Errorf("step %d names no function in the form `file.go`: `function`", i+1)
		}
		report(t, found)
	}
}

func TestTheRuleOfStepsHasTeeth(t *testing.T) {
	dir := write(t, map[string]string{
		"a.go":   "package a\nfunc f() {}\ntype T struct{}\nfunc (t *T) g() {}\n",
		"b/c.go": "package b\ntype U[V any] struct{}\nfunc (U[V]) H() {}\n",
	}, nil)
	for _, c := range []struct {
		page, want string
		functions  int
	}{
		{"1. First. `a.go`: `f`, `T.g`, `g`; `b/c.go`: `U.H`.", "", 4},
		{"`a.go`:\n   `f`,\n   `T.g`", "", 2},
		{"Its file is `a.go`, and `h` is no function.", "", 0},
		{"`a.go`: `h`", "a.go declares no function h", 1},
		{"`a.go`: `f`, `T.f`", "a.go declares no function T.f", 2},
		{"`b/c.go`: `U.g`", "b/c.go declares no function U.g", 1},
		{"`d.go`: `f`", "d.go: ", 1},
	} {
		found, functions := rules.CheckSteps(dir, c.page)
		expect(t, found, c.want)
		if functions != c.functions {
			t.Errorf("%q: looked for %d functions, want %d", c.page, functions, c.functions)
		}
	}
}
