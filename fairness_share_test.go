package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// slow makes a host answer 200 after some time.
func (f *receivers) slow(host string, d time.Duration) {
	f.on(host, func(_ int, r *http.Request) (int, http.Header, error) {
		select {
		case <-time.After(d):
			return 200, nil, nil
		case <-r.Context().Done():
			return 0, nil, context.Cause(r.Context())
		}
	})
}

// one creates a webhook of a tenant at a host.
func (w *world) one(tenant, host string, change ...func(*webhook.WebhookSpec)) webhook.Webhook {
	w.t.Helper()
	spec := webhook.WebhookSpec{Name: host, URL: "https://" + host + "/", Events: []string{"*"}, Timeout: new(webhook.MaxTimeout)}
	for _, c := range change {
		c(&spec)
	}
	wh, _, err := w.CreateWebhook(context.Background(), tenant, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return wh
}

// send publishes n events of a tenant in one call.
func (w *world) send(tenant string, n int) {
	w.t.Helper()
	events := make([]webhook.Event, n)
	for i := range events {
		events[i] = webhook.Event{Tenant: tenant, Type: "a", Data: map[string]int{}}
	}
	for chunk := range slices.Chunk(events, 500) {
		if _, err := w.PublishAll(context.Background(), chunk); err != nil {
			w.t.Fatal(err)
		}
	}
}

// inFlight returns how many requests a host has not answered yet.
func (f *receivers) inFlight(host string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flying[host]
}

// The share of an endpoint that answers 200, but slowly, shrinks with its
// slowness where others want slots too, and is back seconds after it is quick
// again. Alone it has its whole share.
func TestD9_ShareShrinksWhenSlowAndRecovers(t *testing.T) {
	t.Parallel()
	inBubble(t, webhook.Config{DrainTimeout: -1}, func(w *world) {
		const crowd = 40
		backlog := 3000
		if small() {
			backlog = 1000
		}
		host := func(i int) string { return fmt.Sprintf("slow%d.example.com", i) }
		w.rx.slow("alone.example.com", 20*time.Second)
		w.one("alone", "alone.example.com")
		w.start()
		w.send("alone", 1000)
		w.pass(5 * time.Minute)
		if n := w.rx.inFlight("alone.example.com"); n != 64 {
			t.Errorf("alone, a slow endpoint has %d attempts in flight, want the most there may be, 64", n)
		}
		for i := range crowd {
			w.rx.slow(host(i), 20*time.Second)
			w.one(fmt.Sprint("crowd", i), host(i))
			w.send(fmt.Sprint("crowd", i), backlog)
		}
		w.pass(5 * time.Minute)
		if free := 512 - w.Stats().InFlight; free < 120 {
			t.Errorf("%d endpoints that take 20 s leave %d slots free, want a quarter of 512", crowd+1, free)
		}
		if n := w.rx.inFlight("alone.example.com"); n > 32 {
			t.Errorf("the first slow endpoint still has %d slots of 512 beside %d others", n, crowd)
		}
		// All well again: quick answers, and all of the pool is used for them.
		for i := range crowd {
			w.rx.slow(host(i), 10*time.Millisecond)
		}
		w.pass(20 * time.Second) // those in flight
		took := time.Duration(0)
		for took < time.Minute && len(w.rx.at(host(7))) < backlog {
			w.pass(time.Second)
			took += time.Second
		}
		// With 12 of 512 slots, as each of 41 may have, that is 1,200 a second.
		if took > 5*time.Second {
			t.Errorf("a backlog of %d took %v after the last slow answer", backlog, took)
		}
	})
}

// However many endpoints begin to hang at once, half or nearly all of them, the
// healthy endpoints go on undisturbed.
func TestD9_HealthyLatencyBesideMany(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ hang, slow, fail, well int }{
		{100, 0, 0, 100}, {0, 100, 0, 100}, {0, 0, 100, 100}, {300, 60, 200, 50}, {380, 0, 0, 20},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			inBubble(t, webhook.Config{DrainTimeout: -1}, func(w *world) {
				all := c.hang + c.slow + c.fail + c.well
				host := func(i int) string { return fmt.Sprintf("h%d.example.com", i) }
				well := func(i int) bool { return i >= all-c.well }
				for i := range all {
					w.rx.slow(host(i), 20*time.Millisecond)
					w.one(fmt.Sprint(i), host(i))
				}
				w.start()
				begun := make([]time.Time, 0, 40)
				round := func() {
					begun = append(begun, time.Now())
					for i := range all {
						w.send(fmt.Sprint(i), 1)
					}
				}
				round() // all are known to do well
				w.pass(time.Second)
				for i := range c.hang {
					w.rx.hang(host(i))
				}
				for i := range c.slow {
					w.rx.slow(host(c.hang+i), 20*time.Second)
				}
				for i := range c.fail {
					w.rx.status(host(c.hang+c.slow+i), 500)
				}
				for range 30 {
					round()
					w.pass(time.Second)
				}
				var late []time.Duration
				for i := range all {
					if !well(i) {
						continue
					}
					got := w.rx.at(host(i))
					if len(got) != len(begun) {
						t.Errorf("%s had %d of %d", host(i), len(got), len(begun))
						continue
					}
					for n, r := range got {
						late = append(late, r.at.Sub(begun[n]))
					}
				}
				if len(late) == 0 {
					return
				}
				slices.Sort(late)
				t.Logf("publish to request: median %v, p99 %v, most %v", late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
				if p99 := late[len(late)*99/100]; p99 > 60*time.Millisecond {
					t.Errorf("p99 is %v: three answers' time and more", p99)
				}
				if most := late[len(late)-1]; most > 2*time.Second {
					t.Errorf("one waited for %v", most)
				}
			})
		})
	}
}

