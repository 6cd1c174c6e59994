package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
)

// containedStore turns panics of the host's store into errors and logs them.
type containedStore struct {
	store Store
	log   *slog.Logger
}

func call[T any](s *containedStore, method string, f func() (T, error)) (T, error) {
	v, err := contain.Call("the store's "+method, f)
	s.logPanic(err)
	return v, err
}

func (s *containedStore) run(method string, f func() error) error {
	err := contain.Run("the store's "+method, f)
	s.logPanic(err)
	return err
}

// logPanic logs err if it is a panic of the call itself and does not wrap one.
func (s *containedStore) logPanic(err error) {
	if p, ok := err.(*contain.PanicError); ok { //nolint:errorlint // a panic is returned as it is
		p.Log(s.log)
	}
}

func (s *containedStore) CreateWebhook(ctx context.Context, w WebhookRecord, limit int) error {
	return s.run("CreateWebhook", func() error { return s.store.CreateWebhook(ctx, w, limit) })
}

func (s *containedStore) GetWebhook(ctx context.Context, tenant, id string) (WebhookRecord, error) {
	return call(s, "GetWebhook", func() (WebhookRecord, error) { return s.store.GetWebhook(ctx, tenant, id) })
}

func (s *containedStore) ListWebhooks(ctx context.Context, q WebhookQuery) (Page[Webhook], error) {
	return call(s, "ListWebhooks", func() (Page[Webhook], error) { return s.store.ListWebhooks(ctx, q) })
}

// WalkWebhooks implements [WebhookWalker] where the store does.
func (s *containedStore) WalkWebhooks(ctx context.Context, after string, limit int) ([]WebhookRecord, error) {
	w, ok := s.store.(WebhookWalker)
	if !ok {
		return nil, fmt.Errorf("%w: a %T cannot list the webhooks of all tenants, only of one", errors.ErrUnsupported, s.store)
	}
	return call(s, "WalkWebhooks", func() ([]WebhookRecord, error) { return w.WalkWebhooks(ctx, after, limit) })
}

func (s *containedStore) UpdateWebhook(ctx context.Context, w WebhookRecord) error {
	return s.run("UpdateWebhook", func() error { return s.store.UpdateWebhook(ctx, w) })
}

func (s *containedStore) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return s.run("DeleteWebhook", func() error { return s.store.DeleteWebhook(ctx, tenant, id) })
}

func (s *containedStore) Publish(ctx context.Context, now time.Time, reqs []PublishRequest) ([]PublishResult, error) {
	return call(s, "Publish", func() ([]PublishResult, error) { return s.store.Publish(ctx, now, reqs) })
}

func (s *containedStore) Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error) {
	return call(s, "Claim", func() (ClaimResult, error) { return s.store.Claim(ctx, req) })
}

func (s *containedStore) Extend(ctx context.Context, now time.Time, leases []Lease, d time.Duration) ([]string, error) {
	return call(s, "Extend", func() ([]string, error) { return s.store.Extend(ctx, now, leases, d) })
}

func (s *containedStore) Complete(ctx context.Context, now time.Time, results []Result) ([]Outcome, error) {
	return call(s, "Complete", func() ([]Outcome, error) { return s.store.Complete(ctx, now, results) })
}

func (s *containedStore) Release(ctx context.Context, now time.Time, leases []Lease, delay time.Duration) error {
	return s.run("Release", func() error { return s.store.Release(ctx, now, leases, delay) })
}

func (s *containedStore) Resend(ctx context.Context, now time.Time, tenant, deliveryID string) (Delivery, error) {
	return call(s, "Resend", func() (Delivery, error) { return s.store.Resend(ctx, now, tenant, deliveryID) })
}

func (s *containedStore) Replay(ctx context.Context, req ReplayRequest) (ReplayResult, error) {
	return call(s, "Replay", func() (ReplayResult, error) { return s.store.Replay(ctx, req) })
}

func (s *containedStore) GetEvent(ctx context.Context, tenant, id string) (EventRecord, error) {
	return call(s, "GetEvent", func() (EventRecord, error) { return s.store.GetEvent(ctx, tenant, id) })
}

func (s *containedStore) GetDelivery(ctx context.Context, tenant, id string) (Delivery, error) {
	return call(s, "GetDelivery", func() (Delivery, error) { return s.store.GetDelivery(ctx, tenant, id) })
}

