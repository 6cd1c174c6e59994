package webhook

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// memDrain claims and completes until nothing is due, and returns how many.
func memDrain(t testing.TB, s *MemoryStore, now time.Time, state State) (n int) {
	t.Helper()
	for token := rand.Int64(); ; token++ {
		res, err := s.Claim(t.Context(), ClaimRequest{Token: token, Now: now, Lease: time.Minute, Limit: 256, PerWebhook: 256})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Deliveries) == 0 {
			return n
		}
		n += len(res.Deliveries)
		memFinish(t, s, now, token, state, res.Deliveries)
	}
}

func memFinish(t testing.TB, s *MemoryStore, now time.Time, token int64, state State, ds []ClaimedDelivery) {
	t.Helper()
	results := make([]Result, len(ds))
	for i := range ds {
		results[i] = Result{
			DeliveryID: ds[i].Delivery.ID, Token: token, State: state, Delay: time.Hour,
			Attempt: &Attempt{Number: 1, StartedAt: now, Status: 200, ResponseBody: make([]byte, 100)},
		}
	}
	if _, err := s.Complete(t.Context(), now, results); err != nil {
		t.Fatal(err)
	}
}

func TestD14_MemoryStoreIsBounded(t *testing.T) {
	t.Run("Pending", func(t *testing.T) {
		s := NewMemoryStore(MemoryConfig{MaxPending: 10})
		memAddWebhook(t, s, "t", "w1", "*")
		memAddWebhook(t, s, "t", "w2", "*")
		memPublish(t, s, "t", "e", 4, memEpoch)
		_, err := s.Publish(t.Context(), memEpoch, []PublishRequest{memRequest("t", "f"), memRequest("t2", "g"), memRequest("t", "h")})
		if !errors.Is(err, ErrBacklogFull) {
			t.Fatalf("publishing 4 where 2 fit: %v, want ErrBacklogFull", err)
		}
		checkMemory(t, s)
		if _, err := s.GetEvent(t.Context(), "t", "f"); !errors.Is(err, ErrNotFound) {
			t.Errorf("an event of the refused call: %v, want ErrNotFound", err)
		}
		if len(s.tenants) != 1 {
			t.Errorf("%d tenants, want 1: the refused call left one", len(s.tenants))
		}
		if n := memDrain(t, s, memEpoch, StateSucceeded); n != 8 {
			t.Errorf("%d deliveries were kept, want 8", n)
		}
		memPublish(t, s, "t", "i", 5, memEpoch)
		if _, err := s.Publish(t.Context(), memEpoch, []PublishRequest{memRequest("t3", "nobody")}); err != nil {
			t.Errorf("an event that matches nobody, with the backlog full: %v", err)
		}
	})
	t.Run("Replay", func(t *testing.T) {
		s := NewMemoryStore(MemoryConfig{MaxPending: 3})
		memPublish(t, s, "t", "e", 5, memEpoch)
		memAddWebhook(t, s, "t", "w", "*")
		req := ReplayRequest{Tenant: "t", WebhookID: "w", Now: memEpoch, Missing: true, Limit: 100}
		res, err := s.Replay(t.Context(), req)
		if err != nil || res.Created != 3 || res.Next == "" {
			t.Fatalf("replay = %+v, %v; want 3 created and a cursor", res, err)
		}
		req.Cursor = res.Next
		if _, err := s.Replay(t.Context(), req); !errors.Is(err, ErrBacklogFull) {
			t.Fatalf("replay with the backlog full: %v, want ErrBacklogFull", err)
		}
		memDrain(t, s, memEpoch, StateSucceeded)
		if res, err = s.Replay(t.Context(), req); err != nil || res.Created != 2 || res.Next != "" {
			t.Errorf("replay = %+v, %v; want the other 2 created", res, err)
		}
	})
	t.Run("Bytes", func(t *testing.T) {
		data := func(id string) PublishRequest {
			r := memRequest("t", id)
			r.Event.Data = make([]byte, 1000)
			return r
		}
		s := NewMemoryStore(MemoryConfig{MaxBytes: 10_000})
		memAddWebhook(t, s, "t", "w", "*")
		for i := range 10 {
			if _, err := s.Publish(t.Context(), memEpoch, []PublishRequest{data(fmt.Sprint("e", i))}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Publish(t.Context(), memEpoch, []PublishRequest{data("f")}); !errors.Is(err, ErrBacklogFull) {
			t.Fatalf("Publish with 10000 bytes pending: %v, want ErrBacklogFull", err)
		}
		memDrain(t, s, memEpoch, StateSucceeded)
		for i := range 5 {
			if _, err := s.Publish(t.Context(), memEpoch, []PublishRequest{data(fmt.Sprint("g", i))}); err != nil {
				t.Fatal(err)
			}
		}
		checkMemory(t, s)
		if s.bytes > 10_000 || s.pending != 5 || s.finished.n == 0 {
			t.Errorf("%d bytes, %d pending, %d finished: want at most 10000 bytes, 5 pending and some of the log", s.bytes, s.pending, s.finished.n)
		}
	})
}

// TestMemoryRetain runs many deliveries through a store that keeps few, with
// retries, resends, late results and webhooks that come and go.
func TestMemoryRetain(t *testing.T) {
	const retain, rounds = 50, 120
	rnd := rand.New(rand.NewPCG(1, 2))
	s := NewMemoryStore(MemoryConfig{Retain: retain})
	now := memEpoch
	for round := range rounds {
		id := fmt.Sprint("w", round)
		memAddWebhook(t, s, "t", id, "*")
		memPublish(t, s, "t", fmt.Sprint("e", round, "-"), 1+rnd.IntN(20), now)
		memPublish(t, s, fmt.Sprint("nobody", round), "u", 3, now)
		now = now.Add(time.Minute)
		if round%3 == 0 {
			if err := s.DeleteWebhook(t.Context(), "t", id); err != nil {
				t.Fatal(err)
			}
		}
		token := int64(round + 1)
		res, err := s.Claim(t.Context(), ClaimRequest{Token: token, Now: now, Lease: time.Second, Limit: 1000, PerWebhook: 100})
		if err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(res.Deliveries, 7) {
			memFinish(t, s, now, token-int64(rnd.IntN(8)/7), pickOne(rnd, StateSucceeded, StateFailed, StatePending), part)
		}
		page, err := s.ListDeliveries(t.Context(), DeliveryQuery{Tenant: "t", State: StateFailed, Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Items {
			if _, err := s.Resend(t.Context(), now, "t", d.ID); err != nil {
				t.Fatal(err)
			}
		}
		if round%3 == 1 {
			if err := s.DeleteWebhook(t.Context(), "t", id); err != nil {
				t.Fatal(err)
			}
		}
		checkMemory(t, s)
		if s.finished.n > retain || s.idle.n > retain || len(s.byNum) != s.pending+s.finished.n {
			t.Fatalf("%d finished, %d events without deliveries, %d deliveries of which %d pending; want at most %d of each but pending",
				s.finished.n, s.idle.n, len(s.byNum), s.pending, retain)
		}
		if len(s.tenants) > retain+1 {
			t.Fatalf("%d tenants are kept, with %d events", len(s.tenants), s.idle.n)
		}
	}
	for s.pending > 0 {
		now = now.Add(time.Hour)
		memDrain(t, s, now, StateSucceeded)
	}
	for i := range rounds {
		if err := s.DeleteWebhook(t.Context(), "t", fmt.Sprint("w", i)); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if _, err := s.Prune(t.Context(), now.Add(24*time.Hour), 1<<20); err != nil {
		t.Fatal(err)
	}
	checkMemory(t, s)
	left := len(s.tenants) + len(s.webhooks) + len(s.byNum) + len(s.claims) + s.ready.n + s.fresh.n + s.timers.n + s.finished.n + s.idle.n + s.orphans.n
	if left != 0 || s.bytes != 0 || s.pendingBytes != 0 || s.pending != 0 {
		t.Errorf("%d things, %d bytes are left of nothing", left, s.bytes)
	}
}

// TestMemoryStatsAreBounded feeds one attempt for each of many hours, and
// deletes many webhooks that have statistics.
func TestMemoryStatsAreBounded(t *testing.T) {
	s := NewMemoryStore(MemoryConfig{Retain: -1})
	h := &memHook{}
	for hour := range 3 * memStatsHours {
		h.count(&memAttempt{status: 200, startedAt: int64(hour) * memHourMicros})
		h.count(&memAttempt{status: 500, startedAt: int64(hour-2*memStatsHours) * memHourMicros})
	}
	if n := len(h.stats); n != memStatsHours || h.stats[0].hour != 2*memStatsHours {
		t.Errorf("%d hours from %d on, want the latest %d", n, h.stats[0].hour, memStatsHours)
	}
	for i := range memOrphans + 500 {
		id := fmt.Sprint("w", i)
		memAddWebhook(t, s, "t", id, "*")
		memPublish(t, s, "t", "e"+id, 1, memEpoch)
		memDrain(t, s, memEpoch, StateSucceeded)
		if err := s.DeleteWebhook(t.Context(), "t", id); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.tenants["t"].webhooks); n != memOrphans || s.orphans.n != n {
		t.Errorf("%d deleted webhooks are kept for their statistics, want %d", n, memOrphans)
	}
}

// TestMemorySilentResults repeats results that had no attempt: they are
// recognised, and not kept for ever.
func TestMemorySilentResults(t *testing.T) {
	s := NewMemoryStore(MemoryConfig{})
	memAddWebhook(t, s, "t", "w", "*")
	memPublish(t, s, "t", "e", 1, memEpoch)
	var last Result
	for token := range int64(50) {
		res, err := s.Claim(t.Context(), ClaimRequest{Token: token + 1, Now: memEpoch, Lease: time.Minute, Limit: 1, PerWebhook: 1})
		if err != nil || len(res.Deliveries) != 1 {
			t.Fatal(len(res.Deliveries), err)
		}
		last = Result{DeliveryID: res.Deliveries[0].Delivery.ID, Token: token + 1, State: StatePending}
		if token%10 == 0 {
			last.Attempt = &Attempt{Number: 1, StartedAt: memEpoch}
		}
		for range 2 {
			outcomes, err := s.Complete(t.Context(), memEpoch, []Result{last})
			if err != nil || outcomes[0] != OutcomeApplied {
				t.Fatal(outcomes, err)
			}
		}
	}
	n := 0
	d := s.delivery(last.DeliveryID)
	for m := d.log; m != nil; m = m.next {
		if n++; m.next == nil && m != d.logTail {
			t.Error("the log does not end at its tail")
		}
	}
	if want := memSilent + 5; n != want {
		t.Errorf("%d results are remembered, want %d", n, want)
	}
}

// A list looks at a bounded number of deliveries, whatever it is asked for.
func TestMemoryListLooksAtABoundedNumber(t *testing.T) {
	const events = 3 * MaxScan
	s := NewMemoryStore(MemoryConfig{})
	memAddWebhook(t, s, "t", "w", "*")
	memPublish(t, s, "t", "e", events, memEpoch)
	for name, q := range map[string]DeliveryQuery{
		"all": {}, "a webhook": {WebhookID: "w"}, "a state": {State: StateFailed}, "a type": {WebhookID: "w", EventType: "none"},
		"both": {State: StateSucceeded, EventType: "none"}, "a time": {Until: memEpoch}, "an event": {EventID: "e7"}, "no event": {EventID: "none"},
	} {
		q.Tenant = "t"
		calls, found := 0, 0
		for {
			s.looked = 0
			p, err := s.ListDeliveries(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if s.looked > MaxScan {
				t.Errorf("%s: looked at %d deliveries, at most %d are allowed", name, s.looked, MaxScan)
			}
			calls, found = calls+1, found+len(p.Items)
			if q.Cursor = p.Next; q.Cursor == "" || calls > 10 {
				break
			}
		}
		t.Logf("%s: %d found in %d calls", name, found, calls)
		if (name == "a state" || name == "a type" || name == "both") && (calls != 3 || found != 0) {
			t.Errorf("%s: %d found in %d calls, want none in 3", name, found, calls)
		}
	}
}
