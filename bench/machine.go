package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine describes the machine of the measurement.
type machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	OS    string `json:"os"`
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores of %s, %s, %s", m.Cores, m.CPU, m.Go, m.OS)
}

func thisMachine() machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.OS += " " + strings.TrimSpace(string(text))
	}
	return m
}

// loadAverage returns the load of the last minute, or 0 if it is not known.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

// tick is the unit of the CPU times in /proc, the same on every Linux that Go
// runs on.
const tick = 10 * time.Millisecond

// cpuTimes are CPU times consumed so far.
type cpuTimes struct {
	machine time.Duration // by all processes of the machine
	tree    time.Duration // by this process and its descendants: sink, dispatchers, database
	own     time.Duration // by this process
}

func (t cpuTimes) minus(u cpuTimes) cpuTimes {
	return cpuTimes{t.machine - u.machine, t.tree - u.tree, t.own - u.own}
}

func readCPU() (cpuTimes, error) {
	var t cpuTimes
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return t, err
	}
	t.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	var err1, err2 error
	t.machine, err1 = machineBusy()
	t.tree, err2 = treeCPU()
	return t, errors.Join(err1, err2)
}

// machineBusy returns the time that the machine's cores were not idle.
func machineBusy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var busy int64
	for i, f := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; guests are in user.
		if i == 0 || i == 4 || i == 5 || i > 7 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		busy += n
	}
	return time.Duration(busy) * tick, nil
}

// treeCPU returns the CPU time of this process, its descendants, and their
// ended children.
func treeCPU() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	type process struct {
		parent int
		ticks  int64
	}
	all := make(map[int]process, len(stats))
	for _, file := range stats {
		text, err := os.ReadFile(file) //nolint:gosec // in /proc
		if err != nil {
			continue // the process has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return 0, err
		}
		// The name may hold any character; the fields begin after its last
		// parenthesis.
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			return 0, fmt.Errorf("%s has %d fields", file, len(fields))
		}
		var p process
		if p.parent, err = strconv.Atoi(fields[1]); err != nil {
			return 0, err
		}
		for _, f := range fields[11:15] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			p.ticks += n
		}
		all[pid] = p
	}
	self := os.Getpid()
	var sum int64
	for pid := range all {
		for at := pid; at > 1; at = all[at].parent {
			if at == self {
				sum += all[pid].ticks
				break
			}
		}
	}
	return time.Duration(sum) * tick, nil
}

// sample holds the counts of one window.
type sample struct {
	n       int64
	failed  int64 // attempts
	elapsed time.Duration
	cpu     cpuTimes
}

// watch counts over a window. The name is used for the profile, if profiles are
// enabled.
func (e *env) watch(ctx context.Context, name string, count func() (int64, error)) (sample, error) {
	unprofile, err0 := e.profile(name)
	before, err1 := count()
	cpu, err2 := readCPU()
	began := time.Now()
	err3 := pause(ctx, e.opt.window)
	elapsed := time.Since(began)
	after, err4 := count()
	end, err5 := readCPU()
	s := sample{n: after - before, elapsed: elapsed, cpu: end.minus(cpu)}
	err := errors.Join(err0, err1, err2, err3, err4, err5, unprofile())
	if err == nil && s.n <= 0 {
		err = errors.New("no delivery was recorded during the measurement")
	}
	return s, err
}

// rate returns the count per second.
func (s sample) rate() float64 { return float64(s.n) / s.elapsed.Seconds() }

// each returns a CPU time per count, in microseconds.
func (s sample) each(cpu time.Duration) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(s.n)
}

// against compares a sample with the bare loop's sample next to it.
func (s sample) against(bare sample) []figure {
	return []figure{
		{"/s", s.rate()},
		{"bare /s", bare.rate()},
		{"ratio", s.rate() / bare.rate()},
		{"cpu µs", s.each(s.cpu.tree)},
		{"bare µs", bare.each(bare.cpu.tree)},
		{"own µs", s.each(s.cpu.own)},
		{"machine µs", s.each(s.cpu.machine)},
	}
}

// pause waits for d, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
