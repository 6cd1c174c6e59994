package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// reporter is the part of *testing.T that a check uses. The tests of this
// package use a recorder instead, to check that broken stores fail.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Context() context.Context
}

// run is one execution of a check on one Store. Its methods end the check if
// the Store returns an unexpected error, so goroutines of a check must use the
// Store directly; of the methods they may call only brokenf.
type run struct {
	reporter
	says  string
	store webhook.Store
	short bool
	now   time.Time // only pass moves it forward
}

// start is the time at which every check begins. It is in the middle of an
// hour, so that minutes can pass within one bucket of the statistics.
var start = time.Date(2026, time.March, 4, 10, 15, 30, 123456000, time.UTC)

func newRun(rep reporter, says string, s webhook.Store, short bool) *run {
	return &run{reporter: rep, says: says, store: s, short: short, now: start}
}

// brokenf reports that the sentence does not hold.
func (r *run) brokenf(format string, args ...any) {
	r.Helper()
	r.Errorf("broken: %q\n    %s", r.says, fmt.Sprintf(format, args...))
}

// fatalf reports that the sentence does not hold and ends the check.
func (r *run) fatalf(format string, args ...any) {
	r.Helper()
	r.brokenf(format, args...)
	r.FailNow()
}

// must ends the check if err is not nil.
func (r *run) must(what string, err error) {
	r.Helper()
	if err != nil {
		r.fatalf("%s: unexpected error: %v", what, err)
	}
}

// wantErr reports an error that is not target.
func (r *run) wantErr(what string, err, target error) {
	r.Helper()
	if !errors.Is(err, target) {
		r.brokenf("%s: got error %v, want one that wraps %q", what, err, target)
	}
}

// equal treats nil and empty slices and maps as equal, and times as equal if
// they are in the same microsecond.
var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b time.Time) bool {
		return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
	}),
}

// same reports the differences between got and want.
func (r *run) same(what string, want, got any) {
	r.Helper()
	if d := cmp.Diff(want, got, equal); d != "" {
		r.brokenf("%s: want (-), got (+):\n%s", what, d)
	}
}

// pass moves the time forward by d.
func (r *run) pass(d time.Duration) { r.now = r.now.Add(d) }

// token returns a claim token, random as the Dispatcher's are.
func token() int64 { return rand.Int64N(1<<62) + 1 }

// hook returns the record of an active webhook that selects all events, with
// every setting filled in.
func (r *run) hook(tenant, id string) webhook.WebhookRecord {
	return webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: id, Tenant: tenant,
			Name: "name of " + id, URL: "https://example.com/" + id, Description: "about " + id,
			Events: []string{"*"}, Headers: map[string]string{"X-Key": "v-" + id},
			Active: true, VerifyTLS: true, Timeout: 30 * time.Second, MaxRetries: 3, RateLimit: 2.5,
			CreatedAt: r.now, UpdatedAt: r.now, Version: 1,
		},
		Secrets: []webhook.SecretRecord{{Value: "secret of " + id, CreatedAt: r.now}},
	}
}

// create stores a webhook, changed by edit if that is not nil.
func (r *run) create(tenant, id string, edit func(w *webhook.WebhookRecord)) webhook.WebhookRecord {
	r.Helper()
	w := r.hook(tenant, id)
	if edit != nil {
		edit(&w)
	}
	r.must("CreateWebhook", r.store.CreateWebhook(r.Context(), w, 0))
	return w
}

// selecting returns an edit that makes a webhook select these event types.
func selecting(events ...string) func(w *webhook.WebhookRecord) {
	return func(w *webhook.WebhookRecord) { w.Events = events }
}

// get reads a webhook.
func (r *run) get(tenant, id string) webhook.WebhookRecord {
	r.Helper()
	w, err := r.store.GetWebhook(r.Context(), tenant, id)
	r.must("GetWebhook", err)
	return w
}

// edit changes a stored webhook.
func (r *run) edit(tenant, id string, change func(w *webhook.WebhookRecord)) {
	r.Helper()
	w := r.get(tenant, id)
	change(&w)
	w.UpdatedAt = r.now
	r.must("UpdateWebhook", r.store.UpdateWebhook(r.Context(), w))
}

