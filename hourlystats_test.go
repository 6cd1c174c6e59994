package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// statsStore has statistics of as many hours as it is told, of webhooks with 700
// hours each, and notes the limits that it is called with.
type statsStore struct {
	*MemoryStore
	hours  int
	limits []int
}

func (s *statsStore) bucket(i int) StatsBucket {
	return StatsBucket{WebhookID: fmt.Sprintf("wh_%06d", i/700), Hour: time.Unix(int64(i%700)*3600, 0).UTC(), Succeeded: 1}
}

func (s *statsStore) Stats(_ context.Context, q StatsQuery) (out []StatsBucket, _ error) {
	s.limits = append(s.limits, q.Limit)
	first := sort.Search(s.hours, func(i int) bool { return q.After.before(s.bucket(i)) })
	for i := first; i < s.hours && len(out) < q.Limit; i++ {
		out = append(out, s.bucket(i))
	}
	return out, nil
}

// Without a limit a caller gets everything, or an error that says what to do: no sum
// over an answer leaves something out unnoticed. No call of the Store has more than
// MaxStats to return.
func TestHourlyStatsReturnsAllOrAnError(t *testing.T) {
	for _, hours := range []int{0, 1, MaxStats - 1, MaxStats, MaxStats + 1, 3*MaxStats - 1, 10 * MaxStats, 10*MaxStats + 1, 14 * MaxStats} {
		s := &statsStore{MemoryStore: NewMemoryStore(MemoryConfig{}), hours: hours}
		d, err := New(s, Config{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.HourlyStats(t.Context(), StatsQuery{Tenant: tenant})
		if most := 1 + min(hours, maxAllStats)/MaxStats; len(s.limits) > most || slices.ContainsFunc(s.limits, func(n int) bool { return n < 1 || n > MaxStats }) {
			t.Errorf("%d hours: the Store is called with limits %v", hours, s.limits)
		}
		if hours > 10*MaxStats {
			if bad := refusals(t, err); bad["limit"] == "" || len(got) != 0 {
				t.Errorf("%d hours: %d of them, refused %v", hours, len(got), bad)
			}
			continue
		}
		if err != nil || len(got) != hours {
			t.Errorf("%d hours: got %d, %v", hours, len(got), err)
		}
		for i, b := range got {
			if want := s.bucket(i); b != want {
				t.Fatalf("bucket %d of %d is %+v, want %+v", i, hours, b, want)
			}
		}
	}
}

func TestHourlyStatsGoesOnAfterABucket(t *testing.T) {
	s := &statsStore{MemoryStore: NewMemoryStore(MemoryConfig{}), hours: 2500}
	d, err := New(s, Config{})
	if err != nil {
		t.Fatal(err)
	}
	q, n := StatsQuery{Tenant: tenant, Limit: 1000}, 0
	for _, want := range []int{1000, 1000, 500} {
		got, err := d.HourlyStats(t.Context(), q)
		if err != nil || len(got) != want || !cmp.Equal(got[0], s.bucket(n)) {
			t.Fatalf("%d buckets after %d, %v, want %d", len(got), n, err, want)
		}
		n += len(got)
		q.After = got[len(got)-1]
	}
	q = StatsQuery{Tenant: tenant, Limit: MaxStats + 1}
	if _, err := d.HourlyStats(t.Context(), q); err != nil || s.limits[len(s.limits)-1] != MaxStats {
		t.Errorf("a limit above MaxStats is passed on as %v, %v", s.limits, err)
	}
	for field, q := range map[string]StatsQuery{
		"limit": {Tenant: tenant, Limit: -1}, "after": {Tenant: tenant, After: StatsBucket{WebhookID: "a\x00"}},
	} {
		_, err := d.HourlyStats(t.Context(), q)
		if bad := refusals(t, err); len(bad) != 1 || bad[field] == "" {
			t.Errorf("%+v: refused %v", q, bad)
		}
	}
}

// An answer that was begun and cannot be ended is none.
func TestAllStatsPassesErrorsOn(t *testing.T) {
	gone := errors.New("gone")
	s := &failingStats{statsStore{hours: 3 * MaxStats}, gone}
	if all, err := allStats(t.Context(), s, StatsQuery{Tenant: tenant}); !errors.Is(err, gone) || all != nil {
		t.Errorf("%d buckets, %v", len(all), err)
	}
}

// failingStats fails at the second call.
type failingStats struct {
	statsStore
	err error
}

func (s *failingStats) Stats(ctx context.Context, q StatsQuery) ([]StatsBucket, error) {
	if len(s.limits) == 1 {
		return nil, s.err
	}
	return s.statsStore.Stats(ctx, q)
}
