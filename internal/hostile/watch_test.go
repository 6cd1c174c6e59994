package hostile

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// seen is one recorded attempt, and its delivery as it stood after it.
type seen struct {
	delivery webhook.Delivery
	attempt  webhook.Attempt
}

// truncated wants the answer to have been cut, or to have broken off.
func (s seen) truncated() string {
	if s.attempt.Succeeded() && !s.attempt.ResponseTruncated {
		return fmt.Sprintf("the answer counts as complete, with %d bytes", len(s.attempt.ResponseBody))
	}
	return ""
}

// outcome is what the log says in a word.
func (s seen) outcome() string {
	switch {
	case s.attempt.Succeeded():
		return "ok"
	case s.attempt.Class == webhook.ClassStatus:
		return strconv.Itoa(s.attempt.Status)
	default:
		return string(s.attempt.Class)
	}
}

// signature finds signatures of ours in what must not hold them.
var signature = regexp.MustCompile(`[0-9a-f]{64}|v1,[A-Za-z0-9+/]{43}=|whsec_`)

// A watcher judges every recorded attempt of the webhooks it knows.
type watcher struct {
	mu       sync.Mutex
	rows     map[string]*row           // by webhook
	outcomes map[string]map[string]int // by webhook
	attempts map[string]int            // by webhook
	healthy  map[string]int            // successes of webhooks without a row
	wrong    map[string]int            // what was wrong, with how often
	late     map[string]int            // what was late and should not have been
	starved  map[string]int            // by webhook: unexpected outcomes that were late
}

func newWatcher() *watcher {
	return &watcher{
		rows: make(map[string]*row), outcomes: make(map[string]map[string]int),
		attempts: make(map[string]int), healthy: make(map[string]int), wrong: make(map[string]int), late: make(map[string]int),
		starved: make(map[string]int),
	}
}

// know says which row a webhook is of; nil is a healthy one.
func (w *watcher) know(webhookID string, r *row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[webhookID] = r
	w.outcomes[webhookID] = make(map[string]int)
}

// attempt is for Hooks.Attempt.
func (w *watcher) attempt(d webhook.Delivery, a webhook.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, known := w.rows[d.WebhookID]
	if !known {
		return
	}
	s := seen{d, a}
	w.attempts[d.WebhookID]++
	w.outcomes[d.WebhookID][s.outcome()]++
	if r == nil {
		if s.outcome() == "ok" {
			w.healthy[d.WebhookID]++
		} else {
			w.fault("healthy: %s, %s", s.outcome(), a.Error)
		}
		return
	}
	may, _ := r.outcomes()
	expected := slices.Contains(may, s.outcome())
	switch {
	case expected:
	case s.outcome() == "timeout", s.outcome() == "connect" && strings.HasPrefix(a.Error, "the connection was closed"):
		// What this machine does not get done in two seconds may be its own fault, and
		// receivers that were not let run give up, too; how many of these there may be,
		// the test says.
		w.late[r.name+": "+a.Error]++
		w.starved[d.WebhookID]++
	default:
		w.fault("%s: the log says %q (%q), want %s", r.name, s.outcome(), a.Error, r.want)
	}
	if (a.Class == "") != (a.Error == "") {
		w.fault("%s: class %q and error %q do not agree", r.name, a.Class, a.Error)
	}
	if a.Duration > limit+patience {
		w.late[fmt.Sprintf("%s: an attempt took longer than %v, with a timeout of %v", r.name, limit+patience, limit)]++
	}
	if len(a.ResponseBody) > 4<<10 {
		w.fault("%s: more than 4 KiB of the answer are kept", r.name)
	}
	if unprintable(a.Error) {
		w.fault("%s: the error text is not printable: %q", r.name, a.Error)
	}
	for name, value := range a.ResponseHeaders {
		if unprintable(value) {
			w.fault("%s: the header %s is kept as %q", r.name, name, value)
		}
	}
	if r.check != nil && expected { // what came too late may have no answer to check
		if problem := r.check(s); problem != "" {
			w.fault("%s: %s", r.name, problem)
		}
	}
	if d.State == webhook.StatePending && !a.Late {
		asked := r.delay
		if !expected {
			asked = 0 // it did not get to ask
		}
		w.judgeDelay(r, s, asked)
	}
}

