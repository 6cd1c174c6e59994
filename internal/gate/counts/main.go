// Command counts adds up what go test -json wrote, one file for each module:
//
//	counts [-strict] file...
//
// Its only line, "N passed, N failed, N skipped", counts a test with subtests by these. A package that fails
// without a failed test (it did not build, or TestMain gave up) is one failure, and so is a module without a test.
// It exits with 1 after a failure and, with -strict, after a skipped test: in CI a missing part is a failure.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	strict := flag.Bool("strict", false, "a skipped test is a failure")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "counts: no file given")
		os.Exit(2)
	}
	var total counts
	for _, name := range flag.Args() {
		got, err := countFile(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "counts:", err)
			os.Exit(2)
		}
		if got == (counts{}) {
			fmt.Fprintf(os.Stderr, "counts: %s: no test ran\n", name)
			got.failed = 1
		}
		total.passed, total.failed, total.skipped = total.passed+got.passed, total.failed+got.failed, total.skipped+got.skipped
	}
	fmt.Println(total)
	if !total.good(*strict) {
		os.Exit(1)
	}
}

type counts struct{ passed, failed, skipped int }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (c counts) good(strict bool) bool { return c.failed == 0 && (c.skipped == 0 || !strict) }

func countFile(name string) (counts, error) {
	f, err := os.Open(name)
	if err != nil {
		return counts{}, err
	}
	defer f.Close()
	return count(f)
}

// event has the fields of cmd/test2json that counting needs.
type event struct {
	Action  string `json:"Action"`
	Package string `json:"Package"`
	Test    string `json:"Test"`
}

// count reads the events of one run of go test.
func count(in io.Reader) (counts, error) {
	results := map[string]map[string]string{} // by package and test; the test "" is the package itself
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Package != "" {
			if results[e.Package] == nil {
				results[e.Package] = map[string]string{"": ""}
			}
			switch e.Action {
			case "run":
				results[e.Package][e.Test] = ""
			case "pass", "fail", "skip":
				results[e.Package][e.Test] = e.Action
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return counts{}, err
		}
	}
	var sum counts
	for _, tests := range results {
		got := countPackage(tests)
		sum.passed, sum.failed, sum.skipped = sum.passed+got.passed, sum.failed+got.failed, sum.skipped+got.skipped
	}
	return sum, nil
}

func countPackage(tests map[string]string) counts {
	var sum counts
	parents, failedBelow := map[string]bool{}, map[string]bool{}
	for name, result := range tests {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			parents[name[:i]] = true
			failedBelow[name[:i]] = failedBelow[name[:i]] || result == "fail"
		}
	}
	for name, result := range tests {
		switch {
		case name == "":
		case result == "skip":
			sum.skipped++
		case result == "pass" && !parents[name]:
			sum.passed++
		case result == "fail" && !failedBelow[name]:
			sum.failed++
		}
	}
	// A package without a test file ends with "skip"; one that was killed has no end.
	if tests[""] != "pass" && tests[""] != "skip" && sum.failed == 0 {
		sum.failed = 1
	}
	return sum
}
