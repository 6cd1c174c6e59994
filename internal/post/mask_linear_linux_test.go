package post

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
)

// threadTime is the CPU time of this thread, which other work on the machine does not
// add to.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Twice the secrets and twice the answer cost twice as much, give or take: the
// worst cases of a search for one secret after the other.
func TestCatalogue34_MaskingIsLinear(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nor is the collector's work part of it
	worst := map[string]func(n int) (secrets []string, data []byte){
		"many short secrets": func(n int) (secrets []string, data []byte) {
			for i := range n {
				secrets = append(secrets, fmt.Sprintf("%06x", i))
			}
			return secrets, bytes.Repeat([]byte("00fff"), n)
		},
		"one long secret of one letter": func(n int) (secrets []string, data []byte) {
			return []string{strings.Repeat("a", 5*n) + "b"}, bytes.Repeat([]byte("a"), 10*n)
		},
		"secrets within secrets": func(n int) (secrets []string, data []byte) {
			for i := range n / 64 {
				secrets = append(secrets, strings.Repeat("a", 6+i%50)+fmt.Sprintf("%04x", i))
			}
			return secrets, bytes.Repeat([]byte("a"), 10*n)
		},
	}
	for name, inputs := range worst {
		cost := func(n int) time.Duration {
			secrets, data := inputs(n)
			// The clock of a thread is coarse: many rounds, and their mean.
			const enough = 80 * time.Millisecond
			begun, rounds, spent := threadTime(t), 0, time.Duration(0)
			for ; spent < enough; spent = threadTime(t) - begun {
				m := masker{header: http.Header{"X-A": {strings.Join(secrets, " ")}}}
				m.mask(bytes.Clone(data))
				rounds++
			}
			return spent / time.Duration(rounds)
		}
		const n = 1500
		cost(n) // warm
		once, eight := cost(n), cost(8*n)
		if eight > 32*once { // 64 times, were it quadratic
			t.Errorf("%s: eight times the input took %.0f times as long (%v, %v)", name, float64(eight)/float64(once), once, eight)
		}
	}
}
