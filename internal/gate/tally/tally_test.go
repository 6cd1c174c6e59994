package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module writes a module of the given files to a directory of its own.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The cases run the real go test on real modules: what is tallied is what the
// go command prints, not what this test believes that it prints.
func TestTallyOfARealRun(t *testing.T) {
	t.Setenv("GOWORK", "off")
	tests := []struct {
		name   string
		files  map[string]string
		strict bool
		last   string   // the closing line
		want   []string // what the account holds
		absent []string // what it does not
		bad    bool     // tally reports failure
	}{
		{
			name: "passing tests and subtests",
			files: map[string]string{"a_test.go": `package m
import "testing"
func TestOne(t *testing.T) { t.Log("quiet") }
func TestTwo(t *testing.T) { t.Run("x", func(*testing.T) {}); t.Run("y", func(*testing.T) {}) }
`},
			last: "3 passed, 0 failed, 0 skipped", want: []string{"ok   example.com/m"}, absent: []string{"quiet"},
		},
		{
			name: "a failing subtest counts once and is explained",
			files: map[string]string{"a_test.go": `package m
import "testing"
func TestTop(t *testing.T) { t.Run("good", func(*testing.T) {}); t.Run("bad", func(t *testing.T) { t.Error("the reason") }) }
`},
			last: "1 passed, 1 failed, 0 skipped", want: []string{"TestTop/bad", "the reason", "FAIL example.com/m"}, bad: true,
		},
		{
			name: "a parent that fails by itself counts",
			files: map[string]string{"a_test.go": `package m
import "testing"
func TestTop(t *testing.T) { t.Run("good", func(*testing.T) {}); t.Error("afterwards") }
`},
			last: "1 passed, 1 failed, 0 skipped", want: []string{"afterwards"}, bad: true,
		},
		{
			name:  "a package that does not compile is one failure",
			files: map[string]string{"a_test.go": "package m\nvar x int = \"text\"\n", "b/b_test.go": "package b\nimport \"testing\"\nfunc TestB(*testing.T) {}\n"},
			last:  "1 passed, 1 failed, 0 skipped", want: []string{"cannot use \"text\"", "ok   example.com/m/b"}, bad: true,
		},
		{
			name: "a panic is a failure with its stack",
			files: map[string]string{"a_test.go": `package m
import "testing"
func TestBoom(*testing.T) { panic("boom") }
`},
			last: "0 passed, 1 failed, 0 skipped", want: []string{"panic: boom"}, bad: true,
		},
		{
			name: "an exit in the middle is a failure",
			files: map[string]string{"a_test.go": `package m
import ("os"; "testing")
func TestExit(*testing.T) { os.Exit(3) }
`},
			last: "0 passed, 1 failed, 0 skipped", bad: true,
		},
		{
			name: "TestMain giving up is a failure",
			files: map[string]string{"a_test.go": `package m
import ("fmt"; "os"; "testing")
func TestMain(*testing.M) { fmt.Println("no database"); os.Exit(1) }
func TestNever(*testing.T) {}
`},
			last: "0 passed, 1 failed, 0 skipped", want: []string{"no database"}, bad: true,
		},
		{
			name:  "a skip is counted and shown with its reason",
			files: map[string]string{"a_test.go": skipping},
			last:  "1 passed, 0 failed, 1 skipped", want: []string{"no engine here"},
		},
		{
			name: "a skip is a failure when strict", strict: true,
			files: map[string]string{"a_test.go": skipping},
			last:  "1 passed, 0 failed, 1 skipped", want: []string{"1 tests were skipped"}, bad: true,
		},
		{
			name:  "no test at all is a failure",
			files: map[string]string{"a.go": "package m\n"},
			last:  "0 passed, 1 failed, 0 skipped", want: []string{"not one test ran"}, bad: true,
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sub", "counts")
			args := []string{"-counts", file}
			if tc.strict {
				args = append(args, "-strict")
			}
			args = append(args, module(t, tc.files), "--", "./...")
			var out, errs bytes.Buffer
			err := tally(t.Context(), args, &out, &errs)
			if (err != nil) != tc.bad {
				t.Errorf("tally returned %v, want a failure: %v", err, tc.bad)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			written, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if got := strings.TrimSpace(string(written)); got != tc.last {
				t.Errorf("counts file holds %q, want %q", got, tc.last)
			}
			if !slices.Contains(lines, tc.last) {
				t.Errorf("no line %q in\n%s", tc.last, out.String())
			}
			for _, s := range tc.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("no %q in\n%s", s, out.String())
				}
			}
			for _, s := range tc.absent {
				if strings.Contains(out.String(), s) {
					t.Errorf("%q, which nobody needs, in\n%s", s, out.String())
				}
			}
		})
	}
}

const skipping = `package m
import "testing"
func TestRun(*testing.T) {}
func TestNot(t *testing.T) { t.Log("no engine here"); t.SkipNow() }
`

func TestSeveralDirectoriesAddUp(t *testing.T) {
	t.Setenv("GOWORK", "off")
	one := map[string]string{"a_test.go": "package m\nimport \"testing\"\nfunc TestA(*testing.T) {}\n"}
	two := map[string]string{"a_test.go": "package m\nimport \"testing\"\nfunc TestA(*testing.T) {}\nfunc TestB(t *testing.T) { t.Fail() }\n"}
	var out, errs bytes.Buffer
	if err := tally(t.Context(), []string{module(t, one), module(t, two), "--", "./..."}, &out, &errs); err == nil {
		t.Error("a failure in the second directory went unreported")
	}
	if !strings.Contains(out.String(), "\n2 passed, 1 failed, 0 skipped\n") {
		t.Errorf("wrong closing line in\n%s", out.String())
	}
}

// A go test that is killed leaves a stream that just stops.
func TestUnfinishedStreamIsAFailure(t *testing.T) {
	stream := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"half a sentence\n"}
`
	var out bytes.Buffer
	r := newRun(&out)
	if err := r.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if r.counts != (counts{Failed: 1}) {
		t.Errorf("counted %v, want one failure", r.counts)
	}
	if !strings.Contains(out.String(), "half a sentence") {
		t.Errorf("the output of the unfinished test is lost:\n%s", out.String())
	}
}

func TestWrongUseIsExplained(t *testing.T) {
	for _, args := range [][]string{nil, {"--"}, {"dir"}, {"-nonsense", "dir", "--"}} {
		var out, errs bytes.Buffer
		if err := tally(t.Context(), args, &out, &errs); err == nil {
			t.Errorf("tally %q was accepted", args)
		}
	}
}
