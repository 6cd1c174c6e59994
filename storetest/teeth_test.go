package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// twisted is a Store with some methods replaced. Each replacement gets the
// intact Store.
type twisted struct {
	webhook.Store
	only bool // only for the check that it must fail

	create         func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord, limit int) error
	get            func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.WebhookRecord, error)
	listWebhooks   func(ctx context.Context, s webhook.Store, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error)
	walk           func(ctx context.Context, s webhook.WebhookWalker, after string, limit int) ([]webhook.WebhookRecord, error)
	update         func(ctx context.Context, s webhook.Store, w webhook.WebhookRecord) error
	remove         func(ctx context.Context, s webhook.Store, tenant, id string) error
	publish        func(ctx context.Context, s webhook.Store, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error)
	claim          func(ctx context.Context, s webhook.Store, req webhook.ClaimRequest) (webhook.ClaimResult, error)
	extend         func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error)
	complete       func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error)
	release        func(ctx context.Context, s webhook.Store, now time.Time, leases []webhook.Lease, delay time.Duration) error
	resend         func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error)
	replay         func(ctx context.Context, s webhook.Store, req webhook.ReplayRequest) (webhook.ReplayResult, error)
	getEvent       func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.EventRecord, error)
	getDelivery    func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error)
	listDeliveries func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error)
	listAttempts   func(ctx context.Context, s webhook.Store, tenant, id string) ([]webhook.Attempt, error)
	stats          func(ctx context.Context, s webhook.Store, q webhook.StatsQuery) ([]webhook.StatsBucket, error)
	prune          func(ctx context.Context, s webhook.Store, before time.Time, limit int) (int, error)
	eraseTenant    func(ctx context.Context, s webhook.EraseStore, tenant string, limit int) (webhook.Erased, error)
	eraseOld       func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error)
	eraseEvent     func(ctx context.Context, s webhook.EraseStore, tenant, id string, limit int) (webhook.Erased, error)
	backlog        func(ctx context.Context, s webhook.BacklogStore, q webhook.BacklogQuery) (webhook.Backlog, error)
}

func (x *twisted) CreateWebhook(ctx context.Context, w webhook.WebhookRecord, limit int) error {
	if x.create != nil {
		return x.create(ctx, x.Store, w, limit)
	}
	return x.Store.CreateWebhook(ctx, w, limit)
}

func (x *twisted) GetWebhook(ctx context.Context, tenant, id string) (webhook.WebhookRecord, error) {
	if x.get != nil {
		return x.get(ctx, x.Store, tenant, id)
	}
	return x.Store.GetWebhook(ctx, tenant, id)
}

func (x *twisted) ListWebhooks(ctx context.Context, q webhook.WebhookQuery) (webhook.Page[webhook.Webhook], error) {
	if x.listWebhooks != nil {
		return x.listWebhooks(ctx, x.Store, q)
	}
	return x.Store.ListWebhooks(ctx, q)
}

func (x *twisted) WalkWebhooks(ctx context.Context, after string, limit int) ([]webhook.WebhookRecord, error) {
	s, ok := x.Store.(webhook.WebhookWalker)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if x.walk != nil {
		return x.walk(ctx, s, after, limit)
	}
	return s.WalkWebhooks(ctx, after, limit)
}

func (x *twisted) UpdateWebhook(ctx context.Context, w webhook.WebhookRecord) error {
	if x.update != nil {
		return x.update(ctx, x.Store, w)
	}
	return x.Store.UpdateWebhook(ctx, w)
}

func (x *twisted) DeleteWebhook(ctx context.Context, tenant, id string) error {
	if x.remove != nil {
		return x.remove(ctx, x.Store, tenant, id)
	}
	return x.Store.DeleteWebhook(ctx, tenant, id)
}

func (x *twisted) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	if x.publish != nil {
		return x.publish(ctx, x.Store, now, reqs)
	}
	return x.Store.Publish(ctx, now, reqs)
}

func (x *twisted) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	if x.claim != nil {
		return x.claim(ctx, x.Store, req)
	}
	return x.Store.Claim(ctx, req)
}

func (x *twisted) Extend(ctx context.Context, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
	if x.extend != nil {
		return x.extend(ctx, x.Store, now, leases, d)
	}
	return x.Store.Extend(ctx, now, leases, d)
}

func (x *twisted) Complete(ctx context.Context, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
	if x.complete != nil {
		return x.complete(ctx, x.Store, now, results)
	}
	return x.Store.Complete(ctx, now, results)
}

func (x *twisted) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
	if x.release != nil {
		return x.release(ctx, x.Store, now, leases, delay)
	}
	return x.Store.Release(ctx, now, leases, delay)
}

func (x *twisted) Resend(ctx context.Context, now time.Time, tenant, id string) (webhook.Delivery, error) {
	if x.resend != nil {
		return x.resend(ctx, x.Store, now, tenant, id)
	}
	return x.Store.Resend(ctx, now, tenant, id)
}

func (x *twisted) Replay(ctx context.Context, req webhook.ReplayRequest) (webhook.ReplayResult, error) {
	if x.replay != nil {
		return x.replay(ctx, x.Store, req)
	}
	return x.Store.Replay(ctx, req)
}

