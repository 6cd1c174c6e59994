package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What an operator watches, from a dispatcher that works to one that is gone.
func TestD32_Backlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(MemoryConfig{})
		d, err := New(store, Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if _, _, err := d.CreateWebhook(ctx, "acme", WebhookSpec{Name: "n", URL: "https://a.example", Events: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := d.Publish(ctx, Event{Tenant: "acme", Type: "a.b", ID: fmt.Sprint("e", i), Data: map[string]int{"n": i}}); err != nil {
				t.Fatal(err)
			}
		}
		check := func(want Backlog) {
			t.Helper()
			b, err := d.Backlog(ctx, BacklogQuery{})
			if err != nil || b != want {
				t.Errorf("got %+v, %v\nwant %+v", b, err, want)
			}
		}
		time.Sleep(time.Minute)
		check(Backlog{Due: 3, OldestDue: time.Minute})
		res, err := store.Claim(ctx, ClaimRequest{Token: 1, Now: time.Now(), Lease: time.Minute, Limit: 2, PerWebhook: 2})
		if err != nil || len(res.Deliveries) != 2 {
			t.Fatal(res, err)
		}
		check(Backlog{Due: 1, Leased: 2, OldestDue: time.Minute})
		time.Sleep(time.Minute)
		check(Backlog{Due: 1, Expired: 2, OldestDue: 2 * time.Minute})
		if b, err := d.Backlog(ctx, BacklogQuery{}); err != nil || b.Pending() != 3 {
			t.Errorf("pending %d, %v, want 3", b.Pending(), err)
		}
		if b, err := d.Backlog(ctx, BacklogQuery{Limit: 1}); err != nil || b != (Backlog{Due: 1, Expired: 1, OldestDue: 2 * time.Minute, AtLeast: true}) {
			t.Errorf("counted to 1: %+v, %v", b, err)
		}
	})
}

func TestBacklogRefuses(t *testing.T) {
	d, err := New(NewMemoryStore(MemoryConfig{}), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Backlog(t.Context(), BacklogQuery{Limit: -1}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a limit below 0: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Backlog(ctx, BacklogQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	plain, err := New(struct{ Store }{NewMemoryStore(MemoryConfig{})}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Backlog(t.Context(), BacklogQuery{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store that cannot count: %v", err)
	}
	broken, err := New(panickyBacklog{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Backlog(t.Context(), BacklogQuery{}); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a store that panics: %v", err)
	}
}

type panickyBacklog struct{ panickyStore }

func (panickyBacklog) Backlog(context.Context, BacklogQuery) (Backlog, error) { panic("broken") }

// A look at a long queue ends at its limit: it does not walk through all that waits.
func TestBacklogCountsNoFurtherThanItsLimit(t *testing.T) {
	var line memTimeline[memDelivery]
	nodes := make([]memNode[memDelivery], 100_000)
	for i := range nodes {
		line.push(&nodes[i], int64(i%1000), uint64(i), i < 10) // most are in the heap
	}
	for at, want := range map[int64]int{-1: 0, 0: 100, 499: 50_000, 999: 100_000} {
		if n := line.until(at, len(nodes)); n != want {
			t.Errorf("up to %d: counted %d, want %d", at, n, want)
		}
	}
	if n := line.until(999, 7); n != 7 {
		t.Errorf("up to 7: counted %d", n)
	}
	if allocs := testing.AllocsPerRun(10, func() { line.until(999, 5) }); allocs > 5 {
		t.Errorf("counting up to 5 allocated %v times", allocs)
	}
}
