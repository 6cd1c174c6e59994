// Package coalesce joins calls that arrive while others are being served into
// groups that are served together: group commit.
package coalesce

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Config bounds a Group's batches.
type Config[Req any] struct {
	MaxItems  int           // requests per batch; at least 1
	MaxWeight int           // sum of weights per batch, unless one request alone is heavier; 0: no bound
	Parallel  int           // batches at once; at least 1
	Weight    func(Req) int // nil: every request weighs 1
	// Slow is how long a batch may take before it no longer counts as one of
	// Parallel, so that later requests need not wait for it. That applies to Spare
	// batches at a time. 0: a batch always counts.
	Slow  time.Duration
	Spare int
	// Timeout ends a batch, whatever deadlines its members have; its outcome is
	// then unknown. 0: no timeout.
	Timeout time.Duration
	// Divide returns how to go on after the error of a batch of several requests:
	// the positions to be tried again, in batches that are each smaller than this
	// one. It must return nil unless the error guarantees that no request was
	// stored. Members that are in no part get the error, wrapped in [ErrApart]. If
	// Divide returns nil, or is nil, all members get the error as it is.
	Divide func(err error, reqs []Req) [][]int
}

// ErrApart is wrapped by the error of a member that was left out of further
// batches: its request was not stored, and must be tried by itself.
var ErrApart = errors.New("to be stored by itself")

// Parts divides a batch of n into parts of size at most.
func Parts(n, size int) [][]int {
	parts := make([][]int, 0, (n+size-1)/size)
	for i := range n {
		if i%size == 0 {
			parts = append(parts, make([]int, 0, min(size, n-i)))
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], i)
	}
	return parts
}

// Run serves a batch and returns one result per request, in order.
type Run[Req, Res any] func(ctx context.Context, reqs []Req) ([]Res, error)

// Group joins the calls of Do into batches. A call that finds the Group idle is
// served at once, alone, without waiting for others. Calls that arrive while as
// many batches as allowed are being served form the next batches.
//
// Batches run on their own goroutines, at most Parallel and Spare, so that a caller
// may give up before its batch has been served. The goroutines end when the queue
// is empty.
type Group[Req, Res any] struct {
	cfg Config[Req]
	run Run[Req, Res]

	mu      sync.Mutex
	queue   []*member[Req, Res]
	running int // workers whose batch is not slow
	slow    int // workers whose batch is slow
}

// member is one call of Do.
type member[Req, Res any] struct {
	ctx     context.Context
	req     Req
	res     Res
	err     error
	started bool          // the member is part of a batch; guarded by Group.mu
	done    chan struct{} // closed when res and err are set
}

// New returns a Group that serves batches with run.
func New[Req, Res any](cfg Config[Req], run Run[Req, Res]) *Group[Req, Res] {
	cfg.MaxItems = max(cfg.MaxItems, 1)
	cfg.Parallel = max(cfg.Parallel, 1)
	return &Group[Req, Res]{cfg: cfg, run: run}
}

// Do serves req as part of a batch and returns when the batch has been served or
// ctx is done. In the latter case the error wraps ctx.Err(). If the batch had not
// begun, the request has been left out; otherwise its outcome is unknown. A batch
// is aborted only when all of its members have given up.
func (g *Group[Req, Res]) Do(ctx context.Context, req Req) (Res, error) {
	var none Res
	if err := ctx.Err(); err != nil {
		return none, err
	}
	m := &member[Req, Res]{ctx: ctx, req: req, done: make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, m)
	if g.running < g.cfg.Parallel {
		g.running++
		g.mu.Unlock()
		go g.work()
	} else {
		g.mu.Unlock()
	}
	select {
	case <-m.done:
		return m.res, m.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	started := m.started
	if !started {
		g.drop(m)
	}
	g.mu.Unlock()
	if !started {
		return none, ctx.Err()
	}
	select {
	case <-m.done: // served just in time
		return m.res, m.err
	default:
		return none, fmt.Errorf("%w while it was being stored: the outcome is unknown, repeat it", ctx.Err())
	}
}

// drop removes a member that gave up from the queue.
func (g *Group[Req, Res]) drop(m *member[Req, Res]) {
	for i, q := range g.queue {
		if q == m {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return
		}
	}
}

// work serves batches until the queue is empty.
func (g *Group[Req, Res]) work() {
	for {
		// Goroutines that can run now and call Do, as those just served often do,
		// get into the next batch. If there are none, this has no cost.
		runtime.Gosched()
		batch := g.take()
		if batch == nil {
			return
		}
		if g.cfg.Slow <= 0 || g.cfg.Spare <= 0 {
			g.serve(batch)
		} else if !g.serveWatched(batch) {
			return
		}
	}
}

// serveWatched serves a batch. If that takes long, another worker takes this
// worker's place. It reports whether this worker still has a place.
func (g *Group[Req, Res]) serveWatched(batch []*member[Req, Res]) bool {
	done, slow := false, false // guarded by mu
	watch := time.AfterFunc(g.cfg.Slow, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if done || g.slow >= g.cfg.Spare {
			return
		}
		slow = true
		g.slow++
		g.running--
		if len(g.queue) > 0 {
			g.running++
			go g.work()
		}
	})
	g.serve(batch)
	watch.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	done = true
	if !slow {
		return true
	}
	g.slow--
	if g.running >= g.cfg.Parallel {
		return false
	}
	g.running++
	return true
}