// remove deletes a webhook.
func (r *run) remove(tenant, id string) {
	r.Helper()
	r.must("DeleteWebhook", r.store.DeleteWebhook(r.Context(), tenant, id))
}

// request returns a request to publish an event now.
func (r *run) request(tenant, id, eventType string) webhook.PublishRequest {
	return webhook.PublishRequest{
		Event: webhook.EventRecord{
			ID: id, Tenant: tenant, Type: eventType, Time: r.now, Data: []byte(`{"id":"` + id + `"}`),
		},
		Patterns: eventtype.Patterns(eventType),
	}
}

// requests returns n requests of one type with the IDs prefix0, prefix1, ….
func (r *run) requests(tenant, prefix, eventType string, n int) []webhook.PublishRequest {
	reqs := make([]webhook.PublishRequest, n)
	for i := range reqs {
		reqs[i] = r.request(tenant, fmt.Sprintf("%s%d", prefix, i), eventType)
	}
	return reqs
}

// publish publishes in one call.
func (r *run) publish(reqs ...webhook.PublishRequest) []webhook.PublishResult {
	r.Helper()
	results, err := r.store.Publish(r.Context(), r.now, reqs)
	r.must("Publish", err)
	if len(results) != len(reqs) {
		r.fatalf("Publish returned %d results for %d requests", len(results), len(reqs))
	}
	return results
}

// emit publishes one new event of type "a.b".
func (r *run) emit(tenant, id string) {
	r.Helper()
	if res := r.publish(r.request(tenant, id, "a.b"))[0]; res.Duplicate || res.Conflict {
		r.fatalf("Publish of a new event: got %+v", res)
	}
}

// target sends an event to one webhook only.
func target(req webhook.PublishRequest, webhookID string) webhook.PublishRequest {
	req.WebhookID = webhookID
	return req
}

// lease is the duration of the checks' leases.
const lease = 30 * time.Second

// claim claims up to limit deliveries for lease.
func (r *run) claim(limit int) ([]webhook.ClaimedDelivery, int64) {
	r.Helper()
	tok := token()
	res := r.claimReq(webhook.ClaimRequest{Token: tok, Limit: limit, PerWebhook: limit})
	return res.Deliveries, tok
}

// claimReq claims, with defaults for the empty fields of req.
func (r *run) claimReq(req webhook.ClaimRequest) webhook.ClaimResult {
	r.Helper()
	if req.Token == 0 {
		req.Token = token()
	}
	if req.Lease == 0 {
		req.Lease = lease
	}
	req.Now = r.now
	res, err := r.store.Claim(r.Context(), req)
	r.must("Claim", err)
	for _, d := range res.Deliveries {
		if d.Err != nil {
			r.fatalf("Claim: delivery %s cannot be read: %v", d.Delivery.ID, d.Err)
		}
	}
	return res
}

// claimN claims exactly n deliveries with one token, in several calls if the
// Store returns fewer.
func (r *run) claimN(n int) ([]webhook.ClaimedDelivery, int64) {
	r.Helper()
	tok := token()
	var all []webhook.ClaimedDelivery
	for len(all) < n {
		res := r.claimReq(webhook.ClaimRequest{Token: tok, Limit: n - len(all), PerWebhook: n})
		if len(res.Deliveries) == 0 {
			r.fatalf("claimed %d deliveries, want %d: Claim returned none although some are due", len(all), n)
		}
		all = append(all, res.Deliveries...)
	}
	if len(all) > n {
		r.fatalf("claimed %d deliveries, want %d", len(all), n)
	}
	return all, tok
}

// claimOne claims the one delivery that is due.
func (r *run) claimOne() (webhook.Delivery, webhook.Lease) {
	r.Helper()
	ds, tok := r.claim(10)
	if len(ds) != 1 {
		r.fatalf("Claim returned %d deliveries, want 1", len(ds))
	}
	return ds[0].Delivery, webhook.Lease{DeliveryID: ds[0].Delivery.ID, Token: tok}
}

