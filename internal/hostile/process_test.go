package hostile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"
)

// receivers is a process of endpoints.
type receivers struct {
	ports map[string]int

	cmd   *exec.Cmd
	in    *json.Encoder
	pipe  interface{ Close() error }
	out   *json.Decoder
	alive bool
}

// startReceivers starts endpoints, given by the names of their rows, in a process
// that lets others have the processor first if it is nice: receivers stand for
// other people's machines.
func startReceivers(t testing.TB, endpoints map[string]string, nice bool) *receivers {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	if nice {
		cmd = exec.Command("nice", "-n", "19", os.Args[0])
	}
	cmd.Env = append(os.Environ(), roleVar+"=receivers")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &receivers{cmd: cmd, in: json.NewEncoder(in), pipe: in, out: json.NewDecoder(bufio.NewReader(out)), alive: true}
	t.Cleanup(func() { r.stop(t) })
	if err := r.in.Encode(setup{Endpoints: endpoints}); err != nil {
		t.Fatal(err)
	}
	if err := r.out.Decode(&r.ports); err != nil {
		t.Fatalf("the receivers did not start: %v", err)
	}
	return r
}

// report asks for what the endpoints saw.
func (r *receivers) report(t testing.TB) map[string]report {
	t.Helper()
	if err := r.in.Encode("report"); err != nil {
		t.Fatal(err)
	}
	var all map[string]report
	if err := r.out.Decode(&all); err != nil {
		t.Fatalf("the receivers have gone: %v", err)
	}
	return all
}

// stop ends the process: it sees the end of its input.
func (r *receivers) stop(t testing.TB) {
	if !r.alive {
		return
	}
	r.alive = false
	r.pipe.Close()
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("the receivers ended with %v", err)
	}
}

// usage is what this process holds.
type usage struct {
	memory     int64 // bytes that the Go runtime has from the system and uses
	resident   int64 // bytes of RAM, where the system says; the race detector's are among them
	goroutines int
	files      int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB in use, %.1f MiB resident, %d goroutines, %d files", mib(u.memory), mib(u.resident), u.goroutines, u.files)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// measure takes the usage as it is; with settle it first collects garbage.
func measure(settle bool) usage {
	if settle {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	u := usage{goroutines: runtime.NumGoroutine(), memory: int64(samples[0].Value.Uint64())}
	for _, s := range samples[1:] {
		u.memory -= int64(s.Value.Uint64())
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			u.resident = pages * int64(os.Getpagesize())
		}
	}
	if dir, err := os.ReadDir("/dev/fd"); err == nil {
		u.files = len(dir) - 1 // without the one that reads them
	}
	return u
}

// settled waits until the process holds no more goroutines and files than before,
// give or take five, and returns what it holds then, or at the end of patience.
func settled(before usage, patience time.Duration) usage {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	calm := func(u usage) bool { return u.goroutines <= before.goroutines+5 && u.files <= before.files+5 }
	for {
		over := time.Now().After(deadline)
		if over || calm(measure(false)) {
			// The collection takes a while, in which timers of what was closed may run.
			if u := measure(true); over || calm(u) {
				return u
			}
		}
		<-tick.C
	}
}
