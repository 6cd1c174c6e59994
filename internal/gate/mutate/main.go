// Command mutate looks for code that no test holds to anything: it changes one
// small thing at a time in a package, runs the tests that reach the place, and
// prints the changes that none of them noticed.
//
//	mutate [-files a.go,b.go] [-run regexp] [-skip regexp] [-only n,n] [-parallel n] dir [test binary's flags]
//
// All changes are compiled into the tests at once, each behind a condition that
// an environment variable makes true, so that a change costs a run of a few tests
// and no compilation. Its exit code says only whether that could be done: which
// survivors may live is for people to say, in docs/mutation.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	_, err := mutate(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// counts is the last line.
type counts struct{ mutants, killed, late, unreached, survived int }

func (c *counts) add(o outcome) {
	c.mutants++
	switch o {
	case passed:
		c.survived++
	case failed:
		c.killed++
	case late:
		c.late++
	case unreached:
		c.unreached++
	}
}

func (c counts) String() string {
	return fmt.Sprintf("%d mutants: %d killed, %d timed out, %d not covered, %d survived", c.mutants, c.killed, c.late, c.unreached, c.survived)
}

func mutate(ctx context.Context, args []string, stdout io.Writer) (counts, error) {
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	files := flags.String("files", "", "mutate these `files` of the package only")
	pattern := flags.String("run", ".", "run the tests that match this `regexp`")
	skip := flags.String("skip", "", "but not those that match this `regexp`")
	parallel := flags.Int("parallel", 1, "try so many mutants at a time")
	only := flags.String("only", "", "try the mutants with these `numbers` only")
	if err := flags.Parse(args); err != nil {
		return counts{}, err
	}
	if flags.NArg() == 0 {
		return counts{}, errors.New("no directory given")
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return counts{}, err
	}
	defer os.RemoveAll(work)

	binary := filepath.Join(work, "mutants.test")
	mutants, dir, err := build(ctx, flags.Arg(0), fields(*files), work, binary)
	if err != nil {
		return counts{}, err
	}
	r := &runner{dir: dir, binary: binary, work: work, args: flags.Args()[1:]}
	tests, err := r.survey(ctx, *pattern, *skip)
	if err != nil {
		return counts{}, err
	}
	fmt.Fprintf(stdout, "# %d mutants, %d tests\n", len(mutants), len(tests))

	var (
		sum    counts
		mu     sync.Mutex // guards sum, fault and stdout
		fault  error
		next   = make(chan int)
		all    sync.WaitGroup
		chosen = fields(*only)
	)
	for range max(1, *parallel) {
		all.Go(func() {
			for n := range next {
				m := mutants[n]
				got, err := r.try(ctx, n, m.site, tests)
				mu.Lock()
				if err == nil {
					err = ctx.Err()
				}
				if err == nil {
					sum.add(got)
					if got != failed {
						fmt.Fprintf(stdout, "%s:%d:%d: %s: %s (%d)\n", filepath.Base(m.pos.Filename), m.pos.Line, m.pos.Column, got, m.what, n)
					}
				}
				fault = errors.Join(fault, err)
				mu.Unlock()
			}
		})
	}
	for n := range mutants {
		if (len(chosen) == 0 || slices.Contains(chosen, strconv.Itoa(n))) && ctx.Err() == nil {
			next <- n
		}
	}
	close(next)
	all.Wait()
	if fault != nil {
		return sum, fault
	}
	_, err = fmt.Fprintln(stdout, sum)
	return sum, err
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
