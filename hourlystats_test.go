package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// statsStore has statistics of as many hours as it is told, of webhooks with 700
// hours each, and notes the limits that it is called with.
type statsStore struct {
	*memstore.Store
	hours  int
	limits []int
}

func (s *statsStore) bucket(i int) webhook.StatsBucket {
	return webhook.StatsBucket{WebhookID: fmt.Sprintf("wh_%06d", i/700), Hour: time.Unix(int64(i%700)*3600, 0).UTC(), Succeeded: 1}
}

func (s *statsStore) Stats(_ context.Context, q webhook.StatsQuery) (out []webhook.StatsBucket, _ error) {
	s.limits = append(s.limits, q.Limit)
	first := sort.Search(s.hours, func(i int) bool { return before(q.After, s.bucket(i)) })
	for i := first; i < s.hours && len(out) < q.Limit; i++ {
		out = append(out, s.bucket(i))
	}
	return out, nil
}

// before reports whether a comes before b in statistics.
func before(a, b webhook.StatsBucket) bool {
	if a.WebhookID != b.WebhookID {
		return a.WebhookID < b.WebhookID
	}
	return a.Hour.Before(b.Hour)
}

// Without a limit a caller gets everything, or an error that says what to do: no sum
// over an answer leaves something out unnoticed. No call of the Store has more than
// MaxStats to return.
func TestHourlyStatsReturnsAllOrAnError(t *testing.T) {
	for _, hours := range []int{0, 1, webhook.MaxStats - 1, webhook.MaxStats, webhook.MaxStats + 1, 3*webhook.MaxStats - 1, 10 * webhook.MaxStats, 10*webhook.MaxStats + 1, 14 * webhook.MaxStats} {
		s := &statsStore{Store: memstore.New(memstore.Config{}), hours: hours}
		d, err := webhook.New(s, webhook.Config{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.HourlyStats(t.Context(), webhook.StatsQuery{Tenant: tenant})
		if most := 1 + min(hours, 10*webhook.MaxStats)/webhook.MaxStats; len(s.limits) > most || slices.ContainsFunc(s.limits, func(n int) bool { return n < 1 || n > webhook.MaxStats }) {
			t.Errorf("%d hours: the Store is called with limits %v", hours, s.limits)
		}
		if hours > 10*webhook.MaxStats {
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
	s := &statsStore{Store: memstore.New(memstore.Config{}), hours: 2500}
	d, err := webhook.New(s, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	q, n := webhook.StatsQuery{Tenant: tenant, Limit: 1000}, 0
	for _, want := range []int{1000, 1000, 500} {
		got, err := d.HourlyStats(t.Context(), q)
		if err != nil || len(got) != want || !cmp.Equal(got[0], s.bucket(n)) {
			t.Fatalf("%d buckets after %d, %v, want %d", len(got), n, err, want)
		}
		n += len(got)
		q.After = got[len(got)-1]
	}
	q = webhook.StatsQuery{Tenant: tenant, Limit: webhook.MaxStats + 1}
	if _, err := d.HourlyStats(t.Context(), q); err != nil || s.limits[len(s.limits)-1] != webhook.MaxStats {
		t.Errorf("a limit above MaxStats is passed on as %v, %v", s.limits, err)
	}
	for field, q := range map[string]webhook.StatsQuery{
		"limit": {Tenant: tenant, Limit: -1}, "after": {Tenant: tenant, After: webhook.StatsBucket{WebhookID: "a\x00"}},
	} {
		_, err := d.HourlyStats(t.Context(), q)
		if bad := refusals(t, err); len(bad) != 1 || bad[field] == "" {
			t.Errorf("%+v: refused %v", q, bad)
		}
	}
}

// An error in a later part of an answer fails the whole answer.
func TestAllStatsPassesErrorsOn(t *testing.T) {
	gone := errors.New("gone")
	s := &failingStats{statsStore{hours: 3 * webhook.MaxStats}, gone}
	if all, err := webhook.AllStats(t.Context(), s, webhook.StatsQuery{Tenant: tenant}); !errors.Is(err, gone) || all != nil {
		t.Errorf("%d buckets, %v", len(all), err)
	}
}

// failingStats fails at the second call.
type failingStats struct {
	statsStore
	err error
}

func (s *failingStats) Stats(ctx context.Context, q webhook.StatsQuery) ([]webhook.StatsBucket, error) {
	if len(s.limits) == 1 {
		return nil, s.err
	}
	return s.statsStore.Stats(ctx, q)
}
