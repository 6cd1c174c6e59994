package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// hookPageView is the page of one webhook.
type hookPageView struct {
	Root    string
	Manage  bool
	Hook    hookView
	Periods []choice
	Period  period
	Rate    string
	Total   string
	Mean    string
	OK      string
	Failed  string
	Bars    bars
	Curve   curve
	Table   []chartRow

	Filter runFilter
	Rows   []runRow
	Next   string
	Later  bool
	// If the bound of a search ended the page, Looked is the number of
	// deliveries searched and Reached how far back they go.
	Looked  string
	Reached timeView
	Types   []string // of the catalogue

	Problems []problemField // filters that were refused
}

// choice is one of several links.
type choice struct {
	Href, Label string
	Current     bool
}

// runFilter is the filter of the list of deliveries, as typed.
type runFilter struct {
	State, Type, Time, From, To string
}

// Active reports whether any filter is set.
func (f runFilter) Active() bool { return f != runFilter{} }

// timeChoice is a span of time to filter by.
type timeChoice struct {
	Key, Label string
	Back       time.Duration
}

var timeChoices = []timeChoice{
	{"", "Any time", 0},
	{"1h", "Last hour", time.Hour},
	{"24h", "Last 24 hours", 24 * time.Hour},
	{"7d", "Last 7 days", 7 * 24 * time.Hour},
	{"custom", "From … to …", 0},
}

// TimeChoices and StateChoices are the choices of the filters.
func (hookPageView) TimeChoices() any { return timeChoices }

// StateChoices are the states of deliveries.
func (hookPageView) StateChoices() []string {
	return []string{string(webhook.StateSucceeded), string(webhook.StateFailed), string(webhook.StatePending), string(webhook.StateCanceled)}
}

// localTime is the format of datetime-local inputs. All times are UTC.
const localTime = "2006-01-02T15:04"

// formTime parses a time from a form, with or without seconds, zone or the T
// after the date.
func formTime(s string) (time.Time, bool) {
	for _, layout := range []string{localTime, "2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// readFilter reads the filters of a list of deliveries.
func (s *server) readFilter(q url.Values, dq *webhook.DeliveryQuery) (f runFilter, bad []problemField) {
	f = runFilter{State: q.Get("state"), Type: strings.TrimSpace(q.Get("type")), Time: q.Get("time"), From: q.Get("from"), To: q.Get("to")}
	dq.State, dq.EventType = webhook.State(f.State), f.Type
	switch f.Time {
	case "custom":
		for _, b := range []struct {
			name, text string
			to         *time.Time
		}{{"from", f.From, &dq.Since}, {"to", f.To, &dq.Until}} {
			if b.text == "" {
				continue
			}
			t, ok := formTime(b.text)
			if !ok {
				bad = append(bad, problemField{b.name, "must be a date and time such as 2026-01-31T18:00, in UTC"})
			}
			*b.to = t
		}
	default:
		f.From, f.To = "", ""
		i := slices.IndexFunc(timeChoices, func(c timeChoice) bool { return c.Key == f.Time })
		if i < 0 {
			f.Time = ""
		} else if back := timeChoices[i].Back; back > 0 {
			dq.Since = s.now().Add(-back)
		}
	}
	return f, bad
}

// webhookPage shows one webhook, its statistics and its deliveries.
func (s *server) webhookPage(w http.ResponseWriter, r *http.Request, a Access) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	q := r.URL.Query()
	p := s.page(r, a, hook.Name, crumb{"webhooks/" + hook.ID, hook.Name})
	v := hookPageView{Root: p.Root, Manage: a.Manage, Hook: s.hookView(a, &hook), Period: periods[0]}

	if err := s.healthOf(r, a, &hook, &v); err != nil {
		s.refusePage(w, r, err)
		return
	}

	status := http.StatusOK
	dq := webhook.DeliveryQuery{Tenant: a.Tenant, WebhookID: hook.ID, Cursor: q.Get("cursor"), Limit: perPage}
	v.Filter, v.Problems = s.readFilter(q, &dq)
	v.Later = dq.Cursor != ""
	if len(v.Problems) == 0 {
		runs, err := s.d.Deliveries(r.Context(), dq)
		switch p := problemOf(err); {
		case err == nil:
			for i := range runs.Items {
				v.Rows = append(v.Rows, runRowOf(s, &runs.Items[i]))
			}
			if runs.Next != "" {
				v.Next = nextQuery(q, runs.Next)
			}
			if len(runs.Items) < dq.Limit && !runs.Reached.IsZero() {
				v.Looked, v.Reached = count(webhook.MaxScan), when(runs.Reached, s.now())
			}
		case p.Code == codeInvalid:
			v.Problems = p.Errors
		default:
			s.refusePage(w, r, err)
			return
		}
	}
	if len(v.Problems) > 0 {
		status = http.StatusBadRequest
	}
	for i := range s.types {
		v.Types = append(v.Types, s.types[i].Name)
	}
	p.Every, p.V = 4000, v
	s.show(w, r, status, "webhook", p)
}

// healthOf fills in the statistics of a webhook over the chosen period.
func (s *server) healthOf(r *http.Request, a Access, hook *webhook.Webhook, v *hookPageView) error {
	q := r.URL.Query()
	options := make([]choice, len(periods))
	for i, p := range periods {
		options[i] = choice{p.Key, p.Label, false}
		if q.Get("range") == p.Key {
			v.Period = p
		}
	}
	v.Periods = choices(q, "range", periods[0].Key, options)
	buckets, err := s.statsOf(r, a, []webhook.Webhook{*hook}, v.Period)
	if err != nil {
		return err
	}
	slots := v.Period.fill(buckets[hook.ID], s.now())
	t := total(slots)
	v.Bars = drawBars(slots, 600, 120, v.Period.Words)
	v.Curve = drawCurve(slots, 600, 120, v.Period.Words)
	v.Table = chartRows(slots)
	v.Total, v.OK, v.Failed = count(t.attempts()), count(t.OK), count(t.Failed)
	if t.attempts() > 0 {
		v.Rate, v.Mean = percent(float64(t.OK)/float64(t.attempts())), span(t.mean())
	}
	return nil
}

// choices returns links that set one value of a query, which is the option's
// Href, and go back to the first page.
func choices(q url.Values, key, def string, options []choice) []choice {
	current := q.Get(key)
	if !slices.ContainsFunc(options, func(c choice) bool { return c.Href == current }) {
		current = def
	}
	out := make([]choice, len(options))
	for i, o := range options {
		next := url.Values{}
		for _, k := range []string{"range", "state", "type", "time", "from", "to"} {
			if v := q.Get(k); v != "" {
				next.Set(k, v)
			}
		}
		next.Set(key, o.Href)
		if o.Href == def {
			next.Del(key)
		}
		out[i] = choice{"?" + next.Encode(), o.Label, o.Href == current}
	}
	return out
}
