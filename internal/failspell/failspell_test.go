package failspell

import (
	"iter"
	"testing"
	"time"
)

const window = 40 * time.Hour // a gap counts for 10 hours at most

func at(hours float64) time.Time {
	return time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours * float64(time.Hour)))
}

func in(hours ...int) iter.Seq2[time.Time, int64] {
	return func(yield func(time.Time, int64) bool) {
		for _, h := range hours {
			if !yield(at(float64(h)), 60) {
				return
			}
		}
	}
}

func TestTimeCountsGapsInPart(t *testing.T) {
	for name, row := range map[string]struct {
		first, kept, last float64
		hours             []int
		want              time.Duration
	}{
		"one failure":                      {0.5, 0.5, 0.5, []int{0}, 0},
		"two failures close together":      {0, 0, 2, []int{0, 2}, 2 * time.Hour},
		"a gap of a week":                  {0, 0, 168, []int{0, 168}, 11 * time.Hour},
		"every hour":                       {0, 0, 5, []int{0, 1, 2, 3, 4, 5}, 5 * time.Hour},
		"two gaps":                         {0, 0, 100, []int{0, 50, 100}, 22 * time.Hour},
		"pruned statistics count in full":  {0, 168, 170, []int{168, 169, 170}, 170 * time.Hour},
		"statistics that begin after last": {0, 0, 2, []int{0, 2, 9}, 2 * time.Hour},
		"all statistics are pruned":        {0, 30, 20, nil, 20 * time.Hour},
	} {
		if got := Time(at(row.first), at(row.kept), in(row.hours...), at(row.last), window); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}

// However few events a webhook gets, each step but the last lies at least one gap
// behind the step before it, so that no warning is passed over.
func TestNoGapPassesTwoWarnings(t *testing.T) {
	for step := 1; step < 3; step++ {
		if next := Until(step, window) + Gap(1000*time.Hour, window); Step(next, window) > step+1 {
			t.Errorf("from step %d a gap leads to step %d", step, Step(next, window))
		}
	}
}

func TestStepsAndTheirTimesAgree(t *testing.T) {
	for step := 1; step <= Steps+1; step++ {
		if got := Step(Until(step, window), window); got != step {
			t.Errorf("step %d is reached as %d", step, got)
		}
		if got := Step(Until(step, window)-1, window); got != step-1 {
			t.Errorf("just before step %d: %d", step, got)
		}
	}
	if Until(Steps+1, window) != window || Gap(-time.Hour, window) != 0 {
		t.Error("the last step is not the window, or a gap is negative")
	}
}
