package memstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// drain claims and completes until nothing is due, and returns how many.
func drain(t testing.TB, s *Store, now time.Time, state webhook.State) (n int) {
	t.Helper()
	for token := rand.Int64(); ; token++ {
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: now, Lease: time.Minute, Limit: 256, PerWebhook: 256})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Deliveries) == 0 {
			return n
		}
		n += len(res.Deliveries)
		finish(t, s, now, token, state, res.Deliveries)
	}
}

func finish(t testing.TB, s *Store, now time.Time, token int64, state webhook.State, ds []webhook.ClaimedDelivery) {
	t.Helper()
	results := make([]webhook.Result, len(ds))
	for i := range ds {
		results[i] = webhook.Result{
			DeliveryID: ds[i].Delivery.ID, Token: token, State: state, Delay: time.Hour,
			Attempt: &webhook.Attempt{Number: 1, StartedAt: now, Status: 200, ResponseBody: make([]byte, 100)},
		}
	}
	if _, err := s.Complete(t.Context(), now, results); err != nil {
		t.Fatal(err)
	}
}

func TestD14_StoreIsBounded(t *testing.T) {
	t.Run("Pending", func(t *testing.T) {
		s := New(Config{MaxPending: 10})
		addWebhook(t, s, "t", "w1", "*")
		addWebhook(t, s, "t", "w2", "*")
		publish(t, s, "t", "e", 4, epoch)
		_, err := s.Publish(t.Context(), epoch, []webhook.PublishRequest{request("t", "f"), request("t2", "g"), request("t", "h")})
		if !errors.Is(err, webhook.ErrBacklogFull) {
			t.Fatalf("publishing 4 where 2 fit: %v, want ErrBacklogFull", err)
		}
		check(t, s)
		if _, err := s.GetEvent(t.Context(), "t", "f"); !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("an event of the refused call: %v, want ErrNotFound", err)
		}
		if len(s.tenants) != 1 {
			t.Errorf("%d tenants, want 1: the refused call left one", len(s.tenants))
		}
		if n := drain(t, s, epoch, webhook.StateSucceeded); n != 8 {
			t.Errorf("%d deliveries were kept, want 8", n)
		}
		publish(t, s, "t", "i", 5, epoch)
		if _, err := s.Publish(t.Context(), epoch, []webhook.PublishRequest{request("t3", "nobody")}); err != nil {
			t.Errorf("an event that matches nobody, with the backlog full: %v", err)
		}
	})
	t.Run("Replay", func(t *testing.T) {
		s := New(Config{MaxPending: 3})
		publish(t, s, "t", "e", 5, epoch)
		addWebhook(t, s, "t", "w", "*")
		req := webhook.ReplayRequest{Tenant: "t", WebhookID: "w", Now: epoch, Missing: true, Limit: 100}
		res, err := s.Replay(t.Context(), req)
		if err != nil || res.Created != 3 || res.Next == "" {
			t.Fatalf("replay = %+v, %v; want 3 created and a cursor", res, err)
		}
		req.Cursor = res.Next
		if _, err := s.Replay(t.Context(), req); !errors.Is(err, webhook.ErrBacklogFull) {
			t.Fatalf("replay with the backlog full: %v, want ErrBacklogFull", err)
		}
		drain(t, s, epoch, webhook.StateSucceeded)
		if res, err = s.Replay(t.Context(), req); err != nil || res.Created != 2 || res.Next != "" {
			t.Errorf("replay = %+v, %v; want the other 2 created", res, err)
		}
	})
	t.Run("Bytes", func(t *testing.T) {
		data := func(id string) webhook.PublishRequest {
			r := request("t", id)
			r.Event.Data = make([]byte, 1000)
			return r
		}
		s := New(Config{MaxBytes: 10_000})
		addWebhook(t, s, "t", "w", "*")
		for i := range 10 {
			if _, err := s.Publish(t.Context(), epoch, []webhook.PublishRequest{data(fmt.Sprint("e", i))}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Publish(t.Context(), epoch, []webhook.PublishRequest{data("f")}); !errors.Is(err, webhook.ErrBacklogFull) {
			t.Fatalf("Publish with 10000 bytes pending: %v, want ErrBacklogFull", err)
		}
		drain(t, s, epoch, webhook.StateSucceeded)
		for i := range 5 {
			if _, err := s.Publish(t.Context(), epoch, []webhook.PublishRequest{data(fmt.Sprint("g", i))}); err != nil {
				t.Fatal(err)
			}
		}
		check(t, s)
		if s.bytes > 10_000 || s.pending != 5 || s.finished.n == 0 {
			t.Errorf("%d bytes, %d pending, %d finished: want at most 10000 bytes, 5 pending and some of the log", s.bytes, s.pending, s.finished.n)
		}
	})
}

// TestRetain runs many deliveries through a store that keeps few, with
// retries, resends, late results and webhooks that come and go.
func TestRetain(t *testing.T) {
	const retain, rounds = 50, 120
	rnd := rand.New(rand.NewPCG(1, 2))
	s := New(Config{Retain: retain})
	now := epoch
	for round := range rounds {
		id := fmt.Sprint("w", round)
		addWebhook(t, s, "t", id, "*")
		publish(t, s, "t", fmt.Sprint("e", round, "-"), 1+rnd.IntN(20), now)
		publish(t, s, fmt.Sprint("nobody", round), "u", 3, now)
		now = now.Add(time.Minute)
		if round%3 == 0 {
			if err := s.DeleteWebhook(t.Context(), "t", id); err != nil {
				t.Fatal(err)
			}
		}
		token := int64(round + 1)
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token, Now: now, Lease: time.Second, Limit: 1000, PerWebhook: 100})
		if err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(res.Deliveries, 7) {
			finish(t, s, now, token-int64(rnd.IntN(8)/7), pickOne(rnd, webhook.StateSucceeded, webhook.StateFailed, webhook.StatePending), part)
		}
		page, err := s.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: "t", State: webhook.StateFailed, Limit: 5})
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
		check(t, s)
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
		drain(t, s, now, webhook.StateSucceeded)
	}
	for i := range rounds {
		if err := s.DeleteWebhook(t.Context(), "t", fmt.Sprint("w", i)); err != nil && !errors.Is(err, webhook.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if _, err := s.Prune(t.Context(), now.Add(24*time.Hour), 1<<20); err != nil {
		t.Fatal(err)
	}
	check(t, s)
	left := len(s.tenants) + len(s.webhooks) + len(s.byNum) + len(s.claims) + s.ready.n + s.fresh.n + s.timers.n + s.finished.n + s.idle.n + s.orphans.n
	if left != 0 || s.bytes != 0 || s.pendingBytes != 0 || s.pending != 0 {
		t.Errorf("%d things, %d bytes are left of nothing", left, s.bytes)
	}
}

// TestStatsAreBounded feeds one attempt for each of many hours, and
// deletes many webhooks that have statistics.
func TestStatsAreBounded(t *testing.T) {
	s := New(Config{Retain: -1})
	h := &hook{}
	for hour := range 3 * statsHours {
		h.count(&attempt{status: 200, startedAt: int64(hour) * hourMicros})
		h.count(&attempt{status: 500, startedAt: int64(hour-2*statsHours) * hourMicros})
	}
	if n := len(h.stats); n != statsHours || h.stats[0].hour != 2*statsHours {
		t.Errorf("%d hours from %d on, want the latest %d", n, h.stats[0].hour, statsHours)
	}
	for i := range keptOrphans + 500 {
		id := fmt.Sprint("w", i)
		addWebhook(t, s, "t", id, "*")
		publish(t, s, "t", "e"+id, 1, epoch)
		drain(t, s, epoch, webhook.StateSucceeded)
		if err := s.DeleteWebhook(t.Context(), "t", id); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.tenants["t"].webhooks); n != keptOrphans || s.orphans.n != n {
		t.Errorf("%d deleted webhooks are kept for their statistics, want %d", n, keptOrphans)
	}
}

// TestSilentResults repeats results that had no attempt: they are
// recognised, and not kept for ever.
func TestSilentResults(t *testing.T) {
	s := New(Config{})
	addWebhook(t, s, "t", "w", "*")
	publish(t, s, "t", "e", 1, epoch)
	var last webhook.Result
	for token := range int64(50) {
		res, err := s.Claim(t.Context(), webhook.ClaimRequest{Token: token + 1, Now: epoch, Lease: time.Minute, Limit: 1, PerWebhook: 1})
		if err != nil || len(res.Deliveries) != 1 {
			t.Fatal(len(res.Deliveries), err)
		}
		last = webhook.Result{DeliveryID: res.Deliveries[0].Delivery.ID, Token: token + 1, State: webhook.StatePending}
		if token%10 == 0 {
			last.Attempt = &webhook.Attempt{Number: 1, StartedAt: epoch}
		}
		for range 2 {
			outcomes, err := s.Complete(t.Context(), epoch, []webhook.Result{last})
			if err != nil || outcomes[0] != webhook.OutcomeApplied {
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
	if want := maxSilent + 5; n != want {
		t.Errorf("%d results are remembered, want %d", n, want)
	}
}

// A list looks at a bounded number of deliveries, whatever it is asked for.
func TestListLooksAtABoundedNumber(t *testing.T) {
	const events = 3 * webhook.MaxScan
	s := New(Config{})
	addWebhook(t, s, "t", "w", "*")
	publish(t, s, "t", "e", events, epoch)
	for name, q := range map[string]webhook.DeliveryQuery{
		"all": {}, "a webhook": {WebhookID: "w"}, "a state": {State: webhook.StateFailed}, "a type": {WebhookID: "w", EventType: "none"},
		"both": {State: webhook.StateSucceeded, EventType: "none"}, "a time": {Until: epoch}, "an event": {EventID: "e7"}, "no event": {EventID: "none"},
	} {
		q.Tenant = "t"
		calls, found := 0, 0
		for {
			s.looked = 0
			p, err := s.ListDeliveries(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if s.looked > webhook.MaxScan {
				t.Errorf("%s: looked at %d deliveries, at most %d are allowed", name, s.looked, webhook.MaxScan)
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
