package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorder serves batches, a second each, and records them.
type recorder struct {
	mu      sync.Mutex
	batches [][]int
	ctxErrs int
}

func (r *recorder) run(ctx context.Context, reqs []int) ([]int, error) {
	r.mu.Lock()
	r.batches = append(r.batches, slices.Clone(reqs))
	r.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		r.mu.Lock()
		r.ctxErrs++
		r.mu.Unlock()
		return nil, ctx.Err()
	}
	out := make([]int, len(reqs))
	for i, n := range reqs {
		if n < 0 {
			return nil, errPoison
		}
		out[i] = n * 10
	}
	return out, nil
}

var errPoison = errors.New("poison")

func TestIdleIsServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 10, Parallel: 1}, r.run)
		began := time.Now()
		res, err := g.Do(t.Context(), 4)
		if res != 40 || err != nil {
			t.Errorf("got %d, %v", res, err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want only the second that serving takes", took)
		}
	})
}

func TestWaitingCallsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 4, Parallel: 1}, r.run)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if res, err := g.Do(t.Context(), i); res != i*10 || err != nil {
					t.Errorf("request %d: got %d, %v", i, res, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		want := [][]int{{0}, {1, 2, 3, 4}, {5, 6, 7, 8}, {9}}
		if !slices.EqualFunc(r.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", r.batches, want)
		}
	})
}

func TestWeightBoundsABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 100, MaxWeight: 10, Parallel: 1, Weight: func(n int) int { return n }}, r.run)
		var all sync.WaitGroup
		for _, n := range []int{1, 6, 5, 4, 50, 1} {
			all.Go(func() { g.Do(t.Context(), n) })
			synctest.Wait()
		}
		all.Wait()
		want := [][]int{{1}, {6}, {5, 4}, {50}, {1}}
		if !slices.EqualFunc(r.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", r.batches, want)
		}
	})
}

func TestParallelBatchesRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 1, Parallel: 3}, r.run)
		began := time.Now()
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() { g.Do(t.Context(), i) })
		}
		all.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("6 batches, 3 at once, took %v, want 2 s", took)
		}
	})
}

func TestErrorGoesToAllMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 10, Parallel: 1}, r.run)
		if failed := failures(t, g, 1, 2, -1, 3); failed != 3 {
			t.Errorf("%d calls failed, want the 3 of the second batch", failed)
		}
	})
}

func TestPoisonFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		alone := func(err error, reqs []int) [][]int { return Parts(len(reqs), 1) }
		g := New(Config[int]{MaxItems: 10, Parallel: 1, Divide: alone}, r.run)
		if failed := failures(t, g, 1, 2, -1, 3); failed != 1 {
			t.Errorf("%d calls failed, want only the poison", failed)
		}
	})
}

// failures makes calls, the first of which is alone in its batch, and returns how
// many failed.
func failures(t *testing.T, g *Group[int, int], reqs ...int) (failed int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, n := range reqs {
		all.Go(func() {
			if _, err := g.Do(t.Context(), n); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed++
			}
		})
		synctest.Wait()
	}
	all.Wait()
	return failed
}

func TestCallerWhoGivesUpEarlyIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 10, Parallel: 1}, r.run)
		var all sync.WaitGroup
		all.Go(func() { g.Do(t.Context(), 1) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		all.Go(func() {
			if _, err := g.Do(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
		})
		all.Go(func() {
			if res, err := g.Do(t.Context(), 3); res != 30 || err != nil {
				t.Errorf("its neighbour got %d, %v", res, err)
			}
		})
		all.Wait()
		if want := [][]int{{1}, {3}}; !slices.EqualFunc(r.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", r.batches, want)
		}
	})
}

func TestCallerWhoGivesUpLateHasAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 10, Parallel: 1}, r.run)
		var all sync.WaitGroup
		all.Go(func() { g.Do(t.Context(), 1) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second/2)
		defer cancel()
		all.Go(func() {
			began := time.Now()
			if _, err := g.Do(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
			if took := time.Since(began); took != 3*time.Second/2 {
				t.Errorf("gave up after %v, want its own deadline", took)
			}
		})
		all.Go(func() {
			if res, err := g.Do(t.Context(), 3); res != 30 || err != nil {
				t.Errorf("its neighbour got %d, %v", res, err)
			}
		})
		all.Wait()
		if r.ctxErrs != 0 {
			t.Errorf("the batch was aborted though one of its members was waiting")
		}
	})
}

func TestBatchEndsWhenAllHaveGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 10, Parallel: 1}, r.run)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := g.Do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		synctest.Wait()
		if r.ctxErrs != 1 {
			t.Errorf("the batch went on without a caller")
		}
		if _, err := g.Do(ctx, 2); !errors.Is(err, context.DeadlineExceeded) || len(r.batches) != 1 {
			t.Errorf("a call whose context is done: got %v in batches %v", err, r.batches)
		}
	})
}

func TestPanicBecomesAnError(t *testing.T) {
	g := New(Config[int]{}, func(context.Context, []int) ([]int, error) { panic("boom") })
	for range 2 {
		if _, err := g.Do(t.Context(), 1); !errors.Is(err, ErrPanic) {
			t.Errorf("got %v, want ErrPanic", err)
		}
	}
	short := New(Config[int]{}, func(context.Context, []int) ([]int, error) { return nil, nil })
	if _, err := short.Do(t.Context(), 1); err == nil {
		t.Error("a batch without results was acknowledged")
	}
}

// A failed batch is divided as Divide says; members it leaves out get ErrApart.
func TestFailedBatchIsDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := New(Config[int]{MaxItems: 16, Parallel: 1, Divide: func(_ error, reqs []int) [][]int {
			if len(reqs) > 4 {
				return Parts(len(reqs), 4)
			}
			return [][]int{}
		}}, r.run)
		var mu sync.Mutex
		apart := []int{}
		var all sync.WaitGroup
		for _, n := range []int{100, 1, 2, 3, 4, 5, -6, 7, 8, 9} {
			all.Go(func() {
				res, err := g.Do(t.Context(), n)
				if errors.Is(err, ErrApart) && errors.Is(err, errPoison) {
					mu.Lock()
					defer mu.Unlock()
					apart = append(apart, n)
				} else if err != nil || res != n*10 {
					t.Errorf("request %d: got %d, %v", n, res, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		slices.Sort(apart)
		if want := []int{-6, 5, 7, 8}; !slices.Equal(apart, want) {
			t.Errorf("left out were %v, want %v", apart, want)
		}
		if _, err := g.Do(t.Context(), -1); errors.Is(err, ErrApart) || !errors.Is(err, errPoison) {
			t.Errorf("alone in its batch: %v, want its own error", err)
		}
	})
}

// Slow batches leave their places to others, at most Spare at a time.
func TestSlowBatchesLeaveTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		g := New(Config[int]{MaxItems: 1, Parallel: 2, Slow: time.Second, Spare: 2}, func(_ context.Context, reqs []int) ([]int, error) {
			if reqs[0] < 0 {
				<-stuck
			}
			return reqs, nil
		})
		var all sync.WaitGroup
		do := func(n int) {
			all.Go(func() {
				if _, err := g.Do(context.Background(), n); err != nil {
					t.Error(err)
				}
			})
		}
		do(-1)
		do(-2)
		synctest.Wait()
		began := time.Now()
		for range 10 {
			if _, err := g.Do(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("ten others took %v beside two that hang, want a second", took)
		}
		do(-3)
		do(-4) // these two keep their places: two others have left theirs
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := g.Do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beside four that hang: %v, want that there is no place", err)
		}
		close(stuck)
		all.Wait()
		synctest.Wait()
		if g.running != 0 || g.slow != 0 {
			t.Errorf("%d workers and %d slow ones are left", g.running, g.slow)
		}
		if _, err := g.Do(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
}

// A batch has its own time limit, whatever deadlines its members have.
func TestBatchesHaveATimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config[int]{MaxItems: 4, Parallel: 1, Timeout: time.Minute}, func(ctx context.Context, _ []int) ([]int, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		_, err := g.Do(context.Background(), 1)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != time.Minute {
			t.Errorf("%v after %v, want DeadlineExceeded after a minute", err, took)
		}
	})
}