// claimNone reports deliveries that can still be claimed.
func (r *run) claimNone(why string) {
	r.Helper()
	if ds, _ := r.claim(10); len(ds) != 0 {
		r.fatalf("%s: Claim returned %d deliveries, want none", why, len(ds))
	}
}

// complete records results in one call.
func (r *run) complete(results ...webhook.Result) []webhook.Outcome {
	r.Helper()
	out, err := r.store.Complete(r.Context(), r.now, results)
	r.must("Complete", err)
	if len(out) != len(results) {
		r.fatalf("Complete returned %d outcomes for %d results", len(out), len(results))
	}
	return out
}

// finish records one result and checks that it was applied.
func (r *run) finish(res webhook.Result) {
	r.Helper()
	if out := r.complete(res)[0]; out != webhook.OutcomeApplied {
		r.fatalf("Complete of a held delivery: got outcome %d, want OutcomeApplied", out)
	}
}

// attempt returns an attempt that ended with status, started now.
func (r *run) attempt(d webhook.Delivery, status int) *webhook.Attempt {
	a := &webhook.Attempt{
		DeliveryID: d.ID, Number: d.Attempts + 1,
		StartedAt: r.now, Duration: 12345 * time.Microsecond, Status: status,
	}
	if status < 200 || status > 299 {
		a.Class, a.Error = webhook.ClassStatus, fmt.Sprintf("answered %d", status)
	}
	return a
}

// success is the result of an attempt that was answered 200.
func (r *run) success(d webhook.Delivery, tok int64) webhook.Result {
	return webhook.Result{DeliveryID: d.ID, Token: tok, State: webhook.StateSucceeded, Attempt: r.attempt(d, 200)}
}

// retry is the result of an attempt that was answered 500, with a retry after
// delay.
func (r *run) retry(d webhook.Delivery, tok int64, delay time.Duration) webhook.Result {
	return webhook.Result{DeliveryID: d.ID, Token: tok, State: webhook.StatePending, Delay: delay, Attempt: r.attempt(d, 500)}
}

// failure is the result of the last attempt, which was answered 500.
func (r *run) failure(d webhook.Delivery, tok int64) webhook.Result {
	return webhook.Result{
		DeliveryID: d.ID, Token: tok, State: webhook.StateFailed,
		Reason: webhook.ReasonRetriesExhausted, Attempt: r.attempt(d, 500),
	}
}

// cancel is the result of a delivery whose webhook is disabled.
func cancel(id string, tok int64) webhook.Result {
	return webhook.Result{DeliveryID: id, Token: tok, State: webhook.StateCanceled, Reason: webhook.ReasonWebhookDisabled}
}

// delivery reads a delivery of tenant t1.
func (r *run) delivery(id string) webhook.Delivery {
	r.Helper()
	d, err := r.store.GetDelivery(r.Context(), t1, id)
	r.must("GetDelivery", err)
	return d
}

// attempts reads the attempts of a delivery of tenant t1.
func (r *run) attempts(id string) []webhook.Attempt {
	r.Helper()
	as, err := r.store.ListAttempts(r.Context(), t1, id)
	r.must("ListAttempts", err)
	return as
}

// deliveries reads every delivery that matches q.
func (r *run) deliveries(q webhook.DeliveryQuery) []webhook.Delivery {
	r.Helper()
	q.Limit = 500
	ds, err := allDeliveries(r.Context(), r.store, q)
	r.must("ListDeliveries", err)
	return ds
}

// allDeliveries reads all pages of a list.
func allDeliveries(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) ([]webhook.Delivery, error) {
	var all []webhook.Delivery
	seen := map[string]bool{}
	for {
		p, err := s.ListDeliveries(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all, nil
		}
		if seen[p.Next] {
			return nil, fmt.Errorf("the walk does not end: the cursor %q came twice", p.Next)
		}
		seen[p.Next] = true
		q.Cursor = p.Next
	}
}

// The tenants of the checks; most use only the first.
const (
	t1 = "tenant-1"
	t2 = "tenant-2"
)

// ids returns the event IDs of claimed deliveries, separated by spaces.
func eventIDs(ds []webhook.ClaimedDelivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.Delivery.EventID)
	}
	return strings.Join(ids, " ")
}
