package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The cases run go test on modules of their own, so that the events are those of the go command.
func TestCountsOfRuns(t *testing.T) {
	const skipping = "func TestRun(*testing.T) {}\nfunc TestNot(t *testing.T) { t.Skip() }\n"
	for _, tt := range []struct {
		name, tests string
		want        counts
	}{
		{"passing tests and subtests", "func TestOne(*testing.T) {}\nfunc TestTwo(t *testing.T) { t.Run(\"x\", func(*testing.T) {}); t.Run(\"y\", func(*testing.T) {}) }\n", counts{passed: 3}},
		{"a failing subtest", "func TestTop(t *testing.T) { t.Run(\"good\", func(*testing.T) {}); t.Run(\"bad\", func(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Fail() }) }) }\n", counts{passed: 1, failed: 1}},
		{"a parent that fails by itself", "func TestTop(t *testing.T) { t.Run(\"good\", func(*testing.T) {}); t.Fail() }\n", counts{passed: 1, failed: 1}},
		{"a package that does not compile", "var x int = \"text\"\nfunc TestOne(*testing.T) {}\n", counts{failed: 1}},
		{"a panic", "func TestOne(*testing.T) { panic(1) }\n", counts{failed: 1}},
		{"an exit", "func TestOne(*testing.T) { os.Exit(3) }\n", counts{failed: 1}},
		{"TestMain gives up", "func TestMain(*testing.M) { os.Exit(1) }\nfunc TestOne(*testing.T) {}\n", counts{failed: 1}},
		{"a skip", skipping, counts{passed: 1, skipped: 1}},
		{"no test", "", counts{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"go.mod":    "module example.com/m\n\ngo 1.26\n",
				"a_test.go": "package m\n\nimport (\n\"os\"\n\"testing\"\n)\n\nvar _ = os.Exit\nvar _ testing.TB\n" + tt.tests,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
			out, err := cmd.Output()
			if (err != nil) != (tt.want.failed > 0) {
				t.Fatal(err)
			}
			got, err := count(strings.NewReader(string(out)))
			if err != nil || got != tt.want {
				t.Errorf("counted %v, error %v; want %v:\n%s", got, err, tt.want, out)
			}
		})
	}
}

// A run that was killed leaves events that stop in the middle.
func TestARunThatWasKilledFails(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
no event
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
`
	if got, err := count(strings.NewReader(events)); err != nil || got != (counts{passed: 1, failed: 1}) {
		t.Errorf("counted %v, error %v", got, err)
	}
}

func TestSkipsFailWhenStrict(t *testing.T) {
	for _, tt := range []struct {
		c      counts
		strict bool
		want   bool
	}{
		{counts{passed: 1}, true, true},
		{counts{passed: 1, skipped: 1}, false, true},
		{counts{passed: 1, skipped: 1}, true, false},
		{counts{passed: 1, failed: 1}, false, false},
	} {
		if got := tt.c.good(tt.strict); got != tt.want {
			t.Errorf("%v, strict %v: good is %v", tt.c, tt.strict, got)
		}
	}
}