// take removes the next batch from the queue; nil ends the worker.
func (g *Group[Req, Res]) take() []*member[Req, Res] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, weight := 0, 0
	for n < len(g.queue) && n < g.cfg.MaxItems {
		w := 1
		if g.cfg.Weight != nil {
			w = g.cfg.Weight(g.queue[n].req)
		}
		if weight += w; n > 0 && g.cfg.MaxWeight > 0 && weight > g.cfg.MaxWeight {
			break
		}
		g.queue[n].started = true
		n++
	}
	if n == 0 {
		g.running--
		return nil
	}
	batch := append([]*member[Req, Res](nil), g.queue[:n]...)
	g.queue = append(g.queue[:0:0], g.queue[n:]...)
	return batch
}

// serve runs one batch and gives its members their results.
func (g *Group[Req, Res]) serve(batch []*member[Req, Res]) {
	reqs := make([]Req, len(batch))
	for i, m := range batch {
		reqs[i] = m.req
	}
	err := g.try(batch, reqs)
	if err != nil && len(batch) > 1 && g.cfg.Divide != nil {
		if parts := g.cfg.Divide(err, reqs); parts != nil {
			g.serveParts(batch, parts, fmt.Errorf("%w: %w", ErrApart, err))
			return
		}
	}
	for _, m := range batch {
		m.err = err
		close(m.done)
	}
}

// serveParts serves the parts of a batch one after the other. Members that are in
// no part get the error apart.
func (g *Group[Req, Res]) serveParts(batch []*member[Req, Res], parts [][]int, apart error) {
	again := make([]bool, len(batch))
	for _, part := range parts {
		for _, i := range part {
			again[i] = true
		}
	}
	for i, m := range batch {
		if !again[i] {
			m.err = apart
			close(m.done)
		}
	}
	for _, part := range parts {
		members := make([]*member[Req, Res], len(part))
		for i, at := range part {
			members[i] = batch[at]
		}
		g.serve(members)
	}
}

// try runs a batch once.
func (g *Group[Req, Res]) try(batch []*member[Req, Res], reqs []Req) error {
	ctx, stop := together(batch)
	defer stop()
	if g.cfg.Timeout > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, g.cfg.Timeout, errTimeout)
		defer end()
	}
	res, err := g.contained(ctx, reqs)
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return fmt.Errorf("%w of %v while it was being stored: the outcome is unknown, repeat it: %w", errTimeout, g.cfg.Timeout, err)
	}
	if err == nil && len(res) != len(batch) {
		err = fmt.Errorf("%d results for %d requests", len(res), len(batch))
	}
	if err != nil {
		return err
	}
	for i, m := range batch {
		m.res = res[i]
	}
	return nil
}

// errTimeout is the cause of the end of a batch that took longer than
// Config.Timeout.
var errTimeout = fmt.Errorf("it passed the time limit (%w)", context.DeadlineExceeded)

// ErrPanic is wrapped by the error of members whose batch panicked.
var ErrPanic = errors.New("panic")

// contained turns a panic into an error. On this goroutine a panic would end the
// process, since no caller could recover it.
func (g *Group[Req, Res]) contained(ctx context.Context, reqs []Req) (res []Res, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return g.run(ctx, reqs)
}

// together returns a context with the values of the first member's context. It is
// done when the contexts of all members are.
func together[Req, Res any](batch []*member[Req, Res]) (context.Context, context.CancelFunc) {
	if len(batch) == 1 {
		return context.WithCancel(batch[0].ctx)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(batch[0].ctx))
	var mu sync.Mutex
	left := len(batch)
	stops := make([]func() bool, len(batch))
	for i, m := range batch {
		stops[i] = context.AfterFunc(m.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
