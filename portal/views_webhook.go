package portal

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// badge shows a state as a word and a colour.
type badge struct {
	Class, Text string
}

// patience is how long a webhook may fail before it is shown as failing, so
// that a failure that the next retry mends does not count.
const patience = 10 * time.Minute

func failing(w *webhook.Webhook, now time.Time) bool {
	return w.Active && !w.FailingSince.IsZero() && now.Sub(w.FailingSince) >= patience
}

// webhookBadge shows whether a webhook is active or failing.
func webhookBadge(w *webhook.Webhook, now time.Time) badge {
	switch {
	case !w.Active:
		return badge{"", "Disabled"}
	case failing(w, now):
		return badge{"bad", "Failing"}
	}
	return badge{"ok", "Active"}
}

// deliveryBadge shows the state of a delivery.
func deliveryBadge(d *webhook.Delivery) badge {
	switch d.State {
	case webhook.StateSucceeded:
		return badge{"ok", "Succeeded"}
	case webhook.StateFailed:
		return badge{"bad", "Failed"}
	case webhook.StateCanceled:
		return badge{"", "Canceled"}
	case webhook.StatePending:
		if d.Tries > 0 || d.Crashes > 0 {
			return badge{"warn wait", "Retrying"}
		}
	}
	return badge{"warn wait", "Pending"}
}

// reasonText explains why a delivery ended without success and what to do.
func reasonText(r webhook.Reason) string {
	switch r {
	case webhook.ReasonRetriesExhausted:
		return "Every attempt failed and no retry is left. Send it again once the receiver works."
	case webhook.ReasonGone:
		return "The receiver answered 410 Gone, which says that it wants no more events, so the webhook was disabled."
	case webhook.ReasonQuarantined:
		return "The process that sent this delivery died several times while it did, so it was set aside. You can send it again."
	case webhook.ReasonWebhookDisabled:
		return "The webhook was disabled when this delivery was due. Enable it, then send this again or replay all that was missed."
	case webhook.ReasonWebhookDeleted:
		return "The webhook was deleted before this delivery was due."
	}
	return ""
}

// answerText describes the result of an attempt in a few words.
func answerText(status int, class webhook.ErrorClass) string {
	switch class {
	case webhook.ClassDNS:
		return "Name not found"
	case webhook.ClassConnect:
		return "No connection"
	case webhook.ClassTLS:
		return "TLS refused"
	case webhook.ClassTimeout:
		return "Timed out"
	case webhook.ClassBlocked:
		return "Address blocked"
	case webhook.ClassProtocol:
		return "Invalid answer"
	case webhook.ClassInternal:
		return "Failed on our side"
	case webhook.ClassUnsent:
		return "Waits: we could not send"
	case webhook.ClassStatus:
	}
	if status == 0 {
		return ""
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// hookRow is one webhook in the list.
type hookRow struct {
	ID, Name, URL  string
	Badge          badge
	Reason         string // why the webhook is disabled
	Events         []string
	More           int // number of event types not shown
	AllEvents      string
	TLSOff         bool
	Last           timeView
	Rate, Attempts string
	Spark          bars
}

// shownEvents is how many event types a row of the list shows.
const shownEvents = 3

func (s *server) hookRow(a Access, w *webhook.Webhook, buckets []webhook.StatsBucket) hookRow {
	now := s.now()
	slots := periods[0].fill(buckets, now)
	r := hookRow{
		ID: w.ID, Name: w.Name, URL: a.shownURL(*w), Badge: webhookBadge(w, now), Reason: w.DisabledReason,
		Events: w.Events[:min(len(w.Events), shownEvents)], More: max(len(w.Events)-shownEvents, 0),
		AllEvents: strings.Join(w.Events, ", "), TLSOff: !w.VerifyTLS,
		Last: when(w.LastTriggeredAt, now), Spark: drawBars(slots, 144, 28, periods[0].Words),
	}
	if t := total(slots); t.attempts() > 0 {
		r.Rate = percent(float64(t.OK) / float64(t.attempts()))
		r.Attempts = several(t.attempts(), "attempt", "attempts")
	}
	return r
}

// hookView is a webhook as its page and the pages below it show it.
type hookView struct {
	ID, Name, URL, Description string
	Badge                      badge
	Active                     bool
	Reason                     string
	DisabledFor                string
	FailingFor                 string   // empty while it is not failing
	DisabledIn                 timeView // when it will be disabled unless an attempt succeeds
	Events                     []string
	Headers                    []string // names
	VerifyTLS                  bool
	Timeout                    string
	MaxRetries, RateLimit      string
	Created, Updated           timeView
	Last, LastSuccess          timeView
	Version                    int64
}

func (s *server) hookView(a Access, w *webhook.Webhook) hookView {
	now := s.now()
	var end timeView
	failingFor := ""
	if failing(w, now) {
		failingFor = lasting(w.FailingSince, now)
		if limit := s.d.Policy().DisableAfter; limit > 0 {
			end = when(w.FailingSince.Add(limit), now)
		}
	}
	return hookView{
		DisabledIn: end,
		ID:         w.ID, Name: w.Name, URL: a.shownURL(*w), Description: w.Description, Badge: webhookBadge(w, now), Active: w.Active,
		Reason: w.DisabledReason, DisabledFor: lasting(w.DisabledAt, now), FailingFor: failingFor,
		Events: w.Events, Headers: sortedKeys(w.Headers), VerifyTLS: w.VerifyTLS,
		Timeout: span(w.Timeout), MaxRetries: retriesText(w.MaxRetries), RateLimit: rateField(w.RateLimit),
		Created: when(w.CreatedAt, now), Updated: when(w.UpdatedAt, now),
		Last: when(w.LastTriggeredAt, now), LastSuccess: when(w.LastSuccessAt, now), Version: w.Version,
	}
}

func retriesText(n int) string {
	if n == 0 {
		return "none: one attempt only"
	}
	return "up to " + several(n, "retry", "retries")
}

// runRow is one delivery in a list.
type runRow struct {
	ID, Type, EventID string
	Badge             badge
	Answer            string
	Attempts          int
	Created           timeView
	Next              timeView
}

func runRowOf(s *server, d *webhook.Delivery) runRow {
	now := s.now()
	r := runRow{
		ID: d.ID, Type: d.EventType, EventID: d.EventID, Badge: deliveryBadge(d), Attempts: d.Attempts,
		Answer: answerText(d.LastStatus, d.LastClass), Created: when(d.CreatedAt, now),
	}
	if d.State == webhook.StatePending && (d.Tries > 0 || d.LastClass == webhook.ClassUnsent) {
		r.Next = when(d.NextAttemptAt, now)
	}
	return r
}
