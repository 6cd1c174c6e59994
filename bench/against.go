package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// against builds the benchmark of another commit and runs the rows that both
// have with both programs, turn about, each run in a process of its own. For each
// row it prints the medians of both and their quotient.
func against(ctx context.Context, o *options, picked []row) (err error) {
	dir, err := os.MkdirTemp("", "bench-against-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	old, err := buildCommit(ctx, dir, o.against)
	if err != nil {
		return fmt.Errorf("commit %s: %w", o.against, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	list, err := exec.CommandContext(ctx, old, "-list").Output() //nolint:gosec // the program that buildCommit has just built
	if err != nil {
		return fmt.Errorf("commit %s: its rows: %w", o.against, err)
	}
	known := strings.Fields(string(list))
	rep := newReport()
	fmt.Println(rep.Machine.String())
	var failed []error // rows
	for _, r := range picked {
		if !slices.Contains(known, r.name) {
			fmt.Printf("\n%s: commit %s has no such row\n", r.name, o.against)
			continue
		}
		if err := compare(ctx, o, r.name, old, self, filepath.Join(dir, "run.json")); err != nil {
			if ctx.Err() != nil {
				return err
			}
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return errors.Join(failed...)
}

// buildCommit writes the files of a commit of this repository below dir and builds
// its benchmark there. The repository's own work tree stays as it is.
func buildCommit(ctx context.Context, dir, commit string) (program string, err error) {
	archive, tree, program := filepath.Join(dir, "tree.tar"), filepath.Join(dir, "tree"), filepath.Join(dir, "old")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return "", err
	}
	root, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("git finds no repository here: %w", err)
	}
	for _, args := range [][]string{
		{"git", "-C", strings.TrimSpace(string(root)), "archive", "--output", archive, commit},
		{"tar", "-xf", archive, "-C", tree},
		{"go", "build", "-C", filepath.Join(tree, "bench"), "-o", program, "."},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the commit is the caller's to choose
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("%s: %w", args[0], err)
		}
	}
	return program, nil
}

// compare runs one row with both programs and prints a line for each, and one for
// the quotient of their medians.
func compare(ctx context.Context, o *options, name, old, now, file string) error {
	var results [2]rowReport
	for range o.runs {
		for i, program := range []string{old, now} {
			figures, err := runOnce(ctx, o, name, program, file)
			if err != nil {
				return err
			}
			results[i].Runs = append(results[i].Runs, figures)
		}
	}
	for i := range results {
		results[i].Medians = medians(results[i].Runs)
	}
	fmt.Printf("\n%-38s", name)
	for _, f := range results[1].Medians {
		fmt.Printf(" %*s", width(f.Name), f.Name)
	}
	fmt.Println()
	line := func(title string, value func(before, after float64) string) {
		fmt.Printf("%-38s", "  "+title)
		for i, f := range results[1].Medians {
			text := "–"
			if before := results[0].Medians; i < len(before) && before[i].Name == f.Name {
				text = value(before[i].Value, f.Value)
			}
			fmt.Printf(" %*s", width(f.Name), text)
		}
		fmt.Println()
	}
	line(o.against, func(before, _ float64) string { return shown(before) })
	line("this build", func(_, after float64) string { return shown(after) })
	line("quotient", func(before, after float64) string { return fmt.Sprintf("%.2f", after/before) })
	return nil
}

// runOnce runs one row once in a process of its own and returns its figures.
func runOnce(ctx context.Context, o *options, name, program, file string) ([]figure, error) {
	args := []string{"-rows", name, "-runs", "1", "-window", o.window.String(), "-json", file}
	if o.quick {
		args = append(args, "-quick")
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // this program, or the one that buildCommit has built
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the program has just written it
	if err != nil {
		return nil, err
	}
	var rep report
	if err := json.Unmarshal(text, &rep); err != nil {
		return nil, fmt.Errorf("%s: its figures: %w", filepath.Base(program), err)
	}
	for _, r := range rep.Rows {
		if r.Name == name && len(r.Runs) == 1 {
			return r.Runs[0], nil
		}
	}
	return nil, fmt.Errorf("%s wrote no figures", filepath.Base(program))
}
