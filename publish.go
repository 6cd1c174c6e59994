package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// Publish stores one event, with a delivery for every active webhook of its
// tenant that selects its type, and returns when both are durable. It does not
// wait for deliveries.
//
// Publishing the same ID or Key again with equal type and data only reports
// Duplicate. So after an error that leaves the outcome open (a timeout, a lost
// connection) the caller repeats the call with the same ID. For other content
// under the same ID, Publish returns an error wrapping ErrEventConflict.
//
// It also returns a *ValidationError for an invalid event, ErrEventTooLarge,
// ErrBacklogFull from a bounded Store, ctx.Err(), and the Store's errors. After
// an error the event is never stored in part.
func (d *Dispatcher) Publish(ctx context.Context, ev Event) (Published, error) {
	req, err := d.prepare(ev)
	if err != nil {
		return Published{}, prefixed("publish", err)
	}
	out, err := d.publish(ctx, []PublishRequest{req})
	if err != nil {
		return Published{}, prefixed("publish", err)
	}
	return out[0], nil
}

// PublishAll publishes many events in one atomic step, which is much cheaper
// than one by one. If an event is invalid, PublishAll stores no event and
// returns an error that names its index. If an event's ID is taken by another
// event (ErrEventConflict), that event is left out, the others are stored, and
// PublishAll returns both results and error.
func (d *Dispatcher) PublishAll(ctx context.Context, evs []Event) ([]Published, error) {
	reqs := make([]PublishRequest, len(evs))
	for i, ev := range evs {
		req, err := d.prepare(ev)
		if err != nil {
			return nil, prefixed("publish", fmt.Errorf("event %d: %w", i, err))
		}
		reqs[i] = req
	}
	if len(reqs) == 0 {
		return nil, nil
	}
	out, err := d.publish(ctx, reqs)
	return out, prefixed("publish", err)
}

// Prepare validates and encodes an event without storing it: for PublishTx of
// the packages pgstore and sqlitestore, which writes the result in a
// transaction of the host. Prepare assigns the ID and returns the errors of
// Publish. It does not block. Call [Dispatcher.Wake] after the commit.
func (d *Dispatcher) Prepare(ev Event) (PublishRequest, error) {
	req, err := d.prepare(ev)
	return req, prefixed("prepare", err)
}

func (d *Dispatcher) prepare(ev Event) (PublishRequest, error) {
	rec, err := prepareEvent(ev, d.now(), d.cfg.MaxEventSize)
	if err != nil {
		return PublishRequest{}, err
	}
	return PublishRequest{Event: rec, Patterns: eventtype.Patterns(rec.Type)}, nil
}

func (d *Dispatcher) publish(ctx context.Context, reqs []PublishRequest) ([]Published, error) {
	out, due, err := d.storeEvents(ctx, reqs)
	if due {
		d.Wake()
	}
	return out, err
}

// storeEvents stores prepared events, and reports whether a delivery is due.
func (d *Dispatcher) storeEvents(ctx context.Context, reqs []PublishRequest) (out []Published, due bool, err error) {
	if d.cfg.Observer.Publish != nil {
		if stored := d.observePublish(ctx, reqs); stored != nil {
			defer func() { d.contained("the observer's Publish", func() { stored(out, err) }) }()
		}
	}
	res, err := d.store.Publish(ctx, d.now(), reqs)
	if err != nil {
		return nil, false, err
	}
	if len(res) != len(reqs) {
		return nil, false, fmt.Errorf("the store returned %d results for %d events", len(res), len(reqs))
	}
	out = make([]Published, len(reqs))
	var conflicts []error
	for i, r := range res {
		ev := &reqs[i].Event //nolint:gosec // as many as there are results, see above
		out[i] = Published{ID: ev.ID, Deliveries: r.Deliveries, Duplicate: r.Duplicate}
		if r.Conflict {
			conflicts = append(conflicts, fmt.Errorf("%w: %q was published with other type or data: use a new id", ErrEventConflict, ev.ID))
		}
		due = due || r.Deliveries > 0
	}
	return out, due, errors.Join(conflicts...)
}

// logContained logs err with its stack if it is a contained panic.
func (d *Dispatcher) logContained(err error) {
	if p, ok := errors.AsType[*contain.PanicError](err); ok {
		p.Log(d.log)
	}
}

// TestEvent is the event that SendTest sends. The zero value sends an event of
// type "webhook.test" with a short greeting.
type TestEvent struct {
	Type string // empty: the type of Data, or TypeTest
	Data any    // nil: {"test":true,"message":"…"}
}

