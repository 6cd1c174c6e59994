package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A row of the table. Rows whose names begin alike, up to the first slash, have
// the same figures and share a heading.
type row struct {
	name string
	// run measures once.
	run func(ctx context.Context, e *env) ([]figure, error)
}

// A figure is one column's value in one run.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// A report holds all results.
type report struct {
	Machine machine     `json:"machine"`
	Began   time.Time   `json:"began"`
	Rows    []rowReport `json:"rows"`

	headed string
}

// A rowReport holds the figures of every run of a row.
type rowReport struct {
	Name    string     `json:"name"`
	Load    float64    `json:"load_before"` // of the machine, over a minute
	Medians []figure   `json:"medians"`
	Runs    [][]figure `json:"runs"`
}

func newReport() *report { return &report{Machine: thisMachine(), Began: time.Now().UTC()} }

// measure runs a row as often as configured and prints its medians.
func (rep *report) measure(ctx context.Context, e *env, r row) error {
	rr := rowReport{Name: r.name, Load: loadAverage()}
	for range e.opt.runs {
		figures, err := r.run(ctx, e)
		if err != nil {
			return err
		}
		rr.Runs = append(rr.Runs, figures)
	}
	rr.Medians = medians(rr.Runs)
	rep.Rows = append(rep.Rows, rr)
	rep.print(&rr)
	return nil
}

// medians returns the median of each figure of the runs of one row.
func medians(runs [][]figure) (out []figure) {
	for i, f := range runs[0] {
		var values []float64
		for _, one := range runs {
			values = append(values, one[i].Value)
		}
		out = append(out, figure{f.Name, median(values)})
	}
	return out
}

func (rep *report) print(rr *rowReport) {
	if group, _, _ := strings.Cut(rr.Name, "/"); group != rep.headed {
		rep.headed = group
		fmt.Printf("\n%-38s", group)
		for _, f := range rr.Medians {
			fmt.Printf(" %*s", width(f.Name), f.Name)
		}
		fmt.Printf(" %6s\n", "load")
	}
	_, rest, _ := strings.Cut(rr.Name, "/")
	fmt.Printf("%-38s", rest)
	for _, f := range rr.Medians {
		fmt.Printf(" %*s", width(f.Name), shown(f.Value))
	}
	fmt.Printf(" %6.1f\n", rr.Load)
}

func width(name string) int { return max(len([]rune(name)), 7) }

// shown formats a value with at least three digits.
func shown(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func (rep *report) save(file string) error {
	text, err := json.MarshalIndent(rep, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
