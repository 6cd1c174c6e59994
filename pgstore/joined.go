package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/coalesce"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

// Limits of joining single publishes. One batch is written while the next waits for
// the disk. Events that would hold up the others are kept apart:
//
//   - An event whose ID an open transaction has taken must wait for the end of that
//     transaction. A batch waits for groupLock only, and is then divided until this
//     event is alone. It is tried again at intervals, and occupies no connection in
//     between.
//   - An event to many webhooks, or one that ran into the server's statement_timeout,
//     goes by itself from then on, with all events of its tenant and type.
//   - A batch that takes longer than groupSlow, as on a connection that has gone
//     silent, leaves its place to another.
const (
	groupEvents   = 256
	groupWeight   = 4 << 20 // bytes
	groupParallel = 2
	groupSlow     = time.Second
	groupSpare    = 4
	groupLock     = 50 * time.Millisecond
	groupPart     = 16

	// deliveryWeight is the weight of a delivery, as bytes of an event. From
	// wideFanout deliveries on an event goes by itself.
	deliveryWeight = 256
	wideFanout     = 1000
	wideParallel   = 2
	siftParallel   = 2
	aloneParallel  = 1

	lockRetryMin = 50 * time.Millisecond
	lockRetryMax = time.Second
)

// joined has the ways to store single events, each with its own concurrency.
type joined struct {
	s       *Store
	group   *coalesce.Group[webhook.PublishRequest, webhook.PublishResult] // batches of many events
	wide    *coalesce.Group[webhook.PublishRequest, webhook.PublishResult] // single events with many deliveries
	sift    *coalesce.Group[webhook.PublishRequest, webhook.PublishResult] // single events of a batch in which one waits for another transaction
	alone   *coalesce.Group[webhook.PublishRequest, webhook.PublishResult] // single events that wait for another transaction
	fanouts sqlstore.Fanouts

	mu    sync.Mutex
	taken map[eventName]int // how many calls wait for an ID that a transaction has taken
}

func newJoined(s *Store) *joined {
	j := &joined{s: s, taken: map[eventName]int{}}
	limit := max(s.cfg.PublishTimeout, 0)
	j.group = coalesce.New(coalesce.Config[webhook.PublishRequest]{
		MaxItems: groupEvents, MaxWeight: groupWeight, Parallel: groupParallel, Slow: groupSlow, Spare: groupSpare, Timeout: limit,
		Weight: func(r webhook.PublishRequest) int {
			n, _ := j.fanouts.Of(audience(&r))
			return len(r.Event.Data) + deliveryWeight*(1+n)
		},
		Divide: j.divide,
	}, func(ctx context.Context, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
		return s.publishAll(ctx, time.Time{}, reqs, groupLock)
	})
	single := func(parallel int) *coalesce.Group[webhook.PublishRequest, webhook.PublishResult] {
		return coalesce.New(coalesce.Config[webhook.PublishRequest]{
			MaxItems: 1, Parallel: parallel, Slow: groupSlow, Spare: 1, Timeout: limit,
		}, func(ctx context.Context, reqs []webhook.PublishRequest) ([]webhook.PublishResult, error) {
			return s.publishAll(ctx, time.Time{}, reqs, groupLock)
		})
	}
	j.wide, j.sift, j.alone = single(wideParallel), single(siftParallel), single(aloneParallel)
	return j
}

func audience(r *webhook.PublishRequest) sqlstore.Audience {
	return sqlstore.Audience{Tenant: r.Event.Tenant, Type: r.Event.Type, Only: r.WebhookID}
}

// publish stores one event.
func (j *joined) publish(ctx context.Context, req webhook.PublishRequest) (res webhook.PublishResult, err error) {
	way, to, name := j.group, audience(&req), eventName{req.Event.Tenant, req.Event.ID}
	if n, _ := j.fanouts.Of(to); n >= wideFanout {
		way = j.wide
	} else if j.isTaken(name) {
		way = j.alone
	}
	began := time.Now()
	for wait := lockRetryMin; ; {
		res, err = way.Do(ctx, req)
		apart := errors.Is(err, coalesce.ErrApart)
		switch state := sqlState(err); {
		case apart && state == statementTimeout:
			way = j.wide
		case apart:
			way = j.sift
		case state == lockNotAvailable:
			if way != j.wide {
				way = j.alone
			}
			if limit := j.s.cfg.PublishTimeout; limit > 0 && time.Since(began)+wait > limit {
				return res, fmt.Errorf("another transaction has held a lock that the event needs, most likely on its ID, for %v: nothing was stored: %w", limit, err)
			}
			if err := j.pause(ctx, name, wait); err != nil {
				return res, fmt.Errorf("%w while another transaction held a lock that the event needs, most likely on its ID: nothing was stored", err)
			}
			wait = min(2*wait, lockRetryMax)
		case err == nil:
			if !res.Duplicate && !res.Conflict {
				j.fanouts.Note(to, res.Deliveries)
			}
			return res, nil
		default:
			if state == statementTimeout && ctx.Err() == nil {
				j.fanouts.Note(to, wideFanout) // it takes too long, for whatever reason
			}
			return res, err
		}
	}
}

// divide returns the parts in which a failed batch, of which no event was stored,
// is tried again.
func (j *joined) divide(err error, reqs []webhook.PublishRequest) [][]int {
	switch sqlState(err) {
	case lockNotAvailable:
		// One of the events waits for another transaction; which one is unknown.
		if len(reqs) <= groupPart {
			return [][]int{}
		}
		return coalesce.Parts(len(reqs), groupPart)
	case statementTimeout:
		// The cause must be an event whose number of deliveries is not known to be
		// small. If there are such events, each goes by itself.
		few := []int{}
		for i := range reqs {
			if _, known := j.fanouts.Of(audience(&reqs[i])); known {
				few = append(few, i)
			}
		}
		switch len(few) {
		case 0:
			return [][]int{}
		case len(reqs):
			return coalesce.Parts(len(reqs), (len(reqs)+1)/2)
		}
		return [][]int{few}
	}
	if retryAlone(err) {
		return coalesce.Parts(len(reqs), 1)
	}
	return nil
}

// eventName identifies an event among those of all tenants.
type eventName struct{ tenant, id string }

// isTaken reports whether a call waits for the end of a transaction that has taken
// the event's ID.
func (j *joined) isTaken(name eventName) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taken[name] > 0
}

// pause waits for d or until ctx is done; then it returns the error of ctx.
func (j *joined) pause(ctx context.Context, name eventName, d time.Duration) error {
	j.mu.Lock()
	j.taken[name]++
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.taken[name]--; j.taken[name] == 0 {
			delete(j.taken, name)
		}
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// SQLSTATEs of statements that waited or ran too long.
const (
	lockNotAvailable = "55P03"
	statementTimeout = "57014" // query_canceled
)
