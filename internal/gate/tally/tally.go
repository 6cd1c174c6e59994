package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of go test -json: the fields of cmd/test2json, and of the
// build events that go test adds since Go 1.24.
type event struct {
	Action      string  `json:"Action"`
	Package     string  `json:"Package"`
	Test        string  `json:"Test"`
	Elapsed     float64 `json:"Elapsed"`
	Output      string  `json:"Output"`
	ImportPath  string  `json:"ImportPath"`
	FailedBuild string  `json:"FailedBuild"`
}

// counts is what a run came to. A test with subtests is not counted itself:
// its subtests are, so that the figure is the number of things checked.
type counts struct {
	Passed, Failed, Skipped int
}

func (c counts) plus(o counts) counts {
	return counts{c.Passed + o.Passed, c.Failed + o.Failed, c.Skipped + o.Skipped}
}

// String is the closing line that a reader, and a machine, look for.
func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

// tester is the state of one test while its package runs.
type tester struct {
	parent bool // has subtests
	output []string
	result string // "pass", "fail", "skip", or "" while it runs
}

// run collects the events of one go test process and writes a readable
// account of them to w as they come.
type run struct {
	w      io.Writer
	tests  map[string]map[string]*tester // package, test
	loose  map[string][]string           // output of a package outside of its tests
	builds map[string][]string           // output of the compiler
	failed map[string]int                // failures counted so far in a package
	counts
}

func newRun(w io.Writer) *run {
	return &run{
		w:      w,
		tests:  map[string]map[string]*tester{},
		loose:  map[string][]string{},
		builds: map[string][]string{},
		failed: map[string]int{},
	}
}

// read consumes a whole stream. What is no JSON (go prints some errors plainly)
// is passed on as it is.
func (r *run) read(in io.Reader) error {
	br := bufio.NewReader(in)
	for {
		line, err := br.ReadString('\n')
		if strings.TrimSpace(line) != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				fmt.Fprint(r.w, line)
			}
		}
		if err == io.EOF {
			r.unfinished()
			return nil
		}
		if err != nil {
			return fmt.Errorf("tally: reading go test's output: %w", err)
		}
	}
}

func (r *run) take(e event) {
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "build-fail": // the package that needed it reports the failure
	case "output":
		if e.Test == "" {
			r.loose[e.Package] = append(r.loose[e.Package], e.Output)
			return
		}
		t := r.test(e.Package, e.Test)
		t.output = append(t.output, e.Output)
	case "run":
		r.test(e.Package, e.Test)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
	}
}

// test returns the state of a test, made at its first mention, when it also
// turns the tests above it into parents.
func (r *run) test(pkg, name string) *tester {
	if r.tests[pkg] == nil {
		r.tests[pkg] = map[string]*tester{}
	}
	if t := r.tests[pkg][name]; t != nil {
		return t
	}
	t := &tester{}
	r.tests[pkg][name] = t
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		r.test(pkg, name[:i]).parent = true
	}
	return t
}

func (r *run) endTest(e event) {
	t := r.test(e.Package, e.Test)
	t.result = e.Action
	switch e.Action {
	case "pass":
		if !t.parent {
			r.Passed++
		}
		t.output = nil
	case "skip":
		r.Skipped++
		r.show("SKIP", e, t.output)
	case "fail":
		// A parent fails with its subtests; it is shown, since its own output
		// may hold the reason, and counted only when no subtest was.
		if !t.parent || !r.childFailed(e.Package, e.Test) {
			r.Failed++
		}
		r.failed[e.Package]++
		r.show("FAIL", e, t.output)
	}
}

// childFailed says whether a test below name failed.
func (r *run) childFailed(pkg, name string) bool {
	for sub, t := range r.tests[pkg] {
		if t.result == "fail" && strings.HasPrefix(sub, name+"/") {
			return true
		}
	}
	return false
}

func (r *run) show(word string, e event, output []string) {
	fmt.Fprintf(r.w, "--- %s: %s %s (%.2fs)\n", word, e.Package, e.Test, e.Elapsed)
	for _, s := range output {
		trimmed := strings.TrimLeft(s, " ")
		if strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- ") {
			continue
		}
		fmt.Fprint(r.w, s)
	}
}

func (r *run) endPackage(e event) {
	if e.Action == "fail" {
		r.failPackage(e.Package, e.FailedBuild, fmt.Sprintf("%.1fs", e.Elapsed))
		return
	}
	passed, skipped := 0, 0
	for _, t := range r.tests[e.Package] {
		switch {
		case t.result == "skip":
			skipped++
		case t.result == "pass" && !t.parent:
			passed++
		}
	}
	switch {
	case e.Action == "skip": // go test's word for a package without test files
		fmt.Fprintf(r.w, "-    %s  no tests\n", e.Package)
	case skipped > 0:
		fmt.Fprintf(r.w, "ok   %s  %.1fs  %d passed, %d skipped\n", e.Package, e.Elapsed, passed, skipped)
	default:
		fmt.Fprintf(r.w, "ok   %s  %.1fs  %d passed\n", e.Package, e.Elapsed, passed)
	}
	delete(r.tests, e.Package)
}

// failPackage reports a package that failed. When none of its tests did (it did not
// compile, panicked, ran into the time limit, TestMain gave up), the package
// itself is one failure and what it printed is the reason.
func (r *run) failPackage(pkg, build, elapsed string) {
	for _, s := range r.builds[build] {
		fmt.Fprint(r.w, s)
	}
	for name, t := range r.tests[pkg] {
		if t.result != "" || t.parent {
			continue
		}
		r.Failed++
		r.failed[pkg]++
		fmt.Fprintf(r.w, "--- FAIL: %s %s did not end\n%s", pkg, name, strings.Join(t.output, ""))
	}
	if r.failed[pkg] == 0 {
		r.Failed++
		r.failed[pkg] = 1
	}
	for _, s := range r.loose[pkg] {
		if s != "FAIL\n" && s != "PASS\n" {
			fmt.Fprint(r.w, s)
		}
	}
	fmt.Fprintf(r.w, "FAIL %s  %s\n", pkg, elapsed)
	delete(r.tests, pkg)
}

// unfinished turns packages that never reported an end (the process was
// killed) into failures: silence is not success.
func (r *run) unfinished() {
	var left []string
	for pkg := range r.tests {
		left = append(left, pkg)
	}
	slices.Sort(left)
	for _, pkg := range left {
		r.failPackage(pkg, "", "no result")
	}
}
