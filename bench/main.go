// Command bench measures the library against a bare loop, which signs and posts
// without a store, and prints a table.
//
//	go run ./bench                      all rows; about an hour
//	go run ./bench -rows 'throughput/*' the rows that match
//	go run ./bench -list                the names of the rows
//	go run ./bench -quick               shorter windows, to see that it works
//	go run ./bench -json results.json   also writes every run to a file
//	go run ./bench -against COMMIT      an older commit beside this build, turn about
//
// The receiver is a process of its own, and PostgreSQL a throw-away server that
// is as durable as one in production. Next to every run of a row, the bare loop
// or a run without the disturbance is measured. A figure is the median of its
// runs. docs/performance.md explains the columns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strings"
	"time"
)

// roleVariable is the environment variable that tells a child process its role.
const roleVariable = "WEBHOOK_BENCH_ROLE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		err = run(ctx)
	case "sink":
		err = sinkMain()
	case "dispatcher":
		err = dispatcherMain(ctx)
	default:
		err = fmt.Errorf("unknown %s %q", roleVariable, role)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options holds the flags of the command line.
type options struct {
	rows    string
	against string
	json    string
	profile string
	runs    int
	window  time.Duration
	quick   bool
	list    bool
}

// scaled returns n, or much less with -quick.
func (o *options) scaled(n int) int {
	if o.quick {
		return max(n/100, 1)
	}
	return n
}

func parseOptions() (*options, error) {
	o := &options{}
	flag.StringVar(&o.rows, "rows", "*", "comma-separated patterns of rows, * matching anything")
	flag.StringVar(&o.against, "against", "", "build this commit as well, and run both turn about")
	flag.StringVar(&o.json, "json", "", "file for every run's figures")
	flag.StringVar(&o.profile, "profile", "", "directory for CPU profiles of this process, one for each window that is measured")
	flag.IntVar(&o.runs, "runs", 3, "runs of each row")
	flag.DurationVar(&o.window, "window", 3*time.Second, "how long each run measures")
	flag.BoolVar(&o.quick, "quick", false, "one run of half a second, a hundredth of every backlog")
	flag.BoolVar(&o.list, "list", false, "print the names of the rows and end")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.quick {
		o.runs, o.window = 1, 500*time.Millisecond
	}
	if o.runs < 1 || o.window < 100*time.Millisecond {
		return nil, errors.New("-runs must be at least 1 and -window at least 100ms")
	}
	if o.against != "" && (o.json != "" || o.profile != "") {
		return nil, errors.New("-against runs other processes, and takes neither -json nor -profile")
	}
	return o, nil
}

func run(ctx context.Context) (err error) {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	picked, err := pick(allRows(), o.rows)
	if err != nil {
		return err
	}
	if o.list {
		for _, r := range picked {
			fmt.Println(r.name)
		}
		return nil
	}
	if o.against != "" {
		return against(ctx, o, picked)
	}
	e, err := newEnv(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	rep := newReport()
	var failed []error // rows
	fmt.Println(rep.Machine.String())
	for _, r := range picked {
		if err := rep.measure(ctx, e, r); err != nil {
			if ctx.Err() != nil {
				return err
			}
			// The other rows can still be measured.
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		if o.json != "" {
			if err := rep.save(o.json); err != nil {
				return err
			}
		}
	}
	return errors.Join(failed...)
}

// pick returns the rows that match a pattern, in their order. A star matches
// slashes too.
func pick(rows []row, patterns string) ([]row, error) {
	flat := strings.NewReplacer("/", "\x00")
	var out []row
	for _, r := range rows {
		for p := range strings.SplitSeq(patterns, ",") {
			ok, err := path.Match(flat.Replace(p), flat.Replace(r.name))
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", p, err)
			}
			if ok {
				out = append(out, r)
				break
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no row matches %q; see -list", patterns)
	}
	return out, nil
}

// allRows are the rows in the order of the table.
func allRows() []row {
	var rows []row
	rows = append(rows, throughputRows()...)
	rows = append(rows, riverRows()...)
	rows = append(rows, backlogRows()...)
	rows = append(rows, latencyRows()...)
	rows = append(rows, noisyRows()...)
	rows = append(rows, burstRows()...)
	rows = append(rows, growthRows()...)
	rows = append(rows, footprintRows()...)
	rows = append(rows, processRows()...)
	rows = append(rows, portalRows()...)
	return rows
}
