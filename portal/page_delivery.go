package portal

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/seed68722ecd/webhook"
)

// runView is the page of one delivery.
type runView struct {
	Root       string
	Manage     bool
	ID         string
	Type       string
	EventID    string
	HookID     string
	HookName   string
	HookThere  bool // the webhook has not been deleted
	CanResend  bool
	Badge      badge
	Why        string
	Pending    bool
	Sending    bool // due now, or being attempted
	Created    timeView
	Next       timeView
	Finished   timeView
	Used       int // attempts
	Left       string
	Attempts   []tryView
	Request    *sentView
	NoRequest  bool // the event has been pruned
	NeverTried bool
}

// tryView is one attempt as the page shows it.
type tryView struct {
	Key       string // unique on the page
	Number    int
	OK        bool
	Outcome   string
	Error     string
	Late      bool
	Took      string
	At        timeView
	Headers   []pair
	Body      string
	Size      string
	Truncated bool
	Open      bool
}

// pair is a header.
type pair struct {
	Name, Value string
	Hidden      bool
}

// sentView is a request as it was sent, or would be sent.
type sentView struct {
	Number     int
	Numbers    []choice // the other attempts' requests
	Method     string
	URL        string
	Headers    []pair
	Pretty     []token
	Raw        string
	Size       string
	Cut        bool
	Signatures string
	Changed    bool
	Preview    bool // the request has not been sent yet
}

// shownBody bounds the part of a request's body that a page holds.
const shownBody = 512 << 10

// deliveryPage shows one delivery.
func (s *server) deliveryPage(w http.ResponseWriter, r *http.Request, a Access) {
	d, err := s.d.Delivery(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	attempts, err := s.d.Attempts(r.Context(), a.Tenant, d.ID)
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	hook, err := s.d.Webhook(r.Context(), a.Tenant, d.WebhookID)
	there := err == nil
	if err != nil && !errors.Is(err, webhook.ErrNotFound) {
		s.refusePage(w, r, err)
		return
	}
	now := s.now()
	name := cmp.Or(hook.Name, d.WebhookName)
	crumbs := []crumb{{"webhooks/" + d.WebhookID, name}, {"", d.EventType}}
	if !there {
		crumbs = crumbs[1:]
	}
	p := s.page(r, a, d.EventType+" to "+name, crumbs...)
	v := runView{
		Root: p.Root, Manage: a.Manage, ID: d.ID, Type: d.EventType, EventID: d.EventID, HookID: d.WebhookID, HookName: name,
		HookThere: there, CanResend: a.Manage && there && hook.Active, Badge: deliveryBadge(&d), Why: reasonText(d.Reason),
		Pending: d.State == webhook.StatePending, Created: when(d.CreatedAt, now), Finished: when(d.FinishedAt, now), Used: d.Attempts,
	}
	if v.Pending {
		v.Next = when(d.NextAttemptAt, now)
		v.Sending = !d.NextAttemptAt.After(now)
		if there {
			v.Left = several(max(hook.MaxRetries+1-d.Tries, 1), "attempt", "attempts")
		}
	}
	for i := range attempts {
		v.Attempts = append(v.Attempts, s.tryView(&attempts[i], i))
	}
	slices.Reverse(v.Attempts)
	if len(v.Attempts) > 0 {
		v.Attempts[0].Open = true
	}
	if err := s.requestOf(r, a, &d, attempts, &v); err != nil {
		s.refusePage(w, r, err)
		return
	}
	p.Every, p.V = 2000, v
	if !v.Pending {
		p.Every = 10_000
	}
	s.show(w, r, http.StatusOK, "delivery", p)
}

func (s *server) tryView(a *webhook.Attempt, i int) tryView {
	v := tryView{
		Key: "attempt-" + count(i), Number: a.Number, OK: a.Succeeded(), Outcome: cmp.Or(answerText(a.Status, a.Class), "No answer"),
		Error: a.Error, Late: a.Late, Took: span(a.Duration), At: when(a.StartedAt, s.now()),
		Body: visible(string(a.ResponseBody)), Size: bytesSize(len(a.ResponseBody)), Truncated: a.ResponseTruncated,
	}
	for _, name := range sortedKeys(a.ResponseHeaders) {
		v.Headers = append(v.Headers, pair{Name: name, Value: a.ResponseHeaders[name]})
	}
	return v
}

// requestOf fills in the request of the chosen attempt, or of the last; before
// the first attempt, the request that would be sent now.
func (s *server) requestOf(r *http.Request, a Access, d *webhook.Delivery, attempts []webhook.Attempt, v *runView) error {
	var numbers []int
	for i := range attempts {
		numbers = append(numbers, attempts[i].Number)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	number := 0
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1]
	}
	asked := r.URL.Query().Get("request")
	for _, n := range numbers {
		if asked == count(n) {
			number = n
		}
	}
	sent, err := s.d.SentRequest(r.Context(), a.Tenant, d.ID, number)
	if errors.Is(err, webhook.ErrNotFound) {
		v.NoRequest = true
		return nil
	}
	if err != nil {
		return err
	}
	q := &sentView{
		Number: sent.Number, Method: sent.Method, URL: sent.URL, Size: bytesSize(len(sent.Body)), Signatures: string(sent.Signatures),
		Changed: sent.Changed, Preview: number == 0,
	}
	if !a.Manage {
		q.URL = hideQuery(q.URL)
	}
	for _, n := range numbers {
		q.Numbers = append(q.Numbers, choice{"?request=" + count(n) + "#request", count(n), n == number})
	}
	for _, name := range sortedKeys(sent.Headers) {
		for _, value := range sent.Headers[name] {
			q.Headers = append(q.Headers, pair{name, value, value == webhook.HiddenValue})
		}
	}
	body := sent.Body
	if len(body) > shownBody {
		body, q.Cut = body[:shownBody], true
	}
	q.Pretty, q.Raw = prettyJSON(body), visible(string(body))
	v.Request = q
	return nil
}

// resendPage delivers one delivery again.
func (s *server) resendPage(w http.ResponseWriter, r *http.Request, a Access) {
	d, err := s.resend(r.Context(), a, r.PathValue("id"))
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	redirect(w, r, "deliveries/"+d.ID+"?done=resent")
}