// A webhook that is new is tried at once beside any number of the same tenant
// that are known to hang.
func TestD9_NewWebhookBesideThoseThatAreKnownToHang(t *testing.T) {
	inBubble(t, webhook.Config{DrainTimeout: -1, DisableAfter: -1, Retry: webhook.RetryDelays{0}}, func(w *world) {
		w.rx.hang("tarpit.example.com")
		for i := range 400 {
			w.one("t", "tarpit.example.com", func(s *webhook.WebhookSpec) {
				s.Name, s.Timeout, s.MaxRetries = fmt.Sprint(i), new(10*time.Second), new(10)
			})
		}
		w.start()
		w.send("t", 20)
		w.pass(3 * time.Minute) // each has timed out once by now, and is tried again
		if n := w.rx.inFlight("tarpit.example.com"); n < 50 {
			t.Errorf("%d attempts at those that hang: nothing is shown", n)
		}
		w.one("t", "new.example.com")
		w.send("t", 1)
		w.pass(100 * time.Millisecond)
		if n := len(w.rx.at("new.example.com")); n != 1 {
			t.Errorf("the new webhook had %d requests of 1 after 100 ms", n)
		}
	})
}

// One tenant's burst delays another tenant's single events by a bounded time,
// whether the burst goes to one webhook or to many, quick or slow.
func TestD9_BurstOfOneTenant(t *testing.T) {
	t.Parallel()
	burst := 100_000
	if small() {
		burst = 20_000
	}
	for _, c := range []struct {
		webhooks int
		answer   time.Duration
	}{{1, 10 * time.Millisecond}, {50, 200 * time.Millisecond}, {50, 2 * time.Second}} {
		t.Run(fmt.Sprintf("%d webhooks that answer after %v", c.webhooks, c.answer), func(t *testing.T) {
			inBubble(t, webhook.Config{DrainTimeout: -1}, func(w *world) {
				for i := range c.webhooks {
					host := fmt.Sprintf("burst%d.example.com", i)
					w.rx.slow(host, c.answer)
					w.one("burst", host)
				}
				w.one("quiet", "quiet.example.com")
				w.start()
				w.send("burst", burst/c.webhooks)
				var begun []time.Time
				for range 100 {
					begun = append(begun, time.Now())
					w.send("quiet", 1)
					w.pass(17 * time.Millisecond)
				}
				w.pass(time.Second)
				got := w.rx.at("quiet.example.com")
				if len(got) != len(begun) {
					t.Errorf("%d of %d arrived", len(got), len(begun))
				}
				late := make([]time.Duration, 0, len(got))
				for i, r := range got {
					late = append(late, r.at.Sub(begun[i]))
				}
				slices.Sort(late)
				t.Logf("median %v, p99 %v, most %v", late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
				if most := late[len(late)-1]; most > 50*time.Millisecond {
					t.Errorf("an event of the other tenant waited for %v", most)
				}
				w.rx.mu.Lock()
				defer w.rx.mu.Unlock()
				if w.rx.total == 0 {
					t.Error("the burst was over: nothing is shown")
				}
			})
		})
	}
}

// Deliveries to an endpoint that is mostly down do not expire or starve: each is
// tried as often as it may be, and no more.
func TestMostlyDownNeitherExpiresNorStarves(t *testing.T) {
	inBubble(t, webhook.Config{DisableAfter: -1}, func(w *world) {
		w.rx.on("h.example.com", func(n int, _ *http.Request) (int, http.Header, error) {
			<-time.After(50 * time.Millisecond)
			if n%100 == 0 {
				return 200, nil, nil
			}
			return 500, nil, nil
		})
		wh := w.hook("h.example.com")
		w.publishMany(2000)
		w.start()
		w.pass(2 * time.Hour)
		for _, d := range w.deliveries(webhook.DeliveryQuery{WebhookID: wh.ID}) {
			if d.State == webhook.StatePending || d.State == webhook.StateFailed && d.Attempts != 4 || d.State == webhook.StateSucceeded && d.Attempts > 4 {
				t.Fatalf("after 2 h: %+v", d)
			}
		}
	})
}

// An endpoint that goes up and down every second gets no more attempts
// than it may, and after an outage of all endpoints their retries come spread, not
// at once.
func TestC2_NoHerdAfterAnOutage(t *testing.T) {
	inBubble(t, webhook.Config{DisableAfter: -1}, func(w *world) {
		start := time.Now()
		const outage = 10 * time.Minute
		for i := range 5 {
			host := fmt.Sprintf("h%d.example.com", i)
			w.rx.on(host, func(int, *http.Request) (int, http.Header, error) {
				if time.Since(start) < outage {
					return 503, nil, nil
				}
				return 200, nil, nil
			})
			w.hook(host, func(s *webhook.WebhookSpec) { s.MaxRetries = new(10) })
		}
		w.rx.on("flap.example.com", func(int, *http.Request) (int, http.Header, error) {
			if time.Since(start)/time.Second%2 == 1 {
				return 503, nil, nil
			}
			return 200, nil, nil
		})
		flap := w.hook("flap.example.com")
		w.start()
		for range int(outage / time.Second) { // 6 deliveries a second
			w.publish()
			w.pass(time.Second)
		}
		w.pass(2 * time.Hour)
		var during, after int
		perSecond := map[int]int{}
		w.rx.mu.Lock()
		for _, r := range w.rx.got {
			switch s := r.at.Sub(start); {
			case s >= outage:
				perSecond[int(s/time.Second)]++
				after++
			case s >= outage-time.Minute:
				during++
			}
		}
		w.rx.mu.Unlock()
		steady, peak := during/60, 0
		for _, n := range perSecond {
			peak = max(peak, n)
		}
		t.Logf("%d attempts a second at the end of the outage; %d after it, at most %d in a second", steady, after, peak)
		if after < 2500 || peak > 2*steady {
			t.Errorf("%d attempts after the outage, %d of them in one second; %d a second came before its end, and twice that may", after, peak, steady)
		}
		for _, d := range w.deliveries(webhook.DeliveryQuery{}) {
			if d.State == webhook.StatePending || d.WebhookID == flap.ID && d.Attempts > 4 || d.WebhookID != flap.ID && d.State != webhook.StateSucceeded {
				t.Errorf("after the outage: %+v", d)
				break
			}
		}
	})
}
