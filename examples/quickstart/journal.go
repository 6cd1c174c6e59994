package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/verify"
)

// journal collects the requests as the sender and the receiver see them, to
// print both side by side. It is safe for concurrent use.
type journal struct {
	mu           sync.Mutex
	lines        []line
	verdicts     map[string]string // of the receiver, by event ID and attempt
	summaries    map[string]string
	succeeded    int
	allDelivered chan struct{} // closed when every event has been delivered
}

// line is a request as its sender saw it.
type line struct {
	at             time.Time
	took           time.Duration
	eventID, event string
	webhook        string
	attempt        int
	status         int
	next           string
}

// events is the number of published events. One webhook selects each of them.
const events = 3

func newJournal() *journal {
	return &journal{
		allDelivered: make(chan struct{}),
		verdicts:     make(map[string]string),
		summaries:    make(map[string]string),
	}
}

// attempt is a hook of the dispatcher, called after every attempt.
func (j *journal) attempt(d webhook.Delivery, a webhook.Attempt) {
	next := "done"
	switch d.State {
	case webhook.StatePending:
		next = fmt.Sprintf("retry in %.2fs", d.NextAttemptAt.Sub(a.StartedAt).Seconds())
	case webhook.StateFailed, webhook.StateCanceled:
		next = string(d.State) + ": " + string(d.Reason)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line{
		at: a.StartedAt, took: a.Duration, eventID: d.EventID, event: d.EventType,
		webhook: d.WebhookName, attempt: a.Number, status: a.Status, next: next,
	})
	if d.State == webhook.StateSucceeded {
		if j.succeeded++; j.succeeded == events {
			close(j.allDelivered)
		}
	}
}

// verified records a request that the receiver's middleware let through.
func (j *journal) verified(r *http.Request) {
	d, ok := verify.FromContext(r.Context())
	if !ok {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.verdicts[d.ID+"/"+strconv.Itoa(d.Attempt)] = "yes"
	j.summaries[d.ID] = summary(d)
}

// refused records a request that the receiver's middleware refused, and why.
func (j *journal) refused(r *http.Request, err error) {
	verdict := "no: " + err.Error()
	if errors.Is(err, verify.ErrSignatureMismatch) {
		verdict = "WRONG SIGNATURE"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.verdicts[r.Header.Get("webhook-id")+"/"+r.Header.Get("X-Webhook-Attempt")] = verdict
}

// print writes the table.
func (j *journal) print(out io.Writer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	slices.SortFunc(j.lines, func(a, b line) int { return a.at.Compare(b.at) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tWEBHOOK\tATTEMPT\tSTATUS\tTOOK\tVERIFIED\tTHEN\tWHAT IT SAYS")
	for _, l := range j.lines {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.1fms\t%s\t%s\t%s\n", l.event, l.webhook, l.attempt, l.status,
			float64(l.took.Microseconds())/1000, j.verdicts[l.eventID+"/"+strconv.Itoa(l.attempt)], l.next, j.summaries[l.eventID])
	}
	w.Flush()
}

// check returns an error if the run went differently from the program's text.
func (j *journal) check() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	want := map[string]int{ // how often each line has to occur
		"agent.action CRM 1 204 yes":                   1,
		"agent.message CRM 1 204 yes":                  1,
		"user.message Inbox 1 503 yes":                 1,
		"user.message Inbox 2 204 yes":                 1,
		"agent.message (forged) 1 401 WRONG SIGNATURE": 1,
	}
	for _, l := range j.lines {
		got := fmt.Sprintf("%s %s %d %d %s", l.event, l.webhook, l.attempt, l.status, j.verdicts[l.eventID+"/"+strconv.Itoa(l.attempt)])
		if want[got] == 0 {
			return fmt.Errorf("this should not have happened: %s", got)
		}
		want[got]--
	}
	for missing, n := range want {
		if n > 0 {
			return fmt.Errorf("this has not happened: %s", missing)
		}
	}
	return nil
}
