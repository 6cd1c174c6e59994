package webhooktest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed68722ecd/webhook"
)

// pollEvery is how often UntilIdle polls while Run delivers on another
// goroutine.
const pollEvery = 10 * time.Millisecond

// DeliverDue makes every attempt that is due now and returns their number. It
// does not make retries that become due later. It calls Dispatcher.DeliverDue,
// and exists to be found beside [UntilIdle].
func DeliverDue(ctx context.Context, d *webhook.Dispatcher) (attempts int, err error) {
	return d.DeliverDue(ctx)
}

// UntilIdle delivers until no delivery of the tenants is pending, and returns
// the number of attempts. It waits for retries until they are due: in a
// testing/synctest bubble that takes no real time; outside one give the
// Dispatcher a short schedule (webhook.Config.Retry).
//
// If Run is already running on d, UntilIdle waits until Run has delivered
// everything, and returns 0 attempts. It returns an error that wraps ctx.Err()
// when ctx ends, and the Store's error when the Store fails. Leave Config.Now
// nil: UntilIdle waits by the real clock, and retries must become due by the
// same.
func UntilIdle(ctx context.Context, d *webhook.Dispatcher, tenants ...string) (attempts int, err error) {
	if len(tenants) == 0 {
		return 0, errors.New("webhooktest: until idle: name the tenants whose deliveries to wait for")
	}
	for {
		n, err := d.DeliverDue(ctx)
		attempts += n
		if err != nil && !errors.Is(err, webhook.ErrRunning) {
			return attempts, fmt.Errorf("webhooktest: until idle: %w", err)
		}
		pending, next, err := waiting(ctx, d, tenants)
		if err != nil {
			return attempts, fmt.Errorf("webhooktest: until idle: %w", err)
		}
		if pending == 0 {
			return attempts, nil
		}
		t := time.NewTimer(max(pollEvery, time.Until(next)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return attempts, fmt.Errorf("webhooktest: until idle: %d deliveries are pending, the next is due at %s: %w",
				pending, next.Format(time.RFC3339), ctx.Err())
		}
	}
}

// waiting counts the pending deliveries of the tenants, and returns when the
// first of them is due.
func waiting(ctx context.Context, d *webhook.Dispatcher, tenants []string) (n int, next time.Time, err error) {
	for _, tenant := range tenants {
		q := webhook.DeliveryQuery{Tenant: tenant, State: webhook.StatePending, Limit: 500}
		for {
			page, err := d.Deliveries(ctx, q)
			if err != nil {
				return 0, time.Time{}, err
			}
			for _, del := range page.Items {
				if n == 0 || del.NextAttemptAt.Before(next) {
					next = del.NextAttemptAt
				}
				n++
			}
			if page.Next == "" {
				break
			}
			q.Cursor = page.Next
		}
	}
	return n, next, nil
}
