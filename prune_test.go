package webhook_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// slowPruning is a Store whose steps of a pruning take a second, and never end
// before the fifth.
type slowPruning struct {
	webhook.Store
	asked []time.Time
}

func (s *slowPruning) Prune(_ context.Context, before time.Time, limit int) (int, error) {
	s.asked = append(s.asked, before)
	time.Sleep(time.Second)
	if len(s.asked) < 5 {
		return limit, nil
	}
	return 0, nil
}

// All steps of a pruning name the same time, however long they take: a Store may
// remember its place for that time.
func TestPrune_StepsAskForOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowPruning{Store: memstore.New(memstore.Config{})}
		d, err := webhook.New(s, webhook.Config{Retention: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		want := time.Now().Add(-time.Hour)
		if n, err := d.Prune(t.Context()); n != 4*1000 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		for i, before := range s.asked {
			if !before.Equal(want) {
				t.Errorf("step %d of %d asked for what is older than %v, want %v", i, len(s.asked), before, want)
			}
		}
	})
}
