package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// test is one that passes without a mutant, and what it reaches.
type test struct {
	name    string
	took    time.Duration
	reached map[int]bool
}

// runner runs the compiled tests.
type runner struct {
	dir, binary, work string
	args              []string // further arguments, such as -test.short

	mu      sync.Mutex
	killers []string // tests that noticed a mutant, the last one first
}

type outcome int

const (
	passed outcome = iota
	failed
	late
	unreached
)

func (o outcome) String() string {
	return [...]string{passed: "survived", failed: "killed", late: "timed out", unreached: "not covered"}[o]
}

// run runs the tests named with one mutant, or none for -1. A run that takes
// longer than limit, or more processor time, is late.
func (r *runner) run(ctx context.Context, mutant int, trace string, limit time.Duration, names []string) (outcome, []byte, error) {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	args := append([]string{
		"-test.failfast", "-test.run", "^(" + strings.Join(quoted, "|") + ")$",
		"-test.timeout", limit.String(),
	}, r.args...)
	ctx, cancel := context.WithTimeout(ctx, limit+5*time.Second)
	defer cancel()
	// A mutant may allocate for ever: the shell's limit of processor time ends that early.
	script := fmt.Sprintf(`ulimit -t %d; exec "$0" "$@"`, max(2, int(limit.Seconds())/2))
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, r.binary}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(mutant), "MUTANT_TRACE="+trace, "GOMEMLIMIT=1GiB", "GOTRACEBACK=none")
	cmd.WaitDelay = 10 * time.Second // for children of a test that was stopped, which hold its output open
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it says nothing about the exit code, which was 0
		return passed, out, nil
	case bytes.Contains(out, []byte("panic: test timed out")), ctx.Err() != nil:
		return late, out, nil
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return late, out, nil // by a signal: the processor time is over
	case errors.As(err, &exit):
		return failed, out, nil
	}
	return failed, out, err
}

// survey runs each test by itself, without a mutant, and returns those that pass,
// the quickest first.
func (r *runner) survey(ctx context.Context, pattern, skip string) ([]test, error) {
	cmd := exec.CommandContext(ctx, r.binary, "-test.list", pattern)
	cmd.Dir = r.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list of the tests: %w", err)
	}
	var tests []test
	skipped := regexp.MustCompile(cmp.Or(skip, "^$"))
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, "Benchmark") || skipped.MatchString(name) {
			continue
		}
		trace := filepath.Join(r.work, "trace")
		if err := os.RemoveAll(trace); err != nil {
			return nil, err
		}
		began := time.Now()
		got, out, err := r.run(ctx, -1, trace, 5*time.Minute, []string{name})
		if err != nil {
			return nil, err
		}
		took := time.Since(began)
		if got != passed {
			// Counts of allocations, for one, are other ones.
			fmt.Printf("# left out, as it fails without a mutant: %s\n%s\n", name, out)
			continue
		}
		t := test{name: name, took: took, reached: map[int]bool{}}
		text, err := os.ReadFile(trace)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, line := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(line)
			if err != nil {
				return nil, err
			}
			t.reached[n] = true
		}
		tests = append(tests, t)
	}
	slices.SortStableFunc(tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	return tests, nil
}

// batches groups tests so that the quick ones, which kill most mutants, come first.
func batches(tests []test) [][]test {
	var list [][]test
	var batch []test
	var sum time.Duration
	limit := time.Second
	for _, t := range tests {
		if len(batch) > 0 && sum+t.took > limit {
			list = append(list, batch)
			batch, sum, limit = nil, 0, 5*limit
		}
		batch = append(batch, t)
		sum += t.took
	}
	if len(batch) > 0 {
		list = append(list, batch)
	}
	return list
}

// try runs the tests that reach a mutant.
// Those that noticed the mutants before it, which are mostly near it, go first.
func (r *runner) try(ctx context.Context, n, site int, tests []test) (outcome, error) {
	const few = 4
	r.mu.Lock()
	killers := slices.Clone(r.killers)
	r.mu.Unlock()
	var first, those []test
	for _, t := range tests {
		switch i := slices.Index(killers, t.name); {
		case !t.reached[site]:
		case i >= 0 && i < few:
			first = append(first, t)
		default:
			those = append(those, t)
		}
	}
	if len(first)+len(those) == 0 {
		return unreached, nil
	}
	list := batches(those)
	if len(first) > 0 {
		list = slices.Insert(list, 0, first)
	}
	for _, batch := range list {
		var sum time.Duration
		var names []string
		for _, t := range batch {
			sum += t.took
			names = append(names, t.name)
		}
		got, out, err := r.run(ctx, n, "", 10*time.Second+5*sum, names)
		if err != nil || got != passed {
			r.remember(out)
			return got, err
		}
	}
	return passed, nil
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

func (r *runner) remember(out []byte) {
	if m := failure.FindSubmatch(out); m != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		name := string(m[1])
		r.killers = slices.DeleteFunc(r.killers, func(k string) bool { return k == name })
		r.killers = slices.Insert(r.killers, 0, name)
	}
}
