// Command tally runs "go test -json" in the directories given and prints what a
// reader needs: failures with their output, one line for each package and, as
// the last line, "N passed, N failed, N skipped".
//
//	tally [-strict] [-counts file] dir... -- [go test flags and packages]
//
// It exits with 1 when a test failed, a package did not build, no test ran at
// all in a directory, or, with -strict, a test was skipped: a part that is missing in CI is
// a failure there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := tally(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errFailed = errors.New("tally: the tests did not pass")

func tally(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("tally", flag.ContinueOnError)
	flags.SetOutput(stderr)
	strict := flags.Bool("strict", false, "a skipped test is a failure")
	file := flags.String("counts", "", "also write the closing line to this `file`")
	split := slices.Index(args, "--")
	if split < 0 {
		return errors.New("tally: no -- before the arguments of go test")
	}
	if err := flags.Parse(args[:split]); err != nil {
		return fmt.Errorf("tally: %w", err)
	}
	if flags.NArg() == 0 {
		return errors.New("tally: no directory given")
	}

	var total counts
	ok := true
	for _, dir := range flags.Args() {
		got, err := goTest(ctx, dir, args[split+1:], stdout, stderr)
		total = total.plus(got)
		if err != nil {
			ok = false
			fmt.Fprintln(stderr, err)
		}
		if got.Passed+got.Failed+got.Skipped == 0 {
			total.Failed++
			fmt.Fprintf(stdout, "FAIL %s: not one test ran\n", dir)
		}
	}
	if !ok && total.Failed == 0 {
		total.Failed = 1
	}
	if *strict && total.Skipped > 0 {
		ok = false
		fmt.Fprintf(stdout, "%d tests were skipped, which counts as a failure here\n", total.Skipped)
	}
	fmt.Fprintln(stdout, total)
	if *file != "" {
		if err := write(*file, total); err != nil {
			return err
		}
	}
	if !ok || total.Failed > 0 {
		return errFailed
	}
	return nil
}

func write(file string, total counts) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("tally: %w", err)
	}
	if err := os.WriteFile(file, []byte(total.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("tally: %w", err)
	}
	return nil
}

// goTest runs go test -json in dir and returns its counts. An error means that
// it did not end well, for whatever reason.
func goTest(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) (counts, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return counts{}, fmt.Errorf("tally: %s: %w", dir, err)
	}
	if err := cmd.Start(); err != nil {
		return counts{}, fmt.Errorf("tally: %s: %w", dir, err)
	}
	r := newRun(stdout)
	readErr := r.read(out)
	if err := cmd.Wait(); err != nil {
		return r.counts, fmt.Errorf("tally: go test in %s: %w", dir, err)
	}
	return r.counts, readErr
}