// SendTest publishes an event to one webhook, whatever types it selects, and
// returns its delivery, which is attempted like any other: follow it with
// [Dispatcher.Delivery] and [Dispatcher.Attempts]. It returns ErrNotFound if
// the webhook does not exist, ErrInactive if it is disabled, and the errors of
// Publish, such as *ValidationError, ErrEventTooLarge and ErrBacklogFull.
func (d *Dispatcher) SendTest(ctx context.Context, tenant, webhookID string, ev TestEvent) (_ Delivery, err error) {
	defer func() { err = prefixed("send test", err) }()
	if err := d.requireActive(ctx, tenant, webhookID); err != nil {
		return Delivery{}, err
	}
	if ev.Data == nil {
		ev.Type = orDefault(ev.Type, TypeTest)
		ev.Data = struct {
			Test    bool   `json:"test"`
			Message string `json:"message"`
		}{true, "This is a test event. If you can read it, your webhook works."}
	}
	req, err := d.prepare(Event{Tenant: tenant, Type: ev.Type, Data: ev.Data})
	if err != nil {
		return Delivery{}, err
	}
	req.WebhookID = webhookID
	out, _, err := d.storeEvents(ctx, []PublishRequest{req})
	if err != nil {
		return Delivery{}, err
	}
	defer d.Wake() // after the delivery has been read, so that it is returned as before its attempt
	q := DeliveryQuery{Tenant: tenant, WebhookID: webhookID, EventID: out[0].ID, Limit: 1}
	for {
		page, err := d.store.ListDeliveries(ctx, q)
		if err != nil {
			return Delivery{}, err
		}
		if len(page.Items) > 0 {
			return page.Items[0], nil
		}
		if page.Next == "" {
			// Disabled or deleted between the check and the publish.
			return Delivery{}, ErrInactive
		}
		q.Cursor = page.Next
	}
}

// Resend sends a delivery again, whatever its state, with its full number of
// retries and the same event ID and body, and returns the changed delivery. A
// delivery that is being attempted right now stays as it is. Resend returns
// ErrNotFound if the delivery does not exist or its webhook was deleted,
// ErrInactive if the webhook is disabled, and the Store's errors.
func (d *Dispatcher) Resend(ctx context.Context, tenant, deliveryID string) (_ Delivery, err error) {
	defer func() { err = prefixed("resend", err) }()
	if err := findable(tenant, deliveryID); err != nil {
		return Delivery{}, err
	}
	del, err := d.store.GetDelivery(ctx, tenant, deliveryID)
	if err != nil {
		return Delivery{}, err
	}
	if err := d.requireActive(ctx, tenant, del.WebhookID); err != nil {
		return Delivery{}, err
	}
	del, err = d.store.Resend(ctx, d.now(), tenant, deliveryID)
	if err == nil {
		d.Wake()
	}
	return del, err
}

// Replay resends many deliveries of one webhook, one bounded step at a time:
// repeat it with the cursor of the previous result until Next is empty. A
// repeated step does not resend a delivery twice. Limit 0 means 500. Without
// States and Missing, it replays all events that were not delivered: failed and
// canceled deliveries, and events without a delivery because the webhook was
// disabled or did not exist. These include every event that the Store still
// has, so set Since. Replay sets Now. It returns ErrNotFound if the webhook
// does not exist, ErrInactive if it is disabled (except for a DryRun), a
// *ValidationError, ErrCursor, or the Store's error.
func (d *Dispatcher) Replay(ctx context.Context, req ReplayRequest) (_ ReplayResult, err error) {
	defer func() { err = prefixed("replay", err) }()
	var bad ValidationError
	checkTenant(&bad, req.Tenant)
	checkFilterType(&bad, "eventType", req.EventType)
	checkLimit(&bad, "limit", &req.Limit, 500, 1000)
	req.States = checkStates(&bad, req.States)
	if err := bad.err(); err != nil {
		return ReplayResult{}, err
	}
	if len(req.States) == 0 && !req.Missing {
		req.States = []State{StateFailed, StateCanceled}
		req.Missing = true
	}
	if err := d.requireActive(ctx, req.Tenant, req.WebhookID); err != nil && (!req.DryRun || !errors.Is(err, ErrInactive)) {
		return ReplayResult{}, err
	}
	req.Now = d.now()
	req.Since, req.Until = storedTime(req.Since), storedTime(req.Until)
	res, err := d.store.Replay(ctx, req)
	if err == nil && !req.DryRun && res.Resent+res.Created > 0 {
		d.Wake()
	}
	return res, err
}

// requireActive returns ErrNotFound if the webhook does not exist, and
// ErrInactive if it is disabled.
func (d *Dispatcher) requireActive(ctx context.Context, tenant, webhookID string) error {
	w, err := d.getWebhook(ctx, tenant, webhookID)
	if err != nil {
		return err
	}
	if !w.Active {
		return ErrInactive
	}
	return nil
}

// storedTime truncates a time to the precision of stores.
func storedTime(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