func (s *containedStore) ListDeliveries(ctx context.Context, q DeliveryQuery) (Page[Delivery], error) {
	return call(s, "ListDeliveries", func() (Page[Delivery], error) { return s.store.ListDeliveries(ctx, q) })
}

func (s *containedStore) ListAttempts(ctx context.Context, tenant, deliveryID string) ([]Attempt, error) {
	return call(s, "ListAttempts", func() ([]Attempt, error) { return s.store.ListAttempts(ctx, tenant, deliveryID) })
}

func (s *containedStore) Stats(ctx context.Context, q StatsQuery) ([]StatsBucket, error) {
	return call(s, "Stats", func() ([]StatsBucket, error) { return s.store.Stats(ctx, q) })
}

func (s *containedStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	return call(s, "Prune", func() (int, error) { return s.store.Prune(ctx, before, limit) })
}

// Backlog passes the question on to a store that can answer it.
func (s *containedStore) Backlog(ctx context.Context, q BacklogQuery) (Backlog, error) {
	able, ok := s.store.(BacklogStore)
	if !ok {
		return Backlog{}, fmt.Errorf("the store, a %T, cannot count its backlog: %w", s.store, errors.ErrUnsupported)
	}
	return call(s, "Backlog", func() (Backlog, error) { return able.Backlog(ctx, q) })
}

type containedEraser struct {
	*containedStore
	able EraseStore
}

func (d *Dispatcher) eraser() (EraseStore, error) {
	if able, ok := d.store.store.(EraseStore); ok {
		return containedEraser{d.store, able}, nil
	}
	return nil, fmt.Errorf("the store, a %T, cannot delete tenants and events: %w", d.store.store, errors.ErrUnsupported)
}

func (e containedEraser) EraseTenant(ctx context.Context, tenant string, limit int) (Erased, error) {
	return call(e.containedStore, "EraseTenant", func() (Erased, error) { return e.able.EraseTenant(ctx, tenant, limit) })
}

func (e containedEraser) EraseEvent(ctx context.Context, tenant, eventID string, limit int) (Erased, error) {
	return call(e.containedStore, "EraseEvent", func() (Erased, error) { return e.able.EraseEvent(ctx, tenant, eventID, limit) })
}

func (e containedEraser) EraseOld(ctx context.Context, req EraseOldRequest) (EraseOldResult, error) {
	return call(e.containedStore, "EraseOld", func() (EraseOldResult, error) { return e.able.EraseOld(ctx, req) })
}

// errStoreSilent ends a call of the Store that takes longer than it may.
var errStoreSilent = errors.New("the store did not answer in time")

const (
	// pruneShare is how many times Config.StoreTimeout a step of pruning may take:
	// it writes much, and no call waits for it.
	pruneShare = 10
	// singleShare is the part of Config.StoreTimeout that one result by itself gets,
	// when its batch has failed twice: other results wait for it.
	singleShare = 6
)

// timed makes one call of the Store within a time limit, without which a call would
// wait for ever on a connection whose other side has vanished. The outcome of a
// call that was given up is unknown.
func timed[T any](ctx context.Context, d *Dispatcher, call string, limit time.Duration, f func(ctx context.Context) (T, error)) (T, error) {
	within, cancel := context.WithTimeoutCause(ctx, limit, errStoreSilent)
	defer cancel()
	began := time.Now()
	v, err := f(within)
	if err == nil || ctx.Err() != nil || !errors.Is(context.Cause(within), errStoreSilent) {
		return v, err
	}
	took := time.Since(began)
	if muted, ok := d.silence.Pass(); ok {
		d.log.Error("webhook: a call of the store was given up: its connection may have gone silent, or it needs more time than Config.StoreTimeout gives",
			"call", call, "after", took, "error", err, "alike_not_logged", muted)
	}
	if seen := d.cfg.Observer.StoreTimeout; seen != nil {
		d.contained("the observer's StoreTimeout", func() { seen(call, took) })
	}
	return v, fmt.Errorf("%w: %s was given up after %v: %w", errStoreSilent, call, took, err)
}

func timedRun(ctx context.Context, d *Dispatcher, call string, limit time.Duration, f func(ctx context.Context) error) error {
	_, err := timed(ctx, d, call, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// soon is the limit of calls that attempts or the end of a run wait for.
func (d *Dispatcher) soon() time.Duration { return min(recordGrace, d.cfg.StoreTimeout) }
