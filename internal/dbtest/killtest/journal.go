package killtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
)

// watched is a Store that keeps a journal of what a dispatcher holds, so that
// after a kill the driver knows exactly which deliveries were claimed and not
// yet recorded. It is also where a process kills itself, at named points:
// before, inside or after a method of the store, such as "complete:inside".
//
// Lines of the journal: time, kind, deliveries. Kinds:
//
//	claim   taken by a claim that has committed: id=event/webhook, and @ when it
//	        was asked for, from which leases count
//	good    successes about to be recorded: id
//	begin   results about to be recorded: id
//	done    results recorded, or leases given back: id
//	waited  the process was not let run: nanoseconds
//	slow    a claim or a renewal took a good part of the lease, or failed, or the
//	        process was not let run for as long: its leases may be lost
type watched struct {
	webhook.Store
	spec *spec

	mu     sync.Mutex
	out    *os.File
	passed atomic.Int64
}

func watch(s *spec, store webhook.Store) (*watched, error) {
	out, err := os.OpenFile(s.file("journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &watched{Store: store, spec: s, out: out}, err
}

// openWatched opens the database of a process, and journals what its store does.
// The caller closes the database.
func openWatched(s *spec) (*database, *watched, error) {
	db, err := openDatabase(s)
	if err != nil {
		return nil, nil, err
	}
	store, err := watch(s, db.store)
	if err != nil {
		db.close()
		return nil, nil, err
	}
	return db, store, nil
}

func (w *watched) note(kind string, ids []string) {
	if len(ids) == 0 {
		return
	}
	line := fmt.Sprintf("%d %s %s\n", time.Now().UnixNano(), kind, strings.Join(ids, " "))
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.WriteString(line); err != nil {
		panic(err)
	}
}

// waited notes that the process was not let run until now, for that long.
func (w *watched) waited(d time.Duration) {
	if d > leastWait {
		w.note("waited", []string{fmt.Sprint(d.Nanoseconds())})
	}
	w.slow(d)
}

// slow notes a delay if it is a good part of a lease.
func (w *watched) slow(d time.Duration) {
	if d > w.spec.Lease/6 {
		w.note("slow", []string{d.String()})
	}
}

// pass kills the process if this is the point, and the time it should pass it.
func (w *watched) pass(point string) {
	if w.spec.Point == point && w.passed.Add(1) == int64(w.spec.PointAt) {
		die()
	}
}

// during kills the process while a method runs, a random moment after its
// beginning.
func (w *watched) during(method string) {
	if w.spec.Point != method+":inside" {
		return
	}
	if n := w.passed.Add(1); n == int64(w.spec.PointAt) {
		time.AfterFunc(w.spec.moment(uint64(n)), die)
	}
}

// moment is how long after the beginning of something a process dies that is to
// die inside it.
func (s *spec) moment(n uint64) time.Duration {
	return time.Duration(mix(s.Seed, s.Name, n)%4000) * time.Microsecond
}

// Claim implements [webhook.QueueStore].
func (w *watched) Claim(ctx context.Context, req webhook.ClaimRequest) (webhook.ClaimResult, error) {
	w.during("claim")
	begin := time.Now()
	res, err := w.Store.Claim(ctx, req)
	ids := make([]string, len(res.Deliveries))
	for i := range res.Deliveries {
		d := &res.Deliveries[i].Delivery
		ids[i] = d.ID + "=" + d.EventID + "/" + d.WebhookID
	}
	if len(ids) > 0 {
		w.note("claim", slices.Concat(ids, []string{fmt.Sprint("@", begin.UnixNano())}))
		w.slow(time.Since(begin))
		w.pass("claim:after")
	}
	return res, err
}

// Complete implements [webhook.QueueStore].
func (w *watched) Complete(ctx context.Context, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
	ids := make([]string, len(results))
	for i := range results {
		ids[i] = results[i].DeliveryID
	}
	var good []string
	for i := range results {
		if results[i].State == webhook.StateSucceeded {
			good = append(good, results[i].DeliveryID)
		}
	}
	w.pass("complete:before")
	w.note("good", good)
	w.note("begin", ids)
	w.during("complete")
	out, err := w.Store.Complete(ctx, now, results)
	w.pass("complete:after")
	if err == nil {
		w.note("done", ids)
	}
	return out, err
}

// Extend implements [webhook.QueueStore].
func (w *watched) Extend(ctx context.Context, now time.Time, leases []webhook.Lease, d time.Duration) ([]string, error) {
	w.during("extend")
	begin := time.Now()
	lost, err := w.Store.Extend(ctx, now, leases, d)
	w.slow(time.Since(begin))
	if err != nil {
		w.slow(d)
	}
	w.pass("extend:after")
	return lost, err
}

// Release implements [webhook.QueueStore]. It is noted before: another process may
// claim what was given back before this one has heard that it was. Nothing was sent
// that counts, so it is noted also where it then fails.
func (w *watched) Release(ctx context.Context, now time.Time, leases []webhook.Lease, delay time.Duration) error {
	var ids []string
	for _, l := range leases {
		if l.DeliveryID != "" {
			ids = append(ids, l.DeliveryID)
		}
	}
	w.note("done", ids)
	return w.Store.Release(ctx, now, leases, delay)
}

// UpdateWebhook implements [webhook.WebhookStore].
func (w *watched) UpdateWebhook(ctx context.Context, rec webhook.WebhookRecord) error {
	w.pass("update:before")
	w.during("update")
	err := w.Store.UpdateWebhook(ctx, rec)
	w.pass("update:after")
	return err
}

// Publish implements [webhook.QueueStore].
func (w *watched) Publish(ctx context.Context, now time.Time, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
	w.during("publish")
	return w.Store.Publish(ctx, now, reqs)
}
