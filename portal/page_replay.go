package portal

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// replayPageView is the page that replays many deliveries.
type replayPageView struct {
	Root   string
	Hook   hookView
	Form   replayForm
	Types  []string
	Errors []problemField

	Counted bool
	Count   string // number of deliveries to replay
	More    bool   // there are more than Count
	None    bool

	Running  bool // more steps follow
	Finished bool
	Done     int64
	Total    int64 // the earlier count
	DoneText string
	Refused  string // why the last step was refused
	Wait     int    // seconds until the step can be tried again
}

// replayForm is the form of a replay, as typed.
type replayForm struct {
	Back                      string // key of a span of time, or "custom"
	Since, Until              string
	Type                      string
	Failed, Canceled, Missing bool
	Cursor                    string
}

// replayChoices are the spans of time to replay. To replay from further back, a
// visitor enters a time.
var replayChoices = []timeChoice{
	{"1h", "Last hour", time.Hour},
	{"24h", "Last 24 hours", 24 * time.Hour},
	{"7d", "Last 7 days", 7 * 24 * time.Hour},
	{"custom", "From … to …", 0},
}

// Choices is for the template.
func (replayPageView) Choices() []timeChoice { return replayChoices }

// Err returns the error of a field.
func (v replayPageView) Err(field string) string {
	for _, e := range v.Errors {
		if e.Field == field {
			return e.Reason
		}
	}
	return ""
}

// SinceInput and UntilInput are the times in the format of datetime-local
// inputs. A text that is not a time becomes "", since such an input could not
// show it.
func (v replayPageView) SinceInput() string { return inputTime(v.Form.Since) }

// UntilInput is the end; see SinceInput.
func (v replayPageView) UntilInput() string { return inputTime(v.Form.Until) }

// SinceText and UntilText are the times as the page shows them.
func (v replayPageView) SinceText() string { return timeText(v.Form.Since) }

// UntilText is the end; see SinceText.
func (v replayPageView) UntilText() string { return timeText(v.Form.Until) }

func timeText(s string) string {
	t, ok := formTime(s)
	if !ok {
		return ""
	}
	return t.Format("2006-01-02 15:04 UTC")
}

func inputTime(s string) string {
	t, ok := formTime(s)
	if !ok {
		return ""
	}
	return t.Format(localTime)
}

// readReplay parses the form of a replay. It turns a span into fixed times, so
// that all steps of a replay cover the same events.
func (s *server) readReplay(q url.Values) (f replayForm, req webhook.ReplayRequest, bad []problemField) {
	f = replayForm{
		Back: q.Get("back"), Since: strings.TrimSpace(q.Get("since")), Until: strings.TrimSpace(q.Get("until")), Type: strings.TrimSpace(q.Get("type")),
		Failed: q.Get("failed") == "1", Canceled: q.Get("canceled") == "1", Missing: q.Get("missing") == "1", Cursor: q.Get("cursor"),
	}
	now := s.now().Truncate(time.Second)
	req = webhook.ReplayRequest{EventType: f.Type, Missing: f.Missing, Cursor: f.Cursor, Until: now.Add(time.Second)}
	if f.Failed {
		req.States = append(req.States, webhook.StateFailed)
	}
	if f.Canceled {
		req.States = append(req.States, webhook.StateCanceled)
	}
	if len(req.States) == 0 && !f.Missing {
		bad = append(bad, problemField{"what", "choose at least one kind"})
	}
	known := false
	for _, c := range replayChoices {
		if c.Key == f.Back && c.Back > 0 {
			known, req.Since = true, now.Add(-c.Back)
		}
	}
	if known {
		return f, req, bad
	}
	f.Back = "custom"
	var ok bool
	if req.Since, ok = formTime(f.Since); !ok {
		bad = append(bad, problemField{"since", "must be a date and time such as 2026-01-31T18:00, in UTC"})
	}
	if f.Until != "" {
		if req.Until, ok = formTime(f.Until); !ok {
			bad = append(bad, problemField{"until", "must be a date and time such as 2026-01-31T18:00, in UTC, or empty for now"})
		} else if !req.Until.After(req.Since) {
			bad = append(bad, problemField{"until", "must be later than the first time"})
		}
	}
	return f, req, bad
}

// replayPage shows the form of a replay and counts its deliveries.
func (s *server) replayPage(w http.ResponseWriter, r *http.Request, a Access) {
	q := r.URL.Query()
	if !q.Has("back") {
		s.showReplay(w, r, a, http.StatusOK, replayPageView{Form: replayForm{Back: "24h", Failed: true, Canceled: true}})
		return
	}
	f, req, bad := s.readReplay(q)
	v := replayPageView{Form: f, Errors: bad}
	if len(bad) > 0 {
		s.showReplay(w, r, a, http.StatusBadRequest, v)
		return
	}
	req.WebhookID = r.PathValue("id")
	n, more, err := s.countReplay(r.Context(), a, req)
	if err != nil {
		p := problemOf(err)
		if len(p.Errors) == 0 {
			s.refusePage(w, r, err)
			return
		}
		v.Errors = p.Errors
		s.showReplay(w, r, a, p.Status, v)
		return
	}
	v.Counted, v.Count, v.More, v.None, v.Total = true, count(n), more, n == 0, int64(n)
	v.Form.Since, v.Form.Until = req.Since.Format(time.RFC3339), req.Until.Format(time.RFC3339)
	s.showReplay(w, r, a, http.StatusOK, v)
}

// replayStepPage makes one step of a replay and shows the progress. A script on
// the page starts the next step; without scripts a button does.
func (s *server) replayStepPage(w http.ResponseWriter, r *http.Request, a Access) {
	if err := parseForm(r); err != nil {
		s.refusePage(w, r, err)
		return
	}
	q := r.PostForm
	f, req, bad := s.readReplay(q)
	v := replayPageView{Form: f, Errors: bad}
	if len(bad) > 0 {
		s.showReplay(w, r, a, http.StatusBadRequest, v)
		return
	}
	v.Done, v.Total = natural(q.Get("done")), natural(q.Get("total"))
	req.WebhookID = r.PathValue("id")
	res, err := s.replay(r.Context(), a, req)
	status := http.StatusOK
	switch p := problemOf(err); {
	case err == nil:
		v.Done += int64(res.Resent + res.Created)
		v.Form.Cursor = res.Next
		v.Running, v.Finished = res.Next != "", res.Next == ""
	case p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable:
		// The steps so far are done; this step can be repeated later.
		status, v.Running, v.Refused, v.Wait = p.Status, true, p.Detail, int(p.retryAfter.Seconds()+0.999)
		w.Header().Set("Retry-After", strconv.Itoa(max(v.Wait, 1)))
	default:
		s.refusePage(w, r, err)
		return
	}
	v.Total = max(v.Total, v.Done)
	if v.Finished {
		v.Total = v.Done
	}
	v.DoneText = several(v.Done, "delivery", "deliveries")
	s.showReplay(w, r, a, status, v)
}

func (s *server) showReplay(w http.ResponseWriter, r *http.Request, a Access, status int, v replayPageView) {
	hook, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	p := s.page(r, a, "Replay "+hook.Name, crumb{"webhooks/" + hook.ID, hook.Name}, crumb{"", "Replay"})
	v.Root, v.Hook = p.Root, s.hookView(a, &hook)
	for i := range s.types {
		v.Types = append(v.Types, s.types[i].Name)
	}
	p.V = v
	s.show(w, r, status, "replay", p)
}

// natural parses a count that is only displayed; malformed text gives 0.
func natural(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1e15 {
		return 0
	}
	return n
}