func (x *twisted) GetEvent(ctx context.Context, tenant, id string) (webhook.EventRecord, error) {
	if x.getEvent != nil {
		return x.getEvent(ctx, x.Store, tenant, id)
	}
	return x.Store.GetEvent(ctx, tenant, id)
}

func (x *twisted) GetDelivery(ctx context.Context, tenant, id string) (webhook.Delivery, error) {
	if x.getDelivery != nil {
		return x.getDelivery(ctx, x.Store, tenant, id)
	}
	return x.Store.GetDelivery(ctx, tenant, id)
}

func (x *twisted) ListDeliveries(ctx context.Context, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
	if x.listDeliveries != nil {
		return x.listDeliveries(ctx, x.Store, q)
	}
	return x.Store.ListDeliveries(ctx, q)
}

func (x *twisted) ListAttempts(ctx context.Context, tenant, id string) ([]webhook.Attempt, error) {
	if x.listAttempts != nil {
		return x.listAttempts(ctx, x.Store, tenant, id)
	}
	return x.Store.ListAttempts(ctx, tenant, id)
}

func (x *twisted) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	if x.stats != nil {
		return x.stats(ctx, x.Store, q)
	}
	return x.Store.Stats(ctx, q)
}

func (x *twisted) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if x.prune != nil {
		return x.prune(ctx, x.Store, before, limit)
	}
	return x.Store.Prune(ctx, before, limit)
}

func (x *twisted) Backlog(ctx context.Context, q webhook.BacklogQuery) (webhook.Backlog, error) {
	able := x.Store.(webhook.BacklogStore)
	if x.backlog != nil {
		return x.backlog(ctx, able, q)
	}
	return able.Backlog(ctx, q)
}

// broken is a Store that breaks one sentence of the contract.
type broken struct {
	does   string          // the fault of the Store
	breaks string          // the subtest that must fail
	store  func() *twisted // returns a new twisted Store, without the intact Store
}

// recorder replaces *testing.T.
type recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	messages []string
}

func (rec *recorder) Helper()                  {}
func (rec *recorder) Context() context.Context { return rec.ctx }
func (rec *recorder) FailNow()                 { runtime.Goexit() }
func (rec *recorder) Errorf(format string, args ...any) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.messages = append(rec.messages, fmt.Sprintf(format, args...))
}

// examine runs one check and returns its reports.
func examine(ctx context.Context, c check, s webhook.Store) []string {
	rec := &recorder{ctx: ctx}
	done := make(chan struct{})
	go func() { // a goroutine of its own, because FailNow ends it
		defer close(done)
		c.examine(newRun(rec, c.says, s, true))
	}()
	<-done
	return rec.messages
}

// slow are checks that most broken stores pass, and that take most of the time.
var slow = []string{"Publish/LargeFanOut", "Publish/FanOutIsSeenWholeOrNotAtAll", "Stress/EveryDeliverySucceedsOnce", "Fairness/BacklogDoesNotDelayOthers"}

// eachCheck calls f with every check and its name.
func eachCheck(f func(name string, c check)) {
	for _, g := range append(slices.Clone(groups), group{"Bounded", boundedChecks}) {
		for _, c := range g.checks {
			f(g.name+"/"+c.name, c)
		}
	}
}

// fresh returns an intact Store, of the capacity that the check needs.
func fresh(name string) webhook.Store {
	var cfg memstore.Config
	if strings.HasPrefix(name, "Bounded/") {
		cfg.MaxPending = boundedCapacity
	}
	return memstore.New(cfg)
}

// TestBrokenStoresFail runs every broken store through the group of checks that
// the broken sentence belongs to. The check of that sentence must fail and
// quote it.
func TestBrokenStoresFail(t *testing.T) {
	stores := slices.Concat(brokenPublishers, brokenQueues, brokenResults, brokenWebhooks, brokenWalks, brokenErasers, brokenLogs)
	names := map[string]bool{}
	eachCheck(func(name string, _ check) { names[name] = true })
	for _, b := range stores {
		t.Run(b.does, func(t *testing.T) {
			t.Parallel()
			if !names[b.breaks] {
				t.Fatalf("there is no check %s", b.breaks)
			}
			var failed []string
			eachCheck(func(name string, c check) {
				group, _, _ := strings.Cut(b.breaks, "/")
				if name != b.breaks && (slices.Contains(slow, name) || !strings.HasPrefix(name, group+"/")) {
					return
				}
				x := b.store()
				if x.Store = fresh(name); x.only && name != b.breaks {
					return
				}
				messages := examine(t.Context(), c, x)
				if len(messages) == 0 {
					return
				}
				failed = append(failed, name)
				if name == b.breaks && !strings.Contains(messages[0], c.says) {
					t.Errorf("%s failed without quoting %q: %s", name, c.says, messages[0])
				}
			})
			if !slices.Contains(failed, b.breaks) {
				t.Errorf("passed %s; failed: %v", b.breaks, failed)
			}
			t.Logf("failed %v", failed)
		})
	}
}

// TestIntactStorePasses shows that a twisted Store without a twist passes, so
// that broken stores fail because of their twist.
func TestIntactStorePasses(t *testing.T) {
	eachCheck(func(name string, c check) {
		for _, message := range examine(t.Context(), c, &twisted{Store: fresh(name)}) {
			t.Errorf("%s: %s", name, message)
		}
	})
}
