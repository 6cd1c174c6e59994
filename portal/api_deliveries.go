package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed68722ecd/webhook"
)

// apiListDeliveries answers GET webhooks/{id}/deliveries.
func (s *server) apiListDeliveries(w http.ResponseWriter, r *http.Request, a Access) error {
	q := readQuery(r)
	dq := webhook.DeliveryQuery{
		Tenant: a.Tenant, State: webhook.State(q.text("state")), EventType: q.text("eventType"), EventID: q.text("eventId"),
		Since: q.moment("since"), Until: q.moment("until"), Cursor: q.text("cursor"), Limit: q.limit(),
	}
	if err := q.done(); err != nil {
		return err
	}
	wh, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	dq.WebhookID = wh.ID
	page, err := s.d.Deliveries(r.Context(), dq)
	if err != nil {
		return err
	}
	out := deliveryPage{pageView[deliveryView]{Items: make([]deliveryView, 0, len(page.Items)), Next: textOrNull(page.Next)}, stamp(page.Reached)}
	for _, d := range page.Items {
		out.Items = append(out.Items, viewDelivery(d))
	}
	return answerJSON(w, http.StatusOK, out)
}

// apiGetDelivery answers GET deliveries/{id}.
func (s *server) apiGetDelivery(w http.ResponseWriter, r *http.Request, a Access) error {
	q := readQuery(r)
	number := q.integer("attempt", 1, 1<<30)
	if err := q.done(); err != nil {
		return err
	}
	ctx := r.Context()
	d, err := s.d.Delivery(ctx, a.Tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	attempts, err := s.d.Attempts(ctx, a.Tenant, d.ID)
	if err != nil {
		return err
	}
	out := deliveryDetail{deliveryView: viewDelivery(d), Attempts: make([]attemptView, 0, len(attempts))}
	for _, at := range attempts {
		out.Attempts = append(out.Attempts, viewAttempt(at))
	}
	shown := number
	if shown == 0 && len(attempts) > 0 {
		shown = attempts[len(attempts)-1].Number
	}
	req, err := s.d.SentRequest(ctx, a.Tenant, d.ID, shown)
	switch {
	case err == nil:
		out.Request = a.viewRequest(req)
	case number != 0 || !errors.Is(err, webhook.ErrNotFound):
		return err
	}
	return answerJSON(w, http.StatusOK, out)
}

// apiResend answers POST deliveries/{id}/resend.
func (s *server) apiResend(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, true)
	if err != nil {
		return err
	}
	if err := o.done(); err != nil {
		return err
	}
	d, err := s.resend(r.Context(), a, r.PathValue("id"))
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusAccepted, viewDelivery(d))
}

// apiTest answers POST webhooks/{id}/test.
func (s *server) apiTest(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, true)
	if err != nil {
		return err
	}
	eventType := deref(o.text("type"))
	if err := o.done(); err != nil {
		return err
	}
	d, err := s.sendTest(r.Context(), a, r.PathValue("id"), eventType)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "../../deliveries/"+d.ID) // relative: to api/webhooks/{id}/
	return answerJSON(w, http.StatusAccepted, viewDelivery(d))
}

// apiReplay answers POST webhooks/{id}/replay.
func (s *server) apiReplay(w http.ResponseWriter, r *http.Request, a Access) error {
	o, err := readObject(r, false)
	if err != nil {
		return err
	}
	req := webhook.ReplayRequest{
		WebhookID: r.PathValue("id"), Since: o.moment("since"), Until: o.moment("until"), EventType: deref(o.text("eventType")),
		Missing: deref(o.flag("missing")), DryRun: deref(o.flag("dryRun")), Cursor: deref(o.text("cursor")),
	}
	for _, st := range o.texts("states") {
		req.States = append(req.States, webhook.State(st))
	}
	if limit := o.integer("limit"); limit != nil {
		if req.Limit = *limit; req.Limit < 1 || req.Limit > 1000 {
			o.refuse("limit", "must be 1–1000, got %d", *limit)
		}
	}
	if _, given := o.fields["since"]; !given {
		o.refuse("since", "is required: events published at or after it are replayed")
	}
	if err := o.done(); err != nil {
		return err
	}
	res, err := s.replay(r.Context(), a, req)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, replayView{Resent: res.Resent, Created: res.Created, DryRun: req.DryRun, Next: textOrNull(res.Next)})
}

// maxStatsSpan bounds the hours of one answer.
const maxStatsSpan = 31 * 24 * time.Hour

// apiStats answers GET webhooks/{id}/stats.
func (s *server) apiStats(w http.ResponseWriter, r *http.Request, a Access) error {
	q := readQuery(r)
	since, until := q.moment("since"), q.moment("until")
	if until.IsZero() {
		until = s.now()
	}
	if since.IsZero() {
		since = until.Add(-statsSince)
	}
	if until.Before(since) || until.Sub(since) > maxStatsSpan {
		q.refuse("since", "must be before until, and at most 31 days")
	}
	if err := q.done(); err != nil {
		return err
	}
	wh, err := s.d.Webhook(r.Context(), a.Tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	buckets, err := s.d.HourlyStats(r.Context(), webhook.StatsQuery{Tenant: a.Tenant, WebhookIDs: []string{wh.ID}, Since: since, Until: until})
	if err != nil {
		return err
	}
	out := statsView{WebhookID: wh.ID, Since: stamp(since), Until: stamp(until), Hours: []hourView{}}
	rate, n := webhook.SuccessRate(buckets)
	if out.Attempts = n; n > 0 {
		out.SuccessRate = &rate
	}
	byHour := make(map[int64]webhook.StatsBucket, len(buckets))
	for _, b := range buckets {
		byHour[b.Hour.Unix()] = b
	}
	for h := since.Truncate(time.Hour); h.Before(until); h = h.Add(time.Hour) {
		b := byHour[h.Unix()]
		v := hourView{Hour: stamp(h), Succeeded: b.Succeeded, Failed: b.Failed}
		if n := b.Succeeded + b.Failed; n > 0 {
			v.AverageMs = new(milliseconds(b.Duration / time.Duration(n)))
		}
		out.Hours = append(out.Hours, v)
	}
	return answerJSON(w, http.StatusOK, out)
}

// recentStats returns the hourly statistics of the last 24 hours by webhook.
func (s *server) recentStats(ctx context.Context, a Access, webhooks []webhook.Webhook) (map[string][]webhook.StatsBucket, error) {
	if len(webhooks) == 0 {
		return nil, nil
	}
	q := webhook.StatsQuery{Tenant: a.Tenant, Since: s.now().Add(-statsSince)}
	for _, wh := range webhooks {
		q.WebhookIDs = append(q.WebhookIDs, wh.ID)
	}
	buckets, err := s.d.HourlyStats(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]webhook.StatsBucket, len(webhooks))
	for _, b := range buckets {
		out[b.WebhookID] = append(out[b.WebhookID], b)
	}
	return out, nil
}

// apiEventTypes answers GET event-types.
func (s *server) apiEventTypes(w http.ResponseWriter, r *http.Request, _ Access) error {
	if err := readQuery(r).done(); err != nil {
		return err
	}
	out := pageView[eventTypeView]{Items: make([]eventTypeView, 0, len(s.types))}
	for _, t := range s.types {
		out.Items = append(out.Items, eventTypeView{t.Name, t.Description, t.Sample})
	}
	return answerJSON(w, http.StatusOK, out)
}
