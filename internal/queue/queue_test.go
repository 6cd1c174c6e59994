package queue

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestItemsComeInOrderAndInBatches(t *testing.T) {
	q := New[int]()
	q.Add()
	q.Add(1, 2, 3)
	q.Add(4)
	if got := q.Take(2); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("took %v", got)
	}
	q.Again(1)
	if got := q.More(9); !slices.Equal(got, []int{3, 4, 1}) {
		t.Errorf("then %v", got)
	}
	if got := q.More(9); len(got) != 0 {
		t.Errorf("then %v", got)
	}
	q.Close()
	if got := q.Take(2); got != nil {
		t.Errorf("after the end: %v", got)
	}
}

// A batch that was taken does not change when items are added behind it.
func TestABatchBelongsToItsTaker(t *testing.T) {
	q := New[int]()
	q.Add(1, 2, 3)
	batch := q.Take(2)
	batch = append(batch, 9)
	q.Add(4)
	if got := q.More(9); !slices.Equal(got, []int{3, 4}) || !slices.Equal(batch, []int{1, 2, 9}) {
		t.Errorf("%v behind %v", got, batch)
	}
}

func TestWaitEmptyWaitsForItemsThatWereTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[int]()
		q.WaitEmpty(time.Hour) // returns at once
		q.Add(1, 2)
		start := time.Now()
		q.WaitEmpty(time.Second)
		if took := time.Since(start); took != time.Second {
			t.Errorf("gave up after %v", took)
		}
		go func() {
			n := len(q.Take(9))
			time.Sleep(time.Minute)
			q.Done(n)
		}()
		start = time.Now()
		q.WaitEmpty(time.Hour)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("waited %v for items that take a minute", took)
		}
	})
}

func TestEveryItemOfManyProducersIsTakenOnce(t *testing.T) {
	q := New[int]()
	var producers sync.WaitGroup
	for p := range 8 {
		producers.Go(func() {
			for i := range 1000 {
				q.Add(p*1000 + i)
			}
		})
	}
	go func() { producers.Wait(); q.Close() }()
	seen := make([]bool, 8000)
	for batch := q.Take(100); batch != nil; batch = q.Take(100) {
		for _, item := range batch {
			if seen[item] {
				t.Fatalf("%d came twice", item)
			}
			seen[item] = true
		}
		q.Done(len(batch))
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("%d never came", i)
	}
	q.WaitEmpty(0)
}