// judgeDelay wants the next attempt within the schedule, or as late as the
// receiver asked for and may ask.
func (w *watcher) judgeDelay(r *row, s seen, asked time.Duration) {
	own := schedule.Initial
	for range s.delivery.Tries - 1 {
		own = time.Duration(float64(own) * schedule.Multiplier)
	}
	low, high := own*4/5, own*6/5
	if asked > 0 {
		low, high = max(low, asked*5/6), max(high, asked) // spread, so that not all come back at once
	}
	wait := s.delivery.NextAttemptAt.Sub(s.attempt.StartedAt) - s.attempt.Duration
	// The wait begins when the attempt is recorded, which may be a little later.
	if wait < low-time.Millisecond || wait > high+patience {
		w.fault("%s: after try %d the next attempt is %v later, want %v to %v", r.name, s.delivery.Tries, wait, low, high)
	}
}

// fault notes what was wrong. Caller holds mu.
func (w *watcher) fault(format string, args ...any) { w.wrong[fmt.Sprintf(format, args...)]++ }

// verdict returns what was wrong, rows that never showed what they are there for
// among it, and the rows whose receivers were never let run in time.
func (w *watcher) verdict() (wrong, unjudged []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for text, times := range w.wrong {
		wrong = append(wrong, fmt.Sprintf("%d times: %s", times, text))
	}
	for id, r := range w.rows {
		if r == nil {
			continue
		}
		if w.attempts[id] == 0 {
			wrong = append(wrong, r.name+": no attempt was made")
		}
		if w.attempts[id] == w.starved[id] {
			unjudged = append(unjudged, r.name)
			continue // not one was answered in time
		}
		_, must := r.outcomes()
		for _, word := range must {
			if w.outcomes[id][word] == 0 {
				wrong = append(wrong, fmt.Sprintf("%s: never %s in %d attempts: %v", r.name, word, w.attempts[id], w.outcomes[id]))
			}
		}
	}
	slices.Sort(wrong)
	return wrong, unjudged
}

// lateness returns how many attempts there were, how many of them were late
// through no fault of their receiver, and which.
func (w *watcher) lateness() (attempts, late int, which []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.rows {
		if r != nil {
			attempts += w.attempts[id]
		}
	}
	for text, times := range w.late {
		late += times
		which = append(which, fmt.Sprintf("%d times: %s", times, text))
	}
	slices.Sort(which)
	return attempts, late, which
}

func unprintable(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// A logWatcher is a handler's writer that keeps count of lines and of what must not
// be in them.
type logWatcher struct {
	mu    sync.Mutex
	lines int
	bad   []string
}

func (l *logWatcher) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines++
	line := bytes.TrimSuffix(p, []byte("\n"))
	switch {
	case unprintable(string(line)), signature.Match(line), bytes.Contains(line, []byte("marker-of")), bytes.Contains(line, []byte("/hook?")),
		bytes.Contains(line, []byte("panic")):
		if len(l.bad) < 10 {
			l.bad = append(l.bad, fmt.Sprintf("%q", line))
		}
	}
	return len(p), nil
}

func (l *logWatcher) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// schedule is that of every dispatcher here: short, so that there are many attempts.
var schedule = webhook.ExponentialRetry{Initial: 500 * time.Millisecond, Multiplier: 2}

// running is a dispatcher that runs.
type running struct {
	*webhook.Dispatcher
	stop  context.CancelFunc
	ended chan error
}

func start(d *webhook.Dispatcher) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{d, cancel, make(chan error, 1)}
	go func() { r.ended <- d.Run(ctx) }()
	return r
}

// end stops it and returns what Run returned.
func (r *running) end() error {
	r.stop()
	return <-r.ended
}
